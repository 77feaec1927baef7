"""What has to be right before a daemon starts: version, account, encoding, mapping, identity."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import psycopg
from psycopg import errors as pg

from cdc.daemon.store.session import Connection
from cdc.daemon.store.session import run as run_query
from cdc.errors import DatabaseError
from cdc.mapping import Mapping
from cdc.postgres import builtins, refusal
from cdc.postgres.connections import NotConnected, unreachable
from cdc.schema import migrations

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
        server = await _server(conn)
        await _version(conn)
        if not server.member:
            # The owner of our tables could deliver without the role; but daemons count as such,
            # and are left their share, by it (look.sql).
            raise DatabaseError(
                "the daemon's account is not a member of cdc_daemon", _grant(server.account)
            )
        await _installation(conn, mapping)
    except pg.InsufficientPrivilege as error:
        raise await lacking(conn, error) from None
    # PREPARE TRANSACTION refuses transactions that have used NOTIFY.
    return doorbell == "on" or (doorbell == "auto" and server.prepared_transactions == 0)


class _Server(NamedTuple):
    """As server.sql returns it."""

    standby: bool
    version: int
    encoding: str
    prepared_transactions: int
    member: bool
    account: str


async def _server(conn: Connection) -> _Server:
    """A server that can be used."""
    server = _Server(*(await run_query(conn, "server"))[0])
    if server.standby:
        # It may become the primary (fail-over): something to wait for, not to end at.
        raise psycopg.OperationalError("the server is a standby; waiting until it is the primary")
    if server.encoding != migrations.ENCODING:
        # What receivers answer is kept for people, and only UTF-8 can hold all of it.
        raise DatabaseError(*migrations.wrong_encoding(server.encoding))
    if server.version < migrations.SUPPORTED * 10_000:
        raise DatabaseError(
            f"this is PostgreSQL {server.version // 10_000}; "
            f"{migrations.SUPPORTED} or newer is needed"
        )
    return server


async def _version(conn: Connection) -> None:
    try:
        [(version,)] = await run_query(conn, "schema_version")
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


async def _installation(conn: Connection, mapping: Mapping) -> None:
    [(version, serves, installed, here)] = await run_query(conn, "installation")
    if serves > (head := migrations.head()):
        # Migrated already, and this daemon comes back or is started again.
        raise DatabaseError(
            f"schema cdc has version {version}, which serves programs from version {serves} "
            f"on; this one is of version {head}",
            "Install the newer release here, too.",
        )
    if installed is None:
        raise DatabaseError("capture is not installed", "Run `cdc triggers install`.")
    if installed != mapping.fingerprint:
        raise DatabaseError(
            "the mapping of this daemon is not the one that is installed in the database",
            "Give it the same file (CDC_MAPPING), or run `cdc triggers install` with this one.",
        )
    if not here:
        raise DatabaseError(
            "this is a copy of the database in which capture was installed; a copy must not send",
            "If it is the real one now, run `cdc adopt`.",
        )


def _grant(account: str) -> str:
    """How to give the account what a daemon's has."""
    return (
        f"As the account that ran `cdc migrate`, or a superuser: grant cdc_daemon to {account}. "
        "Better: an account for daemons alone (docs/dba.md, 'Accounts')."
    )


async def lacking(conn: Connection, error: psycopg.Error) -> DatabaseError:
    """Which right is missing, and how to give it."""
    said = error.diag.message_primary or str(error)
    server = _Server(*(await run_query(conn, "server"))[0])
    if not server.member:
        return DatabaseError(said, _grant(server.account))
    if taken_away := builtins.grant_for(said):
        return DatabaseError(said, taken_away)
    from cdc.capture import rights as granted

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
