"""Report: one HTML file that needs nothing else, with the promises, the figures and how they were measured."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Final

from streams.demo.measurements import Measurements
from streams.demo.plot import plot_auc, plot_freshness, plot_latency, plot_log_loss, plot_versions
from streams.demo.summary import Figures, Promise

_STYLE: Final = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --rule: #d5d9de; --kept: #15803d; --broken: #b91c1c }
@media (prefers-color-scheme: dark) {
  :root { --page: #14161a; --ink: #e4e7eb; --rule: #3a3f47; --kept: #4ade80; --broken: #f87171 }
}
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top }
td.value { font-variant-numeric: tabular-nums }
.kept { color: var(--kept); font-weight: 600 }
.broken { color: var(--broken); font-weight: 600 }
figure { margin: 1.5rem 0 } figcaption { font-size: .9rem; max-width: 46rem }
svg { width: 100%; height: auto; max-width: 46rem }
pre { overflow: auto; border: 1px solid var(--rule); padding: .8rem; font-size: .85rem }
"""

_MEASURED: Final = """
<p>Everything is seen from outside: from the records in Kafka, read by a consumer of its own, and from the answers a
client got from the edge over HTTP. No worker was asked how it does. Scorer, learner, edge, broker and client were
processes of their own on one machine, so all times are on one wall clock.</p>
<ul>
<li><b>Score and label.</b> A score is what the live version said when the event came, before its outcome could be
known. The label closes positive when the outcome comes within the attribution window, else negative when event time
has passed it; the last tick lets it pass for all.</li>
<li><b>Prior.</b> The positive rate among the examples closed before the one it is compared on.</li>
<li><b>Applicable.</b> The events are read again from Kafka and the model's rule is applied to them here, by code that
the workers do not share.</li>
<li><b>Latency of the edge.</b> Requests are due at fixed times, whether or not earlier ones were answered, and are
timed from the moment they were due.</li>
<li><b>From label to served score.</b> From the timestamp of the example's record to the first answer by a version that
had learned it, as the answer itself states. Where the gate refused a candidate its examples wait for the next one by
design; they are in “all”, not in the promise.</li>
</ul>
"""


def render(seen: Measurements, figures: Figures, promises: Sequence[Promise], start_ms: float) -> str:
    """Return the report as HTML.

    Args:
        seen: what was measured.
        figures: from `summarise`.
        promises: each with whether it held.
        start_ms: wall clock at the start of the replay, where the plots begin.
    """
    broken = [promise for promise in promises if not promise.held]
    title = f"freshet demo, {figures['data']}"
    plots = (
        ("Ranking", "events whose outcome came against those whose did not.", plot_auc(seen, start_ms)),
        ("Calibration", "and ranking in one: the log loss; lower is better.", plot_log_loss(seen, start_ms)),
        (
            "Versions",
            "when each was released, and when the edge first answered with it.",
            plot_versions(seen, start_ms),
        ),
        ("Latency", "of the edge, while versions were swapped under it.", plot_latency(seen, start_ms)),
        ("Freshness", "how long a label waits until a served score has learned it.", plot_freshness(seen)),
    )
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>',
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>',
            f"<h1>{_text(title)}</h1>",
            f"<p>{_verdict(figures, broken)}</p>",
            "<h2>Promises</h2>",
            "<table><thead><tr><th>Promise</th><th>Measured</th><th></th></tr></thead><tbody>",
            *(_promise_row(promise) for promise in promises),
            "</tbody></table>",
            *_dead_letters(seen),
            "<h2>Over time</h2>",
            *(f"<figure><figcaption><b>{what}</b> {text}</figcaption>{svg}</figure>" for what, text, svg in plots),
            "<h2>How it was measured</h2>",
            _MEASURED,
            "<h2>All figures</h2>",
            f"<pre>{_text(json.dumps(figures, indent=2))}</pre>",
            "</body></html>\n",
        ]
    )


def _verdict(figures: Figures, broken: Sequence[Promise]) -> str:
    run = (
        f"{figures['events']:,} events, {figures['scored']:,} scores, {figures['examples']:,} examples, "
        f"{figures['releases']} releases and {figures['edge_requests']:,} requests in {figures['seconds']:.0f} s."
    )
    if not broken:
        return f'{_text(run)} <span class="kept">Every promise held.</span>'
    return f'{_text(run)} <span class="broken">{len(broken)} promise(s) did not hold.</span>'


def _promise_row(promise: Promise) -> str:
    mark, word = ("kept", "held") if promise.held else ("broken", "broken")
    return (
        f'<tr><td>{_text(promise.words)}</td><td class="value">{_text(promise.value)}</td>'
        f'<td class="{mark}">{word}</td></tr>'
    )


def _dead_letters(seen: Measurements) -> list[str]:
    if not seen.dead_letter_reasons:
        return []
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in seen.dead_letter_reasons)
    return [f"<h2>Dead letters</h2><p>The first of {seen.dead_letters:,}:</p><ul>{reasons}</ul>"]


def _text(text: str) -> str:
    return html.escape(text)
