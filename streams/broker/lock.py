"""Writes `kafka.lock.json` (development only): `python -m streams.broker.lock [KAFKA_VERSION]`.

Read the diff before committing it: each org.apache.kafka jar has the version asked for, slf4j-api is there once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schemas.errors import BrokerError
from streams.broker.extra import extra
from streams.broker.jars import Jar, KafkaLock, load_lock

# Kafka's own POM brings no binding for SLF4J 1.7: without this one it runs, and logs nothing at all.
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def resolve_lock(version: str) -> KafkaLock:
    """Return every jar that Kafka `version` runs from, as Maven Central has them today.

    Raises:
        BrokerError: two roots want different versions of a jar, or a jar's bytes are not what Central says they are.
    """
    roots = (f"org.apache.kafka:kafka_2.13:{version}", _LOGGING)
    found: dict[tuple[str, str], Any] = {}
    for root in roots:
        # One at a time: resolved together, the versions that log4j's POM manages replace Kafka's own.
        for artifact in extra("jgo").resolve(root):
            known = found.setdefault((artifact.groupId, artifact.artifactId), artifact)
            if known.version != artifact.version:
                raise BrokerError(f"{artifact.artifactId} is wanted as {known.version} and as {artifact.version}")
    return KafkaLock(version, tuple(_jar(found[key]) for key in sorted(found)))


def render_lock(lock: KafkaLock) -> str:
    """Return the lock as the text of `kafka.lock.json`."""
    return json.dumps(asdict(lock), indent=1) + "\n"


def _jar(artifact: Any) -> Jar:
    folder = "/".join((*artifact.groupId.split("."), artifact.artifactId, artifact.version))
    content = artifact.resolve().read_bytes()
    path = f"{folder}/{artifact.filename}"
    # SHA-1 is what Central publishes for each file; the lock holds SHA-256.
    published = _published_sha1(path)
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != published:
        raise BrokerError(f"{path} in jgo's cache is not the file that Maven Central has; delete it and try again")
    return Jar(path, hashlib.sha256(content).hexdigest(), len(content))


def _published_sha1(path: str) -> str:
    url = f"{extra('jgo.constants').MAVEN_CENTRAL_URL}/{path}.sha1"
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
        text: str = answer.read().decode("ascii")
    return text.split(maxsplit=1)[0]


def main() -> None:
    """Rewrite the package's lock file for the version named on the command line, else for the one it names."""
    version = sys.argv[1] if len(sys.argv) > 1 else load_lock().version
    lock = resolve_lock(version)
    Path(__file__).with_name("kafka.lock.json").write_text(render_lock(lock), encoding="utf-8")
    sys.stdout.write(f"Kafka {lock.version}: {len(lock.jars)} jars, {lock.size_bytes / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
