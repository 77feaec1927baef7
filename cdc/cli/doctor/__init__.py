"""`cdc doctor`: named checks, each with a verdict and what to do.

base.py      what a check is given, and what it finds
database.py  the server, and who is in the way on it
locks.py     who stops the suite's writers
recording.py who keeps daemons from recording
room.py      connections, sizes, vacuum, the log's ring, sequences
rights.py    who may do what
capture.py   mapping, triggers, what is kept without a company
around.py    what others do to our tables: publications, row-level security, event triggers
sending.py   daemons, endpoints, what has not moved
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, print_json, print_table, say

if TYPE_CHECKING:
    from cdc.cli.doctor.base import Check, Finding, Patient

_STYLE = {"ok": common.GOOD, "warn": common.SO_SO, "fail": common.BAD}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check everything, and say what to do.

    Changes nothing. Exit code 1 if any check fails; warnings do not count.
    """
    from cdc.cli.doctor.base import Patient

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    with common.connect(settings) as conn:
        findings = examine(Patient(conn, settings, mapping))
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [common.fields_of(f) for f in findings]})
    else:
        _show(findings)
    if failed:
        raise typer.Exit(1)


def examine(patient: Patient) -> list[Finding]:
    """All checks in order. Without schema cdc there is nothing to look at beyond the server."""
    from cdc.cli.doctor.base import run

    before, *groups = checks()
    found = [run(name, check, patient) for name, check in before.items()]
    if any(f.check == "schema" and f.verdict == "fail" for f in found):
        return found
    for group in groups:
        found += [run(name, check, patient) for name, check in group.items()]
    return found


def checks() -> list[dict[str, Check]]:
    """All checks by group; the first is what has to be right before the others can be asked."""
    from cdc.cli.doctor import around, capture, database, rights, room, sending

    return [
        database.BEFORE,
        database.CHECKS,
        room.CHECKS,
        rights.CHECKS,
        capture.CHECKS,
        around.CHECKS,
        sending.CHECKS,
    ]


def _show(findings: list[Finding]) -> None:
    print_table(
        ["check", "verdict", "finding"],
        [(f.check, common.styled(f.verdict, _STYLE[f.verdict]), f.message) for f in findings],
    )
    todo = [finding for finding in findings if finding.todo and finding.verdict != "ok"]
    if todo:
        typer.echo()
        print_table(["check", "what to do"], [(f.check, f.todo) for f in todo])
    count = Counter(finding.verdict for finding in findings)
    warnings = common.counted(count["warn"], "warning")
    say(f"{count['ok']} fine, {warnings}, {count['fail']} failed.")
