"""Processes of cdc that do not import it again: forked from one that has (nursery.py).

To import it takes a daemon 0.4 s of CPU and `cdc serve` 0.8 s; the tests start 150 of them. What
comes after is the same: arguments, environment, descriptors, signals, exit code. That `python -m
cdc` starts is for the tests of the start (daemon/test_start.py, cli/, demo/), of memory, and of
containers, which call it.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache

from tests.house.files import TOP


class Forked:
    """`cdc` with these arguments. stderr: a descriptor, which remains the caller's."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], stderr: int) -> None:
        self.returncode: int | None = None
        self._control, theirs = socket.socketpair()
        order = json.dumps([list(arguments), dict(env)]).encode()
        with theirs:
            socket.send_fds(_nursery(), [order], [stderr, theirs.fileno()])
        self.pid = int(self._control.recv(16))
        """The nursery closes its end with the exit code."""

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        if self.returncode is None and select.select([self._control], [], [], 0)[0]:
            # It stays there for a coroutine that waits for it.
            self.returncode = int(self._control.recv(16, socket.MSG_PEEK))
        return self.returncode

    def wait(self, timeout: float) -> int:
        select.select([self._control], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("cdc", timeout)
        return code

    async def ended(self) -> int:
        """The same on an event loop."""
        if (code := self.poll()) is None:
            self._control.setblocking(False)
            code = self.returncode = int(
                await asyncio.get_running_loop().sock_recv(self._control, 16)
            )
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def stop(self, within: float) -> None:
        """Asks it to end, kills it if it does not, and lets go of it."""
        self.terminate()
        try:
            self.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait(within)
        self.close()

    def close(self) -> None:
        self._control.close()


@cache
def _nursery() -> socket.socket:
    """Of this process; ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=TOP,
        )

    def close() -> None:
        ours.close()
        process.wait()

    atexit.register(close)
    return ours
