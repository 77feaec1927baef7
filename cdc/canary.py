"""The canary: a change of the daemon's own that goes the whole road, again and again.

It is queued as capture queues a change, under a number outside of the registry, and looked for,
sent, received and recorded as any other delivery is; only the receiver is the daemon's own. So it
tells whether the road is open when nobody writes, and in a system where nothing seems to be wrong.
It is nobody's delivery: no log, no count, no listing has it, and it is never sent a second time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from uuid import uuid4

import psycopg
from aiohttp import web

from cdc.channel import Channel
from cdc.deliver import Client, Guard
from cdc.errors import CdcError
from cdc.keys import new_secret
from cdc.lanes import Lane
from cdc.mapping import Mapping, roads_of
from cdc.observe import CanaryFigures, Observer
from cdc.observe.http import BACKLOG, BoundedServer
from cdc.queue.ownership import SHARDS
from cdc.queue.session import execute, open_session, run
from cdc.road import Webhook, WebhookState
from cdc.sign import verify
from cdc.tenure import Tenure

# The number of a shard's canary is this and the shard: the highest that the column holds, which no
# sequence will ever give to a webhook. (Statements that leave canaries out have it as a literal.)
FIRST = 2**63 - SHARDS
PATIENCE = 30.0
"""Seconds after which a canary counts as lost; less where the next one is due earlier. Rows that
are left are removed by care/sweep.py, later than this."""
OWNED_POLL, UNOWNED_POLL = 0.5, 0.05  # seconds: hand-overs are not signalled


@dataclass(slots=True)
class _Flight:
    """A canary on its way: moments on the monotonic clock. One clock, so that hosts that disagree
    about the time measure no nonsense."""

    uid: str
    began: float
    channel: Channel
    received: float | None = None
    recorded: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Canary:
    """Sends canaries, one at a time.

    interval: seconds from one to the next.
    tenure:   the present one, if there is any.
    may_send: as the pipeline asks it.
    """

    def __init__(
        self,
        url: str,
        interval: float,
        mapping: Mapping,
        observer: Observer,
        tenure: Callable[[], Tenure | None],
        may_send: Callable[[], bool],
    ) -> None:
        self._url = url
        self._interval = interval
        self._patience = min(interval, PATIENCE)
        self._observer = observer
        self._tenure = tenure
        self._layout = roads_of(mapping, mapping.captured[0]).layout
        self._secret = new_secret()
        # A client of its own, since that of the others does not dial this machine.
        self._client = Client(
            Guard([IPv4Network("127.0.0.1/32")], allow_http=True),
            deadline=self._patience,
            connect_timeout=self._patience,
            most_open=2,
            may_send=may_send,
        )
        self._endpoint = ""
        self._shard = 0
        self._flight: _Flight | None = None
        self._missed = False  # the last one was lost
        self._stop = asyncio.Event()
        self.figures = CanaryFigures(interval)

    async def run(self) -> None:
        """Until ``stop()``, and the end of the one that is under way then."""
        runner = web.ServerRunner(BoundedServer(self._receive), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
            self._endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            while not self._stop.is_set():
                due = time.monotonic() + self._interval
                await self._fly()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        await self._stop.wait()
        finally:
            await self._client.close()
            await runner.cleanup()

    def stop(self) -> None:
        """No other one is begun."""
        self._stop.set()

    def confirmed(self, lanes: set[Lane]) -> None:
        """Settlements of these lanes were committed."""
        flight = self._flight
        if (
            flight is not None
            and flight.received is not None
            and flight.channel.lane in lanes
            and not flight.channel.lane.size
        ):
            flight.recorded = time.monotonic()
            flight.over.set()

    # -- one canary -------------------------------------------------------------------------------

    async def _fly(self) -> None:
        """From its row to its record, or the end of our patience."""
        tenure = await self._owning()
        if tenure is None:
            self._lost("owned", "the daemon owns nothing: no connection, or others own all")
            return
        webhook = Webhook(
            id=FIRST + self._shard,
            company="canary",
            endpoint=self._endpoint,
            state=WebhookState.ACTIVE,
            version=1,
            secrets=(self._secret,),
        )
        channel = tenure.dispatch.admit(webhook, self._client)
        if channel is None or channel.closing:
            return  # its shard is about to be another daemon's, and the next canary on another
        channel.last_error = None
        self._flight = flight = _Flight(str(uuid4()), time.monotonic(), channel)
        try:
            await self._write(flight)
            await self._over(flight, tenure)
        except (psycopg.Error, CdcError) as error:
            self._lost("written", str(error))
        finally:
            self._flight = None

    async def _over(self, flight: _Flight, tenure: Tenure) -> None:
        """Waits for the end of its road, and tells how it ended."""
        until = time.monotonic() + self._patience
        while not flight.over.is_set():
            if self._shard not in tenure.epochs:
                return  # handed over meanwhile: the new owner does not know it
            left = until - time.monotonic()
            if left <= 0:
                before = "received" if flight.received is None else "recorded"
                why = flight.channel.last_error or f"not within {self._patience:g} s"
                self._lost(before, why)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, OWNED_POLL)):
                    await flight.over.wait()
        assert flight.received is not None
        assert flight.recorded is not None
        self.figures.came(flight.received - flight.began, flight.recorded - flight.began)
        if self._missed:
            self._missed = False
            self._observer.canary_back()

    async def _owning(self) -> Tenure | None:
        """A tenure with a shard for the canary: the same as before, if that is still ours."""
        until = time.monotonic() + self._patience
        while time.monotonic() < until and not self._stop.is_set():
            tenure = self._tenure()
            if tenure is not None and tenure.may_send() and tenure.epochs:
                if self._shard not in tenure.epochs:
                    self._shard = min(tenure.epochs)
                return tenure
            await asyncio.sleep(UNOWNED_POLL)
        return None

    async def _write(self, flight: _Flight) -> None:
        conn = await open_session(self._url, "canary")
        try:
            # As the suite's writers commit.
            await execute(conn, b"reset synchronous_commit", name="the canary's session")
            flight.began = time.monotonic()
            references = [None, *("canary" for _ in self._layout.fields[1:])]
            number = flight.channel.webhook.id
            await run(conn, "canary", [number, flight.uid, self._layout.id, references])
        finally:
            await conn.close()

    async def _receive(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        problem = verify([self._secret], request.headers, body, time.time())
        if problem is not None:
            return web.Response(status=400, text=problem)
        flight = self._flight
        if flight is not None and request.headers["webhook-id"] == flight.uid:
            flight.received = time.monotonic()
        return web.Response(status=204)

    def _lost(self, before: str, why: str) -> None:
        if not self._stop.is_set():
            self._missed = True
            self.figures.lost(before)
            self._observer.canary_lost(before, why)
