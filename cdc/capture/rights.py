"""Whether an account may do what a plan says, asked before anything of it is done.

PostgreSQL only warns where a GRANT or REVOKE gives nothing because the account may not: capture
would be installed, and could not read what leads to a company.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from cdc.capture.catalog import Connection
from cdc.capture.plan import DROP_LOCK, TRIGGER_LOCK, Step
from cdc.errors import DatabaseError
from cdc.postgres import sqlfiles
from cdc.postgres.row_security import ROLES

BY_OWNER = (
    "Run it as a superuser, or as a member of all owners; or let each owner run its part of "
    "`cdc triggers sql --database`."
)
"""What to do for who may not."""

# What is asked of the table's owner or of who has the right from there: by the step's lock.
_MAY = {
    TRIGGER_LOCK: "has_table_privilege(c.oid, 'trigger')",
    DROP_LOCK: "pg_has_role(c.relowner, 'usage')",
    "": """(has_table_privilege(c.oid, 'select with grant option')
            and (has_schema_privilege('cdc_capture', n.oid, 'usage')
                 or has_schema_privilege(n.oid, 'usage with grant option')))""",
}
_WHAT = {
    TRIGGER_LOCK: "put a trigger on",
    DROP_LOCK: "remove a trigger from",
    "": "grant or revoke the right to read",
}


def refuse_unless_owner(conn: Connection) -> None:
    """Raises DatabaseError unless this account has the rights of the roles that own what there is.

    It had them when it installed, and may have lost them since, as docs/dba.md advises.
    """
    row = conn.execute(
        "select string_agg(rolname, ' and ' order by rolname desc), quote_ident(current_user)"
        "  from pg_roles where to_regnamespace('cdc') is not null"
        "   and rolname in ('cdc_owner', 'cdc_capture') and not pg_has_role(oid, 'usage')"
    ).fetchone()
    if row and row[0]:
        raise DatabaseError(
            f"{row[1]} is not a member of {row[0]}, which this command needs",
            f"As a superuser, or as the account that made these roles:\n"
            f"  grant cdc_owner, cdc_capture to {row[1]};\n"
            f"and afterwards: revoke cdc_owner, cdc_capture from {row[1]} cascade;",
        )


def refuse_unless_able_to_migrate(conn: Connection) -> None:
    """Raises DatabaseError for an account that cannot make our roles and schemas, with the lines
    that give it what it lacks. Asked beforehand: of the whole script PostgreSQL names the first."""
    row = conn.execute(
        """
        select quote_ident(current_user), quote_ident(current_database()),
               has_database_privilege(current_database(), 'create'),
               r.rolsuper or r.rolcreaterole or not exists (
                 select from unnest(%s::text[]) wanted where to_regrole(wanted) is null),
               not exists (
                 select from pg_roles o
                  where o.rolname in ('cdc_owner', 'cdc_capture')
                    and not pg_has_role(o.oid, 'usage')
                    and not pg_has_role(o.oid, 'member with admin option')
                    and not (r.rolcreaterole
                             and current_setting('server_version_num')::int < 160000))
          from pg_roles r where r.rolname = current_user
        """,
        [list(ROLES)],
    ).fetchone()
    assert row is not None
    account, database, may_create, may_create_roles, may_join = row
    lacking = [
        (what, f"  {line};")
        for given, what, line in (
            (
                may_create,
                f"CREATE on database {database}",
                f"grant create on database {database} to {account}",
            ),
            (may_create_roles, "CREATEROLE", f"alter role {account} createrole"),
            (
                may_join,
                "membership of cdc_owner and cdc_capture",
                f"grant cdc_owner, cdc_capture to {account}",
            ),
        )
        if not given
    ]
    if lacking:
        apart = (
            "\ndocs/dba.md, 'A managed database', has the roles to make where no account may have "
            "CREATEROLE."
        )
        raise DatabaseError(
            f"{account} lacks {' and '.join(what for what, _ in lacking)}, which `cdc migrate` "
            "needs",
            "\n".join(["As a superuser:", *(line for _, line in lacking)])
            + ("" if may_create_roles else apart),
        )


def refuse_unless_allowed(conn: Connection, steps: Sequence[Step]) -> None:
    """Raises DatabaseError for the first step that this account may not carry out."""
    asked: set[tuple[object, str]] = set()
    for step in steps:
        if step.table is None or (step.table, step.lock) in asked:
            continue
        asked.add((step.table, step.lock))
        row = conn.execute(
            f"""
            select {_MAY[step.lock]}, current_user::text, c.relowner::regrole::text,
                   n.nspowner::regrole::text
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = %s and c.relname = %s
            """.encode(),
            (step.table.schema, step.table.name),
        ).fetchone()
        if row is None or row[0]:
            continue
        _, account, owner, schema_owner = row
        owners = f"{owner} owns it"
        if not step.lock and schema_owner != owner:
            owners += f", {schema_owner} its schema"
        raise DatabaseError(
            f"{account} may not {_WHAT[step.lock]} {step.table}: {owners}",
            BY_OWNER,
        )


AGAIN = (
    "Give them again, as superuser or cdc_owner: psql -X -f sql/schema/90_grants.sql "
    "(it can be run at any time)."
)


class Right(NamedTuple):
    """kind: ``table``, ``column``, ``sequence``, ``function``, ``schema``. part: of a column."""

    role: str
    kind: str
    thing: str
    part: str
    privilege: str

    def __str__(self) -> str:
        part = f" ({self.part})" if self.part else ""
        return f"{self.role}: {self.privilege}{part} on {self.thing}"


_GRANT = re.compile(r"^grant (.+?) on (?:(schema|sequence|function) )?(.+?) to (.+?);", re.M | re.S)
_COMMENT = re.compile(r"--.*$", re.M)
_APART = re.compile(r",\s*(?![^()]*\))")


@cache
def demanded() -> tuple[Right, ...]:
    """What sql/schema/90_grants.sql grants: the one place where it is written down."""
    text = _COMMENT.sub("", sqlfiles.schema_file("90_grants.sql"))
    found = []
    for what, kind, things, roles in _GRANT.findall(text):
        for privilege in _APART.split(" ".join(what.split())):
            name, _, columns = privilege.partition(" (")
            parts = columns.rstrip(")").split(", ") if columns else [""]
            found += [
                Right(role, "column" if part else kind or "table", thing, part.strip('"'), name)
                for role in roles.split(", ")
                for thing in _APART.split(" ".join(things.split()))
                for part in parts
            ]
    return tuple(found)


_MISSING = """
select r.number
  from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
       with ordinality as r (role, kind, thing, part, privilege, number)
  join pg_roles who on who.rolname = r.role
 where not coalesce(case
         when r.kind <> 'schema' and not has_schema_privilege(to_regnamespace('cdc'), 'usage')
           then true
         else case r.kind
         when 'table' then has_table_privilege(who.oid, to_regclass(r.thing), r.privilege)
         when 'column' then
           has_column_privilege(who.oid, to_regclass(r.thing), r.part, r.privilege)
         when 'sequence' then
           has_sequence_privilege(who.oid, to_regclass(r.thing), r.privilege)
         when 'function' then
           has_function_privilege(who.oid, to_regprocedure(r.thing), r.privilege)
         when 'schema' then
           has_schema_privilege(who.oid, to_regnamespace(r.thing), r.privilege)
       end end, false)
 order by r.number
"""


def missing() -> tuple[str, list[list[str]]]:
    """A query for the numbers of those ``demanded()`` rights that are missing, counted from 1.

    An account without the right on the schema can look up nothing in it, and gets only that.
    """
    return _MISSING, [list(column) for column in zip(*demanded(), strict=True)]
