"""Dataset: a recorded stream of events, and what one must know before using it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]  # an ExperienceEvent in XED form, JSON-able as it is

_EXAMPLES = Path(__file__).parents[2] / "examples"
PURCHASE_PROPENSITY = _EXAMPLES / "purchase_propensity.py"
BUYS_AGAIN = _EXAMPLES / "buys_again.py"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A recorded stream of events.

    Args:
        name: as `--data` names it.
        licence: under which the data are given, as far as their origin says.
        origin: where they come from.
        count: how many events there are.
        model_path: the model file that suits them.
        read: starts one pass over the events.
    """

    name: str
    licence: str
    origin: str
    count: int
    model_path: Path
    read: Callable[[], Iterator[Event]]

    def events(self) -> Iterator[Event]:
        """Yield every event in event-time order; events of the same time in the order of their file.

        Every call starts over, and yields the same events.
        """
        return self.read()
