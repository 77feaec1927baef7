"""What the doctor looks at: named checks, each with a verdict and what to do.

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

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdc.diagnosis.doctor.check import Check, Finding, Patient
    from cdc.diagnosis.health import Problem

# Checks that `cdc status` leaves out: what it reads itself, what takes long (names are looked up,
# secrets decrypted), and what never fails.
_READ = "schema identity mapping triggers partitions unresolved publications daemons backlog"
_READ_TOO = "companies notifications"
_SLOW = "endpoints encryption"
_WARNINGS = "pooler wire durability transactions snapshots sizes files"
NOT_FOR_STATUS = frozenset(f"{_READ} {_READ_TOO} {_SLOW} {_WARNINGS}".split())

STOPS = frozenset({"recording", "connections", "log", "grants", "roles", "proxy", "tls", "objects"})
"""Checks of what keeps daemons from sending to any webhook."""


def examine(patient: Patient) -> list[Finding]:
    """All checks in order. Without schema cdc there is nothing to look at beyond the server."""
    from cdc.diagnosis.doctor.check import run

    before, *groups = checks()
    found = [run(name, check, patient) for name, check in before.items()]
    if any(f.check == "schema" and f.verdict == "fail" for f in found):
        return found
    for group in groups:
        found += [run(name, check, patient) for name, check in group.items()]
    return found


def checks() -> list[dict[str, Check]]:
    """All checks by group; the first is what has to be right before the others can be asked."""
    from cdc.diagnosis.doctor import capture, database, resources, rights, sending, surroundings

    return [
        database.BEFORE,
        database.CHECKS,
        resources.CHECKS,
        rights.CHECKS,
        capture.CHECKS,
        surroundings.CHECKS,
        sending.CHECKS,
    ]


def failed(patient: Patient) -> list[Problem]:
    """What fails of the checks that `cdc status` asks beside what it reads itself."""
    from cdc.diagnosis.doctor.check import run
    from cdc.diagnosis.health import Problem

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
