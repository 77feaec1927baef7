"""Publications that hold tables of ours.

A subscriber that has no such tables stops at their first change, and so does all else that it
replicates. Where a publication sends updates and deletes, PostgreSQL refuses them for rows that the
subscriber could not find again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

SECRET = ("webhook", "webhook_secret")
"""Tables with header values, logins of proxies and signing secrets."""


GUIDE = "docs/database.md, 'Logical replication', says how."


@dataclass(frozen=True, slots=True)
class Publication:
    """everything: FOR ALL TABLES. tables: those of schema cdc that it holds, without the schema."""

    name: str
    everything: bool
    tables: tuple[str, ...]

    def __str__(self) -> str:
        return f"publication {self.name}" + (" (for all tables)" if self.everything else "")

    @property
    def secrets(self) -> bool:
        return any(table in SECRET for table in self.tables)


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """A table of ours that daemons cannot change, and the statement that ends it."""

    table: str
    publication: str
    todo: str


def stated(found: Sequence[Publication]) -> str:
    """What is wrong with publications of our tables."""
    secret = " with the signing secrets of all webhooks" if any(p.secrets for p in found) else ""
    sends = "sends" if len(found) == 1 else "send"
    return (
        f"{', '.join(map(str, found))} {sends} tables of schema cdc to subscribers{secret}; one "
        "that has no such tables stops at their first change"
    )


def remedy(found: Sequence[Publication]) -> str:
    """PostgreSQL leaves no table out of a publication for all tables."""
    every = next((one for one in found if one.everything), None)
    how = (
        f"Take the tables of schema cdc out of it: alter publication {found[0].name} drop ..."
        if every is None
        else f"Replace publication {every.name} by one that names schemas or tables: create "
        "publication ... for tables in schema public"
    )
    return f"{how}. {GUIDE}"


def everything(conn: Connection) -> list[str]:
    """Publications for all tables: those that hold our tables as soon as these are made."""
    rows = conn.execute("select pubname::text from pg_publication where puballtables order by 1")
    return [name for (name,) in rows.fetchall()]


def slots(conn: Connection) -> list[str]:
    """Logical replication slots of this database: who is sent changes."""
    rows = conn.execute(
        "select slot_name::text from pg_replication_slots"
        " where database = current_database() and slot_type = 'logical' order by 1"
    )
    return [name for (name,) in rows.fetchall()]


_OURS = """
select p.pubname::text, p.puballtables, array_agg(distinct c.relname::text order by c.relname::text)
  from pg_publication p
 cross join lateral pg_get_publication_tables(p.pubname) t
  join pg_class c on c.oid = t.relid
 where c.relnamespace = to_regnamespace('cdc')
 group by 1, 2
 order by 1
"""


def ours(conn: Connection) -> tuple[Publication, ...]:
    """Publications that hold tables of ours."""
    rows = conn.execute(_OURS).fetchall()
    return tuple(Publication(name, all_tables, tuple(tables)) for name, all_tables, tables in rows)


# Of the log (attempt), rows are inserted and no more. Of the rest, a row is found again by what its
# replica identity holds: the primary key's columns, or all (f). What a list of columns or a filter
# needs beyond that makes PostgreSQL refuse UPDATE and DELETE.
_REFUSED = """
with ours as (
  select c.oid, c.relname::text as name, c.relreplident = 'f' as whole,
         coalesce((select i.indkey::int2[] from pg_index i
                    where i.indrelid = c.oid and i.indisvalid
                      and (c.relreplident = 'd' and i.indisprimary
                           or c.relreplident = 'i' and i.indisreplident)), '{}') as key
    from pg_class c
   where c.relnamespace = to_regnamespace('cdc') and c.relkind = 'r'
     and not c.relispartition
)
select distinct on (o.name) o.name, p.pubname::text,
       case when not o.whole and o.key = '{}'
            then format('alter table cdc.%I replica identity full', o.name)
            else format('alter publication %I drop table cdc.%I', p.pubname, o.name) end
  from ours o
  join pg_publication p on p.pubupdate or p.pubdelete
  left join pg_publication_rel r on r.prpubid = p.oid and r.prrelid = o.oid
 where exists (select from pg_get_publication_tables(p.pubname) t where t.relid = o.oid)
   and (not o.whole and o.key = '{}'
        or r.prattrs is not null
           and (o.whole or not o.key <@ r.prattrs::int2[])
        or r.prqual is not null and not o.whole
           and exists (select from pg_depend d
                        where d.classid = 'pg_publication_rel'::regclass and d.objid = r.oid
                          and d.refclassid = 'pg_class'::regclass and d.refobjid = o.oid
                          and d.refobjsubid > 0 and d.refobjsubid <> all(o.key)))
 order by o.name, 2
"""


def refused(conn: Connection) -> tuple[RefusedChange, ...]:
    """Tables of ours whose rows PostgreSQL refuses to change because they are published."""
    return tuple(RefusedChange(*row) for row in conn.execute(_REFUSED).fetchall())


_UNIDENTIFIED = """
select c.relname::text
  from pg_class c
 where c.relnamespace = to_regnamespace('cdc') and c.relkind in ('r', 'p')
   and not (c.relreplident = 'f'
            or exists (select from pg_index i
                        where i.indrelid = c.oid and i.indisvalid
                          and (c.relreplident = 'd' and i.indisprimary
                               or c.relreplident = 'i' and i.indisreplident)))
 order by 1
"""


def unidentified(conn: Connection) -> list[str]:
    """Tables of ours that could not be changed if they were published."""
    return [name for (name,) in conn.execute(_UNIDENTIFIED).fetchall()]
