"""docker-compose.yml and the Dockerfile say what the code says; a machine without Docker can hold them against it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]

from streams.broker.jars import ensure_jars, load_lock
from streams.broker.java import find_java
from streams.broker.properties import common_settings, parse_properties
from streams.cli import root

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("schemas", "learners", "scoring", "streams")
FRESHET_SERVICES = ("topics", "scorer", "learner", "edge")
SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
KAFKA: dict[str, Any] = SERVICES["kafka"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def variables_read() -> set[str]:
    """Every environment variable that the packages read by name."""
    reads = re.compile(r"""os\.(?:environ\.get\(|environ\[|getenv\()\s*["'](\w+)""")
    sources = (file.read_text() for package in PACKAGES for file in (REPOSITORY / package).rglob("*.py"))
    return {name for source in sources for name in reads.findall(source)}


def instructions(target: str) -> str:
    """The Dockerfile's lines for a target, continued lines joined."""
    stages = re.split(r"^FROM \S+ AS ", DOCKERFILE.replace("\\\n", " "), flags=re.MULTILINE)
    return next(stage for stage in stages if stage.startswith(f"{target}\n"))


def test_services_are_all_held() -> None:
    """A service that is added to the file is one that these tests know."""
    assert set(SERVICES) == {"kafka", *FRESHET_SERVICES}


def test_image_is_the_locked_kafka() -> None:
    """Docker runs the very version whose jars the embedded broker runs."""
    assert KAFKA["image"] == f"apache/kafka:{load_lock().version}"


@pytest.mark.parametrize("service", FRESHET_SERVICES)
def test_command_parses(service: str) -> None:
    """Each service's command is one that the command line takes, options and all."""
    name, *arguments = SERVICES[service]["command"]
    command = root.get_command(click.Context(root), name)
    assert command is not None

    context = command.make_context(name, arguments)

    assert not context.args


def test_model_is_where_the_workers_look() -> None:
    """The model file of scorer and learner is below the folder that is mounted into their working directory."""
    for service in ("scorer", "learner"):
        model = SERVICES[service]["command"][-1]
        source, target, mode = SERVICES[service]["volumes"][0].split(":")

        assert f"/app/{model}".startswith(f"{target}/")
        assert mode == "ro"
        assert (REPOSITORY / source / Path(f"/app/{model}").relative_to(target)).is_file()
    assert "\nWORKDIR /app\n" in DOCKERFILE


@pytest.mark.parametrize("service", FRESHET_SERVICES)
def test_variables_are_read_by_the_code(service: str) -> None:
    """A variable that is set for a service is one that some package reads; a renamed one is noticed here."""
    assert set(SERVICES[service]["environment"]) <= variables_read()


@pytest.mark.parametrize("service", FRESHET_SERVICES)
def test_services_use_the_door_between_containers(service: str) -> None:
    """KAFKA_BOOTSTRAP is the listener that Kafka advertises under its own service name."""
    advertised = KAFKA["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")

    assert f"INTERNAL://{SERVICES[service]['environment']['KAFKA_BOOTSTRAP']}" in advertised


def test_published_ports_are_on_loopback() -> None:
    """Nothing is reachable from another machine."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("service", ["scorer", "learner", "edge"])
def test_port_is_the_published_one(service: str) -> None:
    """Edge and workers listen on the port that is published, on an address that Docker can reach."""
    command = SERVICES[service]["command"]

    assert SERVICES[service]["ports"][0].rpartition(":")[2] == command[command.index("--port") + 1]
    assert command[command.index("--host") + 1] == "0.0.0.0"


def test_kafka_reads_the_packages_properties() -> None:
    """The file that is mounted where the image looks for settings is the one that the embedded broker reads."""
    source, target, mode = KAFKA["volumes"][0].split(":")

    assert parse_properties((REPOSITORY / source).read_text()) == common_settings()
    assert target == "/mnt/shared/config/server.properties"
    assert mode == "ro"


def test_kafka_takes_the_settings(tmp_path: Path) -> None:
    """The image's own set-up program (it is in the locked jars) accepts file and variables, and loses no setting."""
    for folder in ("default", "mounted", "final"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mounted" / "server.properties").write_bytes(
        (REPOSITORY / "streams/broker/server.properties").read_bytes()
    )
    environment = KAFKA["environment"] | {
        "KAFKA_LOG_DIRS": str(tmp_path / "data"),
        "CLUSTER_ID": "freshet-test-cluster00",
    }
    folders = [argument for name in ("default", "mounted", "final") for argument in (f"--{name}-configs-dir", name)]
    libs = ensure_jars(load_lock(), print)

    done = subprocess.run(
        [find_java().path, "-Xmx128m", "-cp", f"{libs}{os.sep}*", "kafka.docker.KafkaDockerWrapper", "setup", *folders],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    settings = parse_properties((tmp_path / "final" / "server.properties").read_text())
    assert common_settings().items() <= settings.items()
    assert settings["listeners"] == KAFKA["environment"]["KAFKA_LISTENERS"]
    assert (tmp_path / "data" / "meta.properties").exists()


@pytest.mark.parametrize("service", FRESHET_SERVICES)
def test_build_target_exists(service: str) -> None:
    """The target that a service is built from is a stage of the Dockerfile, and starts `freshet`."""
    assert instructions(SERVICES[service]["build"]["target"])
    assert 'ENTRYPOINT ["freshet"]' in instructions("runtime")
    assert "freshet" in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]


def test_edge_image_has_no_extra() -> None:
    """The edge is installed with the base dependencies only, the worker with what it trains with."""
    installed = {
        target: next(word for word in shlex.split(instructions(target)) if word.partition("[")[0] == "freshet")
        for target in ("edge", "worker")
    }

    assert installed == {"edge": "freshet", "worker": "freshet[train]"}


def test_image_has_every_package() -> None:
    """What pyproject.toml puts into the wheel is copied to where the wheel is built, and let through .dockerignore."""
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    let_through = (REPOSITORY / ".dockerignore").read_text().splitlines()

    assert packages["packages"] == list(PACKAGES)
    for package in PACKAGES:
        assert f"COPY {package} {package}\n" in instructions("wheels")
        assert f"!{package}" in let_through
