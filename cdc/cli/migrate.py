"""`cdc migrate`: schema cdc by Alembic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, Yes, load_settings, print_json, print_table, say
from cdc.cli.lock_options import LockTimeout, Pause, Tries
from cdc.errors import UsageError
from cdc.wording import counted

if TYPE_CHECKING:
    from cdc.postgres.event_triggers import EventTrigger
    from cdc.postgres.publications import Publication
    from cdc.schema.migrations.steps import Version

BESIDE = "SHARE UPDATE EXCLUSIVE"
"""What CREATE INDEX CONCURRENTLY takes: neither readers nor writers wait for it."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("migrate")(migrate)


def migrate(
    ctx: typer.Context,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Show what would be done here, and the locks; change nothing."),
    ] = False,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Print the SQL of an installation, and run nothing."),
    ] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="VERSION", help="With --sql: start from this version, for an upgrade."
        ),
    ] = None,
    lock_timeout: LockTimeout = 500,
    tries: Tries = 20,
    pause: Pause = 1.0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Install schema cdc, or bring it up to date.

    Daemons may run meanwhile, and no table of the suite is touched. Each version is a short
    transaction of its own; large indexes are built before it, without blocking. Daemons of
    the previous release continue. Needs a superuser, or CREATEROLE and CREATE on the database.
    """
    from cdc.capture.rights import refuse_unless_able_to_migrate, refuse_unless_owner
    from cdc.postgres import connections
    from cdc.postgres.lock_retry import LockRetry
    from cdc.schema import migrations
    from cdc.webhooks.audit import Actor

    if plan and sql:
        raise UsageError("--plan and --sql exclude each other", "Give one of them.")
    if after is not None and not sql:
        raise UsageError("--from needs --sql", "Without it, the database says its version.")
    if sql:
        text = migrations.offline_sql(after)
        if as_json:
            print_json({"sql": text})
        else:
            typer.echo(text)
        return
    url = load_settings(ctx).database_url
    with connections.explained(), connections.connect(url) as conn:
        refuse_unless_owner(conn)
    before, missing = migrations.pending(url)
    others = _others(url, fresh=before is None)
    if plan:
        _plan(before, missing, others, as_json=as_json)
    if missing:
        with connections.explained(), connections.connect(url) as conn:
            refuse_unless_able_to_migrate(conn)
    if plan:
        return
    if missing:
        others.report()
    if others.everything:
        common.confirm("Install schema cdc nevertheless?", yes=yes)
    lock_retry = LockRetry(lock_timeout, tries, pause)
    before, reached = migrations.upgrade(
        url, lock_retry, say, publish=bool(others.everything), actor=Actor.here().name
    )
    _look(url)
    if as_json:
        print_json({"before": before, "after": reached, "changed": before != reached})
    elif before == reached:
        say(f"Nothing to do: schema cdc has version {reached} already.")
    else:
        came = (
            f"upgraded from version {before} to {reached}" if before else f"installed ({reached})"
        )
        say(f"Schema cdc is {came}. Next: `cdc triggers plan`, then `cdc triggers install`.")


@dataclass(frozen=True, slots=True)
class _Others:
    """What others have in the database that concerns a migration.

    everything: publications that will hold our tables. published: those that do.
    """

    everything: list[str]
    published: tuple[Publication, ...]
    slots: list[str]
    triggers: list[EventTrigger]

    def report(self) -> None:
        """Warns of it, before anything is done."""
        names = self.everything or [one.name for one in self.published]
        if names:
            readers = f" (replication slots of this database: {', '.join(self.slots)})"
            common.warn(
                f"publication {', '.join(names)} {'will send' if self.everything else 'sends'} the "
                "tables of schema cdc to its subscribers, signing secrets included. A subscriber "
                "that has no such tables stops replicating at their first change"
                f"{readers if self.slots else ''}. docs/database.md, 'Logical replication', says "
                "what to do before."
            )
        for one in self.triggers:
            say(f"The {one} will fire.")


def _others(url: str, *, fresh: bool) -> _Others:
    from cdc.postgres import connections, event_triggers, publications

    with connections.explained(), connections.connect(url) as conn:
        return _Others(
            publications.everything(conn) if fresh else [],
            publications.ours(conn),
            publications.slots(conn),
            event_triggers.found(conn),
        )


def _look(url: str) -> None:
    """Warns of policies that hide rows of what was installed."""
    from cdc.postgres import connections, row_security

    with connections.explained(), connections.connect(url) as conn:
        for table, roles in row_security.filtered(conn).items():
            common.warn(
                f"row-level security of cdc.{table} hides rows from {', '.join(roles)}, or refuses "
                "them: changes are lost, or not sent. `cdc doctor` says what to do."
            )


def _plan(before: str | None, missing: list[Version], others: _Others, *, as_json: bool) -> None:
    if as_json:
        steps = [_shown(version, fresh=before is None) for version in missing]
        published = others.everything or [one.name for one in others.published]
        triggers = [one.name for one in others.triggers]
        found = {"publications": published, "event_triggers": triggers}
        print_json({"before": before, "steps": steps, **found})
        return
    if missing:
        others.report()
    if not missing:
        say(f"Nothing to do: schema cdc has version {before} already.")
        return
    if before is None:
        say(
            "Creates schema cdc and its roles, in one transaction, without a lock on existing"
            " objects. `cdc migrate --sql` prints it; nothing was changed."
        )
        return
    for version in missing:
        rows = []
        rows += [
            (
                f"beforehand: {step.table}, alone",
                step.LOCK,
                f"writers, {step.WAIT_MS} ms a try",
            )
            for step in version.apart
        ]
        if version.online:
            made = counted(len(version.online), "index", "indexes")
            rows.append((f"beforehand: {made}, one by one", BESIDE, "no session"))
        for name, mode in sorted(version.locks.items()):
            waits = "no session" if mode == BESIDE else "daemons, before they record what they sent"
            rows.append((name, mode, waits))
        typer.echo(f"{version.before} -> {version.number}: {version.title}")
        print_table(["what", "lock", "blocks"], rows)
    say(
        "No table of the suite is locked. "
        f"`cdc migrate --sql --from {before}` prints the SQL; nothing was changed."
    )


def _shown(version: Version, *, fresh: bool) -> dict[str, Any]:
    return {
        "version": version.number,
        "title": version.title,
        "locks": {} if fresh else version.locks,
        "beforehand": []
        if fresh
        else [*(a.sql for a in version.apart), *(i.sql for i in version.online)],
        "sql": version.sql,
    }
