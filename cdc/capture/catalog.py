"""What the database says about the suite's tables and about our functions and triggers on them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from cdc.capture.changed_mask import OLD_ROWS
from cdc.capture.parent_lookup import OPTIONS
from cdc.mapping import Table
from cdc.postgres.row_security import POLICY_HIDES

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of the suite as the catalogue has it.

    kind:     pg_class.relkind: ``r`` table, ``p`` partitioned, others are refused.
    columns:  name to pg_attribute.attgenerated ('' ordinary, 's' stored, 'v' virtual).
    tree:     the table and all its partitions (or tables that inherit from it), at every level: a
              statement that names one of them fires only that one's triggers.
    foreign:  those of the tree that are foreign tables.
    required: columns that are never null.
    indexes:  columns of each index (empty for an expression), and whether it is unique.
    secured:  row-level security may hide rows from the capture functions.
    """

    table: Table
    kind: str
    columns: dict[str, str]
    tree: tuple[Table, ...]
    foreign: tuple[Table, ...]
    required: frozenset[str]
    indexes: tuple[tuple[tuple[str, ...], bool], ...]
    secured: bool


@dataclass(frozen=True, slots=True)
class InstalledTrigger:
    """One of our triggers, as found.

    as_rendered: it was not altered.
    compares:    it gets the old rows, too.
    """

    name: str
    table: Table
    function: str
    enabled: str
    as_rendered: bool
    compares: bool = False


@dataclass(frozen=True, slots=True)
class InstalledFunction:
    """One of our functions, as found: its body, whether owner and options are ours, what was noted
    with it (``render.noted``), and its owner."""

    name: str
    body: str
    careful: bool
    notes: str = ""
    owner: str = "cdc_capture"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which capture was switched off. until: None where its end is not noted."""

    since: datetime
    until: datetime | None
    who: str


def relation(conn: Connection, table: Table) -> Relation | None:
    """The table's facts, or None when there is none of this name."""
    found = conn.execute(
        f"""
        select c.oid, c.relkind::text,
               exists (select from pg_roles r where r.rolname = 'cdc_capture' and {POLICY_HIDES})
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = %s and c.relname = %s
        """.encode(),
        (table.schema, table.name),
    ).fetchone()
    if found is None:
        return None
    oid, kind, secured = found
    columns = conn.execute(
        "select attname::text, attgenerated::text, attnotnull from pg_attribute"
        " where attrelid = %s and attnum > 0 and not attisdropped",
        (oid,),
    ).fetchall()
    tree = conn.execute(
        """
        with recursive tree (oid) as (
          select %s::oid
          union  -- each once: a table may inherit from two of them
          select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid
        )
        select n.nspname::text, c.relname::text, c.relkind = 'f'
          from tree t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
         order by c.oid = %s desc, 1, 2
        """,
        (oid, oid),
    ).fetchall()
    indexes = conn.execute(
        """
        select array_agg(coalesce(a.attname::text, '') order by k.place), i.indisunique
          from pg_index i
         cross join lateral unnest(i.indkey::smallint[]) with ordinality k (attnum, place)
          left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = %s and i.indisvalid and i.indpred is null and k.place <= i.indnkeyatts
         group by i.indexrelid, i.indisunique
        """,
        (oid,),
    ).fetchall()
    return Relation(
        table=table,
        kind=kind,
        columns={name: generated for name, generated, _ in columns},
        tree=tuple(Table(schema, name) for schema, name, _ in tree),
        foreign=tuple(Table(schema, name) for schema, name, foreign in tree if foreign),
        required=frozenset(name for name, _, required in columns if required),
        indexes=tuple((tuple(names), unique) for names, unique in indexes),
        secured=secured,
    )


def type_of(conn: Connection, table: Table, column: str) -> str:
    """A column's type as SQL names it; empty where there is no such column."""
    row = conn.execute(
        "select format_type(a.atttypid, null) from pg_attribute a"
        "  join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attname = %s",
        (table.schema, table.name, column),
    ).fetchone()
    return str(row[0]) if row else ""


def never_null(conn: Connection, table: Table) -> str | None:
    """A column of the table whose type is a domain that no null passes, if there is one."""
    row = conn.execute(
        """
        with recursive domain as (
          select a.attname::text as name, a.attnum, t.typbasetype, t.typnotnull
            from pg_attribute a
            join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            join pg_type t on t.oid = a.atttypid
           where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped
             and t.typtype = 'd'
          union all
          select d.name, d.attnum, t.typbasetype, t.typnotnull
            from domain d join pg_type t on t.oid = d.typbasetype and t.typtype = 'd'
        )
        select name from domain where typnotnull order by attnum limit 1
        """,
        (table.schema, table.name),
    ).fetchone()
    return row[0] if row else None


def possible_tables(conn: Connection) -> list[Table]:
    """All tables that a person might have meant."""
    rows = conn.execute(
        """
        select n.nspname::text, c.relname::text
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p')
           and n.nspname not in ('pg_catalog', 'information_schema', 'cdc', 'cdc_capture')
        """
    ).fetchall()
    return [Table(*row) for row in rows]


def triggers(conn: Connection) -> list[InstalledTrigger]:
    """All triggers, on whatever table, that call a capture function of ours: by its name, and with
    the schema before it where it is still the first release's."""
    rows = conn.execute(
        """
        select t.tgname::text, n.nspname::text, c.relname::text,
               case pn.nspname when 'cdc' then 'cdc.' else '' end || p.proname,
               t.tgenabled::text,
               t.tgtype = case t.tgname when 'cdc_capture_insert' then 4
                                        when 'cdc_capture_update' then 16
                                        when 'cdc_capture_delete' then 8
                                        when 'cdc_capture_gone' then 8 end
               and t.tgqual is null and t.tgattr = ''
               and case when t.tgtype = 8 then t.tgoldtable = 'new_rows' and t.tgnewtable is null
                        else t.tgnewtable = 'new_rows' end
               and case when t.tgtype = 8 or t.tgoldtable is null then t.tgnargs = 0
                        else t.tgname = 'cdc_capture_update' and t.tgoldtable = %(old)s
                             and t.tgnargs = 1 and t.tgargs = %(argument)s end,
               t.tgoldtable is not null and t.tgnewtable is not null
          from pg_trigger t
          join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
          join pg_proc p on p.oid = t.tgfoid join pg_namespace pn on pn.oid = p.pronamespace
         where pn.nspname in ('cdc', 'cdc_capture') and p.proname ~ '^(capture|gone)_'
           and not t.tgisinternal
         order by 2, 3, 1
        """,
        {"old": OLD_ROWS, "argument": f"{OLD_ROWS}\0".encode()},
    ).fetchall()
    return [
        InstalledTrigger(name, Table(schema, table), function, enabled, bool(same), compares)
        for name, schema, table, function, enabled, same, compares in rows
    ]


def functions(conn: Connection) -> dict[str, InstalledFunction]:
    """Our generated functions by name."""
    options = [option.replace(" = ", "=") for option in OPTIONS]
    rows = conn.execute(
        """
        select p.proname::text, p.prosrc,
               p.prosecdef and r.rolname = 'cdc_capture' and not r.rolsuper and p.proconfig = %s
               and not has_function_privilege('public', p.oid, 'execute'),
               coalesce(obj_description(p.oid, 'pg_proc'), ''), r.rolname::text
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          join pg_roles r on r.oid = p.proowner
         where n.nspname = 'cdc_capture'
           and p.proname ~ '^(capture|resolve|backfill|gone|company)_'
        """,
        (options,),
    ).fetchall()
    return {
        name: InstalledFunction(name, body, bool(careful), notes, owner)
        for name, body, careful, notes, owner in rows
    }


_NOTE = re.compile(r"^(on|off) (\S+) by (.+)$", re.MULTILINE)


def gaps(function: InstalledFunction) -> list[Gap]:
    """When a capture function was switched off, the oldest first, as far as it is noted."""
    found: list[Gap] = []
    for done, at, who in _NOTE.findall(function.notes):
        moment = datetime.fromisoformat(at)
        is_open = bool(found) and found[-1].until is None
        if done == "off" and not is_open:
            found.append(Gap(moment, None, who))
        elif done == "on" and is_open:
            found[-1] = replace(found[-1], until=moment)
    return found


def former_functions(conn: Connection) -> dict[str, InstalledFunction]:
    """Generated functions by name that lie where the first release had them: in schema cdc."""
    rows = conn.execute(
        """
        select p.proname::text, p.prosrc, coalesce(obj_description(p.oid, 'pg_proc'), ''),
               pg_get_userbyid(p.proowner)::text
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname = 'cdc'
           and (p.proname like 'capture\\_%' or p.proname like 'resolve\\_%')
         order by 1
        """
    ).fetchall()
    return {
        name: InstalledFunction(name, body, careful=False, notes=notes, owner=owner)
        for name, body, notes, owner in rows
    }


def granted(conn: Connection, role: str = "cdc_capture") -> dict[Table, tuple[str, ...]]:
    """Columns of the suite's tables that a role of ours was given to read, by name."""
    rows = conn.execute(
        """
        select n.nspname::text, c.relname::text, array_agg(a.attname::text order by a.attnum)
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
         where a.attacl is not null and not a.attisdropped
           and n.nspname not in ('cdc', 'cdc_capture')
           and exists (select from aclexplode(a.attacl) x
                        where x.grantee = (select oid from pg_roles where rolname = %s)
                          and x.privilege_type = 'SELECT')
         group by 1, 2
         order by 1, 2
        """,
        (role,),
    ).fetchall()
    return {Table(schema, name): tuple(columns) for schema, name, columns in rows}


def policies_for(conn: Connection, role: str = "cdc_capture") -> list[tuple[Table, str]]:
    """Policies on tables of the suite that are for this role alone."""
    rows = conn.execute(
        """
        select n.nspname::text, c.relname::text, p.polname::text
          from pg_policy p
          join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
         where p.polroles = array(select oid from pg_roles where rolname = %s)
           and n.nspname not in ('cdc', 'cdc_capture')
         order by 1, 2, 3
        """,
        (role,),
    ).fetchall()
    return [(Table(schema, name), policy) for schema, name, policy in rows]


def schemas_granted(conn: Connection, role: str = "cdc_capture") -> list[str]:
    """Schemas of the suite that a role of ours was given the use of."""
    rows = conn.execute(
        """
        select n.nspname::text from pg_namespace n
         where n.nspname not in ('cdc', 'cdc_capture')
           and exists (select from aclexplode(n.nspacl) x
                        where x.grantee = (select oid from pg_roles where rolname = %s))
         order by 1
        """,
        (role,),
    ).fetchall()
    return [row[0] for row in rows]


def readable(conn: Connection, table: Table, columns: tuple[str, ...]) -> bool:
    """Whether the capture functions may read these columns already, as far as there are any."""
    row = conn.execute(
        """
        select coalesce(bool_and(has_schema_privilege('cdc_capture', c.relnamespace, 'usage')
                             and has_column_privilege('cdc_capture', c.oid, a.attnum, 'select')),
                        true)
          from pg_namespace n
          join pg_class c on c.relnamespace = n.oid
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where n.nspname = %s and c.relname = %s and a.attname = any(%s)
        """,
        (table.schema, table.name, list(columns)),
    ).fetchone()
    return bool(row and row[0])


def installed_mapping(conn: Connection) -> str | None:
    """Fingerprint of the installed mapping, None before the first installation."""
    row = conn.execute("select mapping from cdc.installation").fetchone()
    return row[0] if row else None
