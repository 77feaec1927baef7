"""Captures changes whose company could not be found when they were made, once it can."""

from __future__ import annotations

from cdc.daemon.store.session import Connection, execute, run
from cdc.telemetry import Observer

RESOLVE_BATCH_ROWS = 500
RESOLVE_WITHIN_S = 3  # less than a daemon waits for an answer


async def run_once(conn: Connection, observer: Observer) -> None:
    """Tries those whose time has come, the longest overdue first.

    What a table's owner has put there may take for ever: it is ended in time to be noted as tried.
    """
    await execute(conn, f"set statement_timeout = '{RESOLVE_WITHIN_S}s'".encode(), name="resolve")
    [(resolved,)] = await run(conn, "resolve", [RESOLVE_BATCH_ROWS])
    if resolved:
        observer.maintenance("captured late", resolved)
