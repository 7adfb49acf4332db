"""Names of classes, functions and methods: everything executable that a state may refer to."""

from __future__ import annotations

import collections
import copy
import functools
import importlib
import random
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from river.utils import vectordict

from learners.state.forms import NoForm, full_name

# River packages whose classes and functions may stand in a state. Not `stream`, `evaluate`, `compat` and any
# `datasets` or `envs`: those open files and sockets, or carry other libraries in.
PACKAGES: Final = frozenset(
    {
        "active", "anomaly", "bandit", "base", "cluster", "compose", "conf", "covariance", "drift", "dummy", "ensemble",
        "facto", "feature_extraction", "feature_selection", "forest", "imblearn", "linear_model", "metrics", "misc",
        "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors", "optim", "preprocessing", "proba",
        "reco", "rules", "sketch", "stats", "time_series", "tree", "utils",
    }
)  # fmt: skip

# Estimators of our own.
OWN_PACKAGES: Final = frozenset({"calibration"})

# What River keeps in attributes and does not write in Python itself.
OUTSIDE: Final[Mapping[str, Callable[..., Any]]] = {
    **{
        cls.__name__: cls
        for cls in (
            bool, bytes, dict, float, frozenset, int, list, set, str, tuple,
            collections.Counter, collections.OrderedDict, collections.defaultdict, collections.deque,
        )
    },
    "deepcopy": copy.deepcopy,
    "euclidean_distance_dict": vectordict.euclidean_distance_dict,
    "euclidean_distance_tuple": vectordict.euclidean_distance_tuple,
}  # fmt: skip


def name_of(code: Any) -> tuple[str, str]:
    """Return module and name of a class or function; the module is empty for those of `OUTSIDE`.

    Raises:
        NoForm: reading would not find it again.

    >>> name_of(float)
    ('', 'float')
    """
    name: str = code.__name__
    return ("", name) if OUTSIDE.get(name) is code else river_name_of(code)


def named(module: str, name: str) -> Any:
    """Return the class or function of which `name_of` gave module and name.

    Raises:
        NoForm: a state may not refer to it.

    >>> named("", "float")
    <class 'float'>
    """
    if module:
        return _in_river(module, name)
    if name not in OUTSIDE:
        raise NoForm(f"{name} is neither River's nor one of its few builtins")
    return OUTSIDE[name]


def river_name_of(code: Any) -> tuple[str, str]:
    """Return module and qualified name of a class or function that River defines.

    Raises:
        NoForm: it is not River's, or River has something else under this name.
    """
    module, name = str(code.__module__), code.__qualname__  # a method of a builtin has None for a module
    if _in_river(module, name) is not code:
        raise NoForm("River knows something else by its name")
    return module, name


def river_class_named(module: str, name: str) -> type:
    """Return the class of which `river_name_of` gave module and name.

    Raises:
        NoForm: River has no such class.
    """
    found = _in_river(module, name)
    if not isinstance(found, type):
        raise NoForm(f"{module}.{name} is not a class")
    return found


def name_of_method(method: types.MethodType) -> str:
    """Return the name by which `method_named` finds the method in its owner.

    Raises:
        NoForm: it would not find it, or find another.
    """
    name: str = method.__name__
    if method_named(method.__self__, name) != method:
        raise NoForm("River knows something else by its name")
    return name


def method_named(owner: Any, name: str) -> types.MethodType:
    """Return a method that River's code could have taken from this object.

    Raises:
        NoForm: its class, as River defines it, has no such method.
    """
    if type(owner) is random.Random and name == "gauss":
        return types.MethodType(random.Random.gauss, owner)
    for cls in type(owner).__mro__:
        function = vars(cls).get(name)
        if isinstance(function, types.FunctionType) and _in_river(cls.__module__, cls.__qualname__) is cls:
            return types.MethodType(function, owner)
    raise NoForm(f"{full_name(type(owner))} has no method {name!r}")


@functools.cache
def _in_river(module: str, name: str) -> Any:
    """Return the class or function that River, or `learners.calibration`, defines under this very name.

    Looked up in the namespaces of module and classes, never with getattr, and only what is at home there: a module that
    a River module imports cannot be reached through it.
    """
    if not _may_stand_in_a_state(module):
        raise NoForm(f"{module}.{name} is not one of River's estimators")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise NoForm(f"there is no module {module}") from error
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, types.ModuleType | type) else None
    if isinstance(found, staticmethod):
        found = found.__func__
    at_home = isinstance(found, type | types.FunctionType) and (found.__module__, found.__qualname__) == (module, name)
    if not at_home:
        raise NoForm(f"{module} defines no {name}")
    return found


def _may_stand_in_a_state(module: str) -> bool:
    root, package, *rest = [*module.split("."), ""]
    if root == "learners":
        return package in OWN_PACKAGES
    return root == "river" and package in PACKAGES and {"datasets", "envs"}.isdisjoint(rest)
