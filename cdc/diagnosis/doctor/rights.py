"""Checks of rights: our roles as sql/schema made them, and the accounts that have them."""

from __future__ import annotations

from cdc.capture import rights as granted
from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, warn
from cdc.postgres import builtins
from cdc.postgres.row_security import ROLES
from cdc.wording import counted

NEXT_TIME = (
    ". Before the next `cdc migrate`, `cdc triggers install`, `off`, `on` or `remove`: "
    "grant cdc_owner, cdc_capture to {}"
)


def _by_set(see: Patient) -> str:
    """What pg_has_role calls the right to SET ROLE. Since PostgreSQL 16 a member may lack it: the
    account that made a role administers it, and no more."""
    return "set" if see.conn.info.server_version >= 160_000 else "member"


def roles(see: Patient) -> Result:
    """our roles are there, cannot log in, and none can become the owner"""
    rows = see.rows(
        "select rolname::text, rolcanlogin, rolsuper or rolcreaterole from pg_roles"
        " where rolname = any(%s)",
        list(ROLES),
    )
    there = {row[0] for row in rows}
    if missing := [role for role in ROLES if role not in there]:
        return fail(
            f"missing roles: {', '.join(missing)}",
            "A dump does not contain roles. sql/schema/10_roles.sql creates them, "
            "sql/schema/90_grants.sql gives them their rights.",
        )
    if strong := [name for name, _, might in rows if might]:
        return fail(
            f"{', '.join(strong)} has more rights than needed (SUPERUSER or CREATEROLE)",
            f"alter role {strong[0]} nosuperuser nocreaterole",
        )
    members = see.rows(
        "select m::text, o::text from unnest(%s::text[]) m, unnest(%s::text[]) o"
        " where m <> o and (pg_has_role(m, o, 'usage') or pg_has_role(m, o, %s))",
        list(ROLES),
        ["cdc_owner", "cdc_capture"],
        _by_set(see),
    )
    if members:
        member, of = members[0]
        return fail(
            f"{member} is a member of {of}, and so has all its rights",
            f"revoke {of} from {member}",
        )
    if logins := [name for name, login, _ in rows if login]:
        return warn(
            f"{', '.join(logins)} can log in",
            f"Grant it to accounts instead: alter role {logins[0]} nologin",
        )
    return ok(f"all {len(ROLES)} are as installed")


_MAY_NOT_CALL = """
select rolname::text from pg_roles
 where rolname = any(%s) and not has_function_privilege(oid, to_regprocedure(%s), 'execute')
 order by array_position(array['cdc_daemon'], rolname::text), 1
"""


def grants(see: Patient) -> Result:
    """each role has the rights that sql/schema gives it"""
    rights = granted.demanded()
    sql, params = granted.missing()
    missing = see.rows(sql, *params)
    lacking = [str(rights[number - 1]) for (number,) in missing]
    lacking += [
        f"cdc_daemon: truncate on cdc.{name}"
        for (name,) in see.rows(
            "select c.relname::text from pg_class c, pg_roles r"
            " where c.relnamespace = 'cdc'::regnamespace and c.relispartition and c.relkind = 'r'"
            "   and r.rolname = 'cdc_daemon' and not has_table_privilege(r.oid, c.oid, 'truncate')"
            " order by 1"
        )
    ]
    for function, callers in builtins.CALLERS.items():
        if without := see.rows(_MAY_NOT_CALL, list(callers), f"pg_catalog.{function}"):
            names = ", ".join(role for (role,) in without)
            return fail(f"{names} may not execute {function}", builtins.grant(function))
    if lacking:
        more = f", and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return fail(
            f"rights of our roles are missing: {'; '.join(lacking[:3])}{more}", granted.AGAIN
        )
    return ok(f"{counted(len(rights), 'right')} of our roles are there")


_BEYOND = """
select case x.grantee when 0 then 'every role (public)' else x.grantee::regrole::text end,
       x.privilege_type, n.nspname || '.' || c.relname,
       c.relname in ('webhook', 'webhook_secret')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 cross join lateral (
   select * from aclexplode(c.relacl)
   union all
   select e.* from pg_attribute a, aclexplode(a.attacl) e where a.attrelid = c.oid) x
 where n.nspname = 'cdc' and x.grantee <> c.relowner
   and (x.grantee = 0 or x.grantee::regrole::text <> all(%(roles)s))
union all
select case x.grantee when 0 then 'every role (public)' else x.grantee::regrole::text end,
       x.privilege_type, 'function ' || p.proname, true
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
 where n.nspname = 'cdc_capture' and x.grantee <> p.proowner
   and (x.grantee = 0 or x.grantee::regrole::text <> 'cdc_owner')
union all
select x.grantee::regrole::text, x.privilege_type, 'schema cdc_capture', true
  from pg_namespace n cross join lateral aclexplode(n.nspacl) x
 where n.nspname = 'cdc_capture' and x.grantee <> n.nspowner and x.grantee <> 0
union all
select x.grantee::regrole::text, x.privilege_type, c.oid::regclass::text, false
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 cross join lateral aclexplode(c.relacl) x
 where n.nspname not in ('cdc', 'cdc_capture', 'pg_catalog', 'information_schema')
   and x.grantee <> 0 and x.grantee <> c.relowner and x.grantee::regrole::text = any(%(plain)s)
 order by 4 desc, 3, 1
"""


def others(see: Patient) -> Result:
    """no other role has rights in our schemas, and our roles have none on tables of the suite"""
    rows = see.conn.execute(
        _BEYOND.encode(),
        {"roles": list(ROLES), "plain": [role for role in ROLES if role != "cdc_capture"]},
    ).fetchall()
    if not rows:
        return ok("no role has rights beyond those of our roles")
    who, privilege, thing, grave = rows[0]
    more = f", and {len(rows) - 1} more such" if len(rows) > 1 else ""
    fact = f"{who} has {privilege} on {thing}{more}"
    todo = "Revoke it; grant one of our roles to the account instead (docs/dba.md, 'Accounts')."
    return fail(fact, todo) if grave else warn(fact, todo)


# Admin option counts as membership: it is enough to grant oneself the rest.
_BECOMES = """
select m.rolname::text, quote_ident(m.rolname),
       string_agg(o.rolname, ' and ' order by o.rolname) filter (where o.ours),
       string_agg(o.rolname, ', ' order by o.rolname),
       m.rolname = session_user
         or m.oid = (select d.datdba from pg_database d where d.datname = current_database())
  from pg_roles m
  join (select oid, rolname, rolname in ('cdc_owner', 'cdc_capture') as ours
          from pg_roles where rolname = any(%(roles)s)) o
    on pg_has_role(m.oid, o.oid, 'member with admin option')
       or o.ours and pg_has_role(m.oid, o.oid, 'member')
 where not m.rolsuper and m.rolname <> all(%(roles)s)
 group by m.oid, m.rolname
 order by 5, 1
"""


def accounts(see: Patient) -> Result:
    """neither owners of the suite's tables nor other accounts can become our owners; daemons run
    with `cdc_daemon` and no more"""
    return _owners(see) or _running(see) or _members(see)


def _owners(see: Patient) -> Result | None:
    tables = [str(see.mapping.company.table)]
    tables += [str(resource.table) for resource in see.mapping.resources.values()]
    owners = see.rows(
        """
        select distinct o.rolname::text, quote_ident(o.rolname)
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          join pg_roles o on o.oid = c.relowner
         cross join unnest('{cdc_owner,cdc_capture}'::text[]) ours
         where n.nspname || '.' || c.relname = any(%s) and not o.rolsuper
           and pg_has_role(o.oid, ours, 'member')
         order by 1
        """,
        tables,
    )
    if not owners:
        return None
    name, quoted = owners[0]
    return warn(
        f"{name} owns tables of the suite and is a member of cdc_owner or cdc_capture: "
        "that account can read all secrets",
        f"After installing, as superuser: revoke cdc_owner, cdc_capture from {quoted} cascade"
        + NEXT_TIME.format(quoted),
    )


def _running(see: Patient) -> Result | None:
    running = see.rows(
        """
        select distinct a.usename::text,
               r.rolsuper or pg_has_role(r.oid, 'cdc_owner', 'usage')
                 or pg_has_role(r.oid, 'cdc_owner', %s),
               pg_has_role(r.oid, 'cdc_daemon', 'usage')
          from pg_stat_activity a join pg_roles r on r.oid = a.usesysid
         where a.datname = current_database() and a.application_name = 'cdc watch'
         order by 1
        """,
        _by_set(see),
    )
    for name, strong, daemon in running:
        if strong:
            return warn(
                f"a daemon runs as {name}, which has far more rights than it needs",
                "Give it an account that has cdc_daemon and nothing else (docs/dba.md, "
                "'Accounts').",
            )
        if not daemon:
            return fail(
                f"a session of {name} calls itself a daemon, and {name} is not a member of "
                "cdc_daemon",
                "Any account can choose that application name: find out what it is. If you start "
                "daemons with this account: grant cdc_daemon to it.",
            )
    return None


def _members(see: Patient) -> Result:
    """Roles belong to the whole server, and an account with CREATEROLE may have made ours before us
    and keep its hold on them. The installing account needs the same, so the catalogue cannot
    distinguish the two; the database's owner and the account that asks are not reported.
    """
    rows = see.conn.execute(_BECOMES.encode(), {"roles": list(ROLES)}).fetchall()
    if not rows:
        return ok("no account has more rights than it needs")
    fact = "; ".join(
        f"{name} can become {ours}" if ours else f"{name} can grant {of_ours} to any account"
        for name, _, ours, of_ours, _ in rows[:3]
    )
    fact += f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    _, quoted, ours, of_ours, known = rows[0]
    revoke = f"revoke {of_ours} from {quoted} cascade"
    if ours:
        revoke += NEXT_TIME.format(quoted)
    if known:
        return ok(f"{fact}, which only the installation needs; afterwards: {revoke}")
    return warn(fact, f"Only the installing account needs that. As superuser: {revoke}")


CHECKS: dict[str, Check] = {
    "roles": roles,
    "grants": grants,
    "others": others,
    "accounts": accounts,
}
