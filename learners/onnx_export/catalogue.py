"""Every estimator of River with its verdict: exact, or refused and why; `docs/onnx_export.md` is made here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType

import river
from river import base, compose, reco, time_series

from learners.onnx_export.convert import predict, settings, transform
from learners.onnx_export.refused import REFUSED, Refusal

PAGE = "docs/onnx_export.md"

# What River's models are asked by. Splitters, rules and tree nodes are estimators too, but nobody asks them.
_QUESTIONS = ("predict_one", "predict_proba_one", "score_one", "transform_one", "forecast")

_INTRODUCTION = f"""\
# River to ONNX: what is exact

Made by `python -m learners.onnx_export` from the converters and the refusals in the code. A test compares it with all
of River {river.__version__}, so that a class that River adds or renames can't pass unnoticed.

*Exact* means: for every row, with features missing, categories never met, and a model that has learned nothing, the
graph answers what River answers, to 1e-9, and predicts the same class. *Refused* means: `NotExportable` when the model
file is loaded, before any data, with the reason below. Nothing is approximated.

A `FuncTransformer` is traced: its function is called with symbols in the place of a row. Arithmetic, comparisons, `if`,
`min`, `max`, `round`, `try`, `x.get(name, default)`, `{{**x, ...}}` and numpy's usual functions are exact; texts can be
compared and joined by `+`. `math`, `float()`, f-strings, look-ups in a dict, loops that compute and anything random are
refused with the line. The function reads nothing but its row and what never changes.

The operators are standard ones. Texts that go into a `FeatureHasher` need `com.microsoft.MurmurHash3`, which every
onnxruntime has; the property `operators` of such a graph names it.

Listed is what can be asked about a row, as it can be imported. Metrics, statistics, drift detectors, optimizers and
bandits are no steps of a model. A subclass of an exact class is refused, because it may answer otherwise.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One class of River and what becomes of it.

    Attributes:
        name: the shortest path that it can be imported by.
        kind: what it answers, in a word.
        refusal: why it has no exact form; None if it is exact.
        note: of an exact class, what its converter says of itself.
        limits: of an exact class, the settings that are refused.
    """

    name: str
    kind: str
    refusal: Refusal | None
    note: str
    limits: str


def estimators() -> dict[type, str]:
    """Every class of River that can be asked about a row, with the shortest path that it can be imported by.

    >>> from river import tree
    >>> estimators()[tree.HoeffdingTreeClassifier]
    'river.tree.HoeffdingTreeClassifier'
    """
    found: dict[type, str] = {}
    for module in _modules():
        for name, cls in inspect.getmembers(module, _is_model):
            path = f"{module.__name__}.{name}"
            if name == cls.__name__ and len(path) < len(found.get(cls, path + ".")):
                found[cls] = path
    return dict(sorted(found.items(), key=lambda item: item[1]))


def unknown() -> list[str]:
    """Classes of River that are neither converted nor refused, by their full names; empty, or River has grown."""
    return [_full_name(cls) for cls in estimators() if not _is_exact(cls) and _full_name(cls) not in REFUSED]


def catalogue() -> list[Entry]:
    """All of River's estimators, in the order of their names.

    Raises:
        KeyError: a class is neither converted nor refused.
    """
    return [_entry(cls, name) for cls, name in estimators().items()]


def page() -> str:
    """The Markdown of `docs/onnx_export.md`."""
    entries = catalogue()
    exact = [entry for entry in entries if entry.refusal is None]
    refused = [(entry, entry.refusal) for entry in entries if entry.refusal is not None]
    return "\n".join(
        (
            _INTRODUCTION,
            f"## Exact: {len(exact)} of {len(entries)}\n",
            *_table(("estimator", "is", "how", "refused with"), (_exact_row(entry) for entry in exact)),
            "",
            f"## Refused: {len(refused)} of {len(entries)}\n",
            *_table(
                ("estimator", "is", "because", "instead"),
                ((_short(entry), entry.kind, refusal.reason, refusal.instead) for entry, refusal in refused),
            ),
            "",
        )
    )


def _entry(cls: type, name: str) -> Entry:
    refusal = None if _is_exact(cls) else REFUSED[_full_name(cls)]
    converter = predict.registry.get(cls) or transform.registry.get(cls)
    note = _promise(converter) if refusal is None else ""
    limits = _promise(settings.registry.get(cls)) if refusal is None else ""
    return Entry(name, _kind(cls), refusal, note, limits)


def _exact_row(entry: Entry) -> tuple[str, ...]:
    return _short(entry), entry.kind, entry.note, entry.limits


def _short(entry: Entry) -> str:
    return f"`{entry.name.removeprefix('river.')}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _promise(function: Callable[..., object] | None) -> str:
    """The first line of what a converter says of itself, without its full stop."""
    text = inspect.getdoc(function) if function else None
    return text.splitlines()[0].removesuffix(".") if text else ""


def _kind(cls: type) -> str:
    kinds = {
        base.MultiLabelClassifier: "classifier of several targets",
        base.MultiTargetRegressor: "regressor of several targets",
        base.Classifier: "classifier",
        base.Regressor: "regressor",
        base.AnomalyDetector: "anomaly detector",
        base.SupervisedAnomalyDetector: "anomaly detector",
        base.AnomalyFilter: "anomaly filter",
        base.Clusterer: "clusterer",
        base.Transformer: "transformer",
        base.SupervisedTransformer: "transformer",
        reco.base.Ranker: "ranker",
        time_series.base.Forecaster: "forecaster",
        compose.Pipeline: "pipeline",
    }
    return next((kind for parent, kind in kinds.items() if issubclass(cls, parent)), "model")


def _is_exact(cls: type) -> bool:
    return cls in predict.registry or cls in transform.registry


def _is_model(value: object) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, base.Estimator)
        and value.__module__.startswith("river.")
        and not value.__name__.startswith("_")
        and not inspect.isabstract(value)
        and any(hasattr(value, question) for question in _QUESTIONS)
    )


def _modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(river.__path__, "river."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        try:
            yield importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("river"):
                raise
            # A part of River that needs a package of its own: test environments and database readers, no models.


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
