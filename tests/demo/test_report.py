"""The report stands alone, says what broke, and can be read in light and in dark."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from streams.demo.measurements import Measurements
from streams.demo.plot import COLOURS
from streams.demo.report import render
from streams.demo.summary import Promise, promises, summarise
from tests.demo.seen import SPEC, START_MS, answer_of, good_run


def report_of(seen: Measurements, data: str = "luma") -> str:
    figures = summarise(seen, data=data, seconds=75.0, restarts=0)
    return render(seen, figures, promises(figures, seen, expected_events=2000), START_MS)


@pytest.fixture(scope="module")
def report() -> str:
    return report_of(good_run())


def test_a_report_needs_nothing_from_elsewhere(report: str) -> None:
    """No address, no script, no style sheet, no image by reference."""
    assert "http" not in report
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", report)
    assert all(reference.startswith("#") for reference in re.findall(r'href="([^"]*)"', report))


def test_plots_are_inline_and_do_not_share_ids(report: str) -> None:
    """Ids share one name space on the page: two equal ones would mix up clip paths."""
    plots = re.findall(r"<svg.*?</svg>", report, re.DOTALL)
    ids = [set(re.findall(r' id="([^"]*)"', plot)) for plot in plots]

    assert len(plots) == 5
    assert all("aria-label=" in plot for plot in plots)
    referenced = {name for plot in plots for name in re.findall(r'(?:url\(#|href="#)([^)"]*)', plot)}
    assert all(sum(name in each for each in ids) == 1 for name in referenced)


def test_text_and_axes_take_the_colour_of_the_page(report: str) -> None:
    """Black axes on a dark page cannot be read: no colour in a plot is fixed but the lines' own."""
    svg = "".join(re.findall(r"<svg.*?</svg>", report, re.DOTALL))
    fixed = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#\w+', "", svg)))

    assert fixed <= set(COLOURS.values())
    assert "currentColor" in svg


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
@pytest.mark.parametrize("page", ["#ffffff", "#14161a"])
def test_lines_are_legible_on_both_pages(colour: str, page: str) -> None:
    """WCAG 2.2 asks for 3:1 for graphics."""

    def luminance(hex_colour: str) -> float:
        parts = [int(hex_colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(colour), luminance(page)))

    assert (high + 0.05) / (low + 0.05) >= 3.0


def test_the_table_lists_every_promise_and_the_verdict_counts_the_broken() -> None:
    """What did not hold is said at the top and marked in the table."""
    seen = good_run()
    seen.take_answer(answer_of(1, -1, error="timeout"))
    seen.take_dead_letter("validate: timestamp <missing>")

    page = report_of(seen, data="other")

    assert "2 promise(s) did not hold" in page
    assert page.count(">broken</td>") == 2
    assert page.count(">held</td>") == 7
    assert "timestamp &lt;missing&gt;" in page


def test_a_report_of_nothing_is_a_report() -> None:
    """A run in which nothing came through must say so, not fail at the last step."""
    seen = Measurements(SPEC)
    figures = summarise(seen, data="luma", seconds=75.0, restarts=0)

    page = render(seen, figures, [Promise("any", "not measured", held=False)], START_MS)

    assert "1 promise(s) did not hold" in page


def test_the_page_is_well_formed(report: str) -> None:
    """Every element that is opened is closed, in order."""

    class Nesting(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    nesting = Nesting()
    nesting.feed(report)

    assert nesting.open == []
