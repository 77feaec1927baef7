"""`cdc doctor`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, print_json, say

if TYPE_CHECKING:
    from cdc.diagnosis.doctor.check import Finding

_STYLE = {"ok": common.GOOD, "warn": common.SO_SO, "fail": common.BAD}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Show the checks that passed, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, and say what to do.

    Changes nothing. Shows what fails, then warnings, each with what to do. Exit code 1 if any check
    fails; warnings do not count.
    """
    from cdc.diagnosis.doctor import examine
    from cdc.diagnosis.doctor.check import Patient

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


def _show(findings: list[Finding], *, every: bool) -> None:
    from cdc.cli.fit import advice

    order = ("fail", "warn", "ok")
    for finding in sorted(findings, key=lambda finding: order.index(finding.verdict)):
        if finding.verdict != "ok" or every:
            mark = common.styled(f"{finding.verdict:5}", _STYLE[finding.verdict])
            todo = finding.todo if finding.verdict != "ok" else ""
            text = common.styled(f"{finding.check}: {finding.message}")
            common.print_made(advice(mark, text, wording.printable(todo)))
    count = Counter(finding.verdict for finding in findings)
    warnings = wording.counted(count["warn"], "warning")
    more = "" if every else " `cdc doctor --all` lists them all."
    say(f"{count['ok']} fine, {warnings}, {count['fail']} failed.{more}")
