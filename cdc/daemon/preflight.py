"""What has to be right before a daemon starts: version, account, encoding, mapping, identity."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg import errors as pg

from cdc.capture import rights as granted
from cdc.errors import DatabaseError
from cdc.mapping import Mapping
from cdc.postgres import refusal
from cdc.postgres.connections import NotConnected, unreachable
from cdc.schema import migrations

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

__all__ = ["lacking", "refuse_if_hopeless", "run", "unreachable"]


async def refuse_if_hopeless(error: psycopg.OperationalError, url: str) -> None:
    """Waiting helps when the server is down or starting, not when it says no."""
    if isinstance(error, NotConnected) and not error.timed_out:
        codes = await asyncio.to_thread(refusal.sqlstates, url)
        if refusal.hopeless(codes):
            raise unreachable(error, codes) from None


async def run(conn: Connection, mapping: Mapping, doorbell: str) -> bool:
    """Raises DatabaseError for a database that cannot be used as it is, psycopg.OperationalError
    where waiting may help.

    Returns whether the doorbell can be used.
    """
    try:
        await _primary(conn)
        await _encoding(conn)
        await _version(conn)
        await _account(conn)
        await _mapping(conn, mapping)
        await _identity(conn)
        return await _bell(conn, doorbell)
    except pg.InsufficientPrivilege as error:
        raise await lacking(conn, error) from None


async def _one(conn: Connection, sql: bytes) -> tuple[Any, ...]:
    cursor = await conn.execute(sql)
    row = await cursor.fetchone()
    assert row is not None
    return row


async def _primary(conn: Connection) -> None:
    """A standby may become the primary (fail-over): something to wait for, not to end at."""
    (standby,) = await _one(conn, b"select pg_is_in_recovery()")
    if standby:
        raise psycopg.OperationalError("the server is a standby; waiting until it is the primary")


async def _version(conn: Connection) -> None:
    (number,) = await _one(conn, b"select current_setting('server_version_num')::int")
    if number < migrations.SUPPORTED * 10_000:
        raise DatabaseError(
            f"this is PostgreSQL {number // 10_000}; {migrations.SUPPORTED} or newer is needed"
        )
    try:
        (version,) = await _one(conn, b"select max(version_num) from cdc.schema_version")
    except (pg.UndefinedTable, pg.InvalidSchemaName):
        raise DatabaseError(
            "schema cdc is not installed in this database",
            "Run `cdc migrate`, then `cdc triggers install`.",
        ) from None
    head = migrations.head()
    if version < head:
        raise DatabaseError(
            f"schema cdc has version {version}, this program needs {head}",
            "Run `cdc migrate`; daemons of the previous release continue meanwhile.",
        )
    if version > head:
        # Migrated already, and this daemon comes back or is started again: is it still served?
        (oldest,) = await _one(conn, b"select serves from cdc.installation")
        if oldest > head:
            raise DatabaseError(
                f"schema cdc has version {version}, which serves programs from version {oldest} "
                f"on; this one is of version {head}",
                "Install the newer release here, too.",
            )


async def _account(conn: Connection) -> None:
    """The owner of our tables could deliver without the role; but daemons count as such, and are
    left their share, by it (look.sql)."""
    member, grant = await _membership(conn)
    if not member:
        raise DatabaseError("the daemon's account is not a member of cdc_daemon", grant)


async def _membership(conn: Connection) -> tuple[bool, str]:
    """Whether the session's account has cdc_daemon, and the line that gives it."""
    member, account = await _one(
        conn,
        b"select coalesce((select pg_has_role(session_user, oid, 'member') from pg_roles"
        b"                  where rolname = 'cdc_daemon'), false),"
        b"       quote_ident(session_user)",
    )
    return member, (
        f"As the account that ran `cdc migrate`, or a superuser: grant cdc_daemon to {account}. "
        "Better: an account for daemons alone (docs/dba.md, 'Accounts')."
    )


async def lacking(conn: Connection, error: psycopg.Error) -> DatabaseError:
    """Which right is missing, and how to give it."""
    said = error.diag.message_primary or str(error)
    member, grant = await _membership(conn)
    if not member:
        return DatabaseError(said, grant)
    sql, rights = granted.missing()
    cursor = psycopg.AsyncCursor(conn)  # the daemon's own have $1
    rows = await (await cursor.execute(sql.encode(), rights)).fetchall()
    found = [granted.demanded()[number - 1] for (number,) in rows]
    if ours := [str(right) for right in found if right.role == "cdc_daemon"]:
        more = f", and {len(ours) - 3} more" if len(ours) > 3 else ""
        return DatabaseError(f"{said}; missing: {'; '.join(ours[:3])}{more}", granted.AGAIN)
    return DatabaseError(
        said,
        "The role cdc_daemon has all its rights: does the account inherit them "
        "(alter role ... inherit; since PostgreSQL 16 also grant ... with inherit true)?",
    )


async def _encoding(conn: Connection) -> None:
    """What receivers answer is kept for people, and only UTF-8 can hold all of it."""
    (encoding,) = await _one(conn, b"select getdatabaseencoding()::text")
    if encoding != migrations.ENCODING:
        raise DatabaseError(*migrations.wrong_encoding(encoding))


async def _mapping(conn: Connection, mapping: Mapping) -> None:
    (installed,) = await _one(conn, b"select mapping from cdc.installation")
    if installed is None:
        raise DatabaseError("capture is not installed", "Run `cdc triggers install`.")
    if installed != mapping.fingerprint:
        raise DatabaseError(
            "the mapping of this daemon is not the one that is installed in the database",
            "Give it the same file (CDC_MAPPING), or run `cdc triggers install` with this one.",
        )


async def _identity(conn: Connection) -> None:
    (same,) = await _one(
        conn,
        b"select i.system_identifier = c.system_identifier and i.database_oid = d.oid"
        b"  from cdc.installation i, pg_control_system() c, pg_database d"
        b" where d.datname = current_database()",
    )
    if not same:
        raise DatabaseError(
            "this is a copy of the database in which capture was installed; a copy must not send",
            "If it is the real one now, run `cdc adopt`.",
        )


async def _bell(conn: Connection, doorbell: str) -> bool:
    if doorbell == "auto":
        # PREPARE TRANSACTION refuses transactions that have used NOTIFY.
        (prepared,) = await _one(conn, b"select current_setting('max_prepared_transactions')::int")
        return bool(prepared == 0)
    return doorbell == "on"
