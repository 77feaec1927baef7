"""Writes records, and finds out which of them keep the others from being written.

A batch that fails because of a row, or of a lock that another session holds, is taken apart until
that is found. What is locked is set aside and tried again; what can never be recorded ends as dead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

import psycopg
from psycopg import errors as pg

from cdc.daemon.lease import Lease
from cdc.daemon.store.batch import Batch, Found, locked
from cdc.daemon.store.records import Parked, Record, Settled, Unit, unit_of
from cdc.daemon.store.session import Connection, answering, open_session, run
from cdc.daemon.store.statistics import Statistics
from cdc.errors import words
from cdc.lanes import Dead, Decision
from cdc.model import Answer, Outcome, shard_of
from cdc.telemetry import Observer

ROW_LOCK_WITHIN_S = 0.1  # seconds: what is locked waits alone, and everything else need not
TAKE_APART_WITHIN_S = 0.8  # seconds for finding out why a batch cannot be recorded
_MAX_INT, _MAX_SMALLINT = 2**31 - 1, 2**15 - 1
_LOCK_ERRORS = (pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected, pg.SerializationFailure)


class Stuck(psycopg.OperationalError):
    """Nothing at all can be recorded, and no record is found that is the reason."""


class Desk(Protocol):
    """Where the records lie."""

    def recorded(self, records: list[Record], written: list[Record], found: Found) -> None:
        """They are committed, as ``written``; found: what became of promotions."""

    def refused(self, records: list[Record]) -> None:
        """Their shard has another owner."""

    def put_aside(self, records: list[Record]) -> None:
        """They cannot be recorded just now."""


class Recorder:
    """One connection, opened when it is needed."""

    def __init__(self, url: str, observer: Observer, lease: Lease, desk: Desk) -> None:
        self._url = url
        self._observer = observer
        self._lease = lease
        self._desk = desk
        self._conn: Connection | None = None
        self._statistics = Statistics()

    async def close(self) -> None:
        if self._conn is not None:
            conn, self._conn = self._conn, None
            await conn.close()

    async def record(self, records: list[Record]) -> None:
        """Records them; what cannot be recorded is dead or set aside.

        Raises Stuck if all fails and the reason cannot be found in time, and
        psycopg.OperationalError if the connection is lost. What was recorded before is over.
        """
        await self._statistics.refresh(await self._session(), len(records))
        groups: list[list[Record]] = [records]
        failed: list[tuple[list[Record], psycopg.Error]] = []
        found = False
        until: float | None = None
        while groups and (until is None or time.monotonic() < until):
            group = groups.pop(0)
            try:
                await self._write(group)
                found = True
                continue
            except psycopg.Error as error:
                failure = _confined(error)
            until = until or time.monotonic() + TAKE_APART_WITHIN_S
            if _is_lock(failure) and (held := await self._held(group)):
                found = True
                self._put_aside(held, failure)
                out = set(map(id, held))
                if rest := [record for record in group if id(record) not in out]:
                    groups.insert(0, rest)
            elif (halves := _halves(group)) and time.monotonic() < until:
                groups[:0] = halves
            else:
                failed.append((group, failure))
        if groups and failed and not found:
            raise Stuck(words(failed[-1][1])) from failed[-1][1]
        # What was not tried stays where it is.
        for group, failure in failed:
            await self._end(group, failure)

    async def _session(self) -> Connection:
        if self._conn is None:
            self._conn = await open_session(self._url, "settle", lock_within=ROW_LOCK_WITHIN_S)
        return self._conn

    # -- one transaction --------------------------------------------------------------------------

    async def _write(self, records: list[Record], instead: list[Record] | None = None) -> None:
        """instead: what is written in place of these, one for each."""
        conn = await self._session()
        shards = [shard_of(record.lane.webhook_id) for record in records]
        epochs = {s: e for s in set(shards) if (e := self._lease.epoch(s)) is not None}
        written = instead or records
        batch = Batch(written, epochs)
        fenced: dict[int, bool] = {}
        found: Found = {}
        with answering(conn, "settling"):
            if batch.is_plain:
                fenced = dict.fromkeys(await batch.write_plain(conn), True)
            if any(shard not in fenced for shard in shards):
                async with conn.transaction():
                    fence = [list(epochs), list(epochs.values())]
                    fenced = {shard: held for shard, held in await run(conn, "fence", fence)}
                    mine = [r for r, s in zip(written, shards, strict=True) if fenced.get(s)]
                    found = await Batch(mine, epochs).write(conn)
        if all(map(fenced.get, shards)):
            self._desk.recorded(records, written, found)
            return
        which = [fenced.get(shard) for shard in shards]
        if ours := _where(True, which, records):
            self._desk.recorded(ours, _where(True, which, written), found)
        if waiting := _where(False, which, records):
            self._put_aside(waiting, "another session has locked their rows of cdc.shard")
        if refused := _where(None, which, records):
            self._desk.refused(refused)

    # -- what cannot be recorded ------------------------------------------------------------------

    async def _held(self, records: list[Record]) -> list[Record]:
        """Those whose rows another session has locked, with all that has to come after them."""
        conn = await self._session()
        try:
            with answering(conn, "settling"):
                rows = await locked(conn, records)
        except psycopg.Error as error:
            _confined(error)
            return []
        units = {
            unit_of(record)
            for record in records
            if isinstance(record, Settled | Parked)
            and (record.delivery.webhook_id, record.delivery.id, record.delivery.uid) in rows
        }
        return [record for record in records if unit_of(record) in units]

    async def _end(self, records: list[Record], error: psycopg.Error) -> None:
        """Ends as dead what can never be recorded, and sets the rest aside."""
        if not _is_fatal(error) or _halves(records):
            self._put_aside(records, error)
            return
        for place, record in enumerate(records):
            try:
                await self._write([record])
            except psycopg.Error as failure:
                if not await self._bury(record, _confined(failure)):
                    self._put_aside(records[place:], failure)
                    return

    async def _bury(self, record: Record, error: psycopg.Error) -> bool:
        """Returns whether it could be done."""
        if not _is_fatal(error) or not isinstance(record, Settled | Parked):
            return False
        try:
            await self._write([record], [_dead(record, error)])
        except psycopg.Error as failure:
            _confined(failure)
            return False
        self._observer.unrecordable(record.delivery, error)
        return True

    def _put_aside(self, records: list[Record], why: psycopg.Error | str) -> None:
        self._desk.put_aside(records)
        self._observer.set_aside(records[0].lane.webhook_id, str(why), len(records))


def _confined(error: psycopg.Error) -> psycopg.Error:
    """The error, if other records may be written on the same connection; else raises it."""
    if isinstance(error, psycopg.OperationalError):
        if _is_lock(error) or isinstance(error, pg.ProgramLimitExceeded):
            return error
    elif isinstance(error, psycopg.DatabaseError):
        return error
    raise error


def _is_lock(error: psycopg.Error) -> bool:
    """Another session was in the way: the same may succeed later."""
    return isinstance(error, _LOCK_ERRORS)


def _is_fatal(error: psycopg.Error) -> bool:
    """It would fail again: neither a lock, nor a right or a column that the DBA may bring back."""
    return not _is_lock(error) and not (error.sqlstate or "").startswith("42")


def _halves(records: list[Record]) -> list[list[Record]]:
    """Two parts that may be written in any order; none, where there is one unit only."""
    units: dict[Unit, list[Record]] = {}
    for record in records:
        units.setdefault(unit_of(record), []).append(record)
    if len(units) < 2:
        return []
    groups = list(units.values())
    half = len(groups) // 2
    return [list(chain(*groups[:half])), list(chain(*groups[half:]))]


def _dead(record: Settled | Parked, error: psycopg.Error) -> Settled:
    """The same delivery, dead, with nothing of what may have been the reason."""
    delivery = record.delivery
    status = record.outcome.status if isinstance(record, Settled) else None
    sent = "" if status is None else f"answered {status}, but "
    detail = f"{sent}the outcome cannot be recorded: {words(error)}"
    return Settled(
        record.lane,
        replace(delivery, body=None, tries=min(delivery.tries, _MAX_INT)),
        Outcome(Answer.FAILURE, status, "record", detail[:1000], 0.0),
        Decision(Dead(min(delivery.attempts, _MAX_SMALLINT)), promote=delivery.resource),
        record.ended if isinstance(record, Settled) else time.monotonic(),
    )


def _where(
    value: bool | None, which: Sequence[bool | None], records: Sequence[Record]
) -> list[Record]:
    return [record for record, found in zip(records, which, strict=True) if found is value]
