"""`cdc status`: what is late, failing or held."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, age, load_mapping, load_settings, print_facts, print_json
from cdc.errors import DatabaseError

if TYPE_CHECKING:
    from cdc.cli.health import Health, Lane

_HEADS = (
    *("webhook", "company", "state", "lane"),
    *("queued", "retrying", "parked", "dead", "oldest", "last error"),
)
_SHOWN = 40  # webhooks listed for people; --json has all


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("status")(status)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show at a glance what is late, failing or held.

    Exit code 1 when something is wrong: not installed, no daemon while deliveries wait, deliveries
    older than a minute, changes without a company, suspended webhooks.
    """
    from cdc.cli import capture, health
    from cdc.cli.doctor.base import LOCK_TIMEOUT
    from cdc.db import explained

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with explained(), common.connect(settings) as conn:
        version = capture.version(conn)
        try:
            # Not behind somebody's lock for ever, and not for the session: see doctor/base.py.
            with conn.transaction():
                conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
                seen = health.read(conn, mapping)
        except DatabaseError as error:
            if as_json:
                print_json({"ok": False, "problems": [error.message], "schema": version})
            raise
    problems = seen.problems()
    if as_json:
        print_json(_as_json(seen, problems, version))
    else:
        _show(seen, problems, version)
    if problems:
        raise typer.Exit(1)


def _as_json(seen: Health, problems: list[str], version: str | None) -> dict[str, Any]:
    told = [lane for lane in seen.lanes if not lane.quiet]
    return {
        "ok": not problems,
        "problems": problems,
        "schema": version,
        "mapping": {"installed": seen.installed_mapping, "same": seen.mapping_is_installed},
        "capture": [
            {"table": str(row.table), "event": row.event, "state": row.state, "detail": row.detail}
            for row in seen.capture
        ],
        "fleet": {
            "daemons": seen.members,
            "shards_owned": len(seen.owned),
            "owners": [
                {"owner": d.owner, "shards": list(d.shards), "since": d.since} for d in seen.daemons
            ],
        },
        "states": Counter(lane.state for lane in seen.lanes),
        "totals": _totals(seen),
        "webhooks": [{**common.fields_of(lane), "late": lane.late} for lane in told],
        "unresolved": common.fields_of(seen.unresolved),
    }


def _totals(seen: Health) -> dict[str, Any]:
    alive = [lane for lane in seen.lanes if lane.state != "removed"]
    ages = [lane.oldest for lane in alive if lane.oldest is not None and lane.state == "active"]
    return {
        "queued": sum(lane.queued for lane in alive),
        "retrying": sum(lane.retrying for lane in alive),
        "parked": sum(lane.parked for lane in alive),
        "held": sum(lane.waiting for lane in alive if lane.state != "active"),
        "dead": sum(lane.dead for lane in alive),
        "expired_last_day": seen.expired,
        "oldest": max(ages, default=None),
    }


def _show(seen: Health, problems: list[str], version: str | None) -> None:
    totals = _totals(seen)
    good = sum(row.state == "installed" for row in seen.capture)
    states = Counter(lane.state for lane in seen.lanes if lane.state != "removed")
    daemons = ", ".join(f"{d.owner} ({len(d.shards)} shards)" for d in seen.daemons)
    oldest = f", the oldest for {age(totals['oldest'])}" if totals["oldest"] is not None else ""
    print_facts(
        {
            "schema": version,
            "capture": f"{good} of {len(seen.capture)} tables",
            "daemons": f"{seen.members}: {daemons}" if daemons else "none",
            "webhooks": ", ".join(f"{n} {state}" for state, n in states.items()) or "none",
            "waiting": f"{totals['queued']} queued, {totals['retrying']} retrying, "
            f"{totals['parked']} parked ({totals['held']} of them held){oldest}",
            "dead": totals["dead"],
            "expired": f"{seen.expired} within the last day" if seen.expired else None,
        }
    )
    told = [lane for lane in seen.lanes if not lane.quiet]
    if told:
        typer.echo()
        common.print_table(
            _HEADS,
            [_row(lane) for lane in told[:_SHOWN]],
            right="webhook queued retrying parked dead oldest",
        )
        if len(told) > _SHOWN:
            common.say(f"... and {len(told) - _SHOWN} more; --json has all of them.")
    typer.echo()
    if not problems:
        common.print_text(common.styled("All is well.", common.GOOD))
    for problem in problems:
        common.print_text(common.styled(f"! {problem}", common.BAD))


def _row(lane: Lane) -> tuple[object, ...]:
    from cdc.cli.webhook.base import state

    return (
        lane.webhook_id,
        lane.company,
        state(lane.state),
        common.styled(lane.breaker, "" if lane.breaker == "closed" else common.BAD),
        lane.queued,
        lane.retrying,
        lane.parked,
        lane.dead,
        common.styled(age(lane.oldest), common.BAD if lane.late else ""),
        common.one_line(lane.last_error or "", 60),
    )
