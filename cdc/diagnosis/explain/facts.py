"""What is known about a row or a delivery, from all places it can be in. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import class_row

from cdc.capture.catalog import Gap, functions, gaps
from cdc.diagnosis import capture_state, health
from cdc.diagnosis.deliveries import BY_INDEX, DeliveryKey, located
from cdc.diagnosis.doctor.recording import blocking_sessions
from cdc.diagnosis.explain.model import (
    AHEAD,
    DELIVERIES_SHOWN,
    Attempt,
    CommonFacts,
    DeliveryFacts,
    Facts,
    Failing,
    Subject,
    UnresolvedFacts,
    WebhookFacts,
)
from cdc.mapping import Mapping
from cdc.model import SHARDS

Connection = psycopg.Connection[Any]

# Everything below reads by index, but for a row's deliveries: only people ask for those, so no
# index is kept for them, and the whole queue is read.
_BY_NUMBER = """
select w.id, q.id, q.uid from cdc.webhook w
  join lateral (select id, uid from cdc.queue where webhook_id = w.id and id = %(number)s) q on true
union select webhook_id, id, uid from cdc.retry where id = %(number)s
union select webhook_id, id, uid from cdc.dead where id = %(number)s
union select webhook_id, delivery, uid from cdc.attempt where delivery = %(number)s
"""
_BY_ROW = """
select webhook_id, id, uid from cdc.queue
 where layout = any(%(layouts)s) and refs[cardinality(refs)] = %(key)s
union select webhook_id, id, uid from cdc.retry where event = %(event)s and key = %(key)s
union select webhook_id, id, uid from cdc.dead where event = %(event)s and key = %(key)s
union select webhook_id, delivery, uid from cdc.attempt
 where layout = any(%(layouts)s) and refs[cardinality(refs)] = %(key)s
   and at >= coalesce(%(since)s::timestamptz, clock_timestamp() - interval '1 day')
"""

_DELIVERIES = """
with found as (
  select * from unnest(%(webhooks)s::bigint[], %(ids)s::bigint[], %(uids)s::uuid[])
           as f (webhook_id, id, uid)
)
select q.webhook_id as webhook, q.id, q.uid::text, 'queued' as place, l.event,
       q.action::text, q.refs[cardinality(q.refs)] as key, q."time",
       case when isfinite(q."time")
            then extract(epoch from clock_timestamp() - q."time")::float8 else 0 end as age,
       0 as tries, 0 as attempts, null::float8 as due_in, null::int as status, null as error,
       (select count(*) from (select from cdc.queue b
                               where b.webhook_id = q.webhook_id and b.id < q.id
                               limit %(ahead)s) x)::int as ahead,
       null::bigint as behind
  from found f
  join cdc.queue q on (q.webhook_id, q.id, q.uid) = (f.webhook_id, f.id, f.uid)
  left join cdc.layout l on l.id = q.layout
union all
select r.webhook_id, r.id, r.uid::text,
       case when r.due_at is null then 'parked' else 'retrying' end,
       r.event, r.action::text, r.key, r."time",
       case when isfinite(r."time")
            then extract(epoch from clock_timestamp() - r."time")::float8 else 0 end,
       r.tries, r.attempts,
       extract(epoch from r.due_at - clock_timestamp())::float8, r.last_status, r.last_error, 0,
       case when r.due_at is null then
         (select min(b.id) from cdc.retry b
           where b.webhook_id = r.webhook_id and b.event = r.event and b.key = r.key
             and b.due_at is not null) end
  from found f
  join cdc.retry r on (r.webhook_id, r.id, r.uid) = (f.webhook_id, f.id, f.uid)
union all
select d.webhook_id, d.id, d.uid::text, 'dead', d.event, d.action::text, d.key, d."time",
       case when isfinite(d."time")
            then extract(epoch from clock_timestamp() - d."time")::float8 else 0 end,
       d.tries, d.attempts, null,
       d.last_status, d.last_error, 0, null
  from found f
  join cdc.dead d on (d.webhook_id, d.id, d.uid) = (f.webhook_id, f.id, f.uid)
"""

_ATTEMPTS = """
select a.webhook_id as webhook, a.delivery as id, a.uid::text, a.at, a.try as number, a.outcome,
       a.status, a.error, a.duration_ms::float8, {detail} as detail, {excerpt} as excerpt, l.event,
       a.action::text, a.refs[cardinality(a.refs)] as key, a."time"
  from cdc.attempt a left join cdc.layout l on l.id = a.layout
 where a.delivery = any(%(ids)s) and a.uid = any(%(uids)s::uuid[])
 order by a.at, a.try
"""

_HOOKS = """
select w.id, w.company, w.state, w.reason, w.since, w.created_at,
       array(select event from cdc.subscription s where s.webhook_id = w.id order by 1) as events,
       coalesce((select string_agg(coalesce(s.actions, 'cm'), '') from cdc.subscription s
                  where s.webhook_id = w.id), 'cm') as actions,
       (select s.filter from cdc.subscription s where s.webhook_id = w.id
         order by s.event limit 1) as filter,
       (select s.changed from cdc.subscription s where s.webhook_id = w.id
         order by s.event limit 1) as changed,
       coalesce((select s.include from cdc.subscription s where s.webhook_id = w.id
         order by s.event limit 1), '{{}}') as include,
       coalesce(l.breaker, 'closed') as breaker, coalesce(l.failures, 0) as failures,
       l.failing_since, extract(epoch from l.slow_until - clock_timestamp())::float8 as slow_for,
       l.last_error, {signable} as signable
  from cdc.webhook w left join cdc.lane l on l.webhook_id = w.id
 where w.id = any(%(ids)s) or w.company = any(%(companies)s)
 order by w.id
"""
_SIGNABLE = (
    "exists (select from cdc.webhook_secret s where s.webhook_id = w.id"
    " and (s.expires_at is null or s.expires_at > clock_timestamp()))"
)

# Which of them failed last, the log knows; it is asked about these few alone.
_FAILING = """
select w.id, f.id, f.uid
  from unnest(%s::bigint[]) w (id)
 cross join lateral (
   (select id, uid
      from (select id, uid, last_error, last_status from cdc.retry
             where webhook_id = w.id and due_at is not null order by due_at limit 10) next
     where last_error is not null or last_status is not null)
   union all
   (select id, uid from cdc.dead where webhook_id = w.id order by id desc limit 1)) f
"""

_UNRESOLVED = """
select id, resource, key, action::text, "time", reason, tries from cdc.unresolved
 where id = %(number)s or (resource = %(resource)s and key = %(key)s)
 order by id desc limit %(limit)s
"""


def common(conn: Connection, mapping: Mapping, held_days: float) -> CommonFacts:
    """Raises DatabaseError."""
    capture_state.refuse_unless_migrated(conn)
    members, daemons, _ = health.fleet(conn)
    return CommonFacts(
        capture=capture_state.standing(conn, mapping),
        daemons=members,
        owners={shard: daemon.owner for daemon in daemons for shard in daemon.shards},
        copy=capture_state.is_copy(conn),
        blocking=next(iter(blocking_sessions(conn)), None),
        held_days=held_days,
    )


def gather(conn: Connection, asked: Subject, company: str | None, shared: CommonFacts) -> Facts:
    """company: whose row it is, as far as is known otherwise. Raises DatabaseError."""
    conn.isolation_level = IsolationLevel.REPEATABLE_READ  # a delivery is in one place at a time
    with conn.transaction():
        found = _found(conn, asked)
        keys: dict[str, list[Any]] = {
            "webhooks": [row[0] for row in found],
            "ids": [row[1] for row in found],
            "uids": [str(row[2]) for row in found],
        }
        deliveries, attempts = _deliveries(conn, keys), _attempts(conn, keys)
        companies = [name for name in (asked.company or company,) if name is not None]
        if not companies and asked.resource is not None:
            companies = [
                name
                for (name,) in conn.execute(
                    "select distinct company from cdc.webhook where id = any(%s)",
                    [keys["webhooks"]],
                )
            ]
        hooks = _hooks(conn, keys["webhooks"], companies, shared.owners)
        with conn.cursor(row_factory=class_row(UnresolvedFacts)) as cursor:
            unresolved = cursor.execute(
                _UNRESOLVED,
                {
                    "number": asked.number,
                    "resource": asked.resource.name if asked.resource else None,
                    "key": asked.key,
                    "limit": DELIVERIES_SHOWN,
                },
            ).fetchall()
        off = _gaps(conn, asked)
        (mapped_at,) = conn.execute("select mapped_at from cdc.installation").fetchone() or (None,)
        failing = _failing(conn, [hook.id for hook in hooks.values() if hook.breaker != "closed"])
    placed = {(d.webhook, d.id, d.uid) for d in deliveries}
    logged = {(a.webhook, a.id, a.uid): a for a in attempts}
    deliveries += [_ended(a) for key, a in logged.items() if key not in placed]
    if asked.company is not None:
        hooks = {n: hook for n, hook in hooks.items() if hook.company == asked.company}
        deliveries = [d for d in deliveries if d.webhook in hooks]
    deliveries.sort(key=lambda d: (d.time, d.id, d.webhook), reverse=True)
    return Facts(
        deliveries=deliveries,
        attempts=attempts,
        unresolved=unresolved,
        hooks=hooks,
        capture=shared.capture,
        daemons=shared.daemons,
        gaps=off,
        mapped_at=mapped_at,
        copy=shared.copy,
        blocking=shared.blocking,
        failing=failing,
        held_days=shared.held_days,
    )


def of_webhook(conn: Connection, number: int, shared: CommonFacts) -> Facts:
    """What is known about a webhook and of what stops all of them. Raises DatabaseError."""
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    with conn.transaction():
        conn.execute(BY_INDEX)
        return Facts(
            hooks=_hooks(conn, [number], [], shared.owners),
            daemons=shared.daemons,
            copy=shared.copy,
            blocking=shared.blocking,
            failing=_failing(conn, [number]),
            held_days=shared.held_days,
        )


def _failing(conn: Connection, webhooks: list[int]) -> dict[int, Failing]:
    rows = conn.execute(_FAILING, [webhooks]).fetchall() if webhooks else []
    if not rows:
        return {}
    keys = dict(zip(("webhooks", "ids", "uids"), map(list, zip(*rows, strict=True)), strict=True))
    keys["uids"] = list(map(str, keys["uids"]))
    log = defaultdict(list)
    for attempt in _attempts(conn, keys):
        log[attempt.webhook, attempt.id, attempt.uid].append(attempt)
    found: dict[int, Failing] = {}
    for one in _deliveries(conn, keys):
        this = Failing(one, log[one.webhook, one.id, one.uid])
        if one.webhook not in found or _later(this, found[one.webhook]):
            found[one.webhook] = this
    return found


def _later(one: Failing, other: Failing) -> bool:
    """Whether it says more about how its webhook does now."""
    if one.delivery.place != other.delivery.place:
        return other.delivery.place == "dead"
    return bool(one.log) and (not other.log or one.log[-1].at > other.log[-1].at)


def _gaps(conn: Connection, asked: Subject) -> list[Gap]:
    """Those that end within the time looked at, or not at all."""
    if asked.resource is None:
        return []
    function = functions(conn).get(f"capture_{asked.resource.name}")
    after = asked.since or datetime.now(UTC) - timedelta(days=1)
    found = gaps(function) if function is not None else []
    return [gap for gap in found if gap.until is None or gap.until > after]


def _found(conn: Connection, asked: Subject) -> list[DeliveryKey]:
    if asked.uid:
        conn.execute(BY_INDEX)
        return list(asked.known or located(conn, asked.uid))
    if asked.resource is None:
        how = _BY_NUMBER
        params: dict[str, object] = {"number": asked.number}
    else:
        layouts = conn.execute(
            "select id from cdc.layout where event = %s", [asked.resource.event]
        ).fetchall()
        how = _BY_ROW
        params = {
            "layouts": [row[0] for row in layouts],
            "event": asked.resource.event,
            "key": asked.key,
            "since": asked.since,
        }
    newest = f"select * from ({how}) f order by 2 desc limit {DELIVERIES_SHOWN}"  # noqa: S608 - constants
    return [DeliveryKey(*row) for row in conn.execute(newest.encode(), params)]


def _deliveries(conn: Connection, keys: dict[str, list[Any]]) -> list[DeliveryFacts]:
    with conn.cursor(row_factory=class_row(DeliveryFacts)) as cursor:
        return cursor.execute(_DELIVERIES, {**keys, "ahead": AHEAD}).fetchall()


def _attempts(conn: Connection, keys: dict[str, list[Any]]) -> list[Attempt]:
    shown = {
        column: f"a.{column}" if _may(conn, "cdc.attempt", column) else "null"
        for column in ("detail", "excerpt")
    }
    with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        return cursor.execute(_ATTEMPTS.format(**shown).encode(), keys).fetchall()


def _hooks(
    conn: Connection, ids: Sequence[int], companies: Sequence[str], owners: dict[int, str]
) -> dict[int, WebhookFacts]:
    signable = _SIGNABLE if _may(conn, "cdc.webhook_secret", "expires_at") else "null"
    with conn.cursor(row_factory=class_row(_made(owners))) as cursor:
        rows = cursor.execute(
            _HOOKS.format(signable=signable).encode(), {"ids": ids, "companies": companies}
        ).fetchall()
    return {hook.id: hook for hook in rows}


def _made(owners: dict[int, str]) -> Any:
    def hook(**columns: Any) -> WebhookFacts:
        return WebhookFacts(**columns, owner=owners.get(columns["id"] % SHARDS))

    return hook


def _may(conn: Connection, table: str, column: str) -> bool:
    row = conn.execute("select has_column_privilege(%s, %s, 'select')", [table, column]).fetchone()
    return bool(row and row[0])


def _ended(last: Attempt) -> DeliveryFacts:
    return DeliveryFacts(
        webhook=last.webhook,
        id=last.id,
        uid=last.uid,
        place="",
        event=last.event,
        action=last.action,
        key=last.key,
        time=last.time,
        age=(datetime.now(last.time.tzinfo) - last.time).total_seconds(),
        tries=last.number,
        status=last.status,
        error=last.error,
    )
