"""What flows from step to step of an exported pipeline: River's dict of features as a few tensors."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
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
        return Columns(graph.columns(self.tensor, kept), tuple(self.names[i] for i in kept))


@dataclass(frozen=True, slots=True)
class OneHot:
    """A one-hot encoding that is never spread out: each field holds the one key that is 1, all other keys are 0.

    Twenty fields of a thousand values make twenty strings here, not twenty thousand columns. A missing field holds its
    bare prefix, which is no key.

    Attributes:
        keys: strings, shape (N, len(fields)), River's `field_value`.
        fields: the categories that were encoded.
        allowed: the only keys the encoder may emit; None when it emits whatever it meets.
        zeros: the keys that River's dict holds as 0 where they are not 1; all others are absent from it.
    """

    keys: Tensor
    fields: tuple[str, ...]
    allowed: frozenset[str] | None = None
    zeros: frozenset[str] = frozenset()

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
        thinned: whether a step dropped features for what it had learned, so that none may be left, and rightly so.
    """

    numbers: Columns | None = None
    texts: Columns | None = None
    one_hots: tuple[OneHot, ...] = ()
    unanswered: tuple[Tensor, ...] = ()
    thinned: bool = False

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


def spread(
    step: object, graph: Graph, frame: Frame, names: Sequence[str], codes: Mapping[str, float] | None = None
) -> Tensor:
    """Any features side by side as doubles, NaN where River's dict lacks the feature; shape (N, len(names)).

    A number stands as it is. A one-hot key is 1.0 or, where it is not 1, what River's encoder makes of it: 0.0 for a
    key that it learned, missing with `drop_zeros`. A name that the frame does not have is always missing. A text is a
    number only by `codes`.

    Args:
        step: who reads them, for the error.
        names: at least one.
        codes: a number for each text worth telling apart, the same in all fields; any other text is -1.0.

    Raises:
        NotExportable: a text is among the names, and there are no codes.
    """
    places: dict[str, int] = {}
    blocks: list[Tensor] = []

    def add(block: Tensor, columns: Sequence[str]) -> None:
        start = len(places)
        places.update((column, start + i) for i, column in enumerate(columns))
        blocks.append(block)

    wanted = dict.fromkeys(names)
    if frame.numbers and not wanted.keys().isdisjoint(frame.numbers.names):
        add(frame.numbers.tensor, frame.numbers.names)
    for one_hot in frame.one_hots:
        keys = [name for name in wanted if name in one_hot.zeros or one_hot.emits([name])]
        if keys:
            add(_spread_keys(graph, one_hot, keys), keys)
    texts = [name for name in wanted if name in frame.text_names]
    if texts:
        if codes is None:
            raise text_reaches(step, graph, texts[0])
        add(_coded(graph, frame, texts, codes), texts)
    unknown = [name for name in wanted if name not in places]
    if unknown:
        add(graph.row([math.nan] * len(unknown), missing=True), unknown)
    block = blocks[0] if len(blocks) == 1 else graph.op("Concat", *blocks, axis=1)
    return block if tuple(places) == tuple(names) else graph.columns(block, [places[name] for name in names])


def dense(step: object, graph: Graph, frame: Frame, known: Iterable[str] = ()) -> Frame:
    """The frame as numbers only: each one-hot key becomes a column, if the encoder or `known` has met it.

    A key that nobody met has no column, so this is for a step behind which a feature that was never met counts nothing.

    Args:
        step: who reads the frame, for the error.
        known: names that the step has learned; of interest are the keys of an encoder with `drop_zeros`, which learns
            none itself.

    Raises:
        NotExportable: there is a text.
    """
    refuse_texts(step, graph, frame)
    if not frame.one_hots:
        return frame
    candidates = list(known)
    keys = {key for one_hot in frame.one_hots for key in (*one_hot.zeros, *one_hot.emits(candidates))}
    names = (*frame.number_names, *sorted(keys))
    numbers = Columns(spread(step, graph, frame, names), names) if names else None
    return replace(frame, numbers=numbers, one_hots=(), thinned=frame.thinned or not names)


def refuse_texts(step: object, graph: Graph, frame: Frame) -> None:
    """Raise NotExportable if a text reaches a step that knows only numbers."""
    if frame.texts:
        raise text_reaches(step, graph, frame.texts.names[0])


def text_reaches(step: object, graph: Graph, name: str) -> NotExportable:
    """The refusal of a step that a text reaches."""
    reason = f"the text {name!r} reaches it"
    return NotExportable(full_name(step), graph.step, reason, "SelectType(str) | OneHotEncoder() in front of it")


def full_name(value: object) -> str:
    """The import path of the value's class.

    >>> full_name({})
    'builtins.dict'
    """
    return f"{type(value).__module__}.{type(value).__qualname__}"


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
        thinned=any(frame.thinned for frame in frames),
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


def _spread_keys(graph: Graph, one_hot: OneHot, keys: Sequence[str]) -> Tensor:
    # Keys are numbered from 1, so that what is none of them, 0, equals none. Numbers, because comparing strings key by
    # key would copy each field's string once per key.
    emitted = one_hot.emits(keys)
    numbered = graph.lookup(one_hot.keys, {"": 0.0, **{key: i for i, key in enumerate(keys, 1) if key in emitted}})
    fields = [next((i for i, prefix in enumerate(one_hot.prefixes) if key.startswith(prefix)), 0) for key in keys]
    met = graph.op("Equal", graph.columns(numbered, fields), graph.numbers([[*range(1, len(keys) + 1)]]))
    otherwise = graph.numbers([[0.0 if key in one_hot.zeros else math.nan for key in keys]], missing=True)
    return graph.op("Where", met, graph.numbers(1.0), otherwise)


def _coded(graph: Graph, frame: Frame, names: Sequence[str], codes: Mapping[str, float]) -> Tensor:
    texts = graph.columns(frame.texts.tensor, [frame.text_names.index(name) for name in names]) if frame.texts else ""
    coded = graph.lookup(texts, {"": 0.0, **codes}, otherwise=-1.0)
    return graph.op("Where", graph.op("Equal", texts, graph.strings([""])), graph.nan(), coded)


def _side_by_side(graph: Graph, parts: Sequence[Columns]) -> Columns | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    tensor = graph.op("Concat", *(part.tensor for part in parts), axis=1)
    return Columns(tensor, tuple(name for part in parts for name in part.names))
