"""JSON lines: a file of one's own, one XED event a line, gzipped or not."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import DataUnavailable
from streams.datasets.dataset import PURCHASE_PROPENSITY, Dataset, Event


def jsonl(path: Path) -> Dataset:
    """Return the data set in a `.jsonl` or `.jsonl.gz` file; it is held in memory, for it is put in time order.

    Events are passed on as they are. All that is asked here is a timestamp, because the order depends on it.

    Raises:
        DataUnavailable: the file cannot be read, or a line is no event with a timestamp; names the line.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            lines = [(number, line) for number, line in enumerate(file, start=1) if line.strip()]
    except (OSError, EOFError) as error:  # EOFError: a gzip file that was cut off
        raise DataUnavailable(f"{path} cannot be read: {error}") from error
    timed = [(_time(path, number, line), number, line) for number, line in lines]
    if not timed:
        raise DataUnavailable(f"{path} holds no event")
    timed.sort()

    def read() -> Iterator[Event]:
        return (json.loads(line) for _, _, line in timed)

    return Dataset(
        name=path.name,
        licence="not stated",
        origin=str(path),
        count=len(timed),
        model_path=PURCHASE_PROPENSITY,
        read=read,
    )


def _time(path: Path, number: int, line: bytes) -> dt.datetime:
    try:
        event = json.loads(line)
        time = dt.datetime.fromisoformat(event["timestamp"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataUnavailable(f"{path}:{number}: no XED event with a timestamp ({error!r})") from error
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
