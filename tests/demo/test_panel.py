"""The panel says how the run stands: lines where nobody looks, a table where somebody does."""

from __future__ import annotations

import io

from streams.demo.measurements import Measurements
from streams.demo.panel import Panel, Standing, Watch
from tests.demo.seen import SPEC, START_MS, example_of, good_run


def test_a_standing_names_every_figure_a_watcher_needs() -> None:
    """Also before anything was seen."""
    for seen in (good_run(), Measurements(SPEC)):
        line = Watch(seen, 2000).standing().line()

        for word in ("events", "lag", "AUC so far", "prior alone", "released", "edge", "requests"):
            assert word in line


def test_the_edge_is_behind_by_the_labels_it_has_not_learned() -> None:
    """Counted from the newest example, timed from the oldest one that is not learned."""
    seen = good_run()
    seen.take_example(example_of(3000), 2000, START_MS)
    seen.take_example(example_of(3001), 2001, START_MS)

    assert "2 labels and" in Watch(seen, 2000).standing().line()
    assert "has learned all" in Watch(good_run(), 2000).standing().line()


def test_without_a_terminal_there_are_plain_lines_and_not_too_many() -> None:
    """No control characters; a line every 5 s however often it is refreshed; notes at once."""
    output = io.StringIO()
    with Panel(lambda: Standing("1 s", (("events", "3"),)), output) as panel:
        panel.note("learner: started")
        for _ in range(10):
            panel.refresh()

    assert output.getvalue() == "learner: started\n1 s · events 3\n"
