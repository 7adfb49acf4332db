"""A spill gives back what it was given, in order, whatever happens to the process, and never more than it may hold."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SpillTaken
from scoring.spill import FULL, UNWRITABLE, Position, Spill

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[Spill]:
    spill = opened(tmp_path / "spill")
    yield spill
    spill.close()


def opened(directory: Path, limit_bytes: int = 1024 * 1024) -> Spill:
    spill = Spill(directory, limit_bytes)
    spill.open()
    return spill


def everything(spill: Spill, most_bytes: int = 64 * 1024) -> list[bytes]:
    """All that has not been read yet."""
    found: list[bytes] = []
    while records := spill.read(most_bytes)[0]:
        found += records
    return found


def died(spill: Spill) -> None:
    """Let go of the directory as a process does that is killed."""
    os.close(spill._lock)
    spill._lock = -1


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spill"))


# --- a queue ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(["append", "append", "large", "read", "drop", "rewind", "crash"]), max_size=40))
def test_it_is_a_queue_that_forgets_only_what_was_dropped(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Whatever is appended, read, dropped and read again, with crashes between: nothing is lost, nothing reordered."""
    directory = tmp_path_factory.mktemp("spills") / "spill"
    spill = opened(directory, 8 * 4096)  # segments of 4 KiB
    given_, read, dropped = [], 0, 0
    places: list[tuple[Position, int]] = []
    for step in steps:
        if step in {"append", "large"}:
            record = b"%d " % len(given_) * (700 if step == "large" else 30)
            if not spill.append(record):
                given_.append(record)
        elif step == "read":
            records, through = spill.read(2000)
            assert records == given_[read : read + len(records)]
            read += len(records)
            places.append((through, read))
        elif step == "drop" and places:
            through, dropped = places.pop(0)
            spill.drop(through)
        elif step in {"rewind", "crash"}:
            if step == "crash":
                died(spill)
                spill = opened(directory, 8 * 4096)
            spill.rewind()
            read, places = dropped, []

    assert everything(spill) == given_[read:]
    assert spill.damaged == 0
    assert sum(path.stat().st_size for path in segments(directory)) == spill.used_bytes <= 8 * 4096
    spill.close()


def test_a_record_is_in_the_file_before_append_returns(spill: Spill) -> None:
    """As bytes that another process can read: that is what `kill -9` leaves."""
    spill.append(b"an event")

    assert segments(spill.directory)[0].read_bytes().endswith(b"an event")


def test_records_can_be_read_one_by_one(spill: Spill) -> None:
    """Whatever their size."""
    for record in (b"one", bytes(100_000), b"three"):
        spill.append(record)

    assert [spill.read(1)[0] for _ in range(4)] == [[b"one"], [bytes(100_000)], [b"three"], []]


def test_segments_are_deleted_as_they_are_done(tmp_path: Path) -> None:
    """What is done takes no room, but for the segment that is written to."""
    spill = opened(tmp_path / "spill", 8 * 4096)
    for _ in range(20):
        spill.append(bytes(1000))
    before = len(segments(spill.directory))
    while (got := spill.read())[0]:
        spill.drop(got[1])

    assert (before, len(segments(spill.directory))) == (4, 1)
    assert spill.waiting_bytes == 0
    spill.close()


def test_a_clean_end_with_nothing_left_leaves_nothing(tmp_path: Path) -> None:
    """No file, no directory."""
    spill = opened(tmp_path / "spill")
    spill.append(b"one")
    spill.drop(spill.read()[1])
    spill.close()

    assert list(tmp_path.iterdir()) == []


def test_what_was_acknowledged_is_not_sent_again_after_a_crash(tmp_path: Path) -> None:
    """Though its segment is still there for the sake of its neighbours."""
    spill = opened(tmp_path / "spill")
    spill.append(b"one")
    spill.drop(spill.read()[1])
    spill.append(b"two")
    died(spill)
    again = opened(tmp_path / "spill")

    assert everything(again) == [b"two"]
    again.close()


def test_new_records_are_never_taken_for_done_ones(tmp_path: Path) -> None:
    """Where all segments were removed by hand and the cursor was not."""
    spill = opened(tmp_path / "spill")
    for record in (b"one", b"two"):
        spill.append(record)
    spill.drop(spill.read()[1])
    died(spill)
    for path in segments(spill.directory):
        path.unlink()
    again = opened(tmp_path / "spill")
    again.append(b"three")
    died(again)
    third = opened(tmp_path / "spill")

    assert everything(third) == [b"three"]
    third.close()


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", range(11))
def test_half_a_record_at_the_end_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int) -> None:
    """Wherever it was cut; it is counted and told, and what is appended after the restart is read."""
    spill = opened(tmp_path / "spill")
    spill.append(b"whole")
    spill.append(b"cut")
    died(spill)
    (path,) = segments(spill.directory)
    os.truncate(path, path.stat().st_size - 11 + kept)
    again = opened(tmp_path / "spill")
    again.append(b"new")

    with caplog.at_level(logging.WARNING):
        found = everything(again)

    assert found == [b"whole", b"new"]
    assert again.damaged == (kept > 0)
    assert ("spill_damaged" in caplog.text) == (kept > 0)
    again.close()


def test_a_damaged_record_costs_itself(tmp_path: Path) -> None:
    """A flipped bit in a record; those around it are read."""
    spill = opened(tmp_path / "spill")
    for record in (b"one", b"two", b"three"):
        spill.append(record)
    died(spill)
    (path,) = segments(spill.directory)
    path.write_bytes(path.read_bytes().replace(b"two", b"twi"))
    again = opened(tmp_path / "spill")

    assert (everything(again), again.damaged) == ([b"one", b"three"], 1)
    again.close()


@pytest.mark.parametrize("tail", [bytes(5000), b"\xff" * 5000, os.urandom(5000)])
def test_garbage_behind_the_records_ends_the_segment(tmp_path: Path, tail: bytes) -> None:
    """Zeros, as a power cut leaves them, are not a thousand empty records."""
    spill = opened(tmp_path / "spill")
    spill.append(b"one")
    died(spill)
    with segments(spill.directory)[0].open("ab") as file:
        file.write(tail)
    again = opened(tmp_path / "spill")
    again.append(b"two")

    assert everything(again, 100) == [b"one", b"two"]
    assert again.damaged >= 1
    again.close()


def test_a_segment_that_somebody_removed_ends_nothing(spill: Spill) -> None:
    """Its records are gone and counted; nobody waits for them for ever."""
    spill.append(b"one")
    segments(spill.directory)[0].unlink()

    assert (everything(spill), spill.damaged) == ([], 1)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_full_spill_says_so_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    """Never more bytes than the limit."""
    spill = opened(tmp_path / "spill", 80_000)
    while not (said := spill.append(bytes(1000))):
        pass
    taken = spill.appended
    while (got := spill.read())[0]:
        spill.drop(got[1])

    assert said == FULL
    assert taken == 79
    assert spill.refused == {FULL: 1, UNWRITABLE: 0}
    assert spill.append(bytes(1000)) == ""
    spill.close()


def test_a_record_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    """And does no harm to the others."""
    spill = opened(tmp_path / "spill", 80_000)

    assert (spill.append(bytes(80_000)), spill.append(b"small")) == (FULL, "")
    assert everything(spill) == [b"small"]
    spill.close()


def test_a_disk_that_is_full_is_told_once_and_tried_again(
    spill: Spill, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a record was written: it is taken back, and what comes later is read."""
    write, clock = os.write, [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    spill.append(b"one")
    with monkeypatch.context() as full, caplog.at_level(logging.INFO):
        full.setattr(os, "write", lambda opened, data: write(opened, data[:5]))
        said = [spill.append(b"two") for _ in range(3)]
        clock[0] += 2
        said.append(spill.append(b"three"))
    too_soon = spill.append(b"four")
    clock[0] += 2

    assert said == [UNWRITABLE] * 4
    assert too_soon == UNWRITABLE
    assert spill.append(b"five") == ""
    assert (everything(spill), spill.damaged) == ([b"one", b"five"], 0)
    assert caplog.text.count("spill_unwritable") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE: it would have shown a disk that takes no byte more")
def test_a_disk_that_refuses_costs_no_more_than_the_forwarding(tmp_path: Path) -> None:
    """In a process whose files may have 5,000 bytes: what fits is there, whole; the rest is refused, nothing raised."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from scoring.spill import Spill\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "spill = Spill(Path(sys.argv[1])); spill.open()\n"
        "print([spill.append(bytes(992)) for _ in range(7)])\n"
        "print(len(spill.read()[0]), spill.damaged)"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "spill")]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert printed == "['', '', '', '', '', 'unwritable', 'unwritable']\n5 0\n"


# --- processes --------------------------------------------------------------------------------------------------------


def test_two_never_share_a_directory(spill: Spill) -> None:
    """Whoever comes second is told in a sentence what to do, and takes nothing away."""
    spill.append(b"one")
    with pytest.raises(SpillTaken, match="give each edge a directory of its own with --spill-dir"):
        opened(spill.directory)

    assert everything(spill) == [b"one"]


def test_kill_9_in_the_middle_of_appending_loses_nothing_that_was_said_to_be_taken(tmp_path: Path) -> None:
    """Five times: all that the process had reported is there, in order, whole."""
    script = (
        "import sys; from pathlib import Path; from scoring.spill import Spill\n"
        "spill = Spill(Path(sys.argv[1])); spill.open()\n"
        "for number in range(10**9):\n"
        "    spill.append(b'%d ' % number * 300); sys.stdout.write(f'{number}\\n'); sys.stdout.flush()"
    )
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * attempt)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().splitlines()
        process.wait(10)
        process.stdout.close()
        spill = opened(directory, 1 << 30)
        found = [int(record.split(b" ", 1)[0]) for record in everything(spill)]

        assert found == list(range(len(found)))
        assert len(found) >= len([line for line in said if line])
        spill.close()


def test_the_directory_is_for_this_user_alone(spill: Spill) -> None:
    """Events are about people."""
    spill.append(b"one")

    assert spill.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in spill.directory.iterdir()} == {0o600}
