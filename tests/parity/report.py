"""Report: the table of what was compared, and the page that sums it up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import onnx
import onnxruntime as ort
import river

from learners.onnx_export.catalogue import catalogue
from tests.learners.export_laws import Row
from tests.parity.comparison import TOLERANCE, Compared

PAGE = "docs/parity.md"

_INTRODUCTION = """\
# River to ONNX: measured parity

Made by `{command}`. Every estimator that [onnx_export.md](onnx_export.md) calls exact is here, alone
or in pipelines that make sense for it: on made streams, on the data sets that come inside River's wheel, on River's
generators and on recorded data.

Each learns the first examples, and is compared with its graph untrained, halfway and at the end: on rows that it has
not learned, as they are and with features missing, on categories never met, numbers that never vary, an empty row and
numbers far out of range; all rows at once, rows alone, and a few by onnx's own reference implementation. Every graph
passes onnx's full check and strict shape inference.

A difference is one of probabilities, or of values and scores: absolute up to 1, relative to River's beyond. A flip is
another class predicted. The command fails on a difference above {tolerance:g}, on any flip, and on any graph that
`check_parity` would not release. A learner whose own numbers are none is no fault of its graph, and is refused by name.

Rounding is multiplied where a step divides by a tiny deviation: `Normalizer() | StandardScaler()` on TrumpApproval,
where one feature is nearly the whole norm, differed by 3e-8, and `check_parity` refused it. Such pipelines are left
out here.
"""


def lines(results: Iterable[Compared]) -> Iterator[str]:
    """The table, one line for each configuration on each source."""
    yield "| pipeline | data | rows | max abs diff | flips | worst row | bytes |"
    yield "|---|---|---:|---:|---:|---|---:|"
    for each in results:
        if each.refused:
            yield f"| {each.configuration} | {each.source} | {each.rows} | refused: {each.refused} | | | |"
            continue
        worst = short(each.worst or {}) if each.max_abs_diff else ""
        yield (
            f"| {each.configuration} | {each.source} | {each.rows} | {each.max_abs_diff:.1e} | {each.flips} "
            f"| {worst} | {each.onnx_bytes} |"
        )


def verdict(results: Sequence[Compared]) -> str:
    """What it comes to, in a few lines."""
    wrong = [each for each in results if each.is_fault]
    broken = [each for each in results if each.is_broken]
    counted = (
        f"{len({each.configuration for each in results})} configurations on {len({each.source for each in results})} "
        f"sources: {len(results)} pairs, {_sum(each.rows for each in results)} answers compared\n"
        f"largest difference {max((each.max_abs_diff for each in results), default=0.0):.1e}, "
        f"label flips {_sum(each.flips for each in results)}, "
        f"ties that rounding decided otherwise {_sum(each.ties for each in results)}"
    )
    named = [f"- {each.configuration} on {each.source}: {_fault(each)}" for each in [*wrong, *broken]]
    besides = f"{len(broken)} learners broke on the way and were refused by name" if broken else ""
    summed = f"NOT EXACT: {len(wrong)}" if wrong else "exact"
    return "\n".join([counted, f"{summed}; {besides}:" if besides else summed, *named])


def page(results: Sequence[Compared], command: str, missing: Sequence[str]) -> str:
    """The Markdown of `docs/parity.md`."""
    exact = sum(entry.refusal is None for entry in catalogue())
    summed = [
        f"{exact} estimators of River {river.__version__}, onnxruntime {ort.__version__}, onnx {onnx.__version__}:",
        "",
        "```text",
        verdict(results),
        "```",
        "",
        "| family | pipelines | pairs | answers | max abs diff | flips | its worst pipeline | on | most bytes |",
        "|---|---:|---:|---:|---:|---:|---|---|---:|",
    ]
    for family in dict.fromkeys(each.family for each in results):
        own = [each for each in results if each.family == family]
        worst = max(own, key=lambda each: each.max_abs_diff)
        summed.append(
            f"| {family} | {len({each.configuration for each in own})} | {len(own)} "
            f"| {_sum(each.rows for each in own)} | {worst.max_abs_diff:.1e} | {_sum(each.flips for each in own)} "
            f"| {worst.configuration} | {worst.source} "
            f"| {max(each.onnx_bytes for each in own)} |"
        )
    by_data = ["| data | pairs | answers | max abs diff | flips |", "|---|---:|---:|---:|---:|"]
    for source in dict.fromkeys(each.source for each in results):
        own = [each for each in results if each.source == source]
        by_data.append(
            f"| {source} | {len(own)} | {_sum(each.rows for each in own)} "
            f"| {max(each.max_abs_diff for each in own):.1e} | {_sum(each.flips for each in own)} |"
        )
    left_out = [f"Left out: {reason}." for reason in missing]
    introduction = _INTRODUCTION.format(command=command, tolerance=TOLERANCE)
    return "\n".join([introduction, *summed, "", *by_data, *([""] if left_out else []), *left_out, ""])


def short(row: Row, most: int = 3) -> str:
    """The row's first features, as far as they fit.

    >>> short({"price": 1.25, "geo.country": "at", "hour": 3.0, "naïve": 1e6})
    "price=1.25 geo.country='at' hour=3 …"
    """
    shown = [f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in row.items()]
    return " ".join([*shown[:most], *(["…"] if len(shown) > most else [])]) or "{}"


def _fault(each: Compared) -> str:
    if each.refused:
        return each.refused
    where = f", worst {short(each.worst or {})}"
    apart = "only one side has an answer" if math.isinf(each.max_abs_diff) else f"differs by {each.max_abs_diff:.2e}"
    return f"{apart}, {each.flips} flips{where}"


def _sum(counts: Iterable[int]) -> str:
    return f"{sum(counts):,}"
