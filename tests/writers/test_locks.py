"""What is locked, and by whom, matters to the suite's writers only where it is the queue itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import ROWS, Suite, connect
from tests.cli.command import Command
from tests.support import installation
from tests.writers.kit import until

WRITE = "set lock_timeout = '5s'; update rating set stars = 3; reset lock_timeout"


@pytest.fixture
def suite(database: str) -> Any:
    made = Suite(database)
    made.run(ROWS)
    made.register("1")
    installation.adopt(database)
    yield made
    made.close()


def checked(url: str, name: str) -> dict[str, str]:
    """What `cdc doctor` says of one thing."""
    done = Command({"CDC_DATABASE_URL": url, "CDC_ALLOW_HTTP": "true"})("doctor", "--json")
    found: dict[str, dict[str, str]] = {check["check"]: check for check in done.json["checks"]}
    assert done.code == (1 if any(c["verdict"] == "fail" for c in found.values()) else 0)
    return found[name]


@pytest.mark.parametrize("mode", ["share", "share row exclusive", "exclusive"])
def test_the_registry_may_be_locked(suite: Suite, mode: str) -> None:
    """By a dump, an index that is being made, a DBA who looks after something."""
    tables = "cdc.webhook, cdc.webhook_secret, cdc.subscription, cdc.lane, cdc.layout"
    others = "cdc.shard, cdc.installation, cdc.retry, cdc.dead, cdc.attempt"
    with connect(suite.url) as other:
        other.execute(f"begin; lock table {tables}, {others} in {mode} mode".encode())
        suite.run(WRITE)
        assert checked(suite.url, "locks")["verdict"] == "ok"
    assert suite.changes() == [("m", "9")]


@pytest.mark.parametrize(
    ("table", "mode", "called"),
    [
        ("unresolved", "exclusive", "Exclusive"),
        ("unresolved", "access exclusive", "AccessExclusive"),
    ],
)
def test_the_holder_of_a_lock_that_stops_writers_is_named(
    suite: Suite, table: str, mode: str, called: str
) -> None:
    assert checked(suite.url, "locks")["verdict"] == "ok"
    with (
        psycopg.connect(suite.url, application_name="nightly report") as holder,
        ThreadPoolExecutor(1) as thread,
    ):
        holder.execute(f"lock table cdc.{table} in {mode} mode".encode())
        pid = holder.info.backend_pid
        writing = thread.submit(suite.run, "update rating set stars = 3")
        if mode == "exclusive":  # read all the same, and not written to
            writing.result()
        else:
            with connect(suite.url) as watch:
                waits = "select count(*) from pg_locks where not granted and pid = %s"
                theirs = suite.conn.info.backend_pid
                until(lambda: watch.execute(waits, [theirs]).fetchone() == (1,), "it waits")
        found = checked(suite.url, "locks")
        assert found["verdict"] == "fail"
        assert f"process {pid} (nightly report, user postgres)" in found["message"]
        assert (
            f"holds the lock {called} on cdc.{table}, its transaction open for "
            in (found["message"])
        )
        waiting = "no session waits" if mode == "exclusive" else "1 session waiting"
        assert waiting in found["message"]
        assert f"pg_terminate_backend({pid})" in found["todo"]
        # What it advises helps.
        with connect(suite.url) as admin:
            admin.execute("select pg_terminate_backend(%s)", [pid])
        writing.result()
        with pytest.raises(psycopg.OperationalError):
            holder.execute("select 1")
    assert checked(suite.url, "locks")["verdict"] == "ok"
    if mode != "exclusive":  # what may wait there could not be read: the daemon captures it
        assert suite.unresolved() == [("rating", "9")]
        suite.resolve()
    assert suite.changes() == [("m", "9")]


@pytest.mark.parametrize(
    ("table", "mode", "called"),
    [
        ("queue", "share", "Share"),
        ("queue", "access exclusive", "AccessExclusive"),
        ("subscription", "access exclusive", "AccessExclusive"),
    ],
)
def test_the_holder_of_a_lock_that_capture_steps_around_is_named(
    suite: Suite, table: str, mode: str, called: str
) -> None:
    with psycopg.connect(suite.url, application_name="nightly report") as holder:
        holder.execute(f"lock table cdc.{table} in {mode} mode".encode())
        suite.run(WRITE)  # it does not wait
        found = checked(suite.url, "locks")
        pid = holder.info.backend_pid
    assert found["verdict"] == "fail"
    assert f"process {pid} (nightly report, user postgres)" in found["message"]
    assert f"holds the lock {called} on cdc.{table}, its transaction open" in found["message"]
    assert "no session waits" in found["message"]
    assert "Changes go to cdc.unresolved meanwhile" in found["todo"]


def test_who_waits_for_a_strong_lock_stops_those_behind(suite: Suite) -> None:
    """A reader's open transaction, and a DBA's statement that waits for it."""
    with (
        psycopg.connect(suite.url) as reader,
        psycopg.connect(suite.url, application_name="reindex") as strong,
        ThreadPoolExecutor(1) as thread,
    ):
        reader.execute("select id from cdc.unresolved")
        lock = b"lock table cdc.unresolved in access exclusive mode"
        waiting = thread.submit(strong.execute, lock)
        ungranted = (
            "select count(*) from pg_locks"
            " where not granted and relation = 'cdc.unresolved'::regclass"
        )
        until(lambda: suite.one(ungranted) == 1, "it waits")
        with pytest.raises(pg.LockNotAvailable):
            suite.run("set lock_timeout = '50ms'; update rating set stars = 3")
        found = checked(suite.url, "locks")
        assert found["verdict"] == "fail"
        assert "(reindex, user postgres) waits for the lock AccessExclusive" in found["message"]
        reader.rollback()
        waiting.result()
        strong.rollback()
    assert checked(suite.url, "locks")["verdict"] == "ok"
    # The writer's statement was rolled back: otherwise its change would be lost.
    assert suite.one("select count(*) from rating where stars = 3") == 0
    assert suite.changes() == suite.unresolved() == []


def test_doctor_and_status_do_not_wait_behind_it(suite: Suite) -> None:
    with psycopg.connect(suite.url) as holder:
        holder.execute("lock table cdc.queue in access exclusive mode")
        found = checked(suite.url, "backlog")
        assert (found["verdict"], "locks" in found["todo"]) == ("warn", True)
        output = Command({"CDC_DATABASE_URL": suite.url}).refused("status")
        assert "lock" in output
        assert "cdc doctor" in output


def test_a_reader_sees_the_holder_too(suite: Suite, admin: psycopg.Connection) -> None:
    admin.execute("create role looks_only login password 'guess' in role cdc_reader")
    try:
        url = psycopg.conninfo.make_conninfo(suite.url, user="looks_only", password="guess")
        with psycopg.connect(suite.url, application_name="nightly report") as holder:
            holder.execute("lock table cdc.queue in share mode")
            found = checked(url, "locks")
            assert found["verdict"] == "fail"
            assert f"process {holder.info.backend_pid} (nightly report" in found["message"]
    finally:
        admin.execute("drop role looks_only")


def test_a_prepared_transaction_is_named() -> None:
    """It survives its session, and a restart."""
    with EmbeddedPostgres(settings={"max_prepared_transactions": "2"}) as server:
        installation.prepare_template(server.url())
        with connect(server.url()) as conn:
            conn.execute("begin; lock table cdc.queue in share mode; prepare transaction 'lost'")
            found = checked(server.url(), "locks")
            assert found["verdict"] == "fail"
            assert (
                "prepared transaction 'lost' of postgres holds the lock Share" in found["message"]
            )
            assert "rollback prepared 'lost'" in found["todo"]
            conn.execute("rollback prepared 'lost'")
        assert checked(server.url(), "locks")["verdict"] == "ok"
