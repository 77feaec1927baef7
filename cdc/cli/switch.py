"""`cdc triggers off` and `on`: the kill switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, print_json, say
from cdc.cli.scripted import AsSql, changing, print_script
from cdc.errors import DatabaseError

if TYPE_CHECKING:
    from cdc.capture.catalog import Gap, InstalledFunction


def off(ctx: typer.Context, as_sql: AsSql = False, as_json: AsJson = False) -> None:
    """Stop capture at once, without a lock on any table of the suite.

    For emergencies, whatever mapping is installed. Takes effect with the next statement, also in
    transactions that are open. While it is off, changes are lost and cannot be reconstructed;
    deliveries queued before are still sent.
    """
    from cdc.capture.catalog import former_functions, functions, triggers
    from cdc.capture.install import carry_out, switch_off
    from cdc.capture.rights import refuse_unless_owner
    from cdc.diagnosis.capture_state import refuse_unless_migrated, version
    from cdc.webhooks import audit
    from cdc.webhooks.audit import Actor

    with common.connect(load_settings(ctx)) as conn:
        steps = switch_off(conn)
        if not steps:
            if version(conn) is None:
                refuse_unless_migrated(conn)
            raise DatabaseError(
                "capture is not installed: there is nothing to switch off",
                "`cdc triggers status` shows the state of each table.",
            )
        if as_sql:
            print_script(steps, as_json=as_json)
            return
        refuse_unless_owner(conn)
        with conn.transaction():
            carry_out(conn, steps, lambda _: None)
            audit.write(conn, Actor.here(), "capture.off", None, None)
        tables = list(dict.fromkeys(str(found.table) for found in triggers(conn)))
        since = _last_gap(former_functions(conn) | functions(conn)).since
    if as_json:
        print_json({"capture": "off", "since": since.isoformat(), "tables": tables})
    else:
        say(f"Capture is off since {wording.when(since)}: {', '.join(tables)}.")
    common.warn(
        "changes of these tables are lost until `cdc triggers on`. Deliveries queued before are "
        "still sent."
    )


def on(ctx: typer.Context, as_sql: AsSql = False, as_json: AsJson = False) -> None:
    """Start capture again after `cdc triggers off`, and show for how long it was off."""
    from cdc.capture.catalog import former_functions, functions, installed_mapping
    from cdc.capture.install import carry_out, switch_on
    from cdc.capture.render import OFF
    from cdc.webhooks import audit
    from cdc.webhooks.audit import Actor

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with changing(settings) as conn:
        installed = installed_mapping(conn)
        former = former_functions(conn)
        if installed != mapping.fingerprint or former or not functions(conn):
            if former:
                found = "capture is as the first release installed it"
            elif installed is None:
                found = "capture is not installed"
            else:
                found = "the configured mapping differs from the installed one"
            raise DatabaseError(
                found,
                "`cdc triggers install` installs capture by the mapping, and switches it on.",
            )
        steps = switch_on(conn, mapping)
        if as_sql:
            print_script(steps, as_json=as_json)
            return
        was_off = any(found.body == OFF for found in functions(conn).values())
        with conn.transaction():
            carry_out(conn, steps, lambda _: None)
            if was_off:
                audit.write(conn, Actor.here(), "capture.on", None, None)
        gap = _last_gap(functions(conn)) if was_off else None
    tables = [str(r.table) for r in mapping.captured]
    if as_json:
        print_json({"capture": "on", "tables": tables, "lost": gap and common.fields_of(gap)})
        return
    say(f"Capture is on: {', '.join(tables)}.")
    if gap and gap.until:
        common.warn(
            f"it was off from {wording.when(gap.since)} to {wording.when(gap.until)} ({gap.who}): "
            "changes made then are not sent. Receivers must read them from the suite's API."
        )


def _last_gap(known: dict[str, InstalledFunction]) -> Gap:
    from cdc.capture.catalog import gaps

    return max((gap for found in known.values() for gap in gaps(found)), key=lambda gap: gap.since)
