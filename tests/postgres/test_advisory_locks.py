"""Advisory locks: what a daemon shows by one holds up no session that waits for another."""

from __future__ import annotations

import psycopg
import pytest

from cdc.postgres.advisory_locks import (
    CLOCK_EVEN,
    CLOCK_WITHIN,
    INSTALLING,
    LOCK_CLASS,
    LOG_LOST,
    MEMBER,
)


@pytest.mark.parametrize("shown", [LOG_LOST, MEMBER, CLOCK_EVEN + CLOCK_WITHIN])
def test_what_a_daemon_shows_does_not_hold_up_a_migration(database: str, shown: int) -> None:
    """A daemon with a full disk held the lock for which `cdc migrate` waits."""
    with psycopg.connect(database) as daemon, psycopg.connect(database) as migration:
        daemon.execute("select pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, shown))
        taken = migration.execute(
            "select pg_try_advisory_xact_lock(%s, %s)", (LOCK_CLASS, INSTALLING)
        ).fetchone()
        assert taken == (True,)
