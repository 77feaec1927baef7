"""Notifies systemd (sd_notify): ready, stopping, and that we are alive. Does nothing where that is
not asked for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable


class Systemd:
    """Of a unit with ``Type=notify``, and ``WatchdogSec`` if wanted."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        # Meant for this process alone: children are ours to supervise.
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = os.environ.get("WATCHDOG_USEC", "") if ours else ""
        self._every = int(limit) / 3e6 if limit.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=waiting for requests in flight")

    async def watch(self, alive: Callable[[], bool], status: Callable[[], str]) -> None:
        """Reports that we are alive, as often as asked for and for as long as it is so, and how it
        stands."""
        if not self._address or not self._every:
            return
        while True:
            if alive():
                self._tell(f"WATCHDOG=1\nSTATUS={status()}")
            await asyncio.sleep(self._every)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the kernel's own namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(text.encode(), socket.MSG_DONTWAIT, address)
            except OSError:
                return  # there is no listener, or systemd is busy: the next one counts as well
