"""`broker.json`: which Kafka wrote a data directory, and which process serves it now."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from streams.broker.process import ProcessId

_FILE = "broker.json"


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What is known of the broker of one data directory.

    Args:
        version: of the Kafka that wrote the directory last.
        port: of its client listener on 127.0.0.1.
        process: the broker, or None since it was stopped in order.
        owner: the process whose end is to end the broker; None where it stays until `freshet broker down`.
    """

    version: str
    port: int = 0
    process: ProcessId | None = None
    owner: ProcessId | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect.

        >>> BrokerState("4.3.1", port=9092).bootstrap
        '127.0.0.1:9092'
        """
        return f"127.0.0.1:{self.port}"


def read_state(data_dir: Path) -> BrokerState | None:
    """Return the state on file; None when there is none that can be read."""
    # An unreadable file is a missing one: all it costs is that a stray broker is told by Kafka's own lock instead.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        fields = json.loads((data_dir / _FILE).read_text(encoding="utf-8"))
        for name in ("process", "owner"):
            fields[name] = ProcessId(**fields[name]) if fields[name] else None
        return BrokerState(**fields)
    return None


def write_state(data_dir: Path, state: BrokerState) -> None:
    """Replace the state on file in one step, so that no reader sees half of it."""
    draft = data_dir / f"{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    draft.replace(data_dir / _FILE)


def running(data_dir: Path) -> BrokerState | None:
    """Return the state of the broker that serves `data_dir` now; None when none does."""
    state = read_state(data_dir)
    return state if state and state.process and state.process.alive() else None
