"""The bell rings while it is armed, once a transaction, and costs nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import ROWS, Connection, Suite, connect
from tests.support.installation import prepare_template

ARM = "select setval('cdc.bell', (extract(epoch from clock_timestamp()) * 1e6)::bigint + {})"


@pytest.fixture
def listener(suite: Suite) -> Iterator[Connection]:
    with connect(suite.url) as conn:
        conn.execute("listen cdc")
        yield conn


def arm(suite: Suite, seconds: float = 60) -> None:
    suite.run(ARM.format(int(seconds * 1_000_000)))


def rings(suite: Suite, listener: Connection) -> int:
    """How often it rang until now: a later ring, known by its payload, is waited for."""
    suite.run("select pg_notify('cdc', 'proof')")
    heard = []
    for notification in listener.notifies(timeout=10):
        heard.append(notification.payload)
        if notification.payload == "proof":
            break
    assert set(heard) <= {"", "proof"}
    assert heard[-1] == "proof"
    return len(heard) - 1


def test_silent_unless_armed(suite: Suite, listener: Connection) -> None:
    suite.register("1")
    rings(suite, listener)  # registering rings always
    suite.run("update rating set stars = 1")
    suite.run("insert into candidate select g, 17 from generate_series(100, 199) g")
    assert rings(suite, listener) == 0


def test_silent_when_its_time_is_over(suite: Suite, listener: Connection) -> None:
    suite.register("1")
    rings(suite, listener)
    arm(suite, -0.001)
    suite.run("update rating set stars = 1")
    assert rings(suite, listener) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "update rating set stars = 1",
        "insert into candidate select g, 17 from generate_series(100, 199) g",
        "begin; update rating set stars = 1; update rating set stars = 2; commit",
        "begin; savepoint a; update rating set stars = 1; release a; update note set id = 4;"
        " commit",
        "begin; set constraints all deferred; insert into candidate values (30, 21);"
        " insert into project values (21, 1); commit",
    ],
    ids=["one row", "many rows", "two statements", "savepoint", "resolved at commit"],
)
def test_armed_it_rings_once_a_transaction(suite: Suite, listener: Connection, sql: str) -> None:
    suite.register("1")
    rings(suite, listener)
    arm(suite)
    suite.run(sql)
    assert rings(suite, listener) == 1


def test_a_change_that_is_resolved_alone_rings(suite: Suite, listener: Connection) -> None:
    suite.register("1", "candidate_changed")
    rings(suite, listener)
    arm(suite)
    suite.run("begin; set constraints all deferred; insert into candidate values (30, 21)")
    suite.run("insert into project values (21, 1); commit")
    assert rings(suite, listener) == 1


def test_it_does_not_ring_for_nothing(suite: Suite, listener: Connection) -> None:
    suite.register("1", "note_changed")
    rings(suite, listener)
    arm(suite)
    suite.run("update rating set stars = 1")
    suite.run("insert into candidate select g, 17 from generate_series(100, 199) g")
    suite.run("update note set name = '' where false")
    suite.run("begin; update note set name = ''; rollback")
    assert rings(suite, listener) == 0
    assert suite.queued() == []


def test_a_registration_rings_always(suite: Suite, listener: Connection) -> None:
    rings(suite, listener)
    webhook = suite.register("1")
    assert rings(suite, listener) == 1
    suite.run(f"update cdc.webhook set state = 'paused' where id = {webhook}")
    assert rings(suite, listener) == 1


def test_armed_is_seen_by_writers_with_an_old_snapshot(suite: Suite, listener: Connection) -> None:
    suite.register("1")
    rings(suite, listener)
    with connect(suite.url) as other:
        other.execute("begin isolation level repeatable read; select from rating")
        arm(suite)
        other.execute("update rating set stars = 1; commit")
    assert rings(suite, listener) == 1


def test_after_a_crash_it_is_silent() -> None:
    with EmbeddedPostgres() as server:
        with connect(server.url()) as admin:
            admin.execute("create database crashing")
        url = server.url("crashing")
        prepare_template(url)
        suite = Suite(url)
        suite.run(ROWS)
        suite.register("1")
        arm(suite)
        suite.run("update rating set stars = 1; checkpoint")
        suite.close()
        server.stop("immediate")
        server.start()
        suite = Suite(url)
        assert suite.one("select last_value from cdc.bell") == 1
        # What was committed is there; numbers may skip, but never come again.
        before = suite.one("select max(id) from cdc.queue")
        with connect(url) as listener:
            listener.execute("listen cdc")
            suite.run("update rating set stars = 2")
            assert suite.changes() == [("m", "9"), ("m", "9")]
            assert suite.one("select max(id) from cdc.queue") > before
            assert rings(suite, listener) == 0
        suite.close()
