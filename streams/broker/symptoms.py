"""What Kafka prints when it cannot start, said plainly."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL_LINES = 12
_LINE_CHARS = 300

# (what Kafka 4.3 prints, what it means and what to do); {0} is the data directory, {1} what the pattern's group caught
_MEANINGS = (
    (r"Failed to acquire lock on file \.lock", "another Kafka uses {0}; stop it, or choose another directory"),
    (r"(Invalid value .+? for configuration .+)", "Kafka refuses a setting: {1}"),
    (
        r"Stored node id|node ID not found in|No readable meta\.properties",
        "{0} does not belong to this broker, or is damaged; `freshet broker wipe` deletes it, with every record in it",
    ),
    (r"OutOfMemoryError", "Kafka ran out of memory; give it more with `freshet broker up --heap` (in MiB)"),
    (r"No space left on device", "the disk of {0} is full"),
)


def explain(output: str, data_dir: Path) -> str:
    """Return why Kafka gave up, with the lines that say so.

    >>> print(explain("ERROR Failed to acquire lock on file .lock in /d/log", Path("/d")))
    another Kafka uses /d; stop it, or choose another directory
      | ERROR Failed to acquire lock on file .lock in /d/log
    """
    for pattern, meaning in _MEANINGS:
        if found := re.search(pattern, output):
            return f"{meaning.format(data_dir, *found.groups())}\n{tail(output)}"
    return f"Kafka could not start; all it said is in {data_dir / 'broker.log'}\n{tail(output)}"


def refused_port(output: str) -> int | None:
    """Return the port that Kafka could not bind, if that was its trouble.

    >>> refused_port("Socket server failed to bind to 127.0.0.1:9092: Address already in use.")
    9092
    """
    found = re.search(r"failed to bind to \S*?:(\d+)", output)
    return int(found.group(1)) if found else None


def tail(output: str) -> str:
    """Return the last lines that tell of an error, or the last lines where none does."""
    lines = output.splitlines()
    telling = [line for line in lines if re.search(r"\b(ERROR|FATAL)\b|Exception|Error:|Caused by", line)]
    return "\n".join(f"  | {line[:_LINE_CHARS]}" for line in (telling or lines)[-_TAIL_LINES:])
