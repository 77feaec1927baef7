"""The daemon and the API, each a process of its own, the same as in production."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdc.errors import CdcError
from cdc.sandbox.embedded import launch

STOP_WITHIN = 10.0
"""Seconds that a process has to end when asked to; then it is killed."""
READY_WITHIN = 30.0
_LOOK_EVERY = 0.02


def bare_environment() -> dict[str, str]:
    """Our environment without any setting of ours or of PostgreSQL's client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CDC_", "PG"))}


class ProcessFailed(CdcError):
    """A process of ours ended, or does not get ready.

    log: the end of its log.
    """

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class CdcProcess:
    """One command of `cdc`, running.

    name:      in messages.
    arguments: of the command line, such as ``run``.
    settings:  its environment beside the bare one, such as ``CDC_DATABASE_URL``.
    log:       the file that its log goes to, as JSON lines or as text.
    """

    def __init__(self, name: str, *arguments: str, settings: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = {**bare_environment(), **settings}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                # Between us and it: it is to end with us, even when we are killed.
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", "-"),
                # -P: nothing is imported from the folder that we stand in.
                *(sys.executable, "-P", "-m", "cdc", *self._arguments),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for us; we stop it when we are done.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises ProcessFailed when it has ended."""
        if self._process is not None and self._process.returncode is not None:
            how = _how(self._process.returncode)
            raise self.failed(f"{self.name} ended unexpectedly ({how})")

    def failed(self, message: str) -> ProcessFailed:
        return ProcessFailed(message, self.log_tail())

    async def logged(self, event: str) -> dict[str, Any]:
        """Waits for this event in a log of JSON lines, and returns its line.

        Raises ProcessFailed.
        """
        deadline = time.monotonic() + READY_WITHIN
        while True:
            for line in self._events():
                if line.get("event") == event:
                    return line
            self.check()
            if time.monotonic() > deadline:
                raise self.failed(f"{self.name} is not ready after {READY_WITHIN:.0f} s")
            await asyncio.sleep(_LOOK_EVERY)

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._log.read_bytes().splitlines():
            with suppress(ValueError):
                if isinstance(event := json.loads(line), dict):
                    yield event

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
