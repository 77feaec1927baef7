"""Checks of capacity: connections, tables and their vacuum, the log's ring, sequences."""

from __future__ import annotations

from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, warn
from cdc.model import LOG_RING
from cdc.wording import counted

SESSIONS = 8
"""Of a daemon, at the most: four are kept, two are for backfills, one for tests, one for mail."""

DEAD_ROWS = 200_000
"""Of one table: vacuum comes at 10,000 of the queue."""

BLOATED = 512 * 2**20
"""Bytes from which on it matters that a table is nearly empty."""
ROW = 2_000
"""Bytes that a row takes at the most, as a rule, with its indexes and its body."""

NEARLY = 0.8
"""Share of a sequence's numbers that are used up."""


def connections(see: Patient) -> Result:
    """there is room for a daemon's connections, eight at most: on the server, in the database, for
    its account"""
    most, used, limit, here = see.row(
        """
        select current_setting('max_connections')::int
                 - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true)::int, 0),
               (select sum(numbackends)::int from pg_stat_database),
               d.datconnlimit, s.numbackends
          from pg_database d join pg_stat_database s on s.datid = d.oid
         where d.datname = current_database()
        """
    )
    narrow = see.rows(
        "select rolname::text, rolconnlimit from pg_roles"
        " where rolcanlogin and not rolsuper and rolconnlimit between 0 and %s"
        "   and pg_has_role(oid, 'cdc_daemon', 'member') order by 1",
        SESSIONS - 1,
    )
    free = most - used
    if limit >= 0 and limit - here < free:
        free, most = limit - here, limit
    fact = f"{max(free, 0)} of {most} connections are free"
    if free < SESSIONS:
        return (fail if free <= 0 else warn)(
            f"{fact}; a daemon needs up to {SESSIONS}, and waits for them after it lost its own",
            "Raise max_connections (or the database's CONNECTION LIMIT), or put a pooler in front "
            "of the suite's own sessions.",
        )
    if narrow:
        name, own = narrow[0]
        return warn(
            f"{name} may have {counted(own, 'connection')}; a daemon needs up to {SESSIONS}",
            f"alter role {name} connection limit -1",
        )
    return ok(fact)


def sizes(see: Patient) -> Result:
    """the sizes of our tables, and that none is large and nearly empty"""
    rows = see.rows(
        """
        select coalesce(p.relname, c.relname)::text as name,
               sum(pg_total_relation_size(c.oid))::int8 as bytes,
               sum(greatest(c.reltuples, 0))::int8 as rows
          from pg_class c
          left join pg_inherits i on i.inhrelid = c.oid
          left join pg_class p on p.oid = i.inhparent
         where c.relnamespace = 'cdc'::regnamespace and c.relkind = 'r'
         group by 1 order by 2 desc
        """
    )
    largest = ", ".join(f"{name} {_bytes(size)}" for name, size, _ in rows[:4])
    fact = f"{_bytes(sum(size for _, size, _ in rows))} in all: {largest}"
    for name, size, count in rows:
        if name != "attempt" and size > BLOATED and count * ROW < size / 4:
            return warn(
                f"cdc.{name} takes {_bytes(size)} for some {count} rows; {fact}",
                f"PostgreSQL reuses the space. To shrink its indexes without making sessions wait: "
                f"reindex table concurrently cdc.{name}. Not VACUUM FULL: it makes writers wait.",
            )
    return ok(fact)


def vacuum(see: Patient) -> Result:
    """autovacuum is on, for the server and for our tables, and keeps up"""
    enabled, counting = see.row(
        "select current_setting('autovacuum')::bool, current_setting('track_counts')::bool"
    )
    if not (enabled and counting):
        which = "autovacuum" if not enabled else "track_counts"
        return fail(
            f"{which} is off on this server, so nothing is vacuumed",
            f"alter system set {which} = on; select pg_reload_conf()",
        )
    off = see.rows(
        "select c.relname::text from pg_class c, pg_options_to_table(c.reloptions) o"
        " where c.relnamespace = 'cdc'::regnamespace"
        "   and o.option_name = 'autovacuum_enabled' and not o.option_value::bool order by 1"
    )
    if off:
        return fail(
            f"autovacuum is switched off for cdc.{off[0][0]}",
            f"alter table cdc.{off[0][0]} reset (autovacuum_enabled)",
        )
    rows = see.rows(
        "select relname::text, n_dead_tup from pg_stat_user_tables"
        " where schemaname = 'cdc' and n_dead_tup > %s and n_dead_tup > n_live_tup order by 2 desc",
        DEAD_ROWS,
    )
    if rows:
        name, dead = rows[0]
        return warn(
            f"cdc.{name} has {dead} dead rows that were not vacuumed",
            "An old transaction holds vacuum back (see the checks 'transactions' and 'snapshots'), "
            f"or autovacuum does not keep up: vacuum (verbose) cdc.{name}",
        )
    return ok("our tables are vacuumed")


def log(see: Patient) -> Result:
    """all 32 days of the attempt log are there, and old ones were emptied

    Each day writes into its own of the ring's partitions; without it settling fails."""
    missing = see.rows(
        """
        select name, (slot - today %% ring + ring) %% ring as days
          from (select %s::int, floor(extract(epoch from clock_timestamp()) / 86400)::int)
               as r (ring, today)
         cross join lateral generate_series(0, ring - 1) slot
         cross join lateral format('attempt_%%s', lpad(slot::text, 2, '0')) name
         where not exists (
               select from pg_inherits i
                where i.inhparent = 'cdc.attempt'::regclass
                  and i.inhrelid = to_regclass('cdc.' || name))
         order by days
        """,
        LOG_RING,
    )
    if missing:
        name, days = missing[0]
        when = "now" if not days else f"in {counted(days, 'day')}"
        return fail(
            f"{counted(len(missing), 'partition')} of cdc.attempt missing; {name} is needed "
            f"{when}, or nothing can be recorded",
            f"alter table cdc.attempt attach partition cdc.{name} for values in ({int(name[-2:])})",
        )
    days = see.settings.log_days
    old = see.rows(
        "select from cdc.attempt where at < clock_timestamp() - make_interval(days => %s) limit 1",
        days + 2,
    )
    if old:
        return warn(
            f"the attempt log has rows older than {days + 2} days, which should have been removed",
            "A daemon removes them every ten minutes, unless another session reads the log all the "
            "time (a dump, a forgotten transaction): see `maintenance failed` in its log.",
        )
    return ok(f"all {LOG_RING} partitions of the attempt log are there")


def sequences(see: Patient) -> Result:
    """the queue's numbers are in order and far from their end"""
    rows = see.rows(
        "select sequencename::text, last_value, max_value"
        "  from pg_sequences where schemaname = 'cdc' and sequencename <> 'bell' order by 1"
    )
    for name, last, most in rows:
        if last is not None and last > most * NEARLY:
            return fail(
                f"cdc.{name} has used up {last / most:.0%} of its numbers; when they end, writers "
                "fail",
                f"alter sequence cdc.{name} as bigint no maxvalue; and find out what raised it.",
            )
    behind = see.row(
        "select coalesce(max(id), 0) > (select last_value from cdc.queue_id)"
        "         + (case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
        "                 else pg_current_wal_insert_lsn() end - '0/0')"
        "  from (select id from cdc.queue order by xid desc limit 1000) newest"
    )[0]
    if behind:
        return warn(
            "new changes get lower numbers than those in the queue, as in a restored dump: they "
            "would be sent before older ones of the same row",
            "Run `cdc adopt`.",
        )
    return ok("the numbers are in order and far from their end")


def _bytes(number: int) -> str:
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


CHECKS: dict[str, Check] = {
    "connections": connections,
    "sizes": sizes,
    "vacuum": vacuum,
    "log": log,
    "sequences": sequences,
}
