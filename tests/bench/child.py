"""A process of the benchmark's: it ends with us, even when we are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import orjson

from cdc.errors import CdcError
from cdc.sandbox.demo.process import bare_environment
from cdc.sandbox.embedded import launch

ROOT = Path(__file__).resolve().parents[2]
STOP_WITHIN = 20.0
"""Seconds that a process has to end when asked to; then it is killed."""


class ChildFailed(CdcError):
    """A process of the benchmark's ended early, or with an error."""


class Child:
    """Runs ``arguments`` of this Python.

    plan:     given to it as a line of JSON on its standard input, which stays open.
    settings: its environment beside a bare one.
    log:      the file its standard error is added to.
    """

    def __init__(
        self,
        *arguments: str,
        log: Path,
        plan: object = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = arguments[-1].removeprefix("tests.bench.load.")
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "-", "-"),
                    # -P: nothing is imported from the folder that we stand in.
                    *(sys.executable, "-P", *arguments),
                ],
                env={**bare_environment(), "PYTHONPATH": str(ROOT), **(settings or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C in a terminal is for us; we stop it when we are done.
                start_new_session=True,
            )
        if plan is not None:
            self.tell(orjson.dumps(plan))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def tell(self, line: bytes) -> None:
        """Writes a line to it. Raises ChildFailed when it is not there any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check()
            raise self.failed("does not listen any more") from None

    def answer(self, within: float = 60.0) -> bytes:
        """The next line it writes. Raises ChildFailed when it ends instead, or takes too long."""
        with self._limited(within):
            line = self._output.readline()
        if not line:
            self._process.wait()
            raise self.failed(f"ended: {self._process.returncode}")
        return line

    def result(self, within: float = 300.0) -> bytes:
        """All it writes until it ends. Raises ChildFailed when it does not end well and in time."""
        with self._limited(within):
            output = self._output.read()
            self._process.wait()
        if self._process.returncode != 0:
            raise self.failed(f"ended: {self._process.returncode}")
        return output

    @contextmanager
    def _limited(self, within: float) -> Iterator[None]:
        """Whoever waits for it longer than that waits in vain: it is killed."""
        timer = threading.Timer(within, self._process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def check(self) -> None:
        """Raises ChildFailed when it has ended."""
        if self._process.poll() is not None:
            raise self.failed(f"ended by itself: {self._process.returncode}")

    def failed(self, how: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {how}", self.log_tail())

    def stop(self) -> None:
        """Asks it to end, and waits for that."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._closed()

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self._process.kill()
        self._closed()

    def _closed(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log_tail(self, lines: int = 30) -> str:
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 500 * lines))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    # -- what it uses, children included -----------------------------------------------------------

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return sum(_cpu(pid) for pid in _tree(self.pid))

    def peak_memory(self) -> int:
        """Most resident memory so far, in bytes."""
        return sum(_status(pid, "VmHWM") for pid in _tree(self.pid))


def cpu_of_all(pid: int) -> float:
    """Seconds of CPU that a process and its children have used, those that have ended included."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
        return ended + sum(_cpu(one) for one in _tree(pid))
    return 0.0


def _tree(pid: int) -> list[int]:
    """The process and its children, theirs included."""
    with suppress(OSError):
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [pid, *(found for child in told.split() for found in _tree(int(child)))]
    return [pid]


def _cpu(pid: int) -> float:
    with suppress(OSError):
        # The kernel's number of the clock that counts this process's CPU (clock_getcpuclockid).
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def _status(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
