"""The daemon as a process of its own, the same as in production: `python -m cdc run`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cdc.errors import CdcError
from cdc.sandbox.embedded import launch

STOP_WITHIN = 10.0
"""Seconds that the daemon has to end when asked to; then it is killed."""


def bare_environment() -> dict[str, str]:
    """Our environment without any setting of ours or of PostgreSQL's client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CDC_", "PG"))}


class DaemonFailed(CdcError):
    """log: the end of its log."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class DaemonProcess:
    """settings: its environment beside the bare one, such as ``CDC_DATABASE_URL``.

    log: the file that its log goes to.
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self._environment = {**bare_environment(), **settings}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                # Between us and the daemon: it is to end with us, even when we are killed.
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", "-"),
                # -P: nothing is imported from the folder that we stand in.
                *(sys.executable, "-P", "-m", "cdc", "run"),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for us; we stop the daemon when we are done.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises DaemonFailed when it has ended."""
        if self._process is not None and self._process.returncode is not None:
            raise self.failed(f"the daemon ended unexpectedly ({_how(self._process.returncode)})")

    def failed(self, message: str) -> DaemonFailed:
        return DaemonFailed(message, self.log_tail())

    async def stop(self) -> int:
        """Ask it to end, and wait for that. Returns its exit code; 0 if it never ran."""
        process = self._process
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                return await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            return await process.wait()

    def log_tail(self, lines: int = 30) -> str:
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 500 * lines))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
