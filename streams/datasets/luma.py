"""Luma: six weeks of real telemetry from Adobe's demo shop, web and app, 23,055 events.

Adobe recorded them in XED form, but not as one would send them today; what `read_luma` mends is listed there. The
visitors tried out a demo shop: the telemetry is real, the shoppers are not, so no rate in it is that of a shop.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import DataUnavailable
from streams.datasets.cache import cache_dir, fetch, holds, keep
from streams.datasets.dataset import PURCHASE_PROPENSITY, Dataset, Event

URL: Final = (
    "https://github.com/adobe/experience-platform-dsw-reference/raw/7f3d58c6/datasets/luma/luma_post.snappy.parquet"
)
SHA256: Final = "2ef58feaceebd4eff16c8b84e602d8ce32184e988b57ccac16204afa10c99b8b"

_WITHIN_S = 5.0
_BATCH_ROWS = 1024  # a row has a hundred leaves, nearly all null: as Python objects the whole file takes 200 MB
_TIMES = ("timestamp", "receivedTimestamp")
_IP_ADDRESSES = ("ipV4", "ipV6")


def luma(path: Path) -> Dataset:
    """Return the data set in a Parquet file of Luma's shape.

    Raises:
        DataUnavailable: it cannot be read, or is no such file.
    """
    arrow = _Arrow()
    try:
        columns = arrow.parquet.read_schema(path).names
        count = arrow.parquet.read_metadata(path).num_rows
    except (OSError, arrow.invalid) as error:
        raise DataUnavailable(f"{path} is no Parquet file that can be read: {error}") from error
    if missing := {"_id", "timestamp"} - set(columns):
        raise DataUnavailable(f"{path} is not of Luma's shape: it has no column {min(missing)}")
    return Dataset(
        name="luma",
        licence="Apache-2.0",
        origin="Adobe, experience-platform-dsw-reference, datasets/luma",
        count=count,
        model_path=PURCHASE_PROPENSITY,
        read=lambda: read_luma(path),
    )


def fetched_luma() -> Path:
    """Return the upstream file in the user's cache, after fetching it if it is not there yet.

    Raises:
        DataUnavailable: it is neither there nor to be had within 5 seconds.
    """
    path = cache_dir() / "luma_post.snappy.parquet"
    return path if holds(path, SHA256) else keep(path, fetch(URL, _WITHIN_S), SHA256)


def read_luma(path: Path) -> Iterator[Event]:
    """Yield the events of a Parquet file of Luma's shape, as XED that is valid today.

    Put in time order (the file is not); times get the zone they lack, UTC; nulls, NaN and the structs they leave
    empty are dropped; so are IP addresses, which no model needs. Numbers stay as recorded: counts are floats.

    Raises:
        DataUnavailable: a row has no timestamp, or one that cannot be read.
    """
    arrow = _Arrow()
    # Spark wrote INT96. Its default reading, nanoseconds, makes pandas objects of Python's datetimes.
    table = arrow.parquet.read_table(path, coerce_int96_timestamp_unit="ms")
    for place, field in enumerate(table.schema):
        if arrow.types.is_timestamp(field.type):
            column = table.column(place).cast(arrow.timestamp("ms", tz=field.type.tz), safe=False)
            table = table.set_column(place, field.name, column)
    times = [_utc(value, row) for row, value in enumerate(table.column("timestamp").to_pylist())]
    in_time_order = sorted(range(len(times)), key=times.__getitem__)
    maps = [field.name for field in table.schema if arrow.types.is_map(field.type)]
    for batch in table.take(in_time_order).to_batches(max_chunksize=_BATCH_ROWS):
        for row in batch.to_pylist():
            # By hand: asking `to_pylist` for dicts takes it five times as long.
            row.update((name, dict(row[name] or ())) for name in maps)
            yield _event(row)


def _event(row: Event) -> Event:
    environment = row.get("environment") or {}
    for name in _IP_ADDRESSES:
        environment.pop(name, None)
    for name in _TIMES:
        if (time := row.get(name)) is not None:
            row[name] = _utc(time).isoformat().replace("+00:00", "Z")
    event: Event = _pruned(row)
    return event


def _pruned(value: Any) -> Any:
    """Return a value without what is null, NaN or empty in it; None where nothing is left."""
    if isinstance(value, dict):
        # Most leaves are null: not to call for them halves the time.
        kept = {key: left for key, child in value.items() if child is not None and (left := _pruned(child)) is not None}
        return kept or None
    if isinstance(value, list):
        return [left for child in value if (left := _pruned(child)) is not None] or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _utc(value: dt.datetime | str | None, row: int = 0) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if time is None:
        raise DataUnavailable(f"row {row} has no timestamp that can be read, but {value!r}")
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


class _Arrow:
    """The parts of pyarrow that are used here, imported when a file is read: an edge does without."""

    def __init__(self) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise DataUnavailable("reading Parquet needs pyarrow: pip install 'freshet[train]'") from error
        self.parquet: Any = pq
        self.types: Any = pa.types
        self.timestamp: Any = pa.timestamp
        self.invalid: type[Exception] = pa.ArrowInvalid
