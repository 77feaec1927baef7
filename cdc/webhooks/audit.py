"""Audit: who changed what, written in the transaction of the change. Nothing secret is in it."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from psycopg.types.json import Jsonb

from cdc.postgres.connections import Connection
from cdc.schema.tables import audit

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Actor:
    """By whom a change is made.

    name:    ``cli:<user>@<host>``, ``key:<id>`` of a key of the API, ``session:<id>``, or
             ``contact``: by a link in a mail to it.
    source:  the client's address.
    request: the number of the request, as its answer has it.
    """

    name: str
    source: str = ""
    request: str = ""

    @classmethod
    def here(cls) -> Actor:
        """The command line on this host."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            user = "unknown"
        return cls(f"cli:{user}@{socket.gethostname()}")


def note(
    conn: sa.Connection,
    actor: Actor,
    action: str,
    *,
    company: str | None = None,
    webhook: int | None = None,
    before: Row | None = None,
    after: Row | None = None,
) -> None:
    """Writes that this was done, in the transaction that does it."""
    conn.execute(
        sa.insert(audit)
        .inline()
        .values(
            actor=actor.name,
            source=actor.source,
            request=actor.request,
            action=action,
            company=company,
            webhook_id=webhook,
            before=_plain(before),
            after=_plain(after),
        )
    )


def write(conn: Connection, actor: Actor, action: str, before: Any, after: Any) -> None:
    """The same on a session that speaks SQL, about the installation. Where the schema is still the
    first release's, which has no audit, nothing is written."""
    if conn.execute("select to_regclass('cdc.audit') is null").fetchone() == (True,):
        return
    conn.execute(
        "insert into cdc.audit (actor, action, before, after) values (%s, %s, %s, %s)",
        (actor.name, action, Jsonb(before), Jsonb(after)),
    )


def _plain(row: Row | None) -> Any:
    """As JSON holds it. SQL's null where there is nothing to say."""
    if row is None:
        return sa.null()
    return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in row.items()}


def changed(before: Row, after: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, as it was and as it is."""
    names = [n for n in after if before.get(n) != after[n] and n not in ("version", "since")]
    return {n: before.get(n) for n in names}, {n: after[n] for n in names}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; None: no matter. ``before``: only those with smaller numbers."""

    company: str | None = None
    webhook: int | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = 50


def entries(conn: sa.Connection, wanted: AuditFilter) -> Sequence[dict[str, Any]]:
    """The newest first."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(wanted.limit)
    for column, value in (
        (audit.c.company, wanted.company),
        (audit.c.webhook_id, wanted.webhook),
        (audit.c.actor, wanted.actor),
        (audit.c.action, wanted.action),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.before is not None:
        query = query.where(audit.c.id < wanted.before)
    return [dict(row) for row in conn.execute(query).mappings()]
