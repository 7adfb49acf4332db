"""What flows from step to step of an exported pipeline: River's dict of features as a few tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable


@dataclass(frozen=True, slots=True)
class Columns:
    """Features side by side in one tensor: doubles with NaN, or strings with "", where a feature is missing."""

    tensor: Tensor
    names: tuple[str, ...]

    def keep(self, graph: Graph, names: Collection[str]) -> Columns | None:
        """These columns without the ones that `names` leaves out; None when none is left."""
        kept = [i for i, name in enumerate(self.names) if name in names]
        if len(kept) == len(self.names):
            return self
        if not kept:
            return None
        tensor = graph.op("Gather", self.tensor, graph.integers(kept), axis=1)
        return Columns(tensor, tuple(self.names[i] for i in kept))


@dataclass(frozen=True, slots=True)
class OneHot:
    """A one-hot encoding that is never spread out: each field holds the one key that is 1, all other keys are 0.

    Twenty fields of a thousand values make twenty strings here, not twenty thousand columns. A missing field holds its
    bare prefix, which is no key.

    Attributes:
        keys: strings, shape (N, len(fields)), River's `field_value`.
        fields: the categories that were encoded.
        allowed: the only keys the encoder may emit; None when it emits whatever it meets.
    """

    keys: Tensor
    fields: tuple[str, ...]
    allowed: frozenset[str] | None = None

    def emits(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are a key of some value of some field."""
        prefixes = self.prefixes
        keys = (name for name in names if name.startswith(prefixes) and name not in prefixes)
        return [key for key in keys if self.allowed is None or key in self.allowed]

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the keys of each field begin with.

        >>> OneHot("keys", ("country",)).prefixes
        ('country_',)
        """
        return tuple(f"{field}_" for field in self.fields)


@dataclass(frozen=True, slots=True)
class Frame:
    """The features of N rows between two steps; the tensors hold what River's dicts would.

    Attributes:
        numbers: features that are float in River.
        texts: features that are str in River.
        one_hots: encoded categories.
        unanswered: bool tensors of shape (N, 1), true where River raises instead of answering: the graph, which cannot
            raise, answers NaN there.
    """

    numbers: Columns | None = None
    texts: Columns | None = None
    one_hots: tuple[OneHot, ...] = ()
    unanswered: tuple[Tensor, ...] = ()

    def keep(self, graph: Graph, *, numbers: Collection[str], texts: Collection[str]) -> Frame:
        """The same rows with only these columns; one-hot keys stay."""
        return replace(
            self,
            numbers=self.numbers and self.numbers.keep(graph, numbers),
            texts=self.texts and self.texts.keep(graph, texts),
        )

    @property
    def number_names(self) -> tuple[str, ...]:
        return self.numbers.names if self.numbers else ()

    @property
    def text_names(self) -> tuple[str, ...]:
        return self.texts.names if self.texts else ()


def join(graph: Graph, frames: Sequence[Frame]) -> Frame:
    """The union of frames over the same rows, provided that no feature can stand in two of them.

    River lets the first of two equal names hide the other, row by row. A graph would add both, so a clash is refused,
    also the one that waits for data: value `width` of category `device` would become the number `device_width`.

    Raises:
        NotExportable: two features have, or could get, the same name.
    """
    joined = Frame(
        numbers=_side_by_side(graph, [frame.numbers for frame in frames if frame.numbers]),
        texts=_side_by_side(graph, [frame.texts for frame in frames if frame.texts]),
        one_hots=tuple(one_hot for frame in frames for one_hot in frame.one_hots),
        unanswered=tuple(dict.fromkeys(mask for frame in frames for mask in frame.unanswered)),
    )
    refuse_clashes(graph, joined)
    return joined


def refuse_clashes(graph: Graph, frame: Frame) -> None:
    """Raise NotExportable if two features of the frame have, or could get, the same name."""
    plain = frame.number_names + frame.text_names
    fields = tuple(field for one_hot in frame.one_hots for field in one_hot.fields)
    for names in (plain, fields):
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise _clash(graph, f"feature {twice!r} comes twice and River keeps only the first", "each feature once")
    for field in fields:
        # Of two categories it is enough that one name continues the other: `a` = "b_c" and `a_b` = "c" meet.
        other = next((name for name in plain + fields if name.startswith(f"{field}_") and name != f"{field}_"), None)
        if other is not None:
            value = other.removeprefix(f"{field}_")
            reason = f"value {value!r} of category {field!r} would be taken for feature {other!r}"
            raise _clash(graph, reason, f"another name for {field!r} or {other!r}")


def _clash(graph: Graph, reason: str, instead: str) -> NotExportable:
    return NotExportable("river.compose.TransformerUnion", graph.step, reason, instead)


def _side_by_side(graph: Graph, parts: Sequence[Columns]) -> Columns | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    tensor = graph.op("Concat", *(part.tensor for part in parts), axis=1)
    return Columns(tensor, tuple(name for part in parts for name in part.names))
