"""`freshet broker`: up returns and leaves a broker that every command finds; down, status and wipe do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.errors import BrokerError
from streams.broker import find_bootstrap
from streams.broker.state import BrokerState, running, write_state
from streams.cli.broker import command


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data directory of our own, named by FRESHET_KAFKA_DATA."""
    monkeypatch.setenv("FRESHET_KAFKA_DATA", str(tmp_path / "kafka"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    return tmp_path / "kafka"


def freshet_broker(*arguments: str, answer: str = "") -> Result:
    """Run `freshet broker` with the arguments."""
    return CliRunner().invoke(command, arguments, input=answer)


def test_up_status_down_wipe(data_dir: Path) -> None:
    """One life of a broker, by its four commands."""
    up = freshet_broker("up", "--heap", "128")
    try:
        assert up.exit_code == 0, up.output
        bootstrap = up.stdout.strip()
        found = find_bootstrap()
        status = freshet_broker("status")
    finally:
        down = freshet_broker("down")
    stopped = freshet_broker("status")
    wiped = freshet_broker("wipe", "--yes")

    assert bootstrap == found
    assert status.exit_code == 0
    assert f"on {bootstrap}" in status.stdout
    assert down.exit_code == 0
    assert bootstrap in down.stderr
    assert running(data_dir) is None
    assert stopped.exit_code == 3
    assert "not running" in stopped.stdout
    assert wiped.exit_code == 0
    assert list(data_dir.iterdir()) == []


def test_down_without_a_broker_is_no_error(data_dir: Path) -> None:
    """`down` twice does what `down` once does."""
    done = freshet_broker("down")

    assert done.exit_code == 0
    assert "no Kafka broker is running" in done.stderr
    assert not data_dir.exists()


def test_wipe_asks_and_takes_no_for_an_answer(data_dir: Path) -> None:
    """Records are deleted only after a yes."""
    data_dir.mkdir()
    write_state(data_dir, BrokerState("4.3.1"))

    declined = freshet_broker("wipe", answer="n\n")

    assert declined.exit_code == 1
    assert (data_dir / "broker.json").exists()


def test_wipe_deletes_only_what_a_broker_wrote(data_dir: Path) -> None:
    """Should FRESHET_KAFKA_DATA name a directory with other files in it, those stay."""
    (data_dir / "log").mkdir(parents=True)
    (data_dir / "log" / "meta.properties").write_text("version=1\n")
    (data_dir / "thesis.txt").write_text("the work of years")

    freshet_broker("wipe", "--yes")

    assert [path.name for path in data_dir.iterdir()] == ["thesis.txt"]


def test_wipe_of_a_directory_without_records_touches_nothing(data_dir: Path) -> None:
    """A directory that no broker ever used is left as it is, its `log` folder included."""
    (data_dir / "log").mkdir(parents=True)

    done = freshet_broker("wipe", "--yes")

    assert done.exit_code == 0
    assert (data_dir / "log").exists()


def test_port_out_of_range_is_refused(data_dir: Path) -> None:
    """A port that cannot be is a usage error, and starts nothing."""
    refused = freshet_broker("up", "--port", "70000")

    assert refused.exit_code == 2
    assert "70000" in refused.stderr
    assert not data_dir.exists()


def test_prefetch_offline_without_jars_says_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`prefetch` fails plainly where nothing may be fetched."""
    monkeypatch.setenv("KAFKA_OFFLINE", "1")
    monkeypatch.setenv("KAFKA_CACHE", str(tmp_path / "empty"))

    refused = freshet_broker("prefetch")

    assert isinstance(refused.exception, BrokerError)
    assert "46 of 46 Kafka jars" in str(refused.exception)
    assert not data_dir.exists()
