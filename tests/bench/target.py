"""The receiver as the benchmark sees it: where it listens, and what came."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from tests.bench.child import Child
from tests.bench.load.receiver import RECORD
from tests.support.certificates import certificate

LOOK_EVERY = 0.05


class Receipt(NamedTuple):
    """A request that was received.

    at:  its last byte, in nanoseconds of the monotonic clock.
    uid: its webhook-id; empty without one.
    """

    at: int
    hook: int
    key: int
    uid: bytes


class Target:
    """Runs the receiver while the block lasts.

    ca_file: what to trust for its TLS.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file, _ = certificate(folder, "127.0.0.1")
        self._address = str(folder / "receiver")

    def __enter__(self) -> Self:
        self._child = Child(
            *("-m", "tests.bench.load.receiver"),
            log=self._folder / "receiver.log",
            plan={"socket": self._address, "folder": str(self._folder)},
        )
        self._plain, self._tls = json.loads(self._child.answer())
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._child.stop()

    def url(self, hook: int, *, tls: bool = False) -> str:
        return f"{self.base(tls=tls)}{hook}"

    def base(self, *, tls: bool = False) -> str:
        return f"https://127.0.0.1:{self._tls}/" if tls else f"http://127.0.0.1:{self._plain}/"

    def cpu(self) -> float:
        """Seconds of CPU it used so far."""
        return self._child.cpu()

    def clear(self) -> None:
        """Forgets what came."""
        self._ask(b"clear")

    def delay(self, seconds: float) -> None:
        """Every answer takes so long from now on."""
        self._ask(f"delay {seconds}".encode())

    def count(self) -> int:
        """Requests since the last ``clear``."""
        return int(self._ask(b"count"))

    def receipts(self) -> list[Receipt]:
        """What came since the last ``clear``, in order of time."""
        return [Receipt._make(found) for found in RECORD.iter_unpack(self._ask(b"records"))]

    def wait_for(self, count: int, seconds: float, alive: Callable[[], None]) -> bool:
        """Waits for so many requests, at most so long. Returns whether they came.

        alive: raises when there is nothing to wait for any more.
        """
        deadline = time.monotonic() + seconds
        while self.count() < count:
            alive()
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY)
        return True

    def _ask(self, command: bytes) -> bytes:
        self._socket.sendall(command + b"\n")
        return self._read(int.from_bytes(self._read(8), "little"))

    def _read(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            part = self._socket.recv(min(1 << 20, size - len(got)))
            if not part:
                raise self._child.failed("hung up")
            got += part
        return bytes(got)
