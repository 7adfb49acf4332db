"""Plot: figures of the report as SVG text that takes the page's own colour, in light and in dark."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from streams.demo.freshness import Freshness
from streams.demo.measurements import Measurements
from streams.demo.quality import auc, mean_log_loss
from streams.demo.summary import LONGEST_LABEL_TO_SERVED_S, freshness_of

# Contrast of 3:1 or more (WCAG 2.2, 1.4.11) on the report's white and on its near-black; told apart without colour by
# their strokes.
COLOURS: Final = {"blue": "#3b82f6", "orange": "#d97706", "green": "#16a34a", "red": "#dc2626", "grey": "#808080"}
_INK: Final = "#010203"  # stands for the page's text colour until the SVG is written
_WINDOW: Final = 2000
_POINTS: Final = 80
_SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # text stays text: it can be searched and takes the page's colour
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "font.size": 10,
    "lines.linewidth": 1.6,
}
Draw = Callable[[Any], None]


def plot_auc(seen: Measurements, start_ms: float) -> str:
    """Return the AUC of the served scores over time, beside that of the running prior."""
    series = _columns(seen, start_ms)

    def draw(axes: Any) -> None:
        ends = _ends(len(seen.examples))
        at_s = series["at_s"][ends - 1]
        y, score, prior = series["y"], series["score"], series["prior"]
        recent = [auc(y[max(0, end - _WINDOW) : end], score[max(0, end - _WINDOW) : end]) for end in ends]
        _line(axes, at_s, [auc(y[:end], score[:end]) for end in ends], "blue -", "served, all examples so far")
        _line(axes, at_s, recent, "green --", f"served, last {_WINDOW:,}")
        _line(axes, at_s, [auc(y[:end], prior[:end]) for end in ends], "grey :", "prior alone")
        axes.set_ylabel("AUC")

    return _svg("AUC over time", draw)


def plot_log_loss(seen: Measurements, start_ms: float) -> str:
    """Return the log loss of the last examples over time, served beside prior."""
    series = _columns(seen, start_ms)

    def draw(axes: Any) -> None:
        ends = _ends(len(seen.examples))
        at_s = series["at_s"][ends - 1]
        for name, style in (("score", "blue -"), ("prior", "grey :")):
            losses = [
                mean_log_loss(series["y"][max(0, end - _WINDOW) : end], series[name][max(0, end - _WINDOW) : end])
                for end in ends
            ]
            _line(axes, at_s, losses, style, "served" if name == "score" else "prior alone")
        axes.set_ylabel(f"log loss, last {_WINDOW:,}")

    return _svg("Log loss over time", draw)


def plot_versions(seen: Measurements, start_ms: float) -> str:
    """Return which version was released when, and when the edge first answered with it."""

    def draw(axes: Any) -> None:
        released = [((each.released_ms - start_ms) / 1000, each.version) for each in seen.releases]
        first: dict[int, float] = {}
        for answer in seen.answers:
            if not answer.failed:
                first.setdefault(answer.version, (answer.answered_at_ms - start_ms) / 1000)
        for points, style, label in (
            (released, "orange --", "released"),
            (sorted((at_s, version) for version, at_s in first.items()), "blue -", "at the edge"),
        ):
            at_s, version = zip(*points, strict=True) if points else ((), ())
            colour, stroke = style.split()
            axes.step(at_s, version, stroke, where="post", color=COLOURS[colour], label=label, marker=".")
        axes.set_ylabel("version")

    return _svg("Versions over time", draw)


def plot_latency(seen: Measurements, start_ms: float) -> str:
    """Return the edge's latency over time, from the moment each request was due."""

    def draw(axes: Any) -> None:
        good = [answer for answer in seen.answers if not answer.failed]
        at_s = np.array([(answer.answered_at_ms - start_ms) / 1000 for answer in good])
        latency_ms = np.array([answer.latency_ms for answer in good])
        seconds = np.unique(np.floor(at_s)) if good else np.array([])
        for q, style, label in (
            (1.0, "orange :", "slowest"),
            (0.99, "green --", "p99"),
            (0.5, "blue -", "median"),
        ):
            values = [np.quantile(latency_ms[np.floor(at_s) == second], q) for second in seconds]
            _line(axes, seconds, values, style, label)
        failed = [(answer.answered_at_ms - start_ms) / 1000 for answer in seen.answers if answer.failed]
        if failed:
            axes.plot(failed, [1.0] * len(failed), "x", color=COLOURS["red"], label="failed")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_one_two_five)
        axes.yaxis.set_minor_formatter(_one_two_five)
        axes.set_ylabel("ms in each second")

    return _svg("Latency of the edge over time", draw)


def plot_freshness(seen: Measurements) -> str:
    """Return the distribution of the time from label to served score."""

    def draw(axes: Any) -> None:
        fresh = freshness_of(seen)
        share = np.linspace(0, 1, 201)
        for waited_s, style, label in _freshness_series(fresh):
            _line(axes, np.quantile(waited_s, share), share * 100, style, label)
        axes.axvline(LONGEST_LABEL_TO_SERVED_S, color=COLOURS["red"], linewidth=1, linestyle=":", label="promise, p99")
        axes.set_xlim(left=0)
        axes.set_ylabel("% of labels")

    return _svg("Time from label to served score", draw, x_label="seconds")


def _freshness_series(fresh: Freshness) -> list[tuple[npt.NDArray[np.float64], str, str]]:
    found = [
        (fresh.waited_s, "grey :", "all"),
        (fresh.waited_s[fresh.passed], "blue -", "candidate passed the gate"),
    ]
    return [series for series in found if series[0].size]


def _columns(seen: Measurements, start_ms: float) -> dict[str, Any]:
    return {
        "at_s": np.array([(closed.arrived_ms - start_ms) / 1000 for closed in seen.examples]),
        "y": np.array([closed.y for closed in seen.examples], dtype=bool),
        "score": np.array([closed.score for closed in seen.examples]),
        "prior": np.array([closed.prior for closed in seen.examples]),
    }


def _ends(count: int) -> npt.NDArray[np.int64]:
    """Return up to 80 prefixes' lengths, evenly spread: a figure over time need not be computed at each example."""
    return np.unique(np.linspace(0, count, min(count, _POINTS) + 1).astype(np.int64))[1:]


def _line(axes: Any, x: Any, y: Any, style: str, label: str) -> None:
    known = np.array([np.nan if value is None else value for value in y], dtype=np.float64)
    colour, stroke = style.split()
    axes.plot(x, known, stroke, color=COLOURS[colour], label=label)


def _one_two_five(value: float, _: object) -> str:
    """Return a tick's label on a logarithmic axis; most ticks have none."""
    mantissa = round(value / 10 ** math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:g}" if mantissa in {1, 2, 5, 10} else ""


def _svg(title: str, draw: Draw, x_label: str = "seconds of the replay") -> str:
    """Return a plot as an `<svg>` element."""
    # The salt makes ids differ from plot to plot: on one page they share a name space, and clip paths would mix.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": title}):
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_xlabel(x_label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)  # above the plot: inside it hides the lines
        written = io.StringIO()
        # Without these four matplotlib writes no RDF block, whose addresses nobody needs.
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=no_metadata)
    svg = written.getvalue()
    label = f'role="img" aria-label="{html.escape(title)}"'
    # In HTML no name space is declared, so that no address is left in the page at all.
    svg = re.sub(r'^.*?<svg[^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" {label}>', svg, count=1, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    return svg.replace(_INK, "currentColor")
