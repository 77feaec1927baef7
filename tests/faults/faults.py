"""What happens to daemons, PostgreSQL and the lines between them, one thing after the other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.faults.fleet import Daemon, Fleet
from tests.faults.peer import Peer
from tests.faults.writers import Writers

ENOUGH = 50  # requests in flight without which a kill does not count
WAIT_FOR_FLIGHT = 4.0

# How often each is done; the names are methods of Faults.
WEIGHTS = {
    "kill_one": 50,
    "kill_all": 8,
    "stop_one": 8,
    "stop_all": 3,
    "postgres": 5,
    "cut_all": 4,
    "cut_watch": 4,
    "stall_all": 3,
    "stall_watch": 3,
    "hand_over": 5,
    "bell_silenced": 3,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done.

    at, over:  monotonic seconds.
    in_flight: requests at that moment.
    owned:     for a take-over: the webhooks that the daemon owned.
    """

    kind: str
    at: float
    over: float
    in_flight: int
    what: str = ""
    owned: tuple[int, ...] = ()

    @property
    def is_kill(self) -> bool:
        return self.kind.startswith("kill")


class Faults:
    """Does one of them after the other until stopped."""

    def __init__(
        self,
        fleet: Fleet,
        peer: Peer,
        postgres: EmbeddedPostgres,
        writers: Writers,
        url: str,
        chance: random.Random,
        say: Callable[[str], None],
        *,
        daemons: int,
        pause: tuple[float, float],
    ) -> None:
        self.done: list[Fault] = []
        self._fleet = fleet
        self._peer = peer
        self._postgres = postgres
        self._writers = writers
        self._url = url
        self._chance = chance
        self._say = say
        self._daemons = daemons
        self._pause = pause

    async def run(self, until: float) -> None:
        """Faults at random until then (monotonic)."""
        while time.monotonic() < until:
            await asyncio.sleep(self._chance.uniform(*self._pause))
            [kind] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            await self.one(kind)

    async def one(self, kind: str) -> Fault:
        """Does one, at a moment when much is in flight, and notes it."""
        await self._fleet.check()
        self._peer.check()
        while len(self._fleet.daemons) < self._daemons:
            await self._fleet.start()
        deadline = time.monotonic() + WAIT_FOR_FLIGHT
        while self._peer.counts.in_flight < ENOUGH and time.monotonic() < deadline:  # noqa: ASYNC110 - shared memory signals nothing
            await asyncio.sleep(0.002)
        in_flight = self._peer.counts.in_flight
        doing: Callable[[], Awaitable[tuple[str, float, str]]] = getattr(self, kind)
        self._owned: tuple[int, ...] = ()
        name, at, what = await doing()
        done = Fault(name, at, time.monotonic(), in_flight, what, self._owned)
        self.done.append(done)
        self._say(f"{name} {what}".strip())
        return done

    # -- daemons ----------------------------------------------------------------------------------

    async def kill_one(self) -> tuple[str, float, str]:
        daemon = self._any()
        at = await self._fleet.kill(daemon)
        await self._fleet.start()
        return "kill -9 of one", at, f"daemon {daemon.number}"

    async def kill_all(self) -> tuple[str, float, str]:
        at = await self._fleet.kill(*self._fleet.daemons)
        await asyncio.sleep(self._chance.choice((0.0, 0.0, 1.0)))
        for _ in range(self._daemons):
            await self._fleet.start()
        await self._fleet.ready()
        return "kill -9 of all", at, ""

    async def stop_one(self) -> tuple[str, float, str]:
        daemon = self._any()
        return "SIGSTOP of one", *await self._stop(daemon)

    async def stop_all(self) -> tuple[str, float, str]:
        return "SIGSTOP of all", *await self._stop(*self._fleet.daemons)

    async def _stop(self, *which: Daemon) -> tuple[float, str]:
        seconds = self._chance.choice((0.3, 2.0, 4.5, 6.0, 8.0))
        at = self._fleet.stop(*which)
        await asyncio.sleep(seconds)
        self._fleet.go_on(*which)
        return at, f"for {seconds} s"

    async def hand_over(self) -> tuple[str, float, str]:
        """Asked to stop, as for an update: no fault, but shards change hands twice."""
        at = time.monotonic()
        daemon = self._any()
        await self._fleet.end(daemon)
        await self._fleet.start()
        return "SIGTERM of one", at, f"daemon {daemon.number}"

    async def take_over_killed(self) -> tuple[str, float, str]:
        """One of several dies and no other replaces it until it is taken over."""
        daemon = await self._owner()
        at = await self._fleet.kill(daemon)
        await asyncio.sleep(3.0)
        await self._fleet.start()
        await self._shared()
        return "kill -9 of one of three", at, f"daemon {daemon.number}"

    async def take_over_stopped(self) -> tuple[str, float, str]:
        """One of several stands still for longer than it may own anything, and goes on."""
        daemon = await self._owner()
        at = self._fleet.stop(daemon)
        await asyncio.sleep(8.0)
        self._fleet.go_on(daemon)
        await self._shared()
        return "SIGSTOP of one of three", at, f"daemon {daemon.number}"

    async def _owner(self) -> Daemon:
        """A daemon that owns its share of the webhooks; which ones is noted."""
        await self._shared()
        daemon = self._any()
        async with await psycopg.AsyncConnection.connect(self._url) as conn:
            cursor = await conn.execute(
                "select w.endpoint from cdc.webhook w join cdc.shard s on s.id = w.id %% 64"
                " where split_part(s.owner, ':', 2) = %s",
                (str(daemon.process.pid),),
            )
            rows = await cursor.fetchall()
        self._owned = tuple(int(endpoint.rsplit("/", 1)[1]) for (endpoint,) in rows)
        return daemon

    async def _shared(self) -> None:
        """Waits until each daemon has its share, and a moment longer: calm before the fault."""
        pids = sorted(str(daemon.process.pid) for daemon in self._fleet.daemons)
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as conn:
            async with asyncio.timeout(60):
                while True:
                    cursor = await conn.execute(
                        "select split_part(owner, ':', 2) from cdc.shard group by owner"
                        " having count(*) <= ceil(64.0 / %s) order by 1",
                        (len(pids),),
                    )
                    if sorted(pid for (pid,) in await cursor.fetchall()) == pids:
                        break
                    await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)

    # -- the database and its lines ---------------------------------------------------------------

    async def postgres(self) -> tuple[str, float, str]:
        at = time.monotonic()
        await asyncio.to_thread(self._postgres.stop, "immediate")
        seconds = self._chance.choice((0.0, 0.0, 2.0))
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._postgres.start)
        return "PostgreSQL stopped immediately", at, f"down for {seconds} s"

    async def cut_all(self) -> tuple[str, float, str]:
        return await self._cut(None, "all connections cut")

    async def cut_watch(self) -> tuple[str, float, str]:
        return await self._cut("watch", "looking connection cut")

    async def _cut(self, role: str | None, kind: str) -> tuple[str, float, str]:
        daemon = await self._wired()
        assert daemon.proxy is not None
        at = time.monotonic()
        many = daemon.proxy.cut(role)
        return kind, at, f"{many} of daemon {daemon.number}"

    async def stall_all(self) -> tuple[str, float, str]:
        return await self._stall(None, "all connections stalled")

    async def stall_watch(self) -> tuple[str, float, str]:
        return await self._stall("watch", "looking connection stalled")

    async def _stall(self, role: str | None, kind: str) -> tuple[str, float, str]:
        daemon = await self._wired()
        assert daemon.proxy is not None
        seconds = self._chance.choice((1.0, 3.0, 7.0))
        at = time.monotonic()
        daemon.proxy.stall(role)
        await asyncio.sleep(seconds)
        daemon.proxy.go_on()
        return kind, at, f"daemon {daemon.number} for {seconds} s"

    async def bell_silenced(self) -> tuple[str, float, str]:
        """Writers find the bell unarmed while the daemons sleep and rely on it: every NOTIFY is
        lost. Few changes are written, because who is busy does not sleep."""
        before = self._writers.pace, self._writers.most, self._writers.rows
        self._writers.pace, self._writers.most, self._writers.rows = 1.0, 200, 3
        at = time.monotonic()
        until = at + 5.0
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as conn:
            while time.monotonic() < until:
                await conn.execute("select setval('cdc.bell', 1)")
                await asyncio.sleep(0.01)
        self._writers.pace, self._writers.most, self._writers.rows = before
        return "NOTIFY suppressed", at, ""

    # -- help -------------------------------------------------------------------------------------

    def _any(self) -> Daemon:
        """Mostly one that is at work; now and then one that is about to be."""
        working = [daemon for daemon in self._fleet.daemons if daemon.is_working]
        if not working or self._chance.random() < 0.1:
            working = self._fleet.daemons
        return self._chance.choice(working)

    async def _wired(self) -> Daemon:
        """A daemon behind a proxy, at work."""
        wired = [daemon for daemon in self._fleet.daemons if daemon.proxy is not None]
        daemon = self._chance.choice(wired) if wired else await self._fleet.start(wired=True)
        # It need not own anything: where there are many, another one may have it all.
        await daemon.process.until("started", limit=60)
        return daemon
