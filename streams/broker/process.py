"""A process, told from a later one that got the same pid."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

from streams.broker.extra import extra

# Creation times are computed from the clock at boot, which moves when the clock is set: allow for that, but not for a
# pid that came round again.
_CLOCK_SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid together with the Unix time, in seconds, at which its process was created."""

    pid: int
    created_s: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify a living process."""
        return cls(pid, extra("psutil").Process(pid).create_time())

    @classmethod
    def mine(cls) -> ProcessId:
        """Identify this process.

        >>> ProcessId.mine().alive()
        True
        """
        return cls.of(os.getpid())

    def alive(self) -> bool:
        """Whether this very process still runs; one that waits to be reaped does not.

        >>> ProcessId(os.getpid(), created_s=0.0).alive()
        False
        """
        psutil = extra("psutil")
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return bool(abs(process.create_time() - self.created_s) < _CLOCK_SLACK_S)
        except psutil.Error:
            return False

    def resident_bytes(self) -> int:
        """The memory it holds; 0 when it is gone."""
        psutil = extra("psutil")
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def terminate(self, *, patience_s: float) -> None:
        """Ask it to stop, and kill it when it has not after `patience_s`."""
        if not self.alive():
            return
        psutil = extra("psutil")
        try:
            process = psutil.Process(self.pid)
            if sys.platform == "win32":
                # terminate() would be a kill there; Java runs its shutdown hooks on Ctrl-Break.
                process.send_signal(signal.CTRL_BREAK_EVENT)
            else:
                process.terminate()
            try:
                process.wait(patience_s)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(5)
        except psutil.NoSuchProcess:
            return
