"""A process of the benchmark's, what it says and what it uses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import orjson

from cdc.sandbox.process import ChildProcess

ROOT = Path(__file__).resolve().parents[2]
CALM_CPU_S, CALM_FOR_S = 0.005, 0.5  # seconds of CPU, in as many seconds


class Child(ChildProcess):
    """A process that is spoken to over its pipes.

    plan:     given to it as a line of JSON on its standard input, which stays open.
    settings: its environment in addition to a bare one.
    """

    def __init__(
        self,
        *arguments: str,
        log: Path,
        plan: object = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            *(arguments[-1].removeprefix("tests.bench.load."), *arguments),
            settings={"PYTHONPATH": str(ROOT), **(settings or {})},
            log=log,
            pipes=True,
        )
        if plan is not None:
            self.send(orjson.dumps(plan))

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def send(self, line: bytes) -> None:
        """Writes a line to it. Raises ProcessFailed when it is not there any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check()
            raise self.failed("does not listen any more") from None

    def answer(self, within: float = 60.0) -> bytes:
        """The next line it writes. Raises ProcessFailed when it ends instead, or takes too long."""
        with self._limited(within):
            line = self._output.readline()
        if not line:
            self._process.wait()
            raise self.failed(f"ended: {self._process.returncode}")
        return line

    def result(self, within: float = 300.0) -> bytes:
        """All it writes until it ends. Raises ProcessFailed on a failure, or at the limit."""
        with self._limited(within):
            output = self._output.read()
            self._process.wait()
        if self._process.returncode != 0:
            raise self.failed(f"ended: {self._process.returncode}")
        return output

    @contextmanager
    def _limited(self, within: float) -> Iterator[None]:
        """It is killed when it takes longer than that."""
        timer = threading.Timer(within, self._process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def stop(self) -> int:
        """Asks it to end, and waits for that."""
        code = super().stop()
        self._close_pipes()
        return code

    def kill(self) -> int:
        """SIGKILL, as a crash would be."""
        code = super().kill()
        self._close_pipes()
        return code

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what it uses, children included -----------------------------------------------------------

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return sum(cpu_of(pid) for pid in tree(self.pid))

    def calm(self, within: float = 10.0) -> None:
        """Waits until it uses next to nothing: what its start takes is over."""
        deadline = time.monotonic() + within
        used = -CALM_CPU_S
        while self.cpu() - used >= CALM_CPU_S and time.monotonic() < deadline:
            used = self.cpu()
            time.sleep(CALM_FOR_S)

    def peak_memory(self) -> int:
        """Most resident memory so far, in bytes."""
        return sum(_status(pid, "VmHWM") for pid in tree(self.pid))


def cpu_of_all(pid: int) -> float:
    """Seconds of CPU that a process and its children have used, those that have ended included."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
        return ended + sum(cpu_of(one) for one in tree(pid))
    return 0.0


def tree(pid: int) -> list[int]:
    """The process and its children, theirs included."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [pid, *(found for child in children.split() for found in tree(int(child)))]
    return [pid]


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 where it has ended."""
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
