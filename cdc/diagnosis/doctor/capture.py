"""Checks of capture: the mapping, the triggers, and what they may see."""

from __future__ import annotations

from cdc.capture.backfill import create_indexes, missing_indexes
from cdc.capture.catalog import installed_mapping
from cdc.capture.catalog import triggers as found_triggers
from cdc.capture.check import check, check_reads
from cdc.capture.fit import fitted
from cdc.capture.plan import TableStatus
from cdc.capture.trusted_owners import owners_trusted
from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, warn
from cdc.diagnosis.health import unresolved as read_unresolved
from cdc.diagnosis.health.problems import fate, of_unresolved
from cdc.mapping import Table
from cdc.postgres import sqlfiles


def mapping(see: Patient) -> Result:
    """the configured mapping is the installed one"""
    installed = installed_mapping(see.conn)
    if installed is None:
        return fail("no mapping is installed", "Run `cdc triggers install`.")
    if installed != see.mapping.fingerprint:
        return fail(
            "the configured mapping differs from the installed one; daemons with it refuse to run",
            "Set CDC_MAPPING to the installed one, or run `cdc triggers install`.",
        )
    return ok("the configured mapping is installed")


def tables(see: Patient) -> Result:
    """the mapping fits the tables: columns, types, indexes, no virtual columns; names tables that
    only have the same name"""
    found = check(see.conn, see.mapping, trusting=False)
    if trusting := owners_trusted(see.conn, found):
        check_reads(see.conn, see.mapping, found)
    more = "" if trusting else " (by the catalogue only: this account does not act for their owner)"
    return ok(f"the mapping fits {len(found)} tables{more}{_namesakes(see)}")


def _namesakes(see: Patient) -> str:
    """Tables easily taken for the captured ones: an application's search_path decides."""
    names = sorted({resource.table.name for resource in see.mapping.captured})
    mapped = sorted(str(resource.table) for resource in see.mapping.resources.values())
    rows = see.rows(
        "select n.nspname || '.' || c.relname"
        "  from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'"
        "   and n.nspname not in ('cdc', 'pg_catalog', 'information_schema')"
        "   and c.relname = any(%s) and n.nspname || '.' || c.relname <> all(%s) order by 1",
        names,
        mapped,
    )
    if not rows:
        return ""
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    named = ", ".join(row[0] for row in rows[:3])
    return f"; of the same name, and not captured: {named}{more}"


def triggers(see: Patient) -> Result:
    """capture is on each table, switched on and unaltered"""
    rows = [row for row in see.capture if not _is_leaf(see, row)]
    return _judged(rows, "tables")


def partitions(see: Patient) -> Result:
    """capture is on each partition

    Statements that name a partition fire only its own triggers; new ones come without."""
    rows = [row for row in see.capture if _is_leaf(see, row)]
    return _judged(rows, "partitions") if rows else ok("no captured table has partitions")


def replication(see: Patient) -> Result:
    """nothing writes past the triggers: subscriptions, `session_replication_role`

    What a subscription applies fires no statement trigger, whatever it is set to; in sessions with
    session_replication_role = replica only those fire that are ENABLE ALWAYS."""
    trees = [r.tree for r in see.relations.values() if r is not None]
    captured = {resource.table for resource in see.mapping.captured}
    ours = {str(table) for tree in trees if tree[0] in captured for table in tree}
    roles = see.settings_made("session_replication_role")
    replica = [made for made in roles if made.value == "replica"]
    always = all(t.enabled == "A" for t in found_triggers(see.conn))
    if replica and not always:
        made = replica[0]
        todo = f"Reset it where changes must be sent: {made.reset}"
        fact = f"session_replication_role is replica for {made.whose}: no trigger fires there"
        # For one role, such as a loader's, it is a decision; for all it is an accident.
        return warn(fact, todo) if made.role else fail(f"{fact}, changes are lost", todo)
    subscribed = see.rows(
        "select n.nspname || '.' || c.relname, s.subname::text"
        "  from pg_subscription_rel r join pg_subscription s on s.oid = r.srsubid"
        "  join pg_class c on c.oid = r.srrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname || '.' || c.relname = any(%s) order by 1",
        sorted(ours),
    )
    if subscribed:
        table, name = subscribed[0]
        more = f", and {len(subscribed) - 1} more tables" if len(subscribed) > 1 else ""
        return warn(
            f"subscription {name} writes to {table}{more}: what it applies is not captured",
            "Capture where these rows are written first: install schema cdc in that database.",
        )
    return ok("nothing writes past the triggers")


def objects(see: Patient) -> Result:
    """triggers, indexes and tables of schema `cdc` are as installed

    A restore that broke off leaves some out."""
    silent = see.rows(
        """
        select w.relation, w.name
          from unnest('{webhook}'::text[], '{webhook_changed}'::text[])
               as w (relation, name)
         where not exists (select from pg_trigger t
                            where t.tgrelid = to_regclass('cdc.' || w.relation)
                              and t.tgname = w.name and t.tgenabled in ('O', 'A'))
        """
    )
    if silent:
        relation, name = silent[0]
        return fail(
            f"trigger {name} of cdc.{relation} is missing or disabled",
            f"alter table cdc.{relation} enable trigger {name}; where it is gone, restore it from "
            "sql/schema.",
        )
    broken = see.rows(
        "select w.name from unnest(%s::text[]) w (name)"
        " where not exists (select from pg_index i where i.indisvalid and i.indisready"
        "                    and i.indexrelid = to_regclass('cdc.' || w.name)) order by 1",
        list(sqlfiles.indexes()),
    )
    if broken:
        return fail(
            f"index cdc.{broken[0][0]} is missing or invalid: its queries read whole tables",
            "Drop what is left of it; create it as in sql/schema, by CREATE INDEX CONCURRENTLY.",
        )
    unlogged = see.rows(
        "select relname::text from pg_class where relnamespace = 'cdc'::regnamespace"
        " and relkind = 'r' and relpersistence <> 'p' order by 1"
    )
    if unlogged:
        return fail(
            f"cdc.{unlogged[0][0]} is UNLOGGED: a crash empties it",
            f"alter table cdc.{unlogged[0][0]} set logged  (locks it while it is written)",
        )
    return ok("triggers, indexes and tables of schema cdc are as installed")


def foreign_keys(see: Patient) -> Result:
    """indexes lead from a company to its rows, for backfills (a warning)"""
    fitting = fitted(see.conn, see.mapping)
    wanted: dict[tuple[Table, tuple[str, ...]], list[str]] = {}
    for event, resource in fitting.events.items():
        for one in missing_indexes(see.conn, fitting, resource):
            wanted.setdefault(one, []).append(event)
    if not wanted:
        return ok("indexes lead from a company to its rows")
    (table, columns), events = next(iter(wanted.items()))
    more = f", and {len(wanted) - 1} more such" if len(wanted) > 1 else ""
    return warn(
        f"no index of {table} begins with {', '.join(columns)}, so rows of {', '.join(events)} "
        f"cannot be read for a backfill{more}",
        f"For backfills: {create_indexes(list(wanted))}",
    )


def unresolved(see: Patient) -> Result:
    """every change has found its company"""
    found = read_unresolved(see.conn)
    if not found.count:
        return ok("every change has found its company")
    problem = of_unresolved(found)
    return fail(problem.text, problem.todo)


def _is_leaf(see: Patient, row: TableStatus) -> bool:
    return row.state != "stray" and row.table != see.mapping.resources[row.resource].table


def _judged(rows: list[TableStatus], what: str) -> Result:
    wrong = [row for row in rows if row.state != "installed"]
    if not wrong:
        return ok(f"installed on {len(rows)} {what}")
    tables = ", ".join(f"{row.table} ({row.state})" for row in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    switched = any(row.state == "off" for row in wrong)
    todo = "`cdc triggers on` switches capture on." if switched else "Run `cdc triggers install`."
    return fail(f"not in order on {tables}{more}: {fate(wrong)}", todo)


CHECKS: dict[str, Check] = {
    "mapping": mapping,
    "tables": tables,
    "triggers": triggers,
    "partitions": partitions,
    "replication": replication,
    "objects": objects,
    "foreign keys": foreign_keys,
    "unresolved": unresolved,
}
