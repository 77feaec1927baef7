"""Captures changes whose company could not be found when they were made, once it can."""

from __future__ import annotations

from cdc.daemon.store.session import Connection, execute
from cdc.telemetry import Observer

AT_ONCE = 500
WITHIN = 3  # seconds; less than a daemon waits for an answer


async def run_once(conn: Connection, observer: Observer) -> None:
    """Tries those whose time has come, the longest overdue first. Two daemons do not try the same
    row: cdc.resolve() locks them, and leaves out those that are locked. (The daemon itself has no
    right to.)

    What a table's owner has put there may take for ever: it is ended in time to be noted as tried.
    """
    await execute(conn, f"set statement_timeout = '{WITHIN}s'".encode(), name="resolve")
    [(resolved,)] = await execute(
        conn,
        b"select cdc.resolve(array("
        b" select id from cdc.unresolved where retry_at <= statement_timestamp()"
        b" order by retry_at, id limit $1))",
        [AT_ONCE],
        "resolve",
    )
    if resolved:
        observer.maintenance("captured late", resolved)
