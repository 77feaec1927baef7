"""Checks of `cdc doctor`: each has a name, a verdict and what to do. The first paragraph of a
check's docstring is its line in docs/monitoring.md (`make docs`).

check.py         what a check gets, and what it returns
database.py      the server, and transactions that hold it up
locks.py         sessions that stop the suite's writers
recording.py     sessions that keep daemons from recording
resources.py     connections, sizes, vacuum, the log's ring, sequences
rights.py        roles, grants and accounts
capture.py       mapping, triggers, what is kept without a company
surroundings.py  publications, row-level security, event triggers, companies
sending.py       daemons, endpoints, secrets, what is late
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdc.diagnosis.doctor.check import Check, Finding, Patient
    from cdc.diagnosis.health import HealthProblem

# Checks that `cdc status` leaves out: what it reads itself, what takes long (names are looked up,
# secrets decrypted), and what never fails.
_READ = "schema identity mapping triggers partitions unresolved publications daemons backlog"
_READ_TOO = "companies notifications"
_SLOW = "endpoints encryption"
SLOW = frozenset(_SLOW.split())
_WARNINGS = "pooler wire durability transactions snapshots sizes files"
NOT_FOR_STATUS = frozenset([*f"{_READ} {_READ_TOO} {_SLOW} {_WARNINGS}".split(), "foreign keys"])

STOPS = frozenset({"recording", "connections", "log", "grants", "roles", "proxy", "tls", "objects"})
"""Checks of what keeps daemons from sending to any webhook."""


def examine(patient: Patient, without: frozenset[str] = frozenset()) -> list[Finding]:
    """All checks in order. Without schema cdc there is nothing to look at beyond the server."""
    from cdc.diagnosis.doctor.check import run

    before, *groups = checks()
    found = [run(name, check, patient) for name, check in before.items()]
    if any(f.check == "schema" and f.verdict == "fail" for f in found):
        return found
    for group in groups:
        found += [run(name, check, patient) for name, check in group.items() if name not in without]
    return found


def checks() -> list[dict[str, Check]]:
    """All checks by group; the first must be right before the others can be made."""
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


def failed(patient: Patient) -> list[HealthProblem]:
    """What fails of the checks that `cdc status` makes in addition to what it reads itself."""
    from cdc.diagnosis.doctor.check import run
    from cdc.diagnosis.health import HealthProblem

    asked = {
        name: check
        for group in checks()
        for name, check in group.items()
        if name not in NOT_FOR_STATUS
    }
    found = [run(name, check, patient) for name, check in asked.items()]
    return [
        HealthProblem(one.message, one.todo, stops=one.check in STOPS)
        for one in found
        if one.verdict == "fail"
    ]
