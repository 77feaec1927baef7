"""The receiver's bad times: a few webhooks at once, or a port that refuses connections."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from tests.faults.peer import Peer
from tests.faults.receiver import BAD_MODES

MOODS = (*BAD_MODES, "refuse")


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which some webhooks' receiver misbehaved."""

    mode: str
    webhooks: tuple[int, ...]
    at: float
    over: float


class Moods:
    """One bad time after the other, beside the faults."""

    def __init__(self, peer: Peer, webhooks: int, chance: random.Random) -> None:
        self._peer = peer
        self._webhooks = webhooks
        self._chance = chance
        self.spells: list[Spell] = []

    async def run(self, until: float) -> None:
        """Bad times at random until then; all is well afterwards."""
        while time.monotonic() < until:
            await asyncio.sleep(self._chance.uniform(0.5, 3.0))
            await self.one(self._chance.choice(MOODS))

    async def one(self, mode: str) -> None:
        chance, peer = self._chance, self._peer
        seconds = chance.uniform(0.5, 4.0)
        at = time.monotonic()
        if mode == "refuse":
            port = chance.choice(peer.ports)
            which = [n for n in range(self._webhooks) if peer.port_of(n) == port]
            await peer.refuse(port)
            await asyncio.sleep(seconds)
            await peer.accept(port)
        else:
            which = chance.sample(range(self._webhooks), max(1, self._webhooks // 10))
            await peer.mode(which, mode)
            await asyncio.sleep(seconds)
            await peer.mode(which, "ok")
        self.spells.append(Spell(mode, tuple(which), at, time.monotonic()))
