"""A receiver that keeps its sender waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cdc.sandbox.receiver import Received, Reply, Script
from tests.daemon.running import LIMIT
from tests.daemon.world import World


class Gate:
    """Takes the requests to a path, and answers when it is opened."""

    def __init__(
        self, world: World, path: str, answer: Callable[[Received], Reply] = lambda _: Reply(204)
    ) -> None:
        self._came, self._opened = asyncio.Event(), asyncio.Event()
        self._reply = answer
        world.receiver.script(path, Script(answer=self._answer))

    async def _answer(self, got: Received) -> Reply:
        self._came.set()
        await self._opened.wait()
        return self._reply(got)

    async def reached(self) -> None:
        """Waits until a request has come."""
        async with asyncio.timeout(LIMIT):
            await self._came.wait()

    def open(self) -> None:
        self._opened.set()
