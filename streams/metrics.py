"""Metrics: the figures that a worker tells of itself, each declared here and nowhere else.

Names end in their unit. Every series has the label `model`; those of a partition are there while this worker owns it.
Totals of a partition go on where the journal has them, so that a restart does not begin them anew.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
# From what a chunk of 500 takes on an idle machine to a broker that is away.
_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
M = TypeVar("M", bound=MetricWrapperBase)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a total that goes on where the journal has it was not created now


class Family(Generic[M]):
    """A metric of one model; called with the values of its other labels, it gives what is to be set or added to."""

    def __init__(self, metric: M, model: str) -> None:
        self._metric = metric
        self._model = model

    def __call__(self, *labels: object) -> M:
        return self._metric.labels(self._model, *labels)

    def clear(self) -> None:
        """Drop all series."""
        self._metric.clear()


class Metrics:
    """The metrics of one worker process.

    Args:
        model: the label of all of them.

    >>> metrics = Metrics("clicks")
    >>> metrics.lag(3).set(12)
    >>> b'freshet_lag_records{model="clicks",partition="3"} 12.0' in metrics.text()
    True
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        # The laws of streams/law.py: what came in, what it came to, and whether that adds up.
        self.came = self._counter("came", "What came in, counted where it arrives.", "law", "partition")
        self.parts = self._gauge(
            "came_to", "What it came to, in parts that do not overlap.", "law", "partition", "part"
        )
        self.difference = self._gauge(
            "conservation_difference",
            "What came in less what it came to; anything but 0 for long is a record lost or taken twice.",
            "law",
            "partition",
        )
        self.broken = self._gauge("conservation_broken", "1 while a law has been broken for long.", "law", "partition")
        self.misplaced = self._counter("misplaced", "Records whose key is not their event's identity.", "partition")
        self.forwarded = self._counter(
            "forwarded", "Events that an edge had scored, by whether its score was taken.", "partition", "score"
        )
        self.dead_letters = self._counter("dead_letters", "Records put aside since the start, by stage.", "stage")

        # How it gets on.
        self.lag = self._gauge("lag", "Records of the input that are not handled yet.", "partition", unit="records")
        self.rewinds = self._counter("rewinds", "How often a partition was read again from before.", "partition")
        self.chunk = self._histogram("chunk", "From a chunk's first record to its last effect sent.")
        self.settle = self._histogram("settle", "From a journal entry that is due to its acknowledgement.")
        self.stalled = self._gauge("stalled", "For how long nothing has moved that should have.", unit="seconds")

        # Its journal.
        self.journal_entries = self._counter("journal_entries", "Journal entries written since the start.")
        self.journal_bytes = self._counter("journal_written", "Their bodies.", unit="bytes")
        self.epoch = self._gauge("journal_epoch", "How many owners the partition has had.", "partition")
        self.snapshot = self._gauge(
            "journal_snapshot", "How much of the snapshot under way is written.", "partition", unit="ratio"
        )

        # Learner: examples a second are the rate of freshet_came_to{law="examples", part="learned"}.
        self.releases = self._counter("releases", "Releases made since the start.")
        self.refused = self._counter("releases_refused", "Candidates refused since the start, by check.", "check")
        self.version = self._gauge("live_version", "The version that is live; -1 before the first.")
        self.learned_age = self._gauge(
            "learned_through_age", "Age of the newest example learned, in event time.", unit="seconds"
        )
        self.guarded = self._counter(
            "guarded", "Examples, and breaches, that the guards have dealt with, by kind; see docs/guards.md.", "kind"
        )
        self._of_partitions = (
            self.came, self.parts, self.difference, self.broken, self.misplaced, self.lag, self.rewinds, self.epoch,
            self.snapshot, self.forwarded, self.guarded,
        )  # fmt: skip

    def forget_partitions(self) -> None:
        """Drop what belongs to partitions: they may be another worker's now."""
        for family in self._of_partitions:
            family.clear()

    def text(self) -> bytes:
        """Return all of them in the text format of Prometheus."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help_: str, *labels: str, unit: str = "") -> Family[Counter]:
        return Family(self._made(Counter, name, help_, labels, unit), self._model)

    def _gauge(self, name: str, help_: str, *labels: str, unit: str = "") -> Family[Gauge]:
        return Family(self._made(Gauge, name, help_, labels, unit), self._model)

    def _histogram(self, name: str, help_: str) -> Family[Histogram]:
        made = Histogram(
            f"freshet_{name}", help_, ("model",), unit="seconds", buckets=_SECONDS, registry=self._registry
        )
        return Family(made, self._model)

    def _made(self, kind: type[M], name: str, help_: str, labels: tuple[str, ...], unit: str) -> M:
        return kind(f"freshet_{name}", help_, ("model", *labels), unit=unit, registry=self._registry)


def total(counter: Counter, value: float) -> None:
    """Set a counter to a total that is kept elsewhere."""
    counter.reset()
    counter.inc(value)
