"""Backfills: started, shown, paused, resumed, cancelled. The daemons carry them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from cdc.capture.backfill import MOST_WAYS, absent, create_indexes, hidden, missing_indexes, ways
from cdc.capture.check import show_all
from cdc.capture.fit import fitted
from cdc.errors import CdcError, UsageError
from cdc.mapping import Mapping, Resource
from cdc.schema.tables import backfill, webhook
from cdc.webhooks import audit, statements
from cdc.webhooks.audit import Actor
from cdc.wording import counted

LETTERS = {"created": "c", "modified": "m"}
_NAMES = {letter: name for name, letter in LETTERS.items()}
OPEN = ("running", "paused")
BACKFILLS_LISTED = 50
COUNT_LIMIT_ROWS = 100_000


class UnknownBackfill(CdcError):
    """There is no backfill of this number."""


class NotNow(CdcError):
    """The backfill's state, or the webhook's other backfill, does not allow it."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as it stands.

    action: what its rows are sent as.
    state:  running, paused, done, cancelled or failed; reason: why.
    looked: rows read; queued: those of them that the webhook wants.
    place:  of the last row read: the way from the company to it, and the keys on that way.
    """

    id: int
    webhook_id: int
    company: str
    event: str
    action: str
    since: datetime | None
    state: str
    reason: str
    looked: int
    queued: int
    place: list[str] | None
    actor: str
    created_at: datetime
    ended_at: datetime | None

    def shown(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BackfillCount:
    """Rows that a backfill would read, and those of them that the webhook wants. complete: that is
    all of them."""

    looked: int
    wanted: int
    complete: bool

    @property
    def sentence(self) -> str:
        least = "" if self.complete else "At least "
        return (
            f"{least}{counted(self.looked, 'row')} would be read, "
            f"and {counted(self.wanted, 'delivery', 'deliveries')} sent."
        )


def start(
    conn: sa.Connection,
    actor: Actor,
    mapping: Mapping,
    webhook_id: int,
    event: str,
    action: str,
    since: datetime | None = None,
) -> Backfill:
    """Has all rows of the webhook's company sent to it as ``action``.

    Raises UnknownWebhook, UsageError or CdcError for what cannot be, NotNow.
    """
    _can_be(conn, mapping, webhook_id, event, action, since)
    before = conn.execute(
        sa.select(backfill.c.id).where(
            backfill.c.webhook_id == webhook_id,
            backfill.c.event == event,
            backfill.c.state.in_(OPEN),
        )
    ).first()
    if before is not None:
        raise NotNow(
            f"backfill {before.id} of {event} for webhook {webhook_id} has not ended",
            f"Wait for its end, or: cdc backfill cancel {before.id}",
        )
    number = conn.execute(
        sa.insert(backfill)
        .values(
            webhook_id=webhook_id,
            event=event,
            action=LETTERS[action],
            since=since,
            actor=actor.name,
        )
        .returning(backfill.c.id)
    ).scalar_one()
    _notify(conn, webhook_id)
    found = get(conn, number)
    asked = {"backfill": number, "event": event, "action": action, "since": since}
    audit.note(
        conn, actor, "backfill.start", company=found.company, webhook=webhook_id, after=asked
    )
    return found


def count(
    conn: sa.Connection,
    reading: psycopg.Connection[Any],
    mapping: Mapping,
    webhook_id: int,
    event: str,
    action: str,
    since: datetime | None = None,
) -> BackfillCount:
    """What ``start`` would have sent, counted as far as COUNT_LIMIT_ROWS.

    reading: a session of its own, which is closed afterwards: reading tables of the suite may run
             code of their owners.
    Raises UnknownWebhook, UsageError or CdcError for what cannot be.
    """
    resource = _can_be(conn, mapping, webhook_id, event, action, since, lock=False)
    asked = [webhook_id, resource.name, LETTERS[action], since, COUNT_LIMIT_ROWS]
    row = reading.execute(
        'select * from cdc.count_backfill(%s, %s, %s::"char", %s, %s)', asked
    ).fetchone()
    assert row is not None
    return BackfillCount(*row)


def _can_be(
    conn: sa.Connection,
    mapping: Mapping,
    webhook_id: int,
    event: str,
    action: str,
    since: datetime | None,
    *,
    lock: bool = True,
) -> Resource:
    """Raises UnknownWebhook, UsageError or CdcError for what cannot be.

    lock: the webhook, until COMMIT. Not while rows are counted, for seconds.
    """
    if action not in LETTERS:
        raise UsageError(f"invalid action '{action}': expected {' or '.join(LETTERS)}")
    owner = statements.alive(conn, webhook_id, lock=lock)
    if event not in owner.events:
        raise UsageError(
            f"webhook {webhook_id} is not registered for {event}",
            f"It is registered for {', '.join(owner.events)}.",
        )
    if action not in owner.actions:
        raise UsageError(
            f"webhook {webhook_id} is not registered for action {action}: nothing would be sent",
            f"It is registered for {', '.join(owner.actions)}.",
        )
    return _can_be_read(conn, mapping, event, since)


def get(conn: sa.Connection, number: int) -> Backfill:
    """Raises UnknownBackfill."""
    row = None
    if 0 < number < 2**63:
        row = conn.execute(_backfills().where(backfill.c.id == number)).one_or_none()
    if row is None:
        raise UnknownBackfill(
            f"unknown backfill {number}", "`cdc backfill list` shows the newest of them."
        )
    return _backfill(row)


def search(
    conn: sa.Connection,
    webhook_id: int | None = None,
    *,
    company: str | None = None,
    before: int | None = None,
    most: int = BACKFILLS_LISTED,
) -> Sequence[Backfill]:
    """The newest first. before: only those with smaller numbers."""
    query = _backfills().order_by(backfill.c.id.desc()).limit(most)
    if webhook_id is not None:
        query = query.where(backfill.c.webhook_id == webhook_id)
    if company is not None:
        query = query.where(webhook.c.company == company)
    if before is not None:
        query = query.where(backfill.c.id < before)
    return [_backfill(row) for row in conn.execute(query)]


def pause(conn: sa.Connection, actor: Actor, number: int) -> Backfill:
    """Rows that are queued already are still sent. Raises UnknownBackfill, NotNow."""
    return _change(conn, actor, number, "pause", ("running",), "paused")


def resume(conn: sa.Connection, actor: Actor, number: int) -> Backfill:
    """One that was paused, or has failed, goes on where it was. Raises UnknownBackfill, NotNow."""
    return _change(conn, actor, number, "resume", ("paused", "failed"), "running")


def cancel(conn: sa.Connection, actor: Actor, number: int) -> Backfill:
    """Ends it for good. Raises UnknownBackfill, NotNow."""
    return _change(conn, actor, number, "cancel", (*OPEN, "failed"), "cancelled")


def _change(
    conn: sa.Connection, actor: Actor, number: int, what: str, states: tuple[str, ...], to: str
) -> Backfill:
    found = get(conn, number)
    statements.alive(conn, found.webhook_id)  # one at a time, and after a daemon's step
    ended = to not in OPEN
    changed = conn.execute(
        sa.update(backfill)
        .where(backfill.c.id == number, backfill.c.state.in_(states))
        .where(
            ~sa.exists().where(
                (other := backfill.alias()).c.webhook_id == found.webhook_id,
                other.c.event == found.event,
                other.c.state.in_(OPEN),
                other.c.id != number,
            )
        )
        .values(state=to, reason="", ended_at=sa.func.clock_timestamp() if ended else None)
    )
    if not changed.rowcount:
        state = get(conn, number).state
        if state in states:
            raise NotNow(
                f"another backfill of {found.event} for webhook {found.webhook_id} has not ended",
                f"`cdc backfill list --webhook {found.webhook_id}` shows it.",
            )
        raise NotNow(
            f"cannot {what} backfill {number}, which is {state}", f"Expected {' or '.join(states)}."
        )
    _notify(conn, found.webhook_id)
    after = {"backfill": number, "state": to}
    audit.note(
        conn,
        actor,
        f"backfill.{what}",
        company=found.company,
        webhook=found.webhook_id,
        before={"state": found.state},
        after=after,
    )
    return get(conn, number)


def _notify(conn: sa.Connection, webhook_id: int) -> None:
    """The webhook's new version is seen by its daemon, which looks for backfills then."""
    conn.execute(
        sa.update(webhook).where(webhook.c.id == webhook_id).values(version=webhook.c.version)
    )


def _can_be_read(
    conn: sa.Connection, mapping: Mapping, event: str, since: datetime | None
) -> Resource:
    """Raises CdcError where the daemon could not read the rows, or only all rows of a table."""
    if event not in mapping.events:
        raise CdcError(f"{event} is no longer in the mapping", "`cdc events` lists its events.")
    direct: Any = conn.connection.driver_connection
    fitting = fitted(direct, mapping)
    resource = fitting.events[event]
    if gone := absent(direct, fitting, resource):
        raise CdcError(
            f"table {gone[0]} does not exist in this database, so rows of {event} cannot be read",
            "`cdc triggers status` compares the mapping with the tables.",
        )
    if since is not None and resource.changed_at is None:
        raise UsageError(
            f"rows of {resource.table} cannot be selected by time: the mapping does not say which "
            "column holds when a row was changed",
            f"Declare it (`changed_at` of resources.{resource.name}) and run `cdc triggers "
            "install`, or leave --since out.",
        )
    if not ways(fitting, resource):
        raise CdcError(
            f"there are more than {MOST_WAYS} ways from a company to {resource.name}",
            "Its rows cannot be read for a backfill.",
        )
    if out_of_sight := hidden(direct, fitting, resource):
        raise CdcError(
            f"row-level security of {', '.join(map(str, out_of_sight))} may hide rows from "
            "cdc_capture, which reads them for a backfill",
            show_all(out_of_sight),
        )
    if missing := missing_indexes(direct, fitting, resource):
        first, *more = [f"{table} begins with {', '.join(columns)}" for table, columns in missing]
        others = f" (nor of {counted(len(more), 'more table')})" if more else ""
        raise CdcError(
            f"no index of {first}{others}: the rows of one company could be found only by reading "
            "those of all",
            f"Create it: {create_indexes(missing)}",
        )
    _is_installed(conn, resource)
    return resource


def _is_installed(conn: sa.Connection, resource: Resource) -> None:
    there = conn.execute(
        sa.text(
            "select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname = 'cdc_capture' and p.proname = :name)"
        ),
        {"name": f"backfill_{resource.name}"},
    ).scalar_one()
    if not there:
        raise CdcError(
            "capture was installed by an earlier release, which has no function to read rows for "
            "a backfill",
            "Run `cdc triggers install`.",
        )


def _backfills() -> sa.Select[Any]:
    return sa.select(
        *(column for column in backfill.c), webhook.c.company.label("company")
    ).join_from(backfill, webhook, backfill.c.webhook_id == webhook.c.id)


def _backfill(row: Any) -> Backfill:
    values = {name: getattr(row, name) for name in Backfill.__dataclass_fields__}
    action = row.action.decode() if isinstance(row.action, bytes) else row.action
    return Backfill(**{**values, "action": _NAMES[action]})
