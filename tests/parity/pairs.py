"""Pairs: which configuration is compared on which source, and the processes that compare them."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.parity.comparison import Amount, Compared, compare, nothing
from tests.parity.data import has_texts, sources
from tests.parity.models import configurations

# A configuration and a source, by their places in the tables: they hold functions, which no process can be sent.
Pair = tuple[int, int]

FULL = Amount(learned=300, held=40)
QUICK = Amount(learned=50, held=5, is_halved=False)


def pairs(only: str = "") -> list[Pair]:
    """Each configuration with each source that is here and that it can learn from; of those, the ones named."""
    return [
        (place, source)
        for place, configuration in enumerate(configurations())
        for source in _teaching(place)
        if only.lower() in f"{configuration.family}: {configuration.name} on {sources()[source].name}".lower()
    ]


def few(place: int) -> list[Pair]:
    """Two pairs for one configuration, by turns: a made stream, which has gaps or texts, and one of River's."""
    unrecorded = [source for source in _teaching(place, recorded=False) if sources()[source].name != "numeric"]
    made = [source for source in unrecorded if sources()[source].is_made]
    others = [source for source in unrecorded if not sources()[source].is_made]
    return [(place, kind[place % len(kind)]) for kind in (made, others) if kind]


def compare_pair(pair: Pair, amount: Amount) -> Compared:
    """The comparison of one pair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's in River, about numbers that the comparison judges
        return compare(configurations()[pair[0]], sources()[pair[1]], amount)


def run(chosen: Sequence[Pair], amount: Amount, jobs: int) -> Iterator[tuple[Pair, Compared]]:
    """The comparisons, as they end; one that raises is a fault like another."""
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        running = {pool.submit(compare_pair, pair, amount): pair for pair in chosen}
        for done in as_completed(running):
            pair, error = running[done], done.exception()
            if error is None:
                yield pair, done.result()
            else:
                compared = nothing(configurations()[pair[0]], sources()[pair[1]])
                compared.refused = f"raised {error!r}"
                yield pair, compared
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, the rest is not waited for


def _teaching(place: int, *, recorded: bool = True) -> list[int]:
    configuration = configurations()[place]
    return [
        place
        for place, source in enumerate(sources())
        if source.target == configuration.target
        and (recorded or source.file is None)
        and not source.missing
        and (not configuration.needs_texts or has_texts(source))
    ]
