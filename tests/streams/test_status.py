"""`freshet status` reads from the journals how far everything has come, and whether it adds up."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from schemas.errors import StateUnreadable
from streams.changes import Body, encode_body
from streams.cli.status import as_fields, lines
from streams.partition import Counts, Partition
from streams.status import LearnerStatus, ModelStatus, PartitionStatus, Status, learner_status, partition_status
from tests.streams.test_partition import READER, STEPS, Step, log_of

NOW_MS = 1_000_000_000


def journaled(steps: list[Step]) -> tuple[int, list[bytes]]:
    """What the journal says of a partition with such a log, whose gaps were counted."""
    state = Partition(READER)
    records = log_of(steps)
    state.number(len(state.take(records).closed))
    state.counts.gaps = max(0, state.next_offset) - len(records)
    return state.next_offset, [state.change().body]


def altered(body: bytes, **totals: Any) -> bytes:
    said = msgspec.msgpack.decode(body, type=Body)
    return encode_body(msgspec.structs.replace(said, totals=msgspec.structs.replace(said.totals, **totals)))


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_a_partition_adds_up(steps: list[Step]) -> None:
    """Whatever its log holds; and what lies behind the journal is lag."""
    said = journaled(steps)
    status = partition_status(said, 0, max(0, said[0]) + 5, committed=-1)

    assert status.differences == {}
    assert status.lag == 5
    assert status.open == status.opened - status.positive - status.negative


def test_what_does_not_add_up_is_named() -> None:
    """A record that was lost, a pending that was, an example that was not numbered: each breaks its own law."""
    next_offset, (body,) = journaled([Step("web.webpagedetails.pageViews", 1000, "a")] * 6)
    counts = msgspec.msgpack.decode(body, type=Body).totals.counts
    scored = list(Counts.__dataclass_fields__).index("scored")
    less = [count - (place == scored) for place, count in enumerate(counts)]

    def differences(entry: bytes, at: int = next_offset) -> Any:
        return partition_status((at, [entry]), 0, next_offset, -1).differences

    assert differences(body, next_offset + 2) == {"events": 2}
    assert differences(altered(body, counts=less)) == {"events": 1, "pendings": -1}
    assert differences(altered(body, seq=4)) == {"labels": -4}
    with pytest.raises(StateUnreadable, match="pendings"):
        differences(altered(body, opened=7))


def test_a_learners_entry_says_how_far_it_is() -> None:
    """Examples are counted by the numbers that their source partitions gave them."""
    body = msgspec.msgpack.encode({"learned_through": [41, NOW_MS], "seqs": [[0, 19], [1, 21]], "refused": 3})
    status = learner_status((44, [body]), 2, 50, 44)

    assert (status.examples, status.learned_through, status.refused, status.lag) == (42, 41, 3, 6)
    with pytest.raises(StateUnreadable):
        learner_status((44, [msgspec.msgpack.encode({"seqs": []})]), 2, 50, 44)


PARTITION = PartitionStatus(
    0, 12, 10, 10, parts=Counts(scored=8, late=1, dead=2).parts, opened=7, positive=1, negative=2, open=4, sent=3,
    differences={},
)  # fmt: skip
LEARNER = LearnerStatus(2, 3, 3, 3, 3, 2, NOW_MS - 90_000, 1)
MODEL = ModelStatus("clicks", 4, NOW_MS - 30_000, NOW_MS - 30_000, 5, [PARTITION], LEARNER)


def shown(*models: ModelStatus) -> list[str]:
    return list(lines(Status("127.0.0.1:9092", 2, list(models)), NOW_MS))


def test_a_person_reads_what_each_record_came_to() -> None:
    """One line for each partition, under one head; with a sum where there are several."""
    one = shown(MODEL)
    two = shown(dataclasses.replace(MODEL, partitions=[PARTITION, dataclasses.replace(PARTITION, partition=1)]))

    assert one[2:4] == [
        "clicks: version 4 is live, released 30 s ago; 5 releases kept",
        "  learner: 3 examples, through offset 2, event time 90 s ago; lag 0 (examples partition 2); "
        "1 candidates refused",
    ]
    head, row = (line.split() for line in one[4:])
    assert dict(zip(head, row, strict=True)) == {
        "events": "0", "end": "12", "acked": "10", "journal": "10", "lag": "2", "scored": "7", "late": "1", "n/a": "0",
        "dup": "0", "dead": "2", "ticks": "0", "gaps": "0", "positive": "1", "negative": "2", "open": "4",
        "differs": "0",
    }  # fmt: skip
    assert two[-1].split()[:4] == ["all", "24", "20", "20"]


def test_a_journal_that_cannot_be_read_is_told_and_counts_as_broken() -> None:
    """With another key nothing can be said, so nothing is said to be right."""
    unread = dataclasses.replace(MODEL, partitions=[PartitionStatus(0, 12, 10, problem="sealed with another key")])

    assert unread.broken
    assert not MODEL.broken
    assert shown(unread)[-1] == "  partition 0: sealed with another key"
    assert shown()[-1].startswith("no model is live yet")


def test_json_has_what_the_table_has() -> None:
    """And the lags, which are no field of their own."""
    fields: Any = msgspec.json.decode(msgspec.json.encode(as_fields(Status("127.0.0.1:9092", 2, [MODEL]))))
    (model,) = fields["models"]

    assert (model["broken"], model["partitions"][0]["lag"], model["learner"]["lag"]) == (False, 2, 0)
    assert model["partitions"][0]["parts"]["scored"] == 7
