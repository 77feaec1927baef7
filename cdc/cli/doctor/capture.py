"""Checks of capture: the mapping, the triggers, and what they may see."""

from __future__ import annotations

from cdc.capture.catalog import installed_mapping, owners_trusted
from cdc.capture.check import check
from cdc.capture.plan import TableStatus
from cdc.capture.reading import tables_read
from cdc.cli import capture
from cdc.cli.common import age, counted
from cdc.cli.doctor.base import Check, Patient, Told, fail, ok
from cdc.cli.health import unresolved as read_unresolved


def mapping(see: Patient) -> Told:
    installed = installed_mapping(see.conn)
    if installed is None:
        return fail("no mapping is installed", "Run `cdc triggers install`.")
    if installed != see.mapping.fingerprint:
        return fail(
            "the mapping configured here is not the installed one; daemons with it refuse to run",
            "Set CDC_MAPPING to the installed one, or run `cdc triggers install`.",
        )
    return ok("the configured mapping is installed")


def tables(see: Patient) -> Told:
    trusting = owners_trusted(see.conn, check(see.conn, see.mapping, trusting=False))
    found = check(see.conn, see.mapping, trusting=trusting)
    more = (
        "" if trusting else " (looked at from outside: this account does not act for their owner)"
    )
    return ok(f"the mapping fits {len(found)} tables{more}")


def triggers(see: Patient) -> Told:
    rows = [row for row in capture.standing(see.conn, see.mapping) if not _is_leaf(see, row)]
    return _judged(rows, "tables")


def partitions(see: Patient) -> Told:
    """Statements that name a partition fire only its own triggers; new ones come without."""
    rows = [row for row in capture.standing(see.conn, see.mapping) if _is_leaf(see, row)]
    return _judged(rows, "partitions") if rows else ok("no captured table has partitions")


def security(see: Patient) -> Told:
    relations = capture.relations(see.conn, see.mapping)
    read = tables_read(see.mapping)
    hidden = [str(t) for t, found in relations.items() if found and found.secured and t in read]
    if not hidden:
        return ok("nothing is hidden from the capture functions")
    return fail(
        f"row-level security of {', '.join(hidden)} applies to cdc_capture: where a parent's row "
        "is hidden, the change finds no company",
        "alter role cdc_capture bypassrls  (as a superuser), or disable it on these tables.",
    )


def unresolved(see: Patient) -> Told:
    found = read_unresolved(see.conn)
    if not found.count:
        return ok("every change has found its company")
    return fail(
        f"{counted(found.count, 'change')} without a company, the oldest for {age(found.oldest)}: "
        f"{found.reason}",
        "Mend what the reason says; they are tried again by themselves.",
    )


def _is_leaf(see: Patient, row: TableStatus) -> bool:
    return row.table != see.mapping.resources[row.resource].table


def _judged(rows: list[TableStatus], what: str) -> Told:
    wrong = [row for row in rows if row.state != "installed"]
    if not wrong:
        return ok(f"installed on {len(rows)} {what}")
    told = ", ".join(f"{row.table} ({row.state})" for row in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    switched = any(row.state == "off" for row in wrong)
    todo = "`cdc triggers on` switches capture on." if switched else "Run `cdc triggers install`."
    return fail(f"not as it should be on {told}{more}: changes are lost", todo)


CHECKS: dict[str, Check] = {
    "mapping": mapping,
    "tables": tables,
    "triggers": triggers,
    "partitions": partitions,
    "row security": security,
    "unresolved": unresolved,
}
