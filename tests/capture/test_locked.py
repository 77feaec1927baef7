"""Tables that another session locks: the writer neither waits for them nor keeps them locked."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.capture.kit import Connection, Suite, connect

EMIT = """
do $$ begin execute (select 'revoke all on function ' || oid::regprocedure || ' from public'
  from pg_proc where proname = 'pg_logical_emit_message' and 'text'::regtype = proargtypes[2]);
end $$"""
LOCKS = """
select distinct c.relname from pg_locks l join pg_class c on c.oid = l.relation
 where l.pid = pg_backend_pid() and c.relkind in ('r', 'S')
   and c.relnamespace <> 'pg_catalog'::regnamespace
   and c.relname <> all('{pg_locks,pg_class}')
"""


@pytest.fixture
def other(own_suite: Suite) -> Iterator[Connection]:
    with connect(own_suite.url) as conn:
        yield conn


@pytest.mark.parametrize("count", [1, 64, 65, 20_000])
def test_reading_leaves_no_lock(own_suite: Suite, count: int) -> None:
    """Else a migration of the suite's that takes its locks in another order ends the writer."""
    own_suite.register("1")
    own_suite.run(f"insert into rating select g, 19 from generate_series(1001, 1000 + {count}) g")
    own_suite.clear()
    own_suite.run("begin")
    own_suite.run("update rating set stars = 2 where id > 1000")
    locked = {name for (name,) in own_suite.all(LOCKS)}
    # The sequences are read by a function that keeps its lock, which stops nothing but DDL on them.
    assert locked == {"rating", "queue", "queue_id", "bell"}
    ids = "select count(*) from pg_locks where pid = pg_backend_pid() and transactionid is not null"
    assert own_suite.one(ids) == 1
    own_suite.run("commit")
    assert len(own_suite.queued()) == count


@pytest.mark.parametrize("table", ["candidate", "project", "cdc.subscription", "cdc.queue"])
@pytest.mark.parametrize("count", [1, 65])
def test_a_table_that_is_locked_is_read_later(
    own_suite: Suite, other: Connection, table: str, count: int
) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run(f"insert into rating select g, 19 from generate_series(1001, 1000 + {count}) g")
    own_suite.clear()
    other.execute(f"begin; lock table {table} in access exclusive mode".encode())
    # Far more than the read waits for, far less than the lock is held.
    own_suite.run("set statement_timeout = '20s'; set lock_timeout = '7s'")
    own_suite.run("update rating set stars = 2 where id > 1000")
    assert own_suite.one("select current_setting('lock_timeout')") == "7s"
    assert len(own_suite.unresolved()) == count
    reason = own_suite.one("select min(reason) from cdc.unresolved")
    assert "(55P03)" in reason
    other.execute("rollback")
    assert own_suite.resolve() == count
    assert len(own_suite.queued()) == count


def test_two_migrations_in_any_order_do_not_end_the_writer(
    own_suite: Suite, other: Connection
) -> None:
    """The migration has the parent and wants the child, which the writer has."""
    own_suite.register("1", "rating_changed")
    # The foreign key's own check would wait for the lock.
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.run("begin; update rating set stars = 2")
    other.execute("begin; alter table candidate add x int")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute("set local lock_timeout = '50ms'; alter table rating add x int")
    # Another statement of the writer meets the parent's lock, and does not wait for it.
    other.execute("rollback; begin; lock table candidate in access exclusive mode")
    own_suite.run("update rating set stars = 3")
    other.execute("rollback")
    own_suite.run("commit")
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("m", "9"), ("m", "9")]


@pytest.mark.parametrize(
    "broken",
    [
        "revoke all on cdc.queue from cdc_capture",
        "revoke all on cdc.queue, cdc.unresolved from cdc_capture",
        "revoke all on cdc.queue, cdc.unresolved, cdc.queue_id, cdc.subscription, cdc.bell"
        " from cdc_capture",
        "drop table cdc.unresolved",
        "drop table cdc.queue",
        "alter table cdc.queue rename to elsewhere; alter table cdc.unresolved rename to there",
        "drop sequence cdc.queue_id cascade",
        EMIT,
    ],
)
@pytest.mark.parametrize(
    "statement", ["update rating set stars = 2", "insert into rating (id) values (10)"]
)
def test_whatever_is_done_to_our_schema_no_writer_fails(
    own_suite: Suite, broken: str, statement: str
) -> None:
    own_suite.register("1")
    own_suite.run(broken)
    own_suite.run(statement)


def test_what_a_right_was_taken_of_waits(own_suite: Suite) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run("revoke insert (id) on cdc.queue from cdc_capture")
    own_suite.run("update rating set stars = 2")
    assert own_suite.unresolved() == [("rating", "9")]
    own_suite.run("grant insert (id) on cdc.queue to cdc_capture")
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("m", "9")]
