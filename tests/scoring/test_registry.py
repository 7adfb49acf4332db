"""The registry knows what was released and what is live, in whatever order it is told."""

from __future__ import annotations

import itertools

import pytest

from schemas.records import Alias, Release
from scoring.registry import LIVE, Registry
from tests.scoring.artifacts import release


def alias(version: int, name: str = LIVE, model: str = "m") -> Alias:
    return Alias(model=model, alias=name, version=version, changed_at=0)


def tell(registry: Registry, news: Release | Alias) -> None:
    if isinstance(news, Release):
        registry.release(news)
    else:
        registry.alias(news)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_live_release_is_the_aliased_one_whatever_came_first(order: tuple[int, ...]) -> None:
    """Releases and aliases travel in different topics: the one may be read long before the other."""
    registry = Registry()
    told: list[Release | Alias] = [release(1), release(2), alias(1)]

    for place in order:
        tell(registry, told[place])

    live = registry.live("m")
    assert live is not None
    assert (live.version, registry.newest_version("m")) == (1, 2)


def test_the_last_alias_counts_also_downwards() -> None:
    """A rollback is an alias record and nothing else."""
    registry = Registry()
    for version in (1, 2):
        registry.release(release(version))
        registry.alias(alias(version))

    registry.alias(alias(1))

    live = registry.live("m")
    assert live is not None
    assert live.version == 1


def test_only_live_makes_a_model_live() -> None:
    """Other names for versions neither serve nor hide anything."""
    registry = Registry()
    registry.release(release(1))

    registry.alias(alias(1, "shadow"))

    assert registry.live("m") is None
    assert registry.models() == []
    assert registry.aliased_versions("m") == {1}


def test_what_is_retired_is_gone_and_may_be_retired_again() -> None:
    """A tombstone may come for what was never read: the log keeps it longer than the release."""
    registry = Registry()
    for version in (0, 1, 2):
        registry.release(release(version))

    registry.retire("m", 1)
    registry.retire("m", 1)
    registry.retire("unheard of", 7)

    assert registry.kept_versions("m") == [0, 2]
    assert (registry.newest_version("m"), registry.newest_version("unheard of")) == (2, -1)


def test_news_sets_changed() -> None:
    """Whoever keeps the live release loaded waits for it; a retirement is no news."""
    registry = Registry()
    heard = []

    for news in (release(1), alias(1)):
        registry.changed.clear()
        tell(registry, news)
        heard.append(registry.changed.is_set())
    registry.changed.clear()
    registry.retire("m", 1)
    heard.append(registry.changed.is_set())

    assert heard == [True, True, False]
