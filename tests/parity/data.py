"""What the models of the table learn and are asked: made streams, River's own data, recorded data where it is there.

River's sets are those that come inside its wheel, and its generators; nothing is fetched. Recorded data is read where
it stands, `$FRESHET_DATA` or `../shared/data`, and a run without it says what it could not show.
"""

from __future__ import annotations

import csv
import datetime as dt
import functools
import itertools
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from river import datasets
from river.datasets import synth

from learners import load_model
from schemas.errors import EventInvalid
from streams.datasets.dataset import PURCHASE_PROPENSITY
from streams.datasets.luma import read_luma
from tests.learners.export_laws import Row, Stream, Target, flat, gappy, gappy_numeric, mixed, numeric

Examples: TypeAlias = Iterable[tuple[Mapping[Any, Any], Any]]

_NOBODY = frozenset({"", "?"})


@dataclass(frozen=True, slots=True)
class Source:
    """A set of examples.

    Attributes:
        name: as the table names it.
        target: what its examples teach.
        read: starts it from the beginning.
        file: of recorded data, what must be there.
        codes: features that are numbers in the file and names in truth, such as the number of a diet.
    """

    name: str
    target: Target
    read: Callable[[], Examples]
    file: Path | None = None
    codes: frozenset[str] = frozenset()

    @property
    def is_made(self) -> bool:
        """Whether it is a stream of the laws."""
        return isinstance(self, _Made)

    @property
    def missing(self) -> str:
        """Why it cannot be read here, or nothing."""
        if self.file is None or self.file.exists():
            return ""
        return f"{self.name}: {self.file} not found (parity on recorded data)"

    def stream(self, learned: int, held: int) -> Stream:
        """The first examples to be learned, the ones behind them to be compared only."""
        rows: list[tuple[Row, Any]] = []
        numbers: dict[str, None] = {}
        texts: dict[str, None] = {}
        for x, y in itertools.islice(self.read(), learned + held):
            row = {str(name): value for name, value in _values(x, self.codes)}
            for name, value in row.items():
                (texts if isinstance(value, str) else numbers).setdefault(name)
            rows.append((row, bool(y) if self.target == "binary" else y))
        # A short set gives the same share of itself.
        cut = min(learned, len(rows) * learned // (learned + held))
        return Stream(tuple(numbers), tuple(texts), tuple(rows[:cut]), tuple(x for x, _ in rows[cut:]))


@dataclass(frozen=True, slots=True)
class _Made(Source):
    """A stream of the laws, which is made to any length."""

    make: Callable[..., Stream] = numeric

    def stream(self, learned: int, held: int) -> Stream:
        made = self.make(self.target, n=learned + held)
        asked = tuple(x for x, _ in made.examples[learned:])
        return Stream(made.numbers, made.categories, made.examples[:learned], asked)


@functools.cache
def sources() -> tuple[Source, ...]:
    """All of them, the made ones first."""
    return (*_made(), *_of_river(), *_recorded())


@functools.cache
def has_texts(source: Source) -> bool:
    """Whether the first rows have a category."""
    return bool(source.stream(20, 20).categories)


def _made() -> Iterator[Source]:
    targets: tuple[Target, ...] = ("binary", "multiclass", "regression", "none")
    kinds = {"numeric": numeric, "gappy numbers": gappy_numeric, "mixed": mixed, "gappy": gappy, "flat": flat}
    for target, (name, make) in itertools.product(targets, kinds.items()):
        yield _Made(name, target, tuple, make=make)


def _of_river() -> Iterator[Source]:
    yield Source("Phishing", "binary", datasets.Phishing)
    yield Source("Bananas", "binary", datasets.Bananas)
    yield Source("SEA", "binary", lambda: synth.SEA(seed=1, noise=0.1))
    yield Source("Agrawal", "binary", lambda: synth.Agrawal(seed=1), codes=frozenset({"elevel", "car", "zipcode"}))
    yield Source("Hyperplane", "binary", lambda: synth.Hyperplane(seed=1, n_features=20, mag_change=0.01))
    yield Source("ImageSegments", "multiclass", datasets.ImageSegments)
    yield Source("RandomRBFDrift", "multiclass", lambda: synth.RandomRBFDrift(1, 1, n_classes=4, change_speed=0.5))
    kinds = frozenset(f"x_cat_{i}" for i in range(5))
    yield Source("RandomTree", "multiclass", lambda: synth.RandomTree(1, 1, n_classes=3), codes=kinds)
    yield Source("LED", "multiclass", lambda: synth.LED(seed=1, noise_percentage=0.1))
    yield Source("TrumpApproval", "regression", datasets.TrumpApproval)
    yield Source("AirlinePassengers", "regression", datasets.AirlinePassengers)
    yield Source("ChickWeights", "regression", datasets.ChickWeights, codes=frozenset({"chick", "diet"}))
    yield Source("Friedman", "regression", lambda: synth.Friedman(seed=1))
    yield Source("Mv", "regression", lambda: synth.Mv(seed=1))
    yield Source("SolarFlare", "regression", lambda: ((x, y["c-class-flares"]) for x, y in datasets.SolarFlare()))
    yield Source("Phishing", "none", lambda: _without_target(datasets.Phishing()))
    yield Source("Mv", "none", lambda: _without_target(synth.Mv(seed=2)))


def _recorded() -> Iterator[Source]:
    data = Path(os.environ.get("FRESHET_DATA") or Path(__file__).parents[3] / "shared" / "data")
    elec2 = data / "elec2" / "electricity.zip"
    yield Source("elec2", "binary", lambda: _elec2(elec2), elec2)
    shoppers = data / "online_shoppers" / "online_shoppers_intention.csv"
    codes = frozenset({"OperatingSystems", "Browser", "Region", "TrafficType"})
    yield Source("online_shoppers", "binary", lambda: _shoppers(shoppers), shoppers, codes)
    random = data / "obd_random" / "all" / "all.csv"
    yield Source("obd_random", "binary", lambda: _impressions(random), random, frozenset({"item_id", "position"}))
    luma = data / "luma" / "luma_events.parquet"
    yield Source("luma", "binary", lambda: _luma(luma), luma)
    retail = data / "online_retail"
    yield Source("online_retail", "regression", lambda: _retail(retail), retail)


def _values(x: Mapping[Any, Any], codes: frozenset[str]) -> Iterator[tuple[Any, float | str]]:
    """What of an observation reaches a model: numbers as float, names as str, what is missing not at all."""
    for name, value in x.items():
        match value:
            case dt.datetime():
                yield f"{name}.year", float(value.year)
                yield f"{name}.month", float(value.month)
            case str():
                if value not in _NOBODY:
                    yield name, value
            case _ if name in codes:
                yield name, str(value)
            case _ if not math.isnan(value):
                yield name, float(value)


def _without_target(examples: Examples) -> Examples:
    return ((x, None) for x, _ in examples)


def _elec2(file: Path) -> Examples:
    with zipfile.ZipFile(file) as archive, archive.open("electricity.csv") as lines:
        for row in csv.DictReader(line.decode() for line in lines):
            outcome = row.pop("class")
            yield {name: float(value) for name, value in row.items()}, outcome == "UP"


def _shoppers(file: Path) -> Examples:
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            outcome = row.pop("Revenue")
            yield _read_numbers(row), outcome == "TRUE"


def _impressions(file: Path) -> Examples:
    with file.open(newline="", encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            clicked = row["click"] == "1"
            # Of the rest, because one impression in two hundred is clicked.
            if not clicked and number % 5:
                continue
            kept = {name: value for name, value in row.items() if name.startswith(("item_id", "position", "user_f"))}
            yield _read_numbers({**kept, "hour": row["timestamp"][11:13]}), clicked


def _retail(folder: Path) -> Examples:
    for file in sorted(folder.glob("2*.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                kept = {name: row[name] for name in ("UnitPrice", "Country", "CustomerID")}
                kept["CustomerID"] = kept["CustomerID"].removesuffix(".0") and f"c{kept['CustomerID']}"
                yield _read_numbers({**kept, "hour": row["InvoiceDate"][11:13]}), float(row["Quantity"])


def _read_numbers(row: Mapping[str, str]) -> dict[str, float | str]:
    def value(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    return {name: value(text) for name, text in row.items()}


@functools.cache
def _luma(file: Path) -> tuple[tuple[Row, bool], ...]:
    """Rows as the product itself reads them: a model file's features, profiles of visitors included."""
    reader = load_model(PURCHASE_PROPENSITY).reader
    profiles: dict[str, Any] = {}
    rows: list[tuple[Row, str, int]] = []
    views: dict[str, list[int]] = {}
    for event in itertools.islice(read_luma(file), 4000, 8000):
        try:
            read = reader.read(json.dumps(event).encode(), now_ms=2**42)
        except EventInvalid:
            continue  # without an identity, say
        profiles[read.visitor] = reader.remember(profiles.get(read.visitor), read.time_ms, read.kinds)
        numbers, categories = reader.named(reader.x(read, profiles[read.visitor]))
        rows.append(({**numbers, **categories}, read.visitor, read.time_ms))
        if (event.get("commerce") or {}).get("productViews", {}).get("value"):
            views.setdefault(read.visitor, []).append(read.time_ms)
    return tuple(
        (row, any(time_ms < at <= time_ms + 1_800_000 for at in views.get(visitor, [])))
        for row, visitor, time_ms in rows
    )
