"""`cdc triggers`: capture on the suite's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc import wording
from cdc.cli import common, switch
from cdc.cli.common import AsJson, Yes, load_mapping, load_settings, print_json, say
from cdc.cli.lock_options import LockTimeout, Pause, Tries
from cdc.cli.scripted import AsSql, changing, print_script, print_sql
from cdc.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdc.capture.plan import Step
    from cdc.mapping import Mapping
    from cdc.postgres.connections import Connection


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Capture: triggers on the suite's tables.\n\nThe mapping (CDC_MAPPING) says which "
        "tables and columns; everything here follows from it.",
    )
    for command in (plan, install, status, remove, sql, switch.off, switch.on):
        group.command()(command)
    app.add_typer(group, name="triggers")


def plan(
    ctx: typer.Context,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Print the SQL and its locks."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `cdc triggers install` would do to each table, and the locks it takes.

    Compares with the catalogue: what is there already is left alone. Changes nothing. Exit code 1
    if this account lacks a right that the installation needs.
    """
    from cdc.capture.plan import unseen
    from cdc.capture.rights import refuse_unless_allowed
    from cdc.diagnosis.capture_state import relations

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with common.connect(settings) as conn:
        steps = _planned(conn, mapping)
        noted = _noted(conn, mapping)
        limits = unseen(mapping, {t: r for t, r in relations(conn, mapping).items() if r})
        if as_json:
            planned = [_step(step) for step in steps]
            print_json({"steps": planned, "mapping_noted": noted, "not_captured": limits})
        elif steps:
            _tell_plan(steps, mapping if sql else None)
        else:
            say("Nothing to do." if noted else "Only the mapping would be noted as installed.")
        if not as_json:
            for limit in limits:
                say(limit)
        refuse_unless_allowed(conn, steps)


def _tell_plan(steps: Sequence[Step], sql_for: Mapping | None) -> None:
    if sql_for is not None:
        from cdc.capture.install import script

        # As `cdc triggers sql` prints it: what was reviewed in sql/triggers.sql can be compared.
        for part in script(steps, sql_for):
            typer.echo(wording.printable(part, lines=True))
    else:
        common.print_table(["table", "lock", "what"], _by_table(steps))
    locked = wording.counted(len({step.table for step in steps if step.lock}), "table")
    more = "" if sql_for else " `--sql` shows the statements."
    one_by_one = ", one table at a time" if any(step.lock for step in steps) else ""
    say(
        f"{wording.counted(len(steps), 'step')}, locks on {locked}{one_by_one}. "
        f"Nothing was changed; `cdc triggers install` carries it out.{more}"
    )


def install(
    ctx: typer.Context,
    lock_timeout: LockTimeout = 500,
    tries: Tries = 20,
    pause: Pause = 1.0,
    as_json: AsJson = False,
) -> None:
    """Install capture as the mapping defines it, or bring it up to date.

    Checks the mapping against the tables first; what is there already takes no lock. Locks one
    table at a time, for a moment; tries again while a table is busy.
    """
    from cdc.capture.install import carry_out, remember
    from cdc.capture.rights import refuse_unless_allowed
    from cdc.postgres.lock_retry import LockRetry
    from cdc.webhooks import audit
    from cdc.webhooks.audit import Actor

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with changing(settings) as conn:
        steps = _planned(conn, mapping, lock_timeout)
        refuse_unless_allowed(conn, steps)
        noted = _noted(conn, mapping)
        carry_out(conn, steps, say, LockRetry(lock_timeout, tries, pause))
        with conn.transaction():
            remember(conn, mapping)
            if steps or not noted:
                did = {"mapping": mapping.fingerprint, "steps": len(steps)}
                audit.write(conn, Actor.here(), "capture.install", None, did)
    if as_json:
        print_json({"done": [_step(step) for step in steps], "changed": bool(steps) or not noted})
    elif steps or not noted:
        say(f"Capture is installed: {', '.join(str(r.table) for r in mapping.captured)}.")
    else:
        say("Nothing to do: capture is installed by the mapping.")


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the state of capture on each table and partition. Exit code 1 if anything is wrong."""
    from cdc.diagnosis import capture_state

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with common.connect(settings) as conn:
        capture_state.refuse_unless_migrated(conn)
        rows = capture_state.standing(conn, mapping)
        noted = _noted(conn, mapping)
        misfit = capture_state.misfit(conn, mapping)
    wrong = [row for row in rows if row.state != "installed"]
    if as_json:
        tables = [{**common.fields_of(row), "table": str(row.table)} for row in rows]
        good = noted and not wrong and not misfit
        print_json({"ok": good, "mapping_noted": noted, "misfit": misfit, "tables": tables})
    else:
        common.print_table(
            ["table", "event", "state", "detail"],
            [(str(r.table), r.event, _state(r.state), r.detail) for r in rows],
        )
        if wrong:
            what = "`cdc triggers on` switches it on." if _off(rows) else "See `cdc triggers plan`."
            say(f"{len(wrong)} of {len(rows)} tables are not captured properly. {what}")
        elif not noted:
            say("The mapping is not the installed one; `cdc triggers install` installs it.")
        if misfit:
            say(f"The mapping no longer fits the tables: {misfit}")
    if wrong or misfit or not noted:
        raise typer.Exit(1)


def remove(
    ctx: typer.Context,
    yes: Yes = False,
    lock_timeout: LockTimeout = 500,
    tries: Tries = 20,
    pause: Pause = 1.0,
    as_sql: AsSql = False,
    as_json: AsJson = False,
) -> None:
    """Remove capture from the suite's tables; schema cdc and what is queued stay.

    Each table is locked (ACCESS EXCLUSIVE) for a moment. From then on changes are lost.
    """
    from cdc.capture.install import carry_out, forget
    from cdc.capture.plan import removal
    from cdc.capture.rights import refuse_unless_allowed
    from cdc.postgres.lock_retry import LockRetry
    from cdc.webhooks import audit
    from cdc.webhooks.audit import Actor

    with changing(load_settings(ctx)) as conn:
        steps = removal(conn)
        if as_sql:
            print_script(steps, as_json=as_json)
            return
        refuse_unless_allowed(conn, steps)
        if steps:
            common.confirm("Changes made from now on will be lost. Remove capture?", yes=yes)
        carry_out(conn, steps, say, LockRetry(lock_timeout, tries, pause))
        with conn.transaction():
            forget(conn)
            if steps:
                audit.write(conn, Actor.here(), "capture.remove", None, {"steps": len(steps)})
    if as_json:
        print_json({"done": [_step(step) for step in steps], "changed": bool(steps)})
    else:
        say("Capture is removed." if steps else "Nothing to do: no capture is installed.")


def sql(
    ctx: typer.Context,
    database: Annotated[
        bool,
        typer.Option("--database", help="Print what this database lacks, partitions included."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the installation as a script for psql, for a DBA to read and run."""
    from cdc.capture import script
    from cdc.capture.install import script as as_script

    settings = load_settings(ctx, need_database=database)
    mapping = load_mapping(settings)
    if database:
        with common.connect(settings) as conn:
            steps = _planned(conn, mapping)
            done = not steps and _noted(conn, mapping)
            text = "" if done else "\n".join(as_script(steps, mapping))
        if done:
            say("Nothing to do: capture is installed by the mapping.")
    else:
        name = settings.mapping.name if settings.mapping else "interview_suite.toml"
        text = script.offline(mapping, name).rstrip("\n")
    print_sql(text, as_json=as_json)


def _planned(conn: Connection, mapping: Mapping, lock_timeout: int = 5000) -> Sequence[Step]:
    from psycopg import errors as pg

    from cdc.capture.check import check
    from cdc.capture.parent_lookup import tables_read
    from cdc.capture.plan import plan
    from cdc.capture.rights import BY_OWNER, refuse_unless_owner
    from cdc.diagnosis.capture_state import refuse_unless_migrated
    from cdc.postgres.lock_retry import WantedLock, advice, holders

    refuse_unless_owner(conn)
    refuse_unless_migrated(conn)
    try:
        # Looking at a table waits too, where another session has locked it whole. Not set for the
        # session: behind a transaction pooler the suite gets it next.
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (str(lock_timeout),))
            steps = plan(conn, mapping, check(conn, mapping))
    except pg.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{error.diag.message_primary}: cannot test how capture would read it", BY_OWNER
        ) from None
    except pg.LockNotAvailable:
        tables = {*tables_read(mapping), *(r.table for r in mapping.resources.values())}
        who = holders(conn, [WantedLock("ACCESS SHARE", tuple(table.sql for table in tables))])
        raise DatabaseError(
            "another session has locked a table of the mapping: gave up after "
            f"{lock_timeout} ms" + (f"; {who}" if who else ""),
            advice(who),
        ) from None
    return steps


def _noted(conn: Connection, mapping: Mapping) -> bool:
    from cdc.capture.catalog import installed_mapping

    return installed_mapping(conn) == mapping.fingerprint


def _by_table(steps: Sequence[Step]) -> Iterator[tuple[str, str, str]]:
    """A line for each transaction: table, the lock on it, what is done."""
    from itertools import groupby

    for table, group in groupby(steps, key=lambda step: step.table):
        batch = list(group)
        locks = ", ".join(sorted({step.lock for step in batch if step.lock})) or "none"
        shown = [step.why for step in batch[:3]]
        if len(batch) > 3:
            shown.append(f"and {len(batch) - 3} more")
        yield str(table or "(schema cdc)"), locks, "; ".join(shown)


def _step(step: Step) -> dict[str, Any]:
    return {
        "sql": step.sql,
        "why": step.why,
        "lock": step.lock or None,
        "table": str(step.table) if step.table else None,
        "role": step.role,
    }


def _state(state: str) -> Any:
    return common.styled(state, common.GOOD if state == "installed" else common.BAD)


def _off(rows: Sequence[Any]) -> bool:
    from cdc.capture.plan import SWITCHED_OFF

    return any(row.detail == SWITCHED_OFF for row in rows)
