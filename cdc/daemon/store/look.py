"""Look: which webhooks have rows that were not there before? By snapshot, not by ``id > last``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from cdc.daemon.lease import Lease, Snapshot, boottime
from cdc.daemon.store.ownership import Fleet
from cdc.daemon.store.session import Connection, Row, run, run_within
from cdc.daemon.store.wire import Wire
from cdc.model import UNREAD, Span
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.postgres.arrays import plain

PROBE_WITHIN_S = 0.5  # seconds that looking for the first rows of some webhooks may take
GLANCED_ROWS = 20  # rows that a glance brings along at most
BROUGHT_ROWS = 200  # rows that a look brings along at most
TAKE_OVER_STEP_S = 0.1  # of asking what the webhooks of shards taken over have to do
TAKE_OVER_WEBHOOKS = (500, 5_000)  # asked for in the first step, and in one at most
ABOUT_COLUMNS = 12  # columns about everything, before those of a row
# Ids are positions in the write-ahead log: a captured transaction writes as many bytes at least.
TRANSACTION_BYTES = 256
_id = itemgetter(1)


class Work(NamedTuple):
    """What a webhook of a shard that was taken over has to do.

    lowest: id of its first waiting row, or None.  more: there is something else than new rows.
    """

    webhook_id: int
    lowest: int | None
    more: bool


@dataclass(slots=True)
class TakeOver:
    """How far a take-over has come: after which webhook it goes on, how many it asks for next, how
    many of those seen have rows waiting."""

    shards: list[int]
    after: int = -(2**63)
    size: int = TAKE_OVER_WEBHOOKS[0]
    waiting: int = 0

    def took(self, seconds: float) -> None:
        """The last step took that long."""
        share = TAKE_OVER_STEP_S / max(seconds, 0.001)
        self.size = max(1, min(TAKE_OVER_WEBHOOKS[1], math.ceil(self.size * min(2.0, share))))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw.

    webhooks:   those with new rows; lowest, highest: where in the queue these lie.
    touched:    webhooks whose registration changed.
    armed:      the doorbell is armed since.
    was_armed:  it had been before.
    unresolved: changes wait in cdc.unresolved for another try.
    trials:     tests of webhooks of these shards wait; False where `fleet` was not asked for.
    fleet:      who owns what, where that was asked for.
    waiting:    writers that wait for each other to ring; None where `fleet` was not asked for.
    rows:       all new rows of the shards owned, in order of id; None: they are too many to be
                brought along, and have to be fetched.
    transactions: how many wrote what is new. Bounded by what is known (``written``) where rows are
                not all brought along.
    """

    snapshot: Snapshot
    webhooks: list[int]
    lowest: list[int]
    highest: list[int]
    touched: tuple[int, ...]
    armed: bool
    was_armed: bool
    unresolved: bool
    trials: bool
    fleet: Fleet | None
    rows: list[Row] | None
    transactions: int = 0
    waiting: int | None = None

    def news(self) -> Iterator[tuple[int, Span]]:
        """Each webhook with new rows, and where they lie. It may be all of them."""
        for webhook_id, first, last in zip(self.webhooks, self.lowest, self.highest, strict=True):
            yield webhook_id, Span(first, last)


def written(last: Snapshot, now: Snapshot, lowest: Sequence[int], highest: Sequence[int]) -> int:
    """How many transactions wrote rows that lie there, between two snapshots; the same for each
    daemon, whosever the rows are. No more than have ended, and than have room there."""
    ended = now.xmax - last.xmax + len(last.running)
    spans = zip(lowest, highest, strict=True)
    room = sum(1 + (end - start) // TRANSACTION_BYTES for start, end in spans)
    return min(max(1, ended), room)


class Looker:
    """Looks on one connection, for as long as that lives.

    The snapshot dies with its connection: after a crash PostgreSQL hands out transaction ids again.
    So a new connection needs a new Looker, which begins with everything (``begin`` and ``all``).

    lease: gets each snapshot, and each answer as proof that the session lives.
    """

    def __init__(self, conn: Connection, lease: Lease, wire: Wire | None = None) -> None:
        self._conn = conn
        self._lease = lease
        self._wire = wire
        # The snapshot of the last look: glances between two looks do not read registrations.
        self._looked: Snapshot | None = None

    async def begin(self) -> Snapshot:
        """The first snapshot: what it shows is found by ``all()``, what comes by ``look()``."""
        sent = boottime()
        [(text,)] = await run(self._conn, "snapshot")
        self._looked = Snapshot.parse(text)
        self._lease.answered(sent, self._looked)
        return self._looked

    async def all(self, shards: list[int], after: int, most: int) -> list[Work] | None:
        """The next webhooks of these shards, in order, and what they have to do.

        None: it takes too long for that many. For one alone it is found while reading: its rows
        begin anywhere. (While a session holds an old snapshot, the index keeps an entry for each
        delivery that was made since, and the first row that is left lies behind all of them.)
        """
        asked = [shards, after, most]
        rows = await run_within(self._conn, "look_all", asked, PROBE_WITHIN_S)
        if rows is None and most == 1:
            rows = [
                (*row, UNREAD, True) for row in await run(self._conn, "next_webhook", asked[:2])
            ]
        return None if rows is None else [Work(*row) for row in rows]

    async def ping(self) -> None:
        """Keeps the session, and what it owns, while there is no time to look."""
        sent = boottime()
        await run(self._conn, "ping")
        self._lease.answered(sent)

    async def look(
        self, *, arm: bool | None, fleet: bool = False, shards: Sequence[int] = ()
    ) -> Seen:
        """What came since the last look.

        arm: have the writers ring (True), no longer (False), or leave it as it is (None).
        fleet: see who owns what, too.  shards: those whose new rows are wanted.
        """
        last, looked = self._lease.snapshot, self._looked
        assert looked is not None, "begin() comes first"
        sent = boottime()
        about, *rows = await self._run(
            "look",
            str(last.xmax),
            plain(last.running),
            None if arm is None else str(arm),
            str(LOCK_CLASS) if fleet else None,
            plain(shards),
            str(BROUGHT_ROWS + 1),
            str(looked.xmax),
            plain(looked.running),
        )
        text, webhooks, lowest, highest, touched, was_armed, bell, *more = about[:ABOUT_COLUMNS]
        unresolved, trials, daemons, owned, waiting = more
        self._looked = Snapshot.parse(text)
        self._lease.answered(sent, self._looked)
        brought = None
        if len(rows) <= BROUGHT_ROWS:
            brought = sorted((row[ABOUT_COLUMNS:] for row in rows), key=_id)
        return Seen(
            self._looked,
            webhooks,
            lowest,
            highest,
            tuple(touched),
            bool(arm) and bell is not None,
            was_armed,
            unresolved,
            trials,
            Fleet(daemons, frozenset(owned)) if fleet else None,
            brought,
            len({row[2] for row in brought or ()})
            if len({row[0] for row in brought or ()}) == len(webhooks)
            else written(last, self._looked, lowest, highest),
            waiting if fleet else None,
        )

    async def glance(self) -> Seen | None:
        """The plain case of a look, at a third of its cost: few new rows, and nothing else.

        None: there may be more of them than it brings; nothing is known then.
        """
        last = self._lease.snapshot
        sent = boottime()
        [(text, armed, *_), *rows] = await self._run(
            "glance", str(last.xmax), plain(last.running), str(GLANCED_ROWS + 1)
        )
        if len(rows) > GLANCED_ROWS:
            return None
        snapshot = Snapshot.parse(text)
        self._lease.answered(sent, snapshot)
        found = sorted((row[2:] for row in rows), key=_id)
        return Seen(
            snapshot,
            [row[0] for row in found],
            [row[1] for row in found],
            [row[1] for row in found],
            touched=(),
            armed=False,
            was_armed=armed,
            unresolved=False,
            trials=False,
            fleet=None,
            rows=[row for row in found if self._lease.owns(row[0])],
            transactions=len({row[2] for row in found}),
        )

    async def _run(self, name: str, *params: str | None) -> list[Row]:
        """Runs a query, with parameters as text; by the wire, if there is one."""
        if self._wire is None:
            return await run(self._conn, name, params)
        return await self._wire.run(name, params)

    async def take_xid(self) -> int:
        """A transaction id of our own, over as soon as it is taken."""
        [(xid,)] = await run(self._conn, "transaction_id")
        return int(xid)
