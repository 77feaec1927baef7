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
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, print_json, say

if TYPE_CHECKING:
    from cdc.cli.doctor.base import Check, Finding, Patient
    from cdc.cli.health import Problem

# Checks that `cdc status` leaves out: what it reads itself, what takes long (names are looked up,
# secrets decrypted), and what never fails.
_READ = "schema identity mapping triggers partitions unresolved publications daemons backlog"
_READ_TOO = "companies notifications"
_SLOW = "endpoints encryption"
_WARNINGS = "pooler wire durability transactions snapshots sizes files"
NOT_FOR_STATUS = frozenset(f"{_READ} {_READ_TOO} {_SLOW} {_WARNINGS}".split())

STOPS = frozenset({"recording", "connections", "log", "grants", "roles", "proxy", "tls", "objects"})
"""Checks of what keeps daemons from sending to any webhook."""

_STYLE = {"ok": common.GOOD, "warn": common.SO_SO, "fail": common.BAD}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context,
    every: Annotated[
        bool, typer.Option("--all", help="Show the checks that are fine, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything, and say what to do.

    Changes nothing. Shows what fails, then warnings, each with what to do. Exit code 1 if any check
    fails; warnings do not count.
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
        _show(findings, every=every)
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


def failed(patient: Patient) -> list[Problem]:
    """What fails of the checks that `cdc status` asks beside what it reads itself."""
    from cdc.cli.doctor.base import run
    from cdc.cli.health import Problem

    asked = {
        name: check
        for group in checks()
        for name, check in group.items()
        if name not in NOT_FOR_STATUS
    }
    found = [run(name, check, patient) for name, check in asked.items()]
    return [
        Problem(one.message, one.todo, stops=one.check in STOPS)
        for one in found
        if one.verdict == "fail"
    ]


def _show(findings: list[Finding], *, every: bool) -> None:
    from cdc.cli.fit import advice

    order = ("fail", "warn", "ok")
    for finding in sorted(findings, key=lambda finding: order.index(finding.verdict)):
        if finding.verdict != "ok" or every:
            mark = common.styled(f"{finding.verdict:5}", _STYLE[finding.verdict])
            todo = finding.todo if finding.verdict != "ok" else ""
            text = common.styled(f"{finding.check}: {finding.message}")
            common.print_made(advice(mark, text, common.printable(todo)))
    count = Counter(finding.verdict for finding in findings)
    warnings = common.counted(count["warn"], "warning")
    more = "" if every else " `cdc doctor --all` lists them all."
    say(f"{count['ok']} fine, {warnings}, {count['fail']} failed.{more}")
