"""The README's commands, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def script() -> str:
    """All `sh` blocks of the README, in order, made to stop at the first command that fails."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    return "\n".join(["set -euo pipefail", *blocks])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl not found (the README's call of the edge)")
def test_the_commands_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    """Produce, consume, workers, edge: typed in this order they give scores."""
    port = free_port()
    # However it ends, no worker and no broker stays behind.
    trap = "trap 'kill $(jobs -p) 2>/dev/null || true; freshet broker down >/dev/null 2>&1 || true' EXIT\n"
    commands = trap + script().replace("8080", str(port))
    # What a person does by reading on: wait until the edge is ready, and until there are scores.
    ready = f"until curl --silent --fail http://127.0.0.1:{port}/v2/health/ready >&2; do sleep 0.3; done\n"
    commands = commands.replace("freshet simulate --print", ready + "freshet simulate --print", 1)
    commands = commands.replace("freshet consume scores", "sleep 5\nfreshet consume scores", 1)
    commands = commands.replace("freshet dead-letters list", "freshet dead-letters list\nfreshet consume examples", 1)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "FRESHET_"))}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FRESHET_KAFKA_DATA": str(tmp_path / "kafka"),
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    done = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=150, check=False
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    scores = [each for each in found if "validUntil" in each]
    (answer,) = [each for each in found if "scores" in each]
    examples = [each for each in found if "closedAt" in each]
    assert len(scores) == 3
    assert all(each["version"] > 0 for each in scores)
    assert len(examples) > 2000  # of 2,500 events nearly all get a label: no run hides behind another's clock
    assert all(each["model"] == "purchase-propensity" and 0 <= each["score"] <= 1 for each in scores)
    assert answer["scores"][0]["model"] == "purchase-propensity"
    assert answer["scores"][0]["version"] >= 0
