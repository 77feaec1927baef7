"""What an installation would do: compares the rendered mapping with the catalogue.

Unchanged things make no step, so they take no lock.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cdc.capture import catalog, parent_lookup, render, reown
from cdc.capture.backfill import tables_granted
from cdc.capture.catalog import Connection, Relation
from cdc.capture.fit import fitted
from cdc.capture.render import RUNS_AS, SCHEMA
from cdc.mapping import Mapping, Table, plan_joins
from cdc.mapping.model import quote

TRIGGER_LOCK = "SHARE ROW EXCLUSIVE"
DROP_LOCK = "ACCESS EXCLUSIVE"

# As made, or ENABLE ALWAYS, a DBA's choice for sessions with session_replication_role = replica
# (what a subscription applies fires no statement trigger in any case).
FIRES = ("O", "A")

SWITCHED_OFF = "switched off by `cdc triggers off`"

_OLD_ROWS = {
    False: "does not get the old rows, which the mapping's `fields` need",
    True: "gets the old rows, which the mapping no longer needs",
}

Role = Literal["", "cdc_owner", "cdc_capture"]
State = Literal["installed", "missing", "outdated", "disabled", "altered", "blind", "off", "stray"]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a plan.

    lock:  the table lock it takes on a table of the suite, empty without.
    table: the table it concerns; steps of one table make one transaction.
    role:  the role to run it as; empty: the installing account.
    """

    sql: str
    why: str
    lock: str = ""
    table: Table | None = None
    role: Role = ""


@dataclass(frozen=True, slots=True)
class TableStatus:
    """How capture stands on one table (or partition)."""

    table: Table
    resource: str
    event: str
    state: State
    detail: str = ""


def plan(conn: Connection, mapping: Mapping, relations: dict[Table, Relation]) -> list[Step]:
    """Steps that make the database capture what the mapping says; empty when it does already."""
    mapping = fitted(conn, mapping)
    steps: list[Step] = []
    known = catalog.functions(conn)
    wanted = [f for r in mapping.captured for f in render.functions(mapping, r)]
    wanted += [function for _, function in render.keepers(mapping).values()]
    wanted += render.naming(mapping)
    have = {row[0] for row in conn.execute("select id from cdc.layout").fetchall()}
    if not have >= {plan_joins(mapping, r).layout.id for r in mapping.captured}:
        steps.append(Step(render.layouts(mapping), "layouts of queue rows", role="cdc_owner"))
    reads = tables_granted(mapping)
    for table, columns in reads.items():
        if not catalog.readable(conn, table, columns):
            sql = render.grant(table, columns)
            steps.append(Step(sql, grant_named(table, columns), table=table))
    former = catalog.former_functions(conn)
    for function in wanted:
        found = known.get(function.name)
        if found is None and function.name in former:
            # Its triggers follow it: none of them is touched.
            found = former.pop(function.name)
            steps += former_owned(found)
            steps.append(Step(reown.moved(function), f"{function.name} gets its own schema"))
        elif found is not None and found.owner != RUNS_AS:
            why = f"{function.name} belonged to {found.owner}"
            steps.append(Step(reown.owned(function), why))
        if found is None or found.body != function.body or not found.careful:
            why = "new" if known.get(function.name) is None else "changed"
            sql = f"{function.sql}\n{function.rights}"
            if found is not None and found.body == render.OFF:
                sql += f"\n{render.noted(function, 'on')}"
            steps.append(Step(sql, f"function {function.signature} ({why})", role=RUNS_AS))
    steps += _triggers(conn, mapping, relations)
    steps += _generated_functions(known, apart_from={f.name for f in wanted})
    steps += _former(conn, former)
    for table, granted in catalog.granted(conn).items():
        surplus = tuple(column for column in granted if column not in reads.get(table, ()))
        if surplus:
            sql = render.revoke(table, surplus)
            steps.append(Step(sql, f"capture no longer reads this of {table}", table=table))
    return [*unless_old_daemons(mapping), *steps] if steps else []


def unless_old_daemons(mapping: Mapping) -> list[Step]:
    """Before all else, where deleted rows are captured."""
    if not any(resource.deleted for resource in mapping.captured):
        return []
    return [Step(render.refusal_of_old_daemons(), "refuse while daemons of version 0001 run")]


def grant_named(table: Table, columns: Sequence[str]) -> str:
    """In words what GRANT lets capture read."""
    return f"grant select ({', '.join(columns)}) on {table} to {RUNS_AS}"


def unseen(mapping: Mapping, relations: dict[Table, Relation]) -> list[str]:
    """What the triggers of these tables do not see, one sentence each.

    First, columns that the default mapping names and a table lacks (cdc/capture/fit.py).
    Then, what PostgreSQL does not show: the new row of a MERGE's move counts as inserted, and the
    trigger for inserted rows fires only if the MERGE has an INSERT action. Nothing that fires once
    a statement sees more.
    """
    lacking = [
        f"{resource.table} has no column {column}: the path from {name} to {parent} is left out."
        for name, resource in mapping.resources.items()
        if mapping.fits and resource.table in relations
        for parent, columns in resource.parents.items()
        for column in columns
        if column not in relations[resource.table].columns
    ]
    return lacking + [
        f"{resource.table} is partitioned: a MERGE that moves a row to another partition is not "
        "captured, or, if it has an INSERT action, sent as created"
        + (", if it has a DELETE action, as deleted" if resource.deleted else "")
        + ". UPDATE is captured."
        for resource in mapping.captured
        if resource.table in relations and relations[resource.table].kind == "p"
    ]


def former_owned(function: catalog.InstalledFunction) -> Iterator[Step]:
    """Gives a function of the first release back to the role that can replace and move it."""
    if function.owner != "cdc_owner":
        sql = reown.former_owned(function.name)
        yield Step(sql, f"cdc.{function.name} belonged to {function.owner}")


def _generated_functions(known: Iterable[str], apart_from: Collection[str] = ()) -> Iterator[Step]:
    for name in sorted(set(known) - set(apart_from)):
        arguments = render.ARGUMENTS[name.partition("_")[0]]
        sql = f"drop function if exists {SCHEMA}.{name}({arguments});"
        yield Step(sql, f"drop function {SCHEMA}.{name}", role="cdc_owner")


def _former(conn: Connection, functions: Iterable[str]) -> Iterator[Step]:
    """Takes away what the first release had elsewhere: functions, and rights of cdc_owner."""
    for name in functions:
        arguments = "bigint[]" if name.startswith("resolve_") else ""
        sql = f"drop function if exists cdc.{name}({arguments});"
        yield Step(sql, f"drop function cdc.{name}", role="cdc_owner")
    for table in catalog.granted(conn, "cdc_owner"):
        sql = f"revoke all on {table.sql} from cdc_owner;"
        yield Step(sql, f"revoke the keys of {table} from cdc_owner", table=table)
    for schema in catalog.schemas_granted(conn, "cdc_owner"):
        sql = f"revoke all on schema {quote(schema)} from cdc_owner;"
        yield Step(sql, f"revoke schema {schema} from cdc_owner")


def _triggers(conn: Connection, mapping: Mapping, relations: dict[Table, Relation]) -> list[Step]:
    steps: list[Step] = []
    found = {(t.table, t.name): t for t in catalog.triggers(conn)}
    for name, table, function, compares, sql in _wanted_triggers(mapping, relations):
        there = found.pop((table, name), None)
        # The first release's is moved, and its trigger goes along.
        wrong = there is not None and (
            not there.as_rendered or there.function.removeprefix("cdc.") != function
        )
        if there is None or wrong:
            why = f"{name} on {table}" if there is None else f"{name} was altered"
            steps.append(Step(sql, why, TRIGGER_LOCK, table))
        elif there.compares != compares:
            if there.enabled == "A":
                sql += f"\nalter table {table.sql} enable always trigger {name};"
            why = f"{name} {_OLD_ROWS[there.compares]}"
            steps.append(Step(sql, why, TRIGGER_LOCK, table))
        elif there.enabled not in FIRES:
            sql = f"alter table {table.sql} enable trigger {name};"
            steps.append(Step(sql, f"{name} was disabled", TRIGGER_LOCK, table))
    for left in found.values():
        sql = render.drop_trigger(left.name, left.table)
        why = f"drop {left.name} of {left.table}, no longer in the mapping"
        steps.append(Step(sql, why, DROP_LOCK, left.table))
    return steps


def _wanted_triggers(
    mapping: Mapping, relations: dict[Table, Relation]
) -> Iterator[tuple[str, Table, str, bool, str]]:
    """Name, table, function, whether it gets the old rows, too, and SQL of each; parents' first: a
    child's trigger for deleted rows reads what its parents' have kept."""
    for name, (parent, function) in render.keepers(mapping).items():
        for table in relations[parent].tree:
            yield render.GONE, table, function.name, False, render.keeping_trigger(name, table)
    for resource in mapping.captured:
        for table in relations[resource.table].tree:
            for name in render.triggers(resource):
                sql = render.trigger(name, table, resource)
                compares = render.compares(name, resource)
                yield name, table, f"capture_{resource.name}", compares, sql


def removal(conn: Connection, only: Table | None = None) -> list[Step]:
    """Steps that take capture off the suite's tables; schema cdc and what is queued stay."""
    steps = []
    for there in catalog.triggers(conn):
        if only is None or there.table == only:
            sql = render.drop_trigger(there.name, there.table)
            steps.append(Step(sql, f"drop {there.name} of {there.table}", DROP_LOCK, there.table))
    if only is not None:
        return steps
    steps += _generated_functions(catalog.functions(conn))
    steps += _former(conn, catalog.former_functions(conn))
    for table, policy in catalog.policies_for(conn):
        sql = f"drop policy if exists {quote(policy)} on {table.sql};"
        why = f"drop policy {policy} of {table}, which is for {RUNS_AS} alone"
        steps.append(Step(sql, why, DROP_LOCK, table))
    for table in catalog.granted(conn):
        sql = f"revoke all on {table.sql} from {RUNS_AS};"
        steps.append(Step(sql, f"revoke the keys of {table} from {RUNS_AS}", table=table))
    for schema in catalog.schemas_granted(conn):
        sql = f"revoke all on schema {quote(schema)} from {RUNS_AS};"
        steps.append(Step(sql, f"revoke schema {schema} from {RUNS_AS}"))
    return steps


def status(
    conn: Connection, mapping: Mapping, relations: dict[Table, Relation]
) -> list[TableStatus]:
    """One row a table and partition that the mapping captures, or whose deleted rows it keeps, and
    one for each trigger of ours that stands elsewhere, or under another name."""
    mapping = fitted(conn, mapping)
    functions = catalog.functions(conn)
    former = catalog.former_functions(conn)
    triggers = {(t.table, t.name): t for t in catalog.triggers(conn)}
    rows = []
    for resource in mapping.captured:
        reads = parent_lookup.tables_read_by(mapping, [resource])
        hidden = [str(t) for t, columns in reads.items() if not catalog.readable(conn, t, columns)]
        for table in relations[resource.table].tree:
            there = {n: triggers.pop((table, n), None) for n in render.triggers(resource)}
            comparing = {name for name in there if render.compares(name, resource)}
            wanted = render.functions(mapping, resource)
            state, detail = _state(wanted, there, functions, former, comparing)
            if state == "installed" and hidden:
                state, detail = "blind", f"{RUNS_AS} may not read {', '.join(hidden)}"
            rows.append(TableStatus(table, resource.name, resource.event or "", state, detail))
    for name, (parent, function) in render.keepers(mapping).items():
        for table in relations[parent].tree:
            there = {render.GONE: triggers.pop((table, render.GONE), None)}
            state, detail = _state([function], there, functions, former)
            same = [n for n, row in enumerate(rows) if row.table == table]
            if not same:
                rows.append(TableStatus(table, name, "", state, detail))
            elif rows[same[0]].state == "installed":
                rows[same[0]] = replace(rows[same[0]], state=state, detail=detail)
    for left in triggers.values():
        detail = f"{left.name}, on a table (or under a name) that is not in the mapping"
        resource_name = re.sub(r"^(cdc\.)?(capture|gone)_", "", left.function)
        rows.append(TableStatus(left.table, resource_name, "", "stray", detail))
    return rows


def _state(
    wanted: Sequence[render.Function],
    there: dict[str, catalog.InstalledTrigger | None],
    functions: dict[str, catalog.InstalledFunction],
    former: dict[str, catalog.InstalledFunction],
    comparing: Collection[str] = (),
) -> tuple[State, str]:
    """wanted: what the triggers (by name) call, and what goes with it. comparing: those that get
    the old rows, too."""
    called = wanted[0].name
    if all(t is None for t in there.values()):
        return "missing", "no trigger"
    for name, found in there.items():
        if found is None:
            return "missing", f"{name} is not there"
        if found.enabled not in FIRES:
            return "disabled", name
        if found.function == f"cdc.{called}":
            if former[called].body == render.OFF:
                return "off", f"{SWITCHED_OFF}; `cdc triggers install` switches it on"
            return "outdated", "as the first release installed it"
        if not found.as_rendered or found.function != called:
            return "altered", name
        if found.compares != (name in comparing):
            return "outdated", f"{name} {_OLD_ROWS[found.compares]}"
    found_capture = functions.get(called)
    if found_capture and found_capture.body == render.OFF:
        return "off", SWITCHED_OFF
    for function in wanted:
        found_function = functions.get(function.name)
        if found_function is None:
            return "missing", f"function {SCHEMA}.{function.name}"
        if not found_function.careful:
            return "altered", f"owner or options of function {SCHEMA}.{function.name}"
        if found_function.body != function.body:
            if render.intact(found_function.body):
                return "outdated", f"function {SCHEMA}.{function.name}"
            return "altered", f"body of function {SCHEMA}.{function.name}"
    return "installed", ""
