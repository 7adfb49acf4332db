"""Steps that rename features: Renamer, Prefixer, Suffixer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from river import compose

from learners.onnx_export.convert import Role, full_name, settings, transform
from learners.onnx_export.frame import Columns, Frame, refuse_clashes
from learners.onnx_export.graph import Graph
from schemas.errors import NotExportable


@settings.register(compose.Renamer)
def settings_of_renamer(renamer: compose.Renamer, step: str, role: Role) -> None:
    """Refuse names that are no text."""
    if not all(isinstance(name, str) for pair in renamer.mapping.items() for name in pair):
        raise NotExportable(full_name(renamer), step, "a name in its mapping is no str", "names that are str")


@transform.register(compose.Renamer)
def transform_by_renamer(renamer: compose.Renamer, graph: Graph, frame: Frame) -> Frame:
    """Rename one after the other, in the mapping's order."""
    for old, new in renamer.mapping.items():
        if any(one_hot.emits([old]) for one_hot in frame.one_hots):
            reason = f"{old!r} may be one value of a category, which is not a column any more"
            raise NotExportable(full_name(renamer), graph.step, reason, "it before the OneHotEncoder")
        names = (*frame.number_names, *frame.text_names)
        if old in names and new in names and old != new:
            reason = f"{new!r} is a feature already, and would be replaced only where {old!r} is present"
            raise NotExportable(full_name(renamer), graph.step, reason, f"another name for {old!r}")
        frame = _renamed(frame, lambda name, old=old, new=new: new if name == old else name)  # type: ignore[misc]
    refuse_clashes(graph, frame)
    return frame


@transform.register(compose.Prefixer)
def transform_by_prefixer(prefixer: compose.Prefixer, graph: Graph, frame: Frame) -> Frame:
    """The same features, each with the prefix in its name."""
    prefix = prefixer.prefix
    frame = _renamed(frame, lambda name: f"{prefix}{name}")
    one_hots = tuple(
        replace(
            one_hot,
            keys=graph.op("StringConcat", graph.strings([f"{prefix}"]), one_hot.keys),
            fields=tuple(f"{prefix}{field}" for field in one_hot.fields),
            allowed=None if one_hot.allowed is None else frozenset(f"{prefix}{key}" for key in one_hot.allowed),
            zeros=frozenset(f"{prefix}{key}" for key in one_hot.zeros),
        )
        for one_hot in frame.one_hots
    )
    return replace(frame, one_hots=one_hots)


@transform.register(compose.Suffixer)
def transform_by_suffixer(suffixer: compose.Suffixer, graph: Graph, frame: Frame) -> Frame:
    """The same features, each with the suffix in its name."""
    if frame.one_hots:
        reason = "the keys of a category are found by how they begin, and it changes how they end"
        raise NotExportable(full_name(suffixer), graph.step, reason, "it before the OneHotEncoder, or a Prefixer")
    return _renamed(frame, lambda name: f"{name}{suffixer.suffix}")


def _renamed(frame: Frame, rename: Callable[[str], str]) -> Frame:
    def columns(block: Columns | None) -> Columns | None:
        return block and Columns(block.tensor, tuple(map(rename, block.names)))

    return replace(frame, numbers=columns(frame.numbers), texts=columns(frame.texts))
