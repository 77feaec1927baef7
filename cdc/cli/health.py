"""How everything stands, read at once: what `cdc status` shows. Needs no more than cdc_reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdc.capture.catalog import installed_mapping
from cdc.capture.plan import TableStatus
from cdc.cli import capture
from cdc.cli.common import age, counted
from cdc.mapping import Mapping
from cdc.queue.ownership import LOCK_CLASS, MEMBER, SHARDS

LATE = 60.0
"""Seconds after which a delivery that nobody holds back is late."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """A webhook and what it owes.

    oldest:     age in seconds of the oldest change that waits, in the queue or for a retry.
    last_error: why the next one to be retried failed last.
    next_try:   seconds until then.
    """

    webhook_id: int
    company: str
    state: str
    reason: str
    since: datetime
    queued: int
    retrying: int
    parked: int
    dead: int
    oldest: float | None
    breaker: str
    failing_since: datetime | None
    last_error: str | None
    next_try: float | None

    @property
    def waiting(self) -> int:
        return self.queued + self.retrying + self.parked

    @property
    def late(self) -> bool:
        return self.state == "active" and (self.oldest or 0.0) > LATE

    @property
    def quiet(self) -> bool:
        """Nothing to tell of it."""
        return (
            self.state in ("active", "removed")
            and self.breaker == "closed"
            and not self.waiting
            and not self.dead
        )


@dataclass(frozen=True, slots=True)
class Daemon:
    """A live owner of shards."""

    owner: str
    shards: tuple[int, ...]
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Changes whose company could not be found."""

    count: int
    oldest: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """A reading.

    members: daemons that are there, with shards or without.
    expired: deliveries that expired within the last day.
    """

    capture: tuple[TableStatus, ...]
    installed_mapping: str | None
    mapping_is_installed: bool
    members: int
    daemons: tuple[Daemon, ...]
    lanes: tuple[Lane, ...]
    unresolved: Unresolved
    expired: int

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(shard for daemon in self.daemons for shard in daemon.shards)

    def problems(self) -> list[str]:
        """What is wrong, a sentence each; the most urgent first."""
        found = []
        if self.installed_mapping is None:
            found.append("capture is not installed: run `cdc triggers install`")
        elif not self.mapping_is_installed:
            found.append("another mapping is installed than the one configured (CDC_MAPPING)")
        wrong = [row for row in self.capture if row.state != "installed"]
        if self.installed_mapping is not None and wrong:
            first = wrong[0]
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            found.append(f"capture of {first.table} is {first.state}{more}: `cdc triggers status`")
        abandoned = [
            lane
            for lane in self.lanes
            if lane.state == "active"
            and lane.waiting
            and lane.webhook_id % SHARDS not in self.owned
        ]
        if abandoned:
            count = sum(lane.waiting for lane in abandoned)
            found.append(
                f"{counted(count, 'delivery', 'deliveries')} without a daemon to send them: "
                "start `cdc run`"
            )
        if self.unresolved.count:
            found.append(
                f"{counted(self.unresolved.count, 'change')} without a company, the oldest for "
                f"{age(self.unresolved.oldest)}: {self.unresolved.reason}"
            )
        for lane in self.lanes:
            if lane.state == "suspended":
                found.append(
                    f"webhook {lane.webhook_id} is suspended: {lane.reason or 'no reason'}"
                )
        for lane in sorted(self.lanes, key=lambda lane: -(lane.oldest or 0.0)):
            if lane.late:
                why = f": {lane.last_error}" if lane.last_error else ""
                if lane.next_try is not None and lane.next_try > 0:
                    why += f", next try in {age(lane.next_try)} (`cdc webhook resume` hurries it)"
                found.append(
                    f"webhook {lane.webhook_id} is late, its oldest delivery waits for "
                    f"{age(lane.oldest)}{why}"
                )
        return found


def read(conn: Connection, mapping: Mapping) -> Health:
    """Raises DatabaseError unless schema cdc is up to date."""
    capture.refuse_unless_migrated(conn)
    installed = installed_mapping(conn)
    members, daemons = fleet(conn)
    return Health(
        capture=tuple(capture.standing(conn, mapping)),
        installed_mapping=installed,
        mapping_is_installed=installed == mapping.fingerprint,
        members=members,
        daemons=daemons,
        lanes=lanes(conn),
        unresolved=unresolved(conn),
        expired=expired(conn),
    )


_FLEET = """
select objid::int
  from pg_locks
 where locktype = 'advisory' and classid = %s and objsubid = 2 and granted
   and database = (select oid from pg_database where datname = current_database())
"""


def fleet(conn: Connection) -> tuple[int, tuple[Daemon, ...]]:
    """How many daemons there are, and those that own shards."""
    held = [row[0] for row in conn.execute(_FLEET, [LOCK_CLASS]).fetchall()]
    owned = [number for number in held if number < SHARDS]
    rows = conn.execute(
        "select owner, array_agg(id::int order by id), min(since) from cdc.shard"
        " where id = any(%s) group by owner order by owner",
        [owned],
    ).fetchall()
    daemons = tuple(Daemon(owner, tuple(shards), since) for owner, shards, since in rows)
    return held.count(MEMBER), daemons


_LANES = """
with queued as (
  select webhook_id, count(*) as n, min("time") as oldest from cdc.queue group by webhook_id
), retried as (
  select webhook_id, count(due_at) as retrying, count(*) - count(due_at) as parked,
         min("time") as oldest, extract(epoch from min(due_at) - clock_timestamp()) as next_try,
         (array_agg(case last_error when 'status' then 'answered ' || last_status
                                    else last_error end
                    order by due_at) filter (where due_at is not null))[1] as error
    from cdc.retry group by webhook_id
), buried as (
  select webhook_id, count(*) as n from cdc.dead group by webhook_id
)
select w.id, w.company, w.state, w.reason, w.since, coalesce(q.n, 0), coalesce(r.retrying, 0),
       coalesce(r.parked, 0), coalesce(d.n, 0),
       extract(epoch from clock_timestamp() - least(q.oldest, r.oldest))::float8,
       coalesce(l.breaker, 'closed'), l.failing_since,
       coalesce(r.error, case when l.breaker <> 'closed' or l.last_error like 'cannot be used: %'
                              then l.last_error end), r.next_try::float8
  from cdc.webhook w
  left join queued q on q.webhook_id = w.id
  left join retried r on r.webhook_id = w.id
  left join buried d on d.webhook_id = w.id
  left join cdc.lane l on l.webhook_id = w.id
 order by w.id
"""


def lanes(conn: Connection) -> tuple[Lane, ...]:
    """All webhooks; counts what waits, so it costs some milliseconds per 100,000 deliveries."""
    return tuple(Lane(*row) for row in conn.execute(_LANES).fetchall())


def expired(conn: Connection) -> int:
    """Within the last day; by index, however long the log is."""
    row = conn.execute(
        "select count(*) from cdc.attempt"
        " where outcome = 'expired' and at > clock_timestamp() - interval '1 day'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def unresolved(conn: Connection) -> Unresolved:
    row = conn.execute(
        'select count(*), extract(epoch from clock_timestamp() - min("time"))::float8,'
        " coalesce((array_agg(reason order by id))[1], '') from cdc.unresolved"
    ).fetchone()
    assert row is not None
    return Unresolved(*row)
