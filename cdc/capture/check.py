"""Holds a mapping against the real tables and refuses it before anything is changed.

The message names the place in the mapping file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from cdc.capture import catalog, dry_plan, key_columns, trusted_owners
from cdc.capture.catalog import Connection, Relation
from cdc.capture.deleted import parents_of_deleted
from cdc.capture.fit import fitted
from cdc.capture.key_types import check_keys
from cdc.capture.parent_lookup import probe, tables_read
from cdc.errors import MappingError
from cdc.mapping import Mapping, Resource, Table, plan_joins, written
from cdc.mapping.model import COMPANY, Company, quote


def check(conn: Connection, mapping: Mapping, *, trusting: bool = True) -> dict[Table, Relation]:
    """Facts of all mapped tables. Raises MappingError for the first thing that cannot work.

    trusting: also have PostgreSQL plan what the triggers would read. What the owner of a table put
              into an index is run by that: as ``cdc_capture``, where this account does not act for
              the owners anyway, and for nothing where it may not become that role.
    """
    mapping = fitted(conn, mapping)
    relations: dict[Table, Relation] = {}
    company = mapping.company
    relations[company.table] = _table(conn, "company", company.table)
    optional = {"base_url_column": company.base_url_column, "name": company.name}
    columns = [("key", company.key), *((key, name) for key, name in optional.items() if name)]
    _columns("company", relations[company.table], columns)
    for name, resource in mapping.resources.items():
        place = f"resources.{name}"
        relations[resource.table] = _table(conn, place, resource.table)
        named = [("key", column) for column in resource.key]
        named += [(f"parents.{parent}", c) for parent, cs in resource.parents.items() for c in cs]
        named += [("fields", column) for column in resource.fields or ()]
        if resource.changed_at is not None:
            named.append(("changed_at", resource.changed_at))
        _columns(place, relations[resource.table], named)
        _is_a_time(conn, place, resource)
        key_columns.refuse_incomplete(place, resource.key, relations[resource.table])
    key_columns.refuse_another_order(conn, mapping)
    for resource in mapping.captured:
        _can_fire(f"resources.{resource.name}", relations[resource.table])
    _apart(mapping, relations)
    _wishes_can_be_asked(conn, mapping)
    _deleted_can_be_kept(conn, mapping, relations)
    read = sorted({j.resource for r in mapping.captured for j in plan_joins(mapping, r).joins})
    _shown(relations, {_parent(mapping, name).table: _place(name) for name in read})
    for name in read:
        parent = relations[_parent(mapping, name).table]
        key_columns.refuse_unindexed(_place(name), mapping.key_of(name), parent)
    check_keys(conn, mapping)
    for resource in mapping.captured:
        _same_hands(conn, mapping, resource, relations)
    if trusting:
        check_reads(conn, mapping, relations)
    return relations


def check_reads(conn: Connection, mapping: Mapping, relations: dict[Table, Relation]) -> None:
    """What ``check`` does beyond the catalogue where it is ``trusting``. Raises MappingError."""
    mapping = fitted(conn, mapping)
    reads = tables_read(mapping)
    for resource in mapping.captured:
        _read_by_index(conn, mapping, resource, relations, reads)


def _table(conn: Connection, place: str, table: Table) -> Relation:
    found = catalog.relation(conn, table)
    if found is None:
        names = {str(t): written(t.schema, t.name) for t in catalog.possible_tables(conn)}
        raise MappingError(
            f"{place}.table: table {table} does not exist in this database"
            + _did_you_mean(str(table), names)
        )
    if found.kind not in ("r", "p"):
        what = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
        raise MappingError(
            f"{place}.table: {table} is {what.get(found.kind, 'not a table')}; "
            "statement triggers with transition tables need a table"
        )
    return found


def _is_a_time(conn: Connection, place: str, resource: Resource) -> None:
    if resource.changed_at is None:
        return
    kind = catalog.type_of(conn, resource.table, resource.changed_at)
    if not kind.startswith("timestamp"):
        raise MappingError(
            f"{place}.changed_at: column {quote(resource.changed_at)} of {resource.table} is of "
            f"type {kind}; expected a timestamp",
            "Name the column that holds when the row was last changed.",
        )


def _columns(place: str, relation: Relation, named: Iterable[tuple[str, str]]) -> None:
    for key, column in named:
        if column not in relation.columns:
            names = {name: written(name) for name in relation.columns}
            raise MappingError(
                f"{place}.{key}: table {relation.table} has no column {quote(column)}"
                + _did_you_mean(column, names)
            )
        if relation.columns[column] == "v":
            raise MappingError(
                f"{place}.{key}: column {quote(column)} of {relation.table} is a virtual generated "
                "column, which is empty in transition tables",
                "Use a stored column.",
            )


def _did_you_mean(asked: str, names: dict[str, str]) -> str:
    """names: those that there are, and how each is written in a mapping."""
    close = [name for name in names if name.lower() == asked.lower()]
    close = close or difflib.get_close_matches(asked, names, 1)
    if not close:
        return ""
    meant = names[close[0]]
    if '"' not in meant:
        return f", did you mean {meant}?"
    return f", did you mean '{meant}', with both kinds of quotation marks?"


def _can_fire(place: str, relation: Relation) -> None:
    if relation.foreign:
        raise MappingError(
            f"{place}.table: {relation.foreign[0]}, a part of {relation.table}, is a foreign "
            "table; statement triggers with transition tables need tables"
        )


def _apart(mapping: Mapping, relations: dict[Table, Relation]) -> None:
    """A table has one pair of triggers, so its changes are those of one resource."""
    taken: dict[Table, Resource] = {}
    for resource in mapping.captured:
        for table in relations[resource.table].tree:
            other = taken.setdefault(table, resource)
            if other is not resource:
                inner, outer = resource.table, other.table
                if table == outer:
                    inner, outer = outer, inner
                raise MappingError(
                    f"resources.{other.name} and resources.{resource.name}: "
                    + (
                        f"{inner} is a partition of {outer}, or inherits from it"
                        if table == inner
                        else f"{table} is a part of both {other.table} and {resource.table}"
                    )
                    + ", so its changes would be two events",
                    "Give an event to one of them only; leave the other out, or without an event.",
                )


def _deleted_can_be_kept(
    conn: Connection, mapping: Mapping, relations: dict[Table, Relation]
) -> None:
    """The triggers on parents of what is captured when it is deleted must be possible there."""
    kept: dict[Table, str] = {}
    for name, (parent, _) in parents_of_deleted(mapping).items():
        place = _place(name)
        _can_fire(place, relations[parent])
        for table in relations[parent].tree:
            if kept.setdefault(table, name) != name:
                raise MappingError(
                    f"{place}.table: {table} is a part of {relations[parent].table} and of the "
                    f"table of {kept[table]}, and both are parents of rows whose deletes are "
                    "captured",
                    "Name each table in one resource only, or leave out `deleted`.",
                )
        column = catalog.never_null(conn, parent)
        if column is not None:
            raise MappingError(
                f"{place}.table: column {quote(column)} of {parent} has a domain that is NOT NULL; "
                "deleted rows below this table cannot be captured (`deleted`)",
                "Declare NOT NULL on the column instead of the domain, or leave out `deleted`.",
            )


def _wishes_can_be_asked(conn: Connection, mapping: Mapping) -> None:
    """Capture without a field that a registration names would queue all for it, or nothing; without
    the deleted rows that it asks for, it would wait for them in vain."""
    known = conn.execute(
        "select coalesce(has_column_privilege(attrelid, attnum, 'select'), false)"
        "  from pg_attribute"
        " where attrelid = to_regclass('cdc.subscription') and attname = 'include'"
    ).fetchone()
    if known is None or not known[0]:
        return
    wishes = conn.execute(
        "select webhook_id, event, jsonb_object_keys(filter), 'filter' from cdc.subscription"
        " where filter is not null union all "
        "select webhook_id, event, unnest(include), 'include' from cdc.subscription union all "
        "select webhook_id, event, unnest(changed), 'update' from cdc.subscription union all "
        "select webhook_id, event, null, 'update' from cdc.subscription where changed = '{}'"
        " order by 1, 2, 4, 3"
    ).fetchall()
    for webhook, event, name, what in wishes:
        resource = mapping.events.get(event)
        if resource is None or name in (resource.fields or ()):
            continue
        lacks = f"resources.{resource.name}.fields: "
        if what != "update":
            use, remedy = {
                "filter": (
                    f"by which webhook {webhook} filters {event}",
                    f"`cdc webhook update {webhook} --no-filter` (or another --filter)",
                ),
                "include": (
                    f"whose values webhook {webhook} gets in {event}",
                    f"`cdc webhook update {webhook} --no-include` (or another --include)",
                ),
            }[what]
            raise MappingError(f"{lacks}lacks {name!r}, {use}", f"Declare it, or {remedy}.")
        remedy = f"or `cdc webhook update {webhook} --any-update`"
        if name is not None:
            raise MappingError(
                f"{lacks}lacks {name!r}; webhook {webhook} wants {event} when that has changed",
                f"Declare it, {remedy} (or another --when).",
            )
        if resource.fields is None:
            raise MappingError(
                f"{lacks}not declared; webhook {webhook} wants {event} of changed rows only",
                f"Declare `fields = []`, {remedy}.",
            )
    wanted = conn.execute(
        "select webhook_id, event from cdc.subscription where actions like '%d' order by 1, 2"
    ).fetchall()
    for webhook, event in wanted:
        resource = mapping.events.get(event)
        if resource is not None and not resource.deleted:
            raise MappingError(
                f"resources.{resource.name}.deleted: is not true, and webhook {webhook} wants "
                f"deleted rows of {event}",
                f"Declare it, or `cdc webhook update {webhook}` with the other actions.",
            )


def _read_by_index(
    conn: Connection,
    mapping: Mapping,
    resource: Resource,
    relations: dict[Table, Relation],
    reads: dict[Table, tuple[str, ...]],
) -> None:
    """The read that the trigger will make must be possible, and use an index."""
    place = f"resources.{resource.name}"
    try:
        plan = dry_plan.explained(conn, probe(mapping, resource), reads)
    except psycopg.errors.InsufficientPrivilege:
        raise  # says nothing about the mapping
    except (psycopg.errors.ProgrammingError, psycopg.errors.DataError) as error:
        raise MappingError(
            f"{place}: its parents cannot be read like this: {error.diag.message_primary}"
        ) from None
    roots = {table: r.table for r in relations.values() for table in r.tree}
    for node in _nodes(plan):
        if "Relation Name" not in node or "Index Cond" in node:
            continue
        table = roots.get(Table(node["Schema"], node["Relation Name"]))
        if table is not None and node["Node Type"] != "Bitmap Heap Scan":
            raise MappingError(
                f"{place}.parents: no index of {table} can be used to find the row's parent there, "
                "so every change would read the whole table",
                "The columns that lead to a key need its type (and collation): numeric does not "
                "find bigint.",
            )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _same_hands(
    conn: Connection, mapping: Mapping, resource: Resource, relations: dict[Table, Relation]
) -> None:
    """What capture reads must not belong to strangers of the table whose changes it captures.

    Reading a table runs what its owner put there (a policy, a view in its place, an index's
    function), in the sessions that write the captured table. Its rights are small there, but
    it can leave things behind in that session: a temporary table that hides the real one, a
    search_path; the writer's next statement would run them, as the writer.
    """
    captured = relations[resource.table].tree
    names = {join.resource for join in plan_joins(mapping, resource).joins}
    parents = [mapping.company.table if n == COMPANY else mapping.resources[n].table for n in names]
    read = [table for parent in sorted(parents, key=str) for table in relations[parent].tree]
    found = trusted_owners.stranger(conn, read, captured)
    if found is None:
        return
    table, owner, child, writer = found
    raise MappingError(
        f"resources.{resource.name}.parents: {table} belongs to {owner}, {child} to {writer}: "
        f"code that {owner} puts into it (a policy, an index's function) would run in sessions "
        f"that write {child}",
        "Let one role own both (alter table ... owner to ...). If the parent's owner may do all "
        f"that the other may: grant {writer} to {owner}",
    )


def _parent(mapping: Mapping, name: str) -> Company | Resource:
    return mapping.company if name == COMPANY else mapping.resources[name]


def _place(name: str) -> str:
    return "company" if name == COMPANY else f"resources.{name}"


def _shown(relations: dict[Table, Relation], places: dict[Table, str]) -> None:
    """No row of what capture reads may be hidden from it. places: in the mapping, by table."""
    hidden = [table for table in places if relations[table].secured]
    if hidden:
        raise MappingError(
            f"{places[hidden[0]]}.table: row-level security of {', '.join(map(str, hidden))} may "
            "hide rows from cdc_capture, and changes below them would find no company",
            show_all(hidden),
        )


def show_all(tables: Iterable[Table]) -> str:
    """Policies that let capture read these tables; its grants are for a few columns."""
    return "\n".join(
        [
            "Let it see all rows, as the tables' owner (it reads the granted columns alone):",
            *(
                f"create policy cdc_capture on {t.sql} for select to cdc_capture using (true);"
                for t in tables
            ),
            "A restrictive policy must exempt it. Or, as superuser: "
            "alter role cdc_capture bypassrls",
        ]
    )
