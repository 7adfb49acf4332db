"""Kafka's two programs as child processes of ours: the one that formats a data directory, and the broker."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BrokerError
from streams.broker.java import Java
from streams.broker.symptoms import explain

_FORMAT_PATIENCE_S = 60.0

# To the console, which goes into broker.log: Kafka's start is read there.
_LOG4J2 = """\
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p [%c{1}] %m%n%throwable{short}
"""


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts Kafka's two programs over one data directory: the one that formats it, and the broker."""

    java: Java
    libs: Path
    data_dir: Path
    heap_mib: int

    def format_once(self) -> None:
        """Make the data directory one of Kafka's, unless it is one."""
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        command = self._command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties")
        try:
            done = subprocess.run(
                command, cwd=self.data_dir, capture_output=True, text=True, timeout=_FORMAT_PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(f"Kafka did not format {self.data_dir} within {_FORMAT_PATIENCE_S:.0f} s") from error
        if done.returncode != 0:
            output = done.stdout + done.stderr
            self._log.write_text(output, encoding="utf-8")
            raise BrokerError(explain(output, self.data_dir))

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the broker, and return without waiting for it."""
        if self._log.exists():
            self._log.replace(self.data_dir / "broker.previous.log")
        command = self._command("kafka.Kafka", "server.properties")
        # A session of its own: Ctrl-C reaches the workers first, and they still have a broker to flush to.
        group = 0
        if sys.platform == "win32":
            group = subprocess.CREATE_NEW_PROCESS_GROUP
        with self._log.open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=group,
            )

    @property
    def _log(self) -> Path:
        return self.data_dir / "broker.log"

    def _command(self, main_class: str, *arguments: str) -> list[str]:
        # Relative names, with the data directory as the working directory: no path of it needs quoting anywhere.
        (self.data_dir / "log4j2.properties").write_text(_LOG4J2, encoding="ascii")
        heap = [f"-Xmx{self.heap_mib}m", f"-Xms{min(64, self.heap_mib)}m"]
        # Serial GC and the C1 compiler only: this broker is to start fast and stay small, not to win a benchmark.
        flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=log4j2.properties"]
        if self.java.major >= 24:  # it would warn of what Kafka's libraries do; older ones do not know the second flag
            flags += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
        return [self.java.path, *heap, *flags, "-cp", f"{self.libs}{os.sep}*", main_class, *arguments]
