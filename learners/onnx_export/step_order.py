"""Steps that have an exact form each, but not one behind or beside the other."""

from __future__ import annotations

from collections import UserDict, UserList
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from river import base, compose, feature_extraction, feature_selection, preprocessing

from learners.onnx_export.frame import full_name
from schemas.errors import NotExportable

Test: TypeAlias = Callable[[object], bool]


_CHANGE_FEATURES = (base.Transformer, compose.Pipeline)
_MAKE_INTS = (
    compose.FuncTransformer,
    compose.TransformerProduct,
    preprocessing.Binarizer,
    preprocessing.FeatureHasher,
    preprocessing.OrdinalEncoder,
    feature_extraction.Agg,
    feature_extraction.PolynomialExtender,
    feature_selection.SelectKBest,
    feature_selection.VarianceThreshold,
)


_DERIVED: Final[dict[tuple[type, type | tuple[type, ...]], bool]] = {}


def _derives(cls: type, classes: type | tuple[type, ...]) -> bool:
    # By type, because to River's `isinstance` a pipeline is also what its last step is. Remembered, because River's
    # classes are abstract base classes, and asking those takes longer than all else here.
    if (cls, classes) not in _DERIVED:
        _DERIVED[cls, classes] = issubclass(cls, classes)
    return _DERIVED[cls, classes]


def _is(*classes: type) -> Test:
    return lambda step: _derives(type(step), classes)


# Their features are the event's own: float and str.
_ARRANGE = (
    compose.Discard,
    compose.Prefixer,
    compose.Renamer,
    compose.Select,
    compose.SelectType,
    compose.Suffixer,
    compose.TransformerUnion,
)


def _computes(step: object) -> bool:
    return _derives(type(step), base.Transformer) and not _derives(type(step), _ARRANGE)


def _makes_ints(step: Any) -> bool:
    """Whether what comes from it may be int, bool or float, of which the graph knows only that it is a number."""
    if type(step) is preprocessing.RobustScaler:
        return not step.with_scaling
    return _derives(type(step), _MAKE_INTS)


def _learns_no_keys(step: Any) -> bool:
    return type(step) is preprocessing.OneHotEncoder and step.drop_zeros and step.categories is None


@dataclass(frozen=True, slots=True)
class _Rule:
    """`later` is refused when `earlier` stands before it."""

    earlier: Test
    later: type | tuple[type, ...]
    reason: str
    instead: str


_RULES = (
    _Rule(
        _makes_ints,
        compose.SelectType,
        "what comes from {} may be int, bool or float, which the graph does not tell apart",
        "SelectType in front of it",
    ),
    _Rule(
        _computes,
        compose.FuncTransformer,
        "what comes from {} may be int, bool or a number of numpy, with which Python computes otherwise",
        "one function in front of it",
    ),
    _Rule(
        _is(preprocessing.OneHotEncoder),
        preprocessing.Normalizer,
        "a value that {} has not met counts in the norm, and has no column here",
        "Normalizer for the numbers only, in a branch of its own",
    ),
    _Rule(
        _is(preprocessing.MinMaxScaler),
        preprocessing.Normalizer,
        "one feature that {} has not met makes River's norm NaN",
        "MaxAbsScaler or StandardScaler in front of it",
    ),
    _Rule(
        _is(feature_extraction.RBFSampler),
        preprocessing.Normalizer,
        "what {} draws for a feature that it has not met counts in the norm",
        "Normalizer in front of it",
    ),
    _Rule(
        _learns_no_keys,
        (feature_extraction.PolynomialExtender, compose.TransformerProduct),
        "{} with drop_zeros does not remember which keys to multiply",
        "OneHotEncoder()",
    ),
)


def refuse_order(steps: Mapping[str, object], step: str) -> None:
    """Raise NotExportable for a step that cannot stand behind another of the pipeline, however deep each of them is."""
    met: dict[_Rule, object] = {}
    for name, estimator in steps.items():
        # To look into a predictor takes longest, so only where a step in front of it has a rule.
        inner = [*_parts(estimator)] if met or _derives(type(estimator), _CHANGE_FEATURES) else []
        for rule, before in met.items():
            later = next((part for part in inner if _derives(type(part), rule.later)), None)
            if later is not None:
                reason = rule.reason.format(type(before).__name__)
                raise NotExportable(full_name(later), f"{step}/{name}", reason, rule.instead)
        for rule in _RULES:
            before = next(filter(rule.earlier, inner), None)
            if before is not None:
                met.setdefault(rule, before)


def refuse_renaming(steps: Sequence[object], step: str) -> None:
    """Raise NotExportable where a Renamer gets the dict that others get too: River's renames in that very dict."""
    first = steps[0] if steps else None
    if type(first) is compose.Renamer:
        reason = "it renames in the dict it is given, which other parts of the model read too"
        raise NotExportable(full_name(first), f"{step}/Renamer", reason, "it as the first step of the whole model")


def refuse_beside(union: compose.TransformerUnion, step: str) -> None:
    """Raise NotExportable for parts of a union that cannot stand side by side."""
    parts = [[*_parts(part)] for part in union.transformers.values()]
    refuse_renaming([part for part in union.transformers.values() if type(part) is compose.Renamer], step)
    named = _is(feature_extraction.RBFSampler, preprocessing.FeatureHasher)
    odd = next((part for inner in parts for part in inner if named(part)), None)
    if odd is not None and any(_is(preprocessing.OneHotEncoder)(part) for inner in parts for part in inner):
        reason = "its features have no text as their name, and one-hot keys are told by how their name begins"
        raise NotExportable(full_name(odd), step, reason, "the two in models of their own")


def refuse_keyless(product: compose.TransformerProduct, step: str) -> None:
    """Raise NotExportable if one-hot keys that nobody remembers are to be multiplied."""
    keyless = next(filter(_learns_no_keys, _parts(product)), None)
    if keyless is not None:
        reason = "with drop_zeros it does not remember which keys to multiply"
        raise NotExportable(full_name(keyless), step, reason, "OneHotEncoder()")


def _parts(estimator: Any) -> Iterator[object]:
    """The estimator and all estimators inside it."""
    yield estimator
    inside: list[object]
    if _derives(type(estimator), compose.Pipeline):
        inside = [estimator.steps]
    elif _derives(type(estimator), compose.TransformerUnion):
        inside = [estimator.transformers]
    elif _derives(type(estimator), base.Transformer):
        inside = []  # what it holds are statistics, thousands of them
    else:
        inside = [*vars(estimator).values()]
    for member in (member for value in inside for member in _members(value)):
        if isinstance(member, base.Estimator):
            yield from _parts(member)


def _members(value: object) -> Sequence[object]:
    if isinstance(value, dict | UserDict):
        return [*value.values()]
    if isinstance(value, list | tuple | UserList):
        return [*value]
    return [value]
