"""Checks of who may do what: our roles as sql/schema made them, and the accounts that have them."""

from __future__ import annotations

from cdc.capture import rights as granted
from cdc.diagnosis.doctor.check import Check, Patient, Told, fail, ok, warn
from cdc.postgres.row_security import ROLES
from cdc.wording import counted

NEXT_TIME = (
    ". Before the next `cdc migrate`, `cdc triggers install`, `off`, `on` or `remove`: "
    "grant cdc_owner, cdc_capture to {}"
)


def _by_set(see: Patient) -> str:
    """What pg_has_role calls the right to SET ROLE. Since PostgreSQL 16 a member may be without it:
    whoever has made a role administers it, and no more."""
    return "set" if see.conn.info.server_version >= 160_000 else "member"


def roles(see: Patient) -> Told:
    rows = see.rows(
        "select rolname::text, rolcanlogin, rolsuper or rolcreaterole from pg_roles"
        " where rolname = any(%s)",
        list(ROLES),
    )
    there = {row[0] for row in rows}
    if missing := [role for role in ROLES if role not in there]:
        return fail(
            f"there is no role {', '.join(missing)}",
            "A dump holds no roles. sql/schema/10_roles.sql makes them, "
            "sql/schema/90_grants.sql gives them their rights.",
        )
    if strong := [name for name, _, might in rows if might]:
        return fail(
            f"{', '.join(strong)} may do more than any of them needs (SUPERUSER or CREATEROLE)",
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
            f"{member} is a member of {of}, and so can do all that {of} can",
            f"revoke {of} from {member}",
        )
    if logins := [name for name, login, _ in rows if login]:
        return warn(
            f"{', '.join(logins)} can log in",
            f"Grant it to accounts instead: alter role {logins[0]} nologin",
        )
    return ok(f"all {len(ROLES)} are as they were made")


def grants(see: Patient) -> Told:
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
    if lacking:
        more = f", and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return fail(
            f"rights of our roles are missing: {'; '.join(lacking[:3])}{more}", granted.AGAIN
        )
    return ok(f"{counted(len(rights), 'right')} of our roles are there")


_BEYOND = """
select case x.grantee when 0 then 'everybody (public)' else x.grantee::regrole::text end,
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
select case x.grantee when 0 then 'everybody (public)' else x.grantee::regrole::text end,
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


def others(see: Patient) -> Told:
    """Rights in our schemas that nobody needs, and rights of our roles on tables of the suite."""
    rows = see.conn.execute(
        _BEYOND.encode(),
        {"roles": list(ROLES), "plain": [role for role in ROLES if role != "cdc_capture"]},
    ).fetchall()
    if not rows:
        return ok("nobody has a right beyond those of our roles")
    who, privilege, thing, grave = rows[0]
    more = f", and {len(rows) - 1} more such" if len(rows) > 1 else ""
    told = f"{who} has {privilege} on {thing}{more}"
    todo = "Revoke it; grant one of our roles to the account instead (docs/dba.md, 'Accounts')."
    return fail(told, todo) if grave else warn(told, todo)


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


def accounts(see: Patient) -> Told:
    """Who could become our owners, and as whom the daemons run."""
    return _owners(see) or _running(see) or _members(see)


def _owners(see: Patient) -> Told | None:
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
        "whoever has that account sees all secrets",
        f"After installing, as superuser: revoke cdc_owner, cdc_capture from {quoted} cascade"
        + NEXT_TIME.format(quoted),
    )


def _running(see: Patient) -> Told | None:
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
                f"a daemon runs as {name}, which may do far more than it needs",
                "Give it an account that has cdc_daemon and nothing else (docs/dba.md, "
                "'Accounts').",
            )
        if not daemon:
            return fail(
                f"a session of {name} calls itself a daemon's, and {name} has not cdc_daemon",
                "Any account can call itself so: find out who it is. Only where you start daemons "
                "with it: grant cdc_daemon to it.",
            )
    return None


def _members(see: Patient) -> Told:
    """Roles belong to the whole server, and whoever may make roles may have made ours before us:
    what they have of them stays theirs. Who installs needs the same, so the catalog does not tell
    the two apart; but the database's owner, and who asks here, are known to whoever reads it.
    """
    rows = see.conn.execute(_BECOMES.encode(), {"roles": list(ROLES)}).fetchall()
    if not rows:
        return ok("no account has more than it needs")
    told = "; ".join(
        f"{name} can become {ours}" if ours else f"{name} can give {of_ours} to anybody"
        for name, _, ours, of_ours, _ in rows[:3]
    )
    told += f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    _, quoted, ours, of_ours, known = rows[0]
    revoke = f"revoke {of_ours} from {quoted} cascade"
    if ours:
        revoke += NEXT_TIME.format(quoted)
    if known:
        return ok(f"{told}, as who installs has to, and nobody afterwards: {revoke}")
    return warn(told, f"Only who installs has to, while installing. As superuser: {revoke}")


CHECKS: dict[str, Check] = {
    "roles": roles,
    "grants": grants,
    "others": others,
    "accounts": accounts,
}
