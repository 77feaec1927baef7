"""Carries a plan out: carefully, one table a transaction, and never in anybody's way for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg

from cdc.capture import render
from cdc.capture.catalog import Connection
from cdc.capture.plan import Step
from cdc.errors import DatabaseError
from cdc.mapping import Mapping

Say = Callable[[str], None]

LOCK_CLASS = 0x434443  # "CDC", as for the shards of the daemons
INSTALLING = 65


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a lock on a table of the suite.

    A statement that waits for a strong lock makes all later ones queue behind it, so each try is
    short; between tries everybody gets on with their work.
    """

    lock_timeout_ms: int = 500
    tries: int = 20
    pause: float = 1.0


def carry_out(
    conn: Connection, steps: Sequence[Step], say: Say, patience: Patience | None = None
) -> None:
    """Runs the steps. Raises DatabaseError when a lock could not be had in time; what was done
    before stays done, and running it again goes on from there."""
    patience = patience or Patience()
    for table, group in groupby(steps, key=lambda step: step.table):
        batch = list(group)
        what = table or "schema cdc"
        for attempt in range(1, patience.tries + 1):
            try:
                with conn.transaction():
                    conn.execute(f"set local lock_timeout = {patience.lock_timeout_ms}")
                    conn.execute("set local search_path = pg_catalog, pg_temp")
                    # Two who install at once do so one after the other.
                    conn.execute("select pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, INSTALLING))
                    for step in batch:
                        for statement in _statements(step):
                            conn.execute(statement.encode())
                break
            except psycopg.errors.LockNotAvailable:
                if attempt == patience.tries:
                    raise DatabaseError(
                        f"{what} is locked by somebody for too long: gave up after "
                        f"{patience.tries} tries of {patience.lock_timeout_ms} ms",
                        "`select pid, query from pg_stat_activity where state = 'idle in "
                        "transaction'` shows who; run the command again to go on.",
                    ) from None
                say(f"{what} is locked, waiting (try {attempt} of {patience.tries})")
                time.sleep(patience.pause)
        for step in batch:
            say(step.why)


def _statements(step: Step) -> Iterator[str]:
    """The step's SQL, as the role that is to run it."""
    if step.role == render.RUNS_AS:
        # Only for as long as it takes, and seen by nobody: what runs as this role at other times
        # must not be able to name its own functions.
        yield "set local role cdc_owner;"
        yield f"grant usage, create on schema {render.SCHEMA} to {step.role};"
    if step.role:
        yield f"set local role {step.role};"
    yield step.sql
    if step.role == render.RUNS_AS:
        yield "set local role cdc_owner;"
        yield f"revoke usage, create on schema {render.SCHEMA} from {step.role};"
    if step.role:
        yield "reset role;"


def remember(conn: Connection, mapping: Mapping) -> None:
    """Notes which mapping is installed: daemons with another one refuse to start."""
    conn.execute(
        "update cdc.installation"
        " set mapping = %s, mapping_source = %s, mapped_at = clock_timestamp()"
        " where mapping is distinct from %s",
        (mapping.fingerprint, mapping.source, mapping.fingerprint),
    )


def forget(conn: Connection) -> None:
    conn.execute(
        "update cdc.installation set mapping = null, mapping_source = null, mapped_at = null"
    )


def switch(mapping: Mapping, *, on: bool) -> list[Step]:
    """Steps that stop or start capture at once, by the functions: no table of the suite is locked.

    While it is off, changes are lost: nobody can say later what they were.
    """
    steps = []
    for resource in mapping.captured:
        function = render.functions(mapping, resource)[0]
        if not on:
            function = render.switched_off(function)
        steps.append(
            Step(function.sql, f"{resource.table} {'on' if on else 'off'}", role=render.RUNS_AS)
        )
    return steps


def script(steps: Sequence[Step], mapping: Mapping | None) -> Iterator[str]:
    """The steps as a script for psql, to be read and run by a DBA."""
    for table, group in groupby(steps, key=lambda step: step.table):
        batch = list(group)
        locks = sorted({step.lock for step in batch if step.lock})
        yield f"-- {table or 'schema cdc'}" + (f"; locks it {', '.join(locks)}" if locks else "")
        yield "begin;"
        yield "set local lock_timeout = '500ms';"
        yield "set local search_path = pg_catalog, pg_temp;"
        for step in batch:
            yield from _statements(step)
        yield "commit;\n"
    if mapping is not None:
        source = mapping.source.replace("'", "''")
        yield "-- Daemons with another mapping than this one refuse to start."
        yield (
            f"update cdc.installation set mapping = '{mapping.fingerprint}',\n"
            f"  mapped_at = clock_timestamp(), mapping_source = '{source}';"
        )
