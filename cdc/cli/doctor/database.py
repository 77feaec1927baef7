"""Checks of the server and of schema cdc."""

from __future__ import annotations

import time

from cdc import migrations
from cdc.cli import capture
from cdc.cli.common import age
from cdc.cli.doctor import locks
from cdc.cli.doctor.base import Check, Patient, Told, fail, ok, warn

OLD_TRANSACTION = 300.0
"""Seconds after which an open transaction keeps vacuum and snapshots back noticeably."""

CLOCK_OFF = 30.0
"""Seconds; receivers accept timestamps that are off by 300."""

FULL = 0.25
"""Share of the notification queue from which on nobody arms the doorbell."""


def server(see: Patient) -> Told:
    number, version = see.row(
        "select current_setting('server_version_num')::int, current_setting('server_version')"
    )
    if number < migrations.SUPPORTED * 10_000:
        return fail(
            f"PostgreSQL {version} is too old", f"{migrations.SUPPORTED} or newer is needed."
        )
    return ok(f"PostgreSQL {version}")


def encoding(see: Patient) -> Told:
    (found,) = see.row("select getdatabaseencoding()::text")
    if found == migrations.ENCODING:
        return ok(f"the database is in {found}")
    return fail(*migrations.wrong_encoding(found))


def schema(see: Patient) -> Told:
    found, head = capture.version(see.conn), migrations.head()
    if found is None:
        return fail("schema cdc is not installed in this database", "Run `cdc migrate`.")
    if found != head:
        return fail(
            f"schema cdc has version {found}, this program needs {head}",
            "Run `cdc migrate`, or use the release that fits.",
        )
    return ok(f"schema cdc has version {head}")


def identity(see: Patient) -> Told:
    (same,) = see.row(
        "select i.system_identifier = c.system_identifier and i.database_oid = d.oid"
        "  from cdc.installation i, pg_control_system() c, pg_database d"
        " where d.datname = current_database()"
    )
    if same:
        return ok("this is the database that schema cdc was installed in")
    return fail(
        "this is a copy of the database that schema cdc was installed in; daemons refuse to run",
        "If it is the real one now, run `cdc adopt`.",
    )


def pooler(see: Patient) -> Told:
    # A pooler makes up the process id that it tells its clients.
    (real,) = see.row("select pg_backend_pid()")
    if see.conn.info.backend_pid == real:
        return ok("the connection leads to PostgreSQL itself")
    return warn(
        "there seems to be a connection pooler in between; a daemon refuses to run through one",
        "Give CDC_DATABASE_URL the database's direct address.",
    )


def clock(see: Patient) -> Told:
    began = time.time()
    (there,) = see.row("select extract(epoch from clock_timestamp())::float8")
    off = abs(there - (began + time.time()) / 2)
    if off <= CLOCK_OFF:
        return ok(f"this host and the database differ by {age(off)}")
    return warn(
        f"the clocks of this host and the database differ by {age(off)}",
        "Receivers refuse signatures with a wrong time; run NTP on both.",
    )


def transactions(see: Patient) -> Told:
    rows = see.rows(
        """
        select pid::text, coalesce(state, ''),
               extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
          from pg_stat_activity
         where pid <> pg_backend_pid()
           and xact_start < clock_timestamp() - make_interval(secs => %s)
           and datname = current_database() and backend_type = 'client backend'
        union all
        select gid, 'prepared', extract(epoch from clock_timestamp() - prepared)::float8
          from pg_prepared_xacts
         where prepared < clock_timestamp() - make_interval(secs => %s)
           and database = current_database()
         order by seconds desc
        """,
        OLD_TRANSACTION,
        OLD_TRANSACTION,
    )
    if not rows:
        return ok(f"none is open for longer than {age(OLD_TRANSACTION)}")
    pid, state, seconds = rows[0]
    return warn(
        f"{len(rows)} old ones, the oldest for {age(seconds)} ({pid}, {state})",
        "They keep vacuum from our tables, and their changes from being seen; end them if they are "
        "forgotten.",
    )


def notifications(see: Patient) -> Told:
    (share,) = see.row("select pg_notification_queue_usage()")
    if share < FULL:
        return ok(f"the notification queue is {share:.0%} full")
    return (fail if share > 0.75 else warn)(
        f"the notification queue is {share:.0%} full; when it is full, writers' commits fail",
        "A session has listened and not read for long: look for old transactions of listeners.",
    )


def vacuum(see: Patient) -> Told:
    (enabled,) = see.row("select current_setting('autovacuum')::bool")
    if not enabled:
        return fail("autovacuum is switched off on this server", "Switch it on: autovacuum = on")
    rows = see.rows(
        """
        select relname::text, n_dead_tup from pg_stat_user_tables
         where schemaname = 'cdc' and n_dead_tup > 200000 and n_dead_tup > n_live_tup
         order by 2 desc
        """
    )
    if rows:
        name, dead = rows[0]
        return warn(
            f"cdc.{name} has {dead} dead rows that were not vacuumed",
            "An old transaction keeps vacuum back, or it does not keep up: see pg_stat_activity.",
        )
    return ok("our tables are vacuumed")


BEFORE: dict[str, Check] = {"server": server, "encoding": encoding, "schema": schema}
CHECKS: dict[str, Check] = {
    "identity": identity,
    "pooler": pooler,
    "clock": clock,
    "locks": locks.writers,
    "transactions": transactions,
    "notifications": notifications,
    "vacuum": vacuum,
}
