"""Carries a plan out: one table a transaction, never blocking other sessions for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from cdc.capture import catalog, render, reown
from cdc.capture.catalog import Connection
from cdc.capture.fit import fitted
from cdc.capture.plan import Role, Step, former_owned
from cdc.capture.sql_text import comment, literal
from cdc.mapping import Mapping
from cdc.postgres import connections, event_triggers
from cdc.postgres.advisory_locks import INSTALLING, LOCK_CLASS
from cdc.postgres.lock_retry import LockRetry, Say, WantedLock, holders, with_lock_retry
from cdc.postgres.session_settings import FOR_PSQL


def carry_out(
    conn: connections.Connection,
    steps: Sequence[Step],
    say: Say,
    lock_retry: LockRetry | None = None,
) -> None:
    """Runs the steps, those of one table in one transaction. Raises DatabaseError when a lock could
    not be had in time; what was done before stays done, and running it again goes on from there."""
    lock_retry = lock_retry or LockRetry()
    done = 0
    for _, group in groupby(steps, key=lambda step: step.table):
        batch = list(group)
        table = batch[0].table
        wanted = [
            WantedLock(mode, (table.sql,)) for mode in {s.lock for s in batch if s.lock} if table
        ]
        with event_triggers.named(conn):
            with_lock_retry(
                partial(_one_transaction, conn, batch, lock_retry.lock_timeout_ms),
                str(table or "schema cdc"),
                lock_retry,
                say,
                partial(holders, conn, wanted, lock_retry.lock_timeout_ms),
            )
        for step in batch:
            done += 1
            say(f"[{done}/{len(steps)}] {step.why}")


def _one_transaction(
    conn: connections.Connection, batch: Sequence[Step], lock_timeout_ms: int
) -> None:
    with conn.transaction():
        conn.execute(f"set local lock_timeout = {lock_timeout_ms}")
        conn.execute("select pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, INSTALLING))
        for step in batch:
            for statement in _statements(step):
                conn.execute(statement.encode())


def _statements(step: Step) -> Iterator[str]:
    """The step's SQL, as the role that is to run it."""
    if step.role == render.RUNS_AS:
        # Only within this transaction, invisible outside: what runs as this role at other times
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


def switch_off(conn: Connection) -> list[Step]:
    """Steps that stop capture at once, by the functions: no table of the suite is locked. Whatever
    mapping is installed, and by whichever release; empty where none is.

    While it is off, changes are lost and cannot be reconstructed.
    """
    steps: list[Step] = []
    for name, found in sorted(catalog.functions(conn).items()):
        if name.startswith(("capture_", "gone_")):
            steps += _switch(render.switched_off(name), "off", found.owner)
    for name, found in sorted(catalog.former_functions(conn).items()):
        if name.startswith("capture_"):
            steps += former_owned(found)
            steps += _switch(render.switched_off(name, "cdc"), "off", render.RUNS_AS, "cdc_owner")
    return steps


def switch_on(conn: Connection, mapping: Mapping) -> list[Step]:
    """Steps that start it again."""
    mapping = fitted(conn, mapping)
    known = catalog.functions(conn)
    steps: list[Step] = []
    switched = [function for _, function in render.keepers(mapping).values()]
    switched += [render.functions(mapping, resource)[0] for resource in mapping.captured]
    for function in switched:
        found = known.get(function.name)
        steps += _switch(function, "on", found.owner if found else render.RUNS_AS)
    return steps


def _switch(
    function: render.Function, to: str, owner: str, role: Role = render.RUNS_AS
) -> Iterator[Step]:
    why = f"{function.name.removeprefix('capture_')} {to}"
    if owner != render.RUNS_AS:
        yield Step(reown.owned(function), f"{function.name} belonged to {owner}")
    yield Step(f"{function.sql}\n{render.noted(function, to)}", why, role=role)


def script(steps: Sequence[Step], mapping: Mapping | None) -> Iterator[str]:
    """The steps as a script for psql, to be read and run by a DBA."""
    for table, group in groupby(steps, key=lambda step: step.table):
        batch = list(group)
        locks = sorted({step.lock for step in batch if step.lock})
        said = f"; locks it {', '.join(locks)}" if locks else ""
        yield comment(f"{table or 'schema cdc'}{said}")
        yield "begin;"
        yield "set local lock_timeout = '500ms';"
        yield from FOR_PSQL
        for step in batch:
            yield from _statements(step)
        yield "commit;\n"
    if mapping is not None:
        yield "-- Daemons with another mapping than this one refuse to start."
        source = literal(mapping.source)
        yield (
            f"update cdc.installation set mapping = '{mapping.fingerprint}',\n"
            f"  mapped_at = pg_catalog.clock_timestamp(), mapping_source = {source};"
        )
