"""Numbers of the queue: positions in the write-ahead log, which no session of a writer can see."""

from __future__ import annotations

import threading

import pytest

from tests.capture.kit import Suite, connect

CHILD_FIRST = """
begin; set constraints all deferred;
insert into candidate values (30, 21); insert into project values (21, 1); commit
"""


@pytest.mark.parametrize(
    "statement",
    [
        "update rating set stars = 1",
        "insert into rating select g, 19 from generate_series(100, 200) g",
        "insert into rating values (10, null)",
        CHILD_FIRST,
        "alter table candidate rename to applicant; update rating set stars = 2",
    ],
    ids=["one", "many", "no company", "late parent", "broken mapping"],
)
def test_lastval_is_what_the_suite_made_it(own_suite: Suite, statement: str) -> None:
    """ORMs ask it for the id of the row that they have just inserted."""
    own_suite.register("1")
    own_suite.run("create sequence theirs start 77; select nextval('theirs')")
    own_suite.run(statement)
    assert own_suite.one("select lastval()") == 77
    assert own_suite.queued() or own_suite.unresolved()


def test_numbers_rise_and_are_unique(own_suite: Suite) -> None:
    """Of all that several writers do at the same time."""
    own_suite.register("1", "rating_changed")
    own_suite.run("insert into rating select g, 19 from generate_series(100, 899) g")
    own_suite.clear()

    def write(first: int) -> None:
        with connect(own_suite.url) as conn:
            for key in range(first, first + 40):
                conn.execute(f"update rating set stars = 1 where id = {key}".encode())
            conn.execute(
                f"update rating set stars = 2 where id between {first} and {first + 99}".encode()
            )

    writers = [threading.Thread(target=write, args=(100 + 100 * n,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert own_suite.all("select count(*), count(distinct id) from cdc.queue") == [(1120, 1120)]
    # Of each row: the single update before that of all.
    keys = [key for _, key in own_suite.changes()]
    for first in range(100, 900, 100):
        mine = [int(key) for key in keys if first <= int(key) < first + 100]
        assert mine[:40] == list(range(first, first + 40))
        assert sorted(mine[40:]) == list(range(first, first + 100))


def test_one_row_for_several_webhooks(own_suite: Suite) -> None:
    """In one statement, each under a number and an id of its own."""
    for _ in range(3):
        own_suite.register("1", "rating_changed")
    own_suite.run("update rating set stars = 1; update rating set stars = 2")
    found = own_suite.all(
        "select count(*), count(distinct id), count(distinct uid), count(distinct webhook_id)"
        " from cdc.queue"
    )
    assert found == [(6, 6, 6, 3)]


@pytest.mark.parametrize(
    "lacking",
    [
        "select setval('cdc.queue_id', 1, false)",  # as in a copy of the schema alone
        "select setval('cdc.bell', 1, false)",  # as after a crash
    ],
)
def test_a_sequence_without_a_value_loses_nothing(own_suite: Suite, lacking: str) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run(lacking)
    own_suite.run("update rating set stars = 1")
    assert own_suite.changes() == [("m", "9")]


def test_many_are_numbered_in_the_order_of_their_rows(own_suite: Suite) -> None:
    """In more batches than one."""
    own_suite.register("1", "rating_changed")
    own_suite.run("insert into rating select g, 19 from generate_series(10001, 30000) g")
    assert [int(key) for _, key in own_suite.changes()] == list(range(10001, 30001))
    assert own_suite.one("select count(distinct uid) from cdc.queue") == 20000


def test_numbers_go_on_behind_those_that_came_with_the_database(own_suite: Suite) -> None:
    """As in a dump that was restored into a younger server, whose log is behind."""
    from cdc.cli import adopt

    hook = own_suite.register("1", "rating_changed")
    far = own_suite.one("select pg_current_wal_insert_lsn() - '0/0'") + 10**13
    own_suite.run("update rating set stars = 1")
    for table, number in (("queue", far), ("dead", far + 5)):
        more = ", event, key, attempts, tries" if table == "dead" else ""
        own_suite.run(
            f"insert into cdc.{table} (webhook_id, id, uid, xid, layout, action, time, refs{more})"
            f" select {hook}, {number}, gen_random_uuid(), '1', layout, 'm', now(), refs"
            f" {', 1, 9, 1, 1' if more else ''} from cdc.queue limit 1"
        )
    # No number that was made up uses up those that there are.
    own_suite.run(
        f"insert into cdc.queue (webhook_id, id, layout, action, time, refs)"
        f" select {hook}, 9223372036854775807, layout, 'm', now(), refs from cdc.queue limit 1"
    )
    own_suite.run(adopt._RAISE)
    own_suite.run("update rating set stars = 2")
    newest = own_suite.one("select max(id) from cdc.queue where id < 9223372036854775807")
    assert far + 5 < newest < far + 10**9
    # It is as it should be: another time it changes nothing.
    base = own_suite.one("select last_value from cdc.queue_id")
    own_suite.run(adopt._RAISE)
    assert own_suite.one("select last_value from cdc.queue_id") == base
