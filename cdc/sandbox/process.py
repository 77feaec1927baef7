"""A process of the demo's or the benchmark's: it ends with us, even when we are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from cdc.errors import CdcError
from cdc.sandbox.embedded import launch
from cdc.sandbox.embedded.folder import tail

STOP_WITHIN_S = 20.0
"""Seconds that a process has to end when asked to; then it is killed."""
READY_WITHIN_S = 30.0


def bare_environment() -> dict[str, str]:
    """Our environment without any setting of ours or of PostgreSQL's client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CDC_", "PG"))}


class ProcessFailed(CdcError):
    """A process of ours ended, or does not get ready. hint: the end of its log."""


class ChildProcess:
    """Runs ``arguments`` of this Python, such as ``-m cdc run``.

    name:     in messages.
    settings: its environment in addition to the bare one, such as ``CDC_DATABASE_URL``.
    log:      the file that its errors are added to, and its output unless that is a pipe.
    pipes:    whether its input and output are pipes.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        settings: Mapping[str, str],
        log: Path,
        pipes: bool = False,
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [
                    # Between us and it: it is to end with us, even when we are killed.
                    *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", "-"),
                    # -P: nothing is imported from the folder that we stand in.
                    *(sys.executable, "-P", *arguments),
                ],
                env={**bare_environment(), **settings},
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file,
                # Ctrl-C in a terminal is for us; we stop it when we are done.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises ProcessFailed when it has ended."""
        if (code := self._process.poll()) is not None:
            how = f"exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            raise self.failed(f"ended unexpectedly ({how})")

    def failed(self, how: str) -> ProcessFailed:
        return ProcessFailed(f"{self.name} {how}", self.log_tail())

    def wait(self, seconds: float | None = None) -> int:
        """Waits for its end. Returns its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Asks it to end, and waits for that. Returns its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as a crash would be."""
        self._process.kill()
        return self._process.wait()

    def log(self) -> str:
        """All of its log so far."""
        return self._log.read_text("utf-8", errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Waits until its log has this text. Raises ProcessFailed."""
        deadline = time.monotonic() + READY_WITHIN_S
        while text not in self.log():
            self.check()
            if time.monotonic() > deadline:
                raise self.failed(f"is not ready after {READY_WITHIN_S:.0f} s")
            time.sleep(0.01)

    def log_tail(self, lines: int = 30) -> str:
        return tail(self._log, lines)
