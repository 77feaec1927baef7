"""Checks of what others in the database do to our tables: publications, row-level security, event
triggers; and of companies that the suite no longer has."""

from __future__ import annotations

from cdc.capture.check import show_all
from cdc.capture.parent_lookup import tables_read
from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, warn
from cdc.postgres import event_triggers, publications, row_security
from cdc.webhooks.company import gone, named
from cdc.wording import counted


def published(see: Patient) -> Result:
    """no publication sends our tables, with their secrets, to subscribers, or keeps daemons from
    recording

    Rows that PostgreSQL lets no daemon delete are sent again by the next one."""
    if refused := publications.refused(see.conn):
        first = refused[0]
        return fail(
            f"publication {first.publication} keeps daemons from changing cdc.{first.table}: "
            "nothing is recorded, and everything is sent again",
            f"{first.todo}; or else: {publications.remedy(publications.ours(see.conn))}",
        )
    if bare := publications.unidentified(see.conn):
        return warn(
            f"cdc.{bare[0]} has no replica identity: as soon as a publication holds it, daemons "
            "cannot change it",
            f"alter table cdc.{bare[0]} replica identity full  (ACCESS EXCLUSIVE, for a moment)",
        )
    found = publications.ours(see.conn)
    if not found:
        return ok("no publication holds a table of schema cdc")
    secrets = any(one.secrets for one in found)
    return (fail if secrets else warn)(publications.stated(found), publications.remedy(found))


def security(see: Patient) -> Result:
    """no policy hides rows from capture, nor rows of our tables from our roles"""
    if filtered := row_security.filtered(see.conn):
        table, roles = next(iter(filtered.items()))
        return fail(
            f"row-level security of cdc.{table} hides rows from {', '.join(roles)}, or refuses "
            "them: changes are lost, or not sent",
            f"alter table cdc.{table} disable row level security; or drop the policies that are "
            "not ours, and run sql/schema/95_policies.sql as cdc_owner.",
        )
    relations = see.relations
    read = tables_read(see.mapping)
    hidden = [t for t, found in relations.items() if found and found.secured and t in read]
    if hidden:
        return fail(
            f"row-level security of {', '.join(map(str, hidden))} may hide rows from cdc_capture: "
            "where a parent's row is hidden, the change finds no company",
            show_all(hidden),
        )
    if bare := row_security.unprotected(see.conn):
        return warn(
            f"cdc.{bare[0]} has lost its policy: if row-level security is enabled, all rows are "
            "hidden",
            "Run sql/schema/95_policies.sql as cdc_owner (ACCESS EXCLUSIVE, for a moment).",
        )
    return ok("nothing is hidden from the capture functions and the daemons")


def triggers(see: Patient) -> Result:
    """names the event triggers that run at our DDL"""
    found = event_triggers.found(see.conn)
    if not found:
        return ok("none runs at our DDL")
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return ok(f"at our DDL: {'; '.join(map(str, found[:3]))}{more}")


def companies(see: Patient) -> Result:
    """each registered company is in the suite, as far as the account may read it

    A company that was deleted, or whose key was changed, gets nothing."""
    table = see.mapping.company.table
    found = gone(see.conn, see.mapping)
    if found is None:
        return ok(f"not checked: this account may not read all of {table}")
    if not found:
        return ok(f"each registered company is in {table}")
    count = sum(len(webhooks) for webhooks in found.values())
    return fail(
        f"{counted(count, 'registration')} of a company that is not in {table}: {named(found)}",
        "If its key was changed, register it again under the new one; otherwise "
        "`cdc webhook remove`.",
    )


CHECKS: dict[str, Check] = {
    "publications": published,
    "row security": security,
    "event triggers": triggers,
    "companies": companies,
}
