"""Which broker is used: KAFKA_BOOTSTRAP, else this user's embedded one, else a message that says how to get one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import BrokerError
from streams.broker import find_bootstrap
from streams.broker.ports import free_ports
from streams.broker.process import ProcessId
from streams.broker.state import BrokerState, running, write_state


def test_named_broker_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """KAFKA_BOOTSTRAP wins, without a look at the machine."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", " kafka:19092 ")

    assert find_bootstrap() == "kafka:19092"


def test_no_broker_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a broker the message names the variable to set and the command to run."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setenv("FRESHET_KAFKA_DATA", str(tmp_path))

    with pytest.raises(BrokerError, match=r"set KAFKA_BOOTSTRAP .* `freshet broker up`"):
        find_bootstrap()


def test_broker_that_does_not_answer_is_not_handed_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A living process behind which no Kafka answers is reported, with its log."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setenv("FRESHET_KAFKA_DATA", str(tmp_path))
    write_state(tmp_path, BrokerState("4.3.1", port=free_ports(1)[0], process=ProcessId.mine()))

    with pytest.raises(BrokerError, match=r"does not answer.*broker\.log"):
        find_bootstrap()


def test_pid_of_a_later_process_is_not_the_broker(tmp_path: Path) -> None:
    """A pid that was given to another process since does not make a dead broker alive."""
    mine = ProcessId.mine()
    write_state(tmp_path, BrokerState("4.3.1", port=9092, process=ProcessId(mine.pid, mine.created_s - 3600)))

    assert running(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "4.3.1", "process": 7}', '{"unknown": 1}'])
def test_damaged_state_counts_as_none(tmp_path: Path, content: str) -> None:
    """A broker.json that was cut short or edited by hand is no reason to fail."""
    (tmp_path / "broker.json").write_text(content)

    assert running(tmp_path) is None


def test_edge_needs_nothing_of_the_embedded_extra() -> None:
    """With KAFKA_BOOTSTRAP set, finding the broker imports the standard library and our own packages only."""
    program = (
        "import sys; before = set(sys.modules); from streams.broker import find_bootstrap; print(find_bootstrap());"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(roots - sys.stdlib_module_names - {'streams', 'schemas'}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"KAFKA_BOOTSTRAP": "kafka:19092"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert done.stdout.split("\n")[:2] == ["kafka:19092", "[]"]
