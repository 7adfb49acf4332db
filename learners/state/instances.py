"""Instances of River's classes, as attributes: what is kept of them, and which are refused."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from river import cluster, compose, feature_extraction, multiclass, neighbors, proba, rules, sketch
from river.tree.hoeffding_tree import HoeffdingTree

from learners.state.forms import NoForm
from learners.state.generators import UNSEEDED

# Attributes that depend on which methods were called, not on what was learned: written as the constructor leaves them,
# because River works them out again.
DERIVED: Final[Mapping[type, Mapping[str, Any]]] = {
    compose.Pipeline: {"_plan": None, "_inference_transformers": (), "_last_step_cached": None},
}
# ... and those that the constructor does not set.
FORGOTTEN: Final[Mapping[type, frozenset[str]]] = {compose.Pipeline: frozenset({"_last_step_params"})}

# Estimators whose state means something only in the process that made it.
BOUND_TO_PROCESS: Final[Mapping[Any, str]] = {
    cluster.KMeans: "it sums in the order of a set of names, which differs between processes",
    feature_extraction.RandomTreesEmbedding: "it finds leaves by their address in memory",
    multiclass.OneVsOneClassifier: "it pairs classes in the order of a set, which differs between processes",
    neighbors.SWINN: "its vertices share a set with those of every other SWINN; use LazySearch",
    rules.AMRules: "it finds rules by their address in memory",
    sketch.Counter: "it uses Python's hash, which differs between processes",
    sketch.Set: "it uses Python's hash, which differs between processes",
}


def attributes_of(value: Any) -> dict[str, Any]:
    """Return what has to be kept of an instance, sorted by name.

    Raises:
        NoForm: it is more than its attributes (a class that extends list), or no other process would learn like it.

    >>> from river import stats
    >>> attributes_of(stats.Mean())
    {'_mean': 0.0, 'n': 0.0}
    """
    cls = type(value)
    attributes = {**_all_attributes(value), **DERIVED.get(cls, {})}
    _refuse_bound_to_process(value)
    if attributes.get("seed", 0) is None:
        _refuse_unseeded(cls, attributes)
    forgotten = FORGOTTEN.get(cls, ())
    return {name: attributes[name] for name in sorted(attributes) if name not in forgotten}


def set_attributes(made: Any, names: Sequence[str], values: Iterable[Any]) -> None:
    """Give an instance that no constructor has seen its attributes, without a call of its own `__setattr__`."""
    cls: Any = type(made)
    slots = _slots(cls)
    for name, value in zip(names, values, strict=True):
        if name in slots:
            slots[name].__set__(made, value)
        else:
            made.__dict__[name] = value


def _refuse_bound_to_process(value: Any) -> None:
    cls = type(value)
    if cls in BOUND_TO_PROCESS:
        raise NoForm(BOUND_TO_PROCESS[cls])
    if cls is compose.Select and len(value.keys) > 1:
        reason = "it takes its features in the order of a set, which differs between processes"
        raise NoForm(f"{reason}; write Select('a') + Select('b')")
    if isinstance(value, HoeffdingTree) and value.binary_split:
        reason = "with binary_split it breaks ties between texts in the order of a set, which differs between processes"
        raise NoForm(f"{reason}; leave it False, or encode texts as numbers with OrdinalEncoder")


def _refuse_unseeded(cls: type, attributes: dict[str, Any]) -> None:
    for name, attribute in attributes.items():
        if isinstance(attribute, random.Random | np.random.RandomState):
            if cls is not proba.Gaussian:
                raise NoForm("it draws from a generator without a seed; give it one")
            # Every Gaussian of a naive Bayes or tree brings 2.5 kB of a generator that nobody seeded or draws from.
            attributes[name] = UNSEEDED


def _all_attributes(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    attributes = dict(getattr(value, "__dict__", {}))
    for name, slot in _slots(cls).items():
        try:
            attributes[name] = slot.__get__(value)
        except AttributeError:
            continue  # a slot that was never set
    return attributes


@functools.cache
def _slots(cls: type) -> dict[str, types.MemberDescriptorType]:
    """Return the attributes that instances keep outside their `__dict__`."""
    try:
        object.__new__(cls)
    except TypeError as error:
        # Instances are more than attributes: the class extends list, tuple or deque.
        raise NoForm(str(error)) from error
    members = ((name, member) for base in reversed(cls.__mro__) for name, member in vars(base).items())
    return {name: member for name, member in members if isinstance(member, types.MemberDescriptorType)}
