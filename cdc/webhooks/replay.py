"""Replay: deliveries that ended, or wait for a later attempt, are sent again, or given up.

    with Replay(url) as replay:
        selection = replay.find(Wanted(webhook=1, outcomes=("dead",)))
        for done in replay.run(selection): ...

A delivery keeps its ``webhook-id`` (unless a new one is wanted), its place in the order of its
resource and the number of its tries; its body too, where it is known. Nothing is replayed twice at
once: what waits already stays as it is. Needs no more than cdc_admin; a trigger on cdc.webhook
notifies the daemons.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

import psycopg

from cdc.model import LOG_RING
from cdc.postgres import sqlfiles
from cdc.postgres.connections import Connection, connect, explained
from cdc.webhooks.audit import Actor

OUTCOMES = ("dead", "delivered", "expired", "dropped", "retrying")
BATCH_DELIVERIES = 1000
_NO_SLOT = -1

Key = tuple[int, int, str]
"""Of a delivery: webhook, number and webhook-id."""


@dataclass(frozen=True, slots=True)
class ReplayFilter:
    """Which deliveries are meant; None: no matter.

    numbers, uids: these (both None: all that the rest fits).
    outcomes:      what became of them last, of ``OUTCOMES``.
    since, until:  time of the change, aware; ``until`` itself is not included.
    ended_before:  only what ended before this moment, aware; None: before the search. Given to a
                   second run it goes on where a first one was interrupted, and doubles nothing.
    """

    numbers: tuple[int, ...] | None = None
    uids: tuple[str, ...] | None = None
    webhook: int | None = None
    company: str | None = None
    event: str | None = None
    outcomes: tuple[str, ...] = ("dead",)
    since: datetime | None = None
    until: datetime | None = None
    ended_before: datetime | None = None


class Group(NamedTuple):
    """Deliveries that are counted together.

    state:   of their webhook.
    outcome: what became of them last.
    """

    webhook: int
    company: str
    state: str
    outcome: str


@dataclass(slots=True)
class Selection:
    """What was found: counted for people, and packed, some 50 bytes a delivery.

    skipped: how many are left alone, by reason: ``removed`` (their webhook was), ``waiting`` (they
             are queued, parked, or due already).
    """

    ended_before: datetime
    groups: Counter[Group] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    numbers: set[int] = field(default_factory=set)  # found, of those asked for
    uids: set[str] = field(default_factory=set)
    _webhooks: array[int] = field(default_factory=lambda: array("q"))
    _ids: array[int] = field(default_factory=lambda: array("q"))
    _uids: bytearray = field(default_factory=bytearray)
    _slots: array[int] = field(default_factory=lambda: array("h"))

    @property
    def total(self) -> int:
        """How many are to be replayed."""
        return len(self._ids)

    def add(self, webhook: int, number: int, uid: str, slot: int | None) -> None:
        self._webhooks.append(webhook)
        self._ids.append(number)
        self._uids += bytes.fromhex(uid.replace("-", ""))
        self._slots.append(_NO_SLOT if slot is None else slot)

    def batches(self, size: int) -> Iterator[list[list[Any]]]:
        """Webhooks, numbers, webhook-ids and partitions of the log, a batch at a time."""
        for begin in range(0, self.total, size):
            part = slice(begin, begin + size)
            packed = self._uids[16 * begin : 16 * (begin + size)]
            yield [
                self._webhooks[part].tolist(),
                self._ids[part].tolist(),
                [packed[at : at + 16].hex() for at in range(0, len(packed), 16)],
                [None if slot == _NO_SLOT else slot for slot in self._slots[part]],
            ]


class Replay:
    """Finds and replays, in one database. All methods raise DatabaseError.

    url:   its address; or a connection in autocommit, which the caller closes.
    actor: by whom; without: the command line of this host.
    """

    def __init__(self, url: str | Connection, actor: Actor | None = None) -> None:
        self._own = isinstance(url, str)
        self._conn = connect(url) if isinstance(url, str) else url
        self._factory = self._conn.cursor_factory
        self._conn.cursor_factory = psycopg.RawCursor
        by = actor or Actor.here()
        self._by = (by.name, by.source, by.request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.cursor_factory = self._factory
        if self._own:
            self._conn.close()

    def find(self, wanted: ReplayFilter) -> Selection:
        """What ``wanted`` fits. Reads the log from ``since`` on, where that is asked for."""
        with explained():
            selection = Selection(wanted.ended_before or self._now())
            asked = wanted.numbers is not None or wanted.uids is not None
            parameters = [
                list(wanted.numbers) if wanted.numbers is not None else None,
                list(wanted.uids) if wanted.uids is not None else None,
                wanted.webhook,
                wanted.company,
                wanted.event,
                list(wanted.outcomes),
                wanted.since,
                wanted.until,
                selection.ended_before,
            ]
            with self._conn.transaction(), self._conn.cursor() as cursor:
                if asked:
                    cursor.execute("set local enable_seqscan = off")  # as in a trace
                rows = cursor.stream(sqlfiles.query("replay_find").encode(), parameters)
                for webhook, company, state, number, uid, slot, outcome, skip in rows:
                    if asked:
                        selection.numbers.add(number)
                        selection.uids.add(uid)
                    if skip is not None:
                        selection.skipped[skip] += 1
                    else:
                        selection.groups[Group(webhook, company, state, outcome)] += 1
                        selection.add(webhook, number, uid, slot)
        return selection

    def run(
        self, selection: Selection, size: int = BATCH_DELIVERIES, *, new_id: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Replays in batches, a transaction each. Yields after each how many were looked at and how
        many of them replayed; another session ended, replayed or removed the others meanwhile.

        new_id: what has ended gets another webhook-id, for receivers that drop those they know.
        """
        before = selection.ended_before
        for keys in selection.batches(size):
            with explained():
                self._refresh_statistics()
                days = range(_day(before), _day(self._now()) + 2)
                written = sorted({day % LOG_RING for day in days})
                rows = self._conn.execute(
                    sqlfiles.query("replay").encode(), [*keys, before, written, new_id, *self._by]
                ).fetchall()
            yield len(keys[0]), sum(count for _, count in rows)

    def drop(
        self, selection: Selection, detail: str, size: int = BATCH_DELIVERIES
    ) -> Iterator[tuple[int, int]]:
        """Gives up dead deliveries of the selection: the log has them as dropped, with ``detail``,
        and a replay can still send them. Yields as ``run`` does."""
        for webhooks, ids, uids, _ in selection.batches(size):
            with explained():
                self._refresh_statistics()
                ((dropped,),) = self._conn.execute(
                    sqlfiles.query("drop_dead").encode(),
                    [webhooks, ids, uids, selection.ended_before, detail, *self._by],
                ).fetchall()
            yield len(ids), dropped

    def cancel(self, keys: Iterable[Key], detail: str) -> int:
        """Gives up those of these deliveries that wait or are dead, in one transaction: the log
        has them as dropped, with ``detail``. Returns how many."""
        left = set(keys)
        before = len(left)
        with explained(), self._conn.transaction():
            for _ in range(2):  # one that was just being moved is found by the second
                if not left:
                    break
                columns = [list(column) for column in zip(*left, strict=True)]
                gone = self._conn.execute(
                    sqlfiles.query("cancel").encode(), [*columns, detail, *self._by]
                ).fetchall()
                left -= {(webhook, number, uid) for webhook, number, uid, _, _ in gone}
                first = [(one[0], *one[3:]) for one in gone if one[3] is not None]
                if first:
                    behind = [list(column) for column in zip(*first, strict=True)]
                    self._conn.execute(sqlfiles.query("promote").encode(), behind)
        return before - len(left)

    def _refresh_statistics(self) -> None:
        """Each of a batch would be compared with all that wait or are dead."""
        self._conn.execute(sqlfiles.query("refresh_statistics").encode())

    def _now(self) -> datetime:
        """The database's clock: a host's may differ."""
        row = self._conn.execute("select clock_timestamp()").fetchone()
        assert row is not None
        now: datetime = row[0]
        return now


def _day(moment: datetime) -> int:
    return int(moment.timestamp() // 86_400)
