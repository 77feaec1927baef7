"""The receiver's process, as the test holds it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.faults.counts import Counts

ANSWER_WITHIN = 30.0


class Peer:
    """Starts the receiver and gives it orders: ``async with Peer(folder, 48) as peer``.

    counts: its live counts.  file: its records, whole after ``flush()``.
    """

    def __init__(self, folder: Path, webhooks: int, *, ports: int = 4, seed: int = 0) -> None:
        self.file = folder / "requests.bin"
        self.file.touch()
        self.counts = Counts(folder / "counts", webhooks)
        self.ports: list[int] = []
        self._arguments = [str(folder), str(webhooks), str(ports), str(seed)]
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.receiver", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.ports = await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), ANSWER_WITHIN)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def check(self) -> None:
        """Raises RuntimeError if the receiver has ended."""
        if self._process.returncode is not None:
            raise RuntimeError("the receiver has ended: see stderr")

    def port_of(self, webhook: int) -> int:
        return self.ports[webhook % len(self.ports)]

    def url(self, webhook: int) -> str:
        """Where a webhook is to be delivered."""
        return f"http://127.0.0.1:{self.port_of(webhook)}/{webhook}"

    async def mode(self, webhooks: Sequence[int], mode: str) -> None:
        """How requests of these webhooks are answered from now on."""
        await self._order(do="mode", webhooks=list(webhooks), mode=mode)

    async def delay(self, webhooks: Sequence[int], low: float, high: float) -> None:
        """Seconds until an answer, at random between the two."""
        await self._order(do="delay", webhooks=list(webhooks), low=low, high=high)

    async def reject(self, webhook: int, ending: str) -> None:
        """Bodies that end like this are refused for ever."""
        await self._order(do="reject", webhook=webhook, ending=ending)

    async def refuse(self, port: int) -> None:
        """Connections to this port are refused, and those that stand are closed."""
        await self._order(do="refuse", port=port)

    async def accept(self, port: int) -> None:
        """They are accepted again."""
        await self._order(do="accept", port=port)

    async def flush(self) -> None:
        """Returns when all requests that have ended are in the file."""
        await self._order(do="flush")

    async def _order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._answer()

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_WITHIN):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the receiver has ended")
        return json.loads(line)
