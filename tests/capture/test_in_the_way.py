"""What holds up a strong lock is named, by what it is, and what to do about it."""

from __future__ import annotations

import time

import pytest

from cdc.capture import install
from cdc.errors import DatabaseError
from cdc.postgres.lock_retry import LockRetry, WantedLock, advice, holders
from tests.capture.kit import Suite, connect
from tests.capture.test_install import planned
from tests.writers.kit import until

WANTED = [WantedLock("SHARE ROW EXCLUSIVE", ("rating",))]


def test_an_autovacuum(own_suite: Suite) -> None:
    """It makes way for those who wait for deadlock_timeout; our tries are shorter."""
    own_suite.run("alter table rating set (autovacuum_vacuum_threshold = 1,"
                  " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_limit = 1,"
                  " autovacuum_vacuum_cost_delay = 100)")  # fmt: skip
    own_suite.run("insert into rating select g, 19 from generate_series(1000, 9000) g")
    own_suite.run("drop trigger cdc_capture_insert on rating")
    own_suite.run("alter system set autovacuum_naptime = '1s'")
    try:
        own_suite.run("select pg_reload_conf(); delete from rating where id >= 1000")
        working = (
            "select exists (select from pg_stat_progress_vacuum where relid = 'rating'::regclass)"
        )
        until(lambda: bool(own_suite.one(working)), "an autovacuum works on it")
        steps = planned(own_suite)
        with pytest.raises(DatabaseError) as caught:
            install.carry_out(own_suite.command, steps, lambda _: None, LockRetry(20, 1, 0))
        assert "(autovacuum worker, active" in str(caught.value)
        assert "--lock-timeout 1500" in caught.value.hint
        # It does, as the hint has it.
        install.carry_out(own_suite.command, steps, lambda _: None, LockRetry(5000, 1, 0))
        assert planned(own_suite) == []
    finally:
        own_suite.run("alter system reset autovacuum_naptime")
        own_suite.run("select pg_reload_conf()")


def test_who_came_later_is_not_blamed(suite: Suite) -> None:
    """A session that queued behind a try that failed goes on after it, and holds the table when
    it is asked who was in the way."""
    with connect(suite.url) as before, connect(suite.url) as since:
        before.execute("begin; update rating set stars = 1")
        time.sleep(0.1)  # the time that a try has waited; nothing is waited for
        since.execute("begin; lock table rating in row exclusive mode")
        both = holders(suite.conn, WANTED)
        assert {f"pid {c.info.backend_pid} " in both for c in (before, since)} == {True}
        found = holders(suite.conn, WANTED, waited_ms=100)
        assert f"pid {before.info.backend_pid} " in found
        assert f"pid {since.info.backend_pid} " not in found


def test_who_reads_is_in_the_way_of_who_drops_alone(suite: Suite) -> None:
    with connect(suite.url) as reader:
        reader.execute("begin; select from rating")
        assert holders(suite.conn, WANTED) == ""
        assert holders(suite.conn, [WantedLock("ACCESS SHARE", ("rating",))]) == ""
        found = holders(suite.conn, [WantedLock("ACCESS EXCLUSIVE", ("rating",))])
        assert f"pid {reader.info.backend_pid} (postgres, idle in transaction" in found
    assert "pg_terminate_backend" in advice(found)
    assert "pg_stat_activity" in advice("")
