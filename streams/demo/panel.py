"""Panel: how the run stands, once a second: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TextIO

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streams.demo.measurements import Measurements
from streams.demo.quality import auc

_RATE_OVER_S: Final = 5.0
_PLAIN_EVERY_S: Final = 5.0
_RECENT_ANSWERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """How the run stands; rows of (what, value)."""

    title: str
    rows: tuple[tuple[str, str], ...]

    def line(self) -> str:
        """Return the standing on one line.

        >>> Standing("12 s", (("events", "4,000"), ("edge", "v3"))).line()
        '12 s · events 4,000 · edge v3'
        """
        return " · ".join((self.title, *(f"{what} {value}" for what, value in self.rows)))


class Watch:
    """Makes a `Standing` of what was measured so far.

    Attributes:
        doing: what the run is at, in a word or two.
    """

    def __init__(self, seen: Measurements, expected_events: int) -> None:
        self.doing = "starting"
        self._seen = seen
        self._expected_events = expected_events
        self._started_s = time.monotonic()
        self._history: deque[tuple[float, int]] = deque()

    def standing(self) -> Standing:
        """Return how the run stands now."""
        seen = self._seen
        now_s = time.monotonic()
        recent = [answer.latency_ms for answer in seen.answers[-_RECENT_ANSWERS:] if not answer.failed]
        y = [closed.y for closed in seen.examples]
        return Standing(
            f"{now_s - self._started_s:3.0f} s, {self.doing}",
            (
                ("events", f"{seen.events:,} of {self._expected_events:,}, {self._events_per_s(now_s):,.0f}/s"),
                ("lag", f"{max(0, seen.applicable - len(seen.scored)):,} unscored"),
                ("open", f"{max(0, len(seen.scored) - len(seen.examples)):,} pending"),
                ("examples", f"{len(seen.examples):,}, {seen.positives:,} positive"),
                (
                    "AUC so far",
                    f"{_figure(auc(y, [closed.score for closed in seen.examples]))},"
                    f" prior alone {_figure(auc(y, [closed.prior for closed in seen.examples]))}",
                ),
                ("released", f"v{seen.live_version}" if seen.releases else "nothing yet"),
                ("edge", f"v{seen.edge_version}, {self._behind()}" if seen.edge_version >= 0 else "not asked yet"),
                (
                    "requests",
                    f"{len(seen.answers):,}, {seen.failed:,} failed"
                    + (f", p99 {np.quantile(recent, 0.99):.1f} ms" if recent else ""),
                ),
            ),
        )

    def _events_per_s(self, now_s: float) -> float:
        self._history.append((now_s, self._seen.events))
        while len(self._history) > 2 and now_s - self._history[1][0] >= _RATE_OVER_S:
            self._history.popleft()
        (then_s, then), (_, now) = self._history[0], self._history[-1]
        return (now - then) / (now_s - then_s) if now_s > then_s else 0.0

    def _behind(self) -> str:
        """Return how far the version at the edge is behind the newest example."""
        seen = self._seen
        unlearned = [closed for closed in reversed(seen.examples[-5000:]) if closed.offset > seen.edge_offset]
        if not unlearned:
            return "has learned all"
        return f"{len(unlearned):,} labels and {max(0.0, time.time() - unlearned[-1].arrived_ms / 1000):.1f} s behind"


class Panel:
    """Shows standings while its `with` body runs.

    Args:
        standing: gives the present one.
        output: where to; a live table where that is a terminal, else a line every 5 s.
    """

    def __init__(self, standing: Callable[[], Standing], output: TextIO) -> None:
        self._standing = standing
        self._console = Console(file=output)
        self._output = output
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Show how the run stands now; on a terminal always, elsewhere when a line is due."""
        if self._live:
            self._live.update(_table(self._standing()), refresh=True)
        elif time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _PLAIN_EVERY_S
            self.note(self._standing().line())

    def note(self, line: str) -> None:
        """Write a line that stays, above the table on a terminal."""
        if self._live:
            self._console.print(line, markup=False, highlight=False)
        else:
            self._output.write(line + "\n")
            self._output.flush()


def _table(standing: Standing) -> Table:
    table = Table(title=standing.title, title_justify="left", show_header=False, min_width=60)
    for what, value in standing.rows:
        table.add_row(what, value)
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
