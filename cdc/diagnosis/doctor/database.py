"""Checks of the server and of schema cdc."""

from __future__ import annotations

import time
from ipaddress import ip_address

from cdc.diagnosis import capture_state, health
from cdc.diagnosis.doctor import locks
from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, unseen, warn
from cdc.diagnosis.doctor.recording import recording
from cdc.postgres.advisory_locks import CLOCK_BAD_S, CLOCK_OFF_S
from cdc.schema import migrations
from cdc.wording import age

OLD_TRANSACTION = 300.0
"""Seconds after which an open transaction keeps vacuum and snapshots back noticeably."""

HELD_BACK = 1_000_000
"""Transactions since the oldest snapshot: vacuum cannot remove what they made dead."""

FULL = 0.25
"""Share of the notification queue from which on daemons do not arm the doorbell."""


def server(see: Patient) -> Result:
    """PostgreSQL is new enough, and not a standby"""
    number, version = see.row(
        "select current_setting('server_version_num')::int, current_setting('server_version')"
    )
    if number < migrations.SUPPORTED * 10_000:
        return fail(
            f"PostgreSQL {version} is too old", f"{migrations.SUPPORTED} or newer is needed."
        )
    (standby,) = see.row("select pg_is_in_recovery()")
    if standby:
        return fail(
            f"PostgreSQL {version}, a standby: nothing can be written here, and daemons wait",
            "Give CDC_DATABASE_URL an address that leads to the primary.",
        )
    return ok(f"PostgreSQL {version}")


def encoding(see: Patient) -> Result:
    """the database is in UTF8"""
    (found,) = see.row("select getdatabaseencoding()::text")
    if found == migrations.ENCODING:
        return ok(f"the database is in {found}")
    return fail(*migrations.wrong_encoding(found))


def schema(see: Patient) -> Result:
    """schema `cdc` is there, in the version of this program"""
    found, head = capture_state.version(see.conn), migrations.head()
    if found is None:
        return fail("schema cdc is not installed in this database", "Run `cdc migrate`.")
    if found != head:
        return fail(
            f"schema cdc has version {found}, this program needs {head}",
            "Run `cdc migrate`, or use the release of that version.",
        )
    return ok(f"schema cdc has version {head}")


def identity(see: Patient) -> Result:
    """this is the database that schema `cdc` was installed in, not a copy"""
    if not capture_state.is_copy(see.conn):
        return ok("this is the database that schema cdc was installed in")
    return fail(
        "this is a copy of the database that schema cdc was installed in; daemons refuse to run",
        "If this is the real one now, run `cdc adopt`.",
    )


def pooler(see: Patient) -> Result:
    """no connection pooler is in between"""
    # A pooler makes up the process id that its clients see.
    (real,) = see.row("select pg_backend_pid()")
    if see.conn.info.backend_pid == real:
        return ok("the connection leads to PostgreSQL itself")
    return warn(
        "a connection pooler seems to be in between; daemons refuse to run through one",
        "Give CDC_DATABASE_URL the database's direct address.",
    )


def wire(see: Patient) -> Result:
    """the connection to the database is encrypted and the server verified, where it leaves this
    host"""
    # The options that hold, PGSSLMODE's and those of service files too.
    (mode,) = (one.val for one in see.conn.pgconn.info if one.keyword == b"sslmode")
    return reached(see.conn.info.hostaddr, see.conn.pgconn.ssl_in_use, (mode or b"").decode())


def reached(address: str, encrypted: bool, mode: str) -> Result:
    """address: of the server, '' for a socket of this host."""
    if not address or ip_address(address).is_loopback:
        return ok("the connection to the database stays on this host")
    if encrypted and mode in ("verify-ca", "verify-full"):
        return ok("the connection to the database is encrypted, and the server verified")
    wrong = "the server is not verified" if encrypted else "not encrypted"
    return warn(
        f"connection to the database: {wrong}; an attacker on the network could read the password",
        "Append ?sslmode=verify-full&sslrootcert=FILE to CDC_DATABASE_URL; FILE holds the "
        "server's CA.",
    )


def clock(see: Patient) -> Result:
    """the clocks of this host, the daemons and the database agree: a warning from 30 s on, a
    failure above 5 minutes"""
    began = time.time()
    (there,) = see.row("select extract(epoch from clock_timestamp())::float8")
    clocks = {"this host": (began + time.time()) / 2 - there}
    _, daemons, _ = health.fleet(see.conn)
    clocks |= {f"daemon {one.owner}": one.clock for one in daemons if one.clock is not None}
    whose, off = max(clocks.items(), key=lambda found: abs(found[1]))
    if abs(off) < CLOCK_OFF_S:
        return ok(
            f"this host and the database differ by {age(abs(off))}, daemons by no more than "
            f"{age(CLOCK_OFF_S)}"
        )
    side = "ahead of" if off > 0 else "behind"
    return (fail if abs(off) > CLOCK_BAD_S else warn)(
        f"the clock of {whose} is {age(abs(off))} {side} the database's",
        "Receivers refuse signatures whose time is off by more than 5 min. Correct the clock that "
        "is wrong; run NTP on both hosts.",
    )


def durability(see: Patient) -> Result:
    """`fsync`, `full_page_writes` and `synchronous_commit` are on, so that what was committed is
    kept"""
    damaged = "after a crash of the machine the database may be damaged"
    harms = {
        "fsync": damaged,
        "full_page_writes": damaged,
        "synchronous_commit": "a crash can lose changes that were committed",
    }
    off = [(n, made) for n in harms for made in see.settings_made(n) if made.value == "off"]
    if not off:
        return ok("what is committed survives a crash")
    return warn(
        "; ".join(f"{name} is off for {made.whose}: {harms[name]}" for name, made in off),
        "; ".join(made.reset for _, made in off),
    )


def transactions(see: Patient) -> Result:
    """no transaction has been open for 5 minutes, prepared ones included"""
    rows = see.rows(
        """
        select pid, format('process %%s (%%s, user %%s, %%s)', pid,
                           coalesce(nullif(application_name, ''), 'no name'), usename, state),
               extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
          from pg_stat_activity
         where pid <> pg_backend_pid()
           and xact_start < clock_timestamp() - make_interval(secs => %s)
           and datname = current_database() and backend_type = 'client backend'
        union all
        select null, format('prepared transaction %%L of %%s', gid, owner),
               extract(epoch from clock_timestamp() - prepared)::float8
          from pg_prepared_xacts
         where prepared < clock_timestamp() - make_interval(secs => %s)
           and database = current_database()
         order by seconds desc
        """,
        OLD_TRANSACTION,
        OLD_TRANSACTION,
    )
    if rows:
        pid, who, seconds = rows[0]
        end = f"select pg_terminate_backend({pid})" if pid else "rollback prepared, or commit it"
        more = f"; and {len(rows) - 1} more" if len(rows) > 1 else ""
        return warn(
            f"{who} has been open for {age(seconds)}{more}",
            "Meanwhile vacuum cannot clean our tables, and its own changes are not sent. If it was "
            f"forgotten: {end}",
        )
    if not see.sees_sessions:
        return unseen("transactions of other accounts")
    return ok(f"none is open for longer than {age(OLD_TRANSACTION)}")


def snapshots(see: Patient) -> Result:
    """no session, replication slot, standby or prepared transaction holds vacuum back

    Vacuum removes nothing that the oldest snapshot may still see."""
    rows = see.rows(
        """
        select 'replication slot ' || slot_name || case when active then '' else ', unused,' end,
               age(xmin) as held,
               case when active then 'Switch hot_standby_feedback off on that standby.'
                    else format('If it is unused: select pg_drop_replication_slot(%L)', slot_name)
               end
          from pg_replication_slots where xmin is not null
        union all
        select format('process %s (%s, user %s)', pid,
                      coalesce(nullif(application_name, ''), backend_type), usename),
               age(backend_xmin),
               case backend_type
                    when 'walsender' then 'Switch hot_standby_feedback off on that standby.'
                    else format('If it was forgotten: select pg_terminate_backend(%s)', pid) end
          from pg_stat_activity
         where backend_xmin is not null and pid <> pg_backend_pid()
           and (datname = current_database() or backend_type = 'walsender')
        union all
        select format('prepared transaction %L', gid), age(transaction),
               format('rollback prepared %L, or commit it.', gid)
          from pg_prepared_xacts where database = current_database()
         order by held desc
        """
    )
    if rows and rows[0][1] > HELD_BACK:
        who, held, todo = rows[0]
        return warn(
            f"{who} holds vacuum back: {held} transactions have begun since its snapshot",
            f"Our tables grow meanwhile; no session waits for it. {todo}",
        )
    if not see.sees_sessions:
        return unseen("snapshots of other accounts")
    return ok("no session holds vacuum back for a long time")


def notifications(see: Patient) -> Result:
    """the server's notification queue is not filling up"""
    (share,) = see.row("select pg_notification_queue_usage()")
    if share < FULL:
        return ok(f"the notification queue is {share:.0%} full")
    # PostgreSQL does not show listeners. One reads when its transaction ends, in any database.
    rows = see.rows(
        """
        select pid, coalesce(nullif(application_name, ''), 'no name'), usename::text, datname::text,
               extract(epoch from clock_timestamp() - xact_start)::float8
          from pg_stat_activity
         where pid <> pg_backend_pid() and xact_start is not null
           and backend_type = 'client backend'
         order by xact_start limit 1
        """
    )
    fact = f"the notification queue is {share:.0%} full; writers that notify fail when it is full"
    todo = "A session listens and has not read lately: look for old transactions of listeners."
    if rows:
        pid, name, user, database, seconds = rows[0]
        fact += (
            f". The oldest transaction is that of process {pid} ({name}, user {user}, database "
            f"{database}), open for {age(seconds)}"
        )
        todo = (
            "A session that listens does not read while its transaction is open. If it is this "
            f"one: select pg_terminate_backend({pid})"
        )
    return (fail if share > 0.75 else warn)(fact, todo)


BEFORE: dict[str, Check] = {"server": server, "encoding": encoding, "schema": schema}
CHECKS: dict[str, Check] = {
    "identity": identity,
    "pooler": pooler,
    "wire": wire,
    "clock": clock,
    "durability": durability,
    "locks": locks.writers,
    "recording": recording,
    "commits": locks.commits,
    "transactions": transactions,
    "snapshots": snapshots,
    "notifications": notifications,
}
