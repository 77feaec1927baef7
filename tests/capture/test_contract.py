"""The trigger's contract with the suite's writers: it never waits, never raises, needs no right."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.capture.kit import Connection, Suite, connect


@pytest.fixture
def writer(own_suite: Suite) -> Iterator[Connection]:
    """A session of a role that may write the suite's tables, and has no right on schema cdc."""
    own_suite.run(
        "create role suite_writer; grant all on all tables in schema public to suite_writer"
    )
    with connect(own_suite.url) as conn:
        conn.execute("set session authorization suite_writer")
        yield conn
    own_suite.run("drop owned by suite_writer; drop role suite_writer")


def test_a_writer_without_any_right_on_our_schema(own_suite: Suite, writer: Connection) -> None:
    own_suite.register("1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        writer.execute("select from cdc.queue")
    writer.execute("update rating set stars = 1 where id = 9")
    writer.execute("insert into candidate select g, 17 from generate_series(100, 199) g")
    assert len(own_suite.queued()) == 101
    # A child before its parent, and after the schema was broken.
    writer.execute("begin; set constraints all deferred; insert into candidate values (30, 21)")
    writer.execute("insert into project values (21, 1); commit")
    assert own_suite.resolve() == 1
    assert len(own_suite.queued()) == 103
    own_suite.run("alter table candidate rename column project_id to job_id")
    writer.execute("update rating set stars = 1 where id = 9")
    assert own_suite.unresolved() == [("rating", "9")]


def test_a_writer_whose_rights_end_before_commit(own_suite: Suite) -> None:
    """The role at COMMIT is another than the one that wrote."""
    own_suite.register("1", "candidate_changed")
    own_suite.run(
        """
        begin; set constraints all deferred;
        insert into candidate values (30, 21); insert into project values (21, 1);
        create role nobody_at_all; set local role nobody_at_all; commit;
        drop role nobody_at_all
        """
    )
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("c", "30")]


def test_a_transaction_made_read_only_before_commit(own_suite: Suite) -> None:
    """Nothing of ours is written at COMMIT."""
    own_suite.register("1", "candidate_changed")
    own_suite.run(
        """
        alter table candidate drop constraint candidate_project_id_fkey;
        alter table project drop constraint project_company_id_fkey
        """
    )
    own_suite.run(
        """
        begin;
        insert into candidate values (30, 21); insert into project values (21, 1);
        set transaction read only; commit
        """
    )
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("c", "30")]


def test_it_waits_for_nothing_of_ours(suite: Suite) -> None:
    """Whatever an operator or a daemon is in the middle of."""
    webhook = suite.register("1")
    suite.run("update rating set stars = 1")
    with connect(suite.url) as ours:
        ours.execute("begin")
        ours.execute("update cdc.webhook set description = 'x'")
        ours.execute("insert into cdc.subscription values ('2', 'note_changed', %s)", (webhook,))
        ours.execute("select from cdc.queue for update")
        ours.execute("delete from cdc.queue")
        ours.execute("insert into cdc.lane (webhook_id) values (%s)", (webhook,))
        ours.execute("select from cdc.shard for update")
        ours.execute("select from cdc.installation for update")
        ours.execute("select setval('cdc.bell', 1)")
        suite.run("set lock_timeout = '1s'; update rating set stars = 2; reset lock_timeout")
        ours.execute("rollback")
    assert suite.changes() == [("m", "9"), ("m", "9")]


def test_two_writers_do_not_wait_for_each_other(suite: Suite) -> None:
    suite.register("1")
    with connect(suite.url) as other:
        other.execute("begin; update rating set stars = 1 where id = 9")
        suite.run("set lock_timeout = '1s'; insert into rating values (10, 19); reset lock_timeout")
        assert suite.changes() == [("c", "10")]
        other.execute("commit")
    # The later number was committed first: what reads the queue must not go by numbers.
    assert suite.changes() == [("m", "9"), ("c", "10")]


def test_a_change_takes_one_transaction_id(suite: Suite) -> None:
    """The guard opens a subtransaction, but nothing is written inside."""
    suite.register("1")
    suite.run("begin; update rating set stars = 1; insert into candidate values (30, 15)")
    ids = (
        "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'transactionid'"
    )
    assert suite.one(ids) == 1
    suite.run("commit")
    assert len(suite.queued()) == 2


def test_what_a_row_can_hold_does_not_matter(own_suite: Suite) -> None:
    own_suite.run(
        """
        alter table rating drop constraint rating_candidate_id_fkey,
          add big text, add js json, add bits bytea, add num numeric, add at timestamptz,
          add point point, add xml text[];
        """
    )
    own_suite.register("1")
    own_suite.run(
        """
        insert into rating (id, candidate_id, big, js, bits, num, at, point, xml) values
          (9223372036854775807, 19, repeat('x', 5000000), '{"a": "\\u0000"}', '\\x00ff', 'NaN',
           'infinity', '(1,2)', '{{"\\\\",NULL}}'), (-1, 19, '', null, '', 'Infinity',
           '-infinity', null, '{}')
        """
    )
    assert own_suite.changes() == [("c", "9223372036854775807"), ("c", "-1")]
    own_suite.run("alter table candidate rename to applicant")
    own_suite.run("update rating set stars = 1 where id > 10 or id < 0")
    assert own_suite.unresolved() == [("rating", "9223372036854775807"), ("rating", "-1")]


def seen_by_the_trigger(suite: Suite, code: str) -> None:
    """Runs code whenever a candidate is looked up."""
    suite.run(
        f"""
        alter table rating drop constraint rating_candidate_id_fkey;
        alter table candidate rename to real_candidate;
        create function look(number bigint) returns bigint language plpgsql as
          $$begin {code}; return number; end$$;
        create view candidate as select id, look(project_id) as project_id from real_candidate;
        grant select on candidate to cdc_capture;
        """
    )


@pytest.mark.parametrize("few", [True, False], ids=["few", "many"])
def test_serialization_errors_pass_through(own_suite: Suite, few: bool) -> None:
    """They mean that the writer should try again, which only it can do."""
    own_suite.register("1")
    own_suite.run("insert into rating select g, 19 from generate_series(100, 199) g")
    own_suite.clear()
    seen_by_the_trigger(own_suite, "raise sqlstate '40001'")
    which = "where id = 9" if few else ""
    with pytest.raises(psycopg.errors.SerializationFailure):
        own_suite.run(f"update rating set stars = 3 {which}")
    assert own_suite.unresolved() == []
    assert own_suite.one("select count(*) from rating where stars = 3") == 0


@pytest.mark.parametrize("few", [True, False], ids=["few", "many"])
def test_a_cancel_passes_through(own_suite: Suite, few: bool) -> None:
    own_suite.register("1")
    own_suite.run("insert into rating select g, 19 from generate_series(100, 199) g")
    own_suite.clear()
    seen_by_the_trigger(own_suite, "perform pg_sleep(60)")
    which = "where id = 9" if few else ""
    with pytest.raises(psycopg.errors.QueryCanceled):
        own_suite.run(f"set statement_timeout = 100; update rating set stars = 3 {which}")
    own_suite.run("reset statement_timeout")
    assert own_suite.unresolved() == []
    assert own_suite.one("select count(*) from rating where stars = 3") == 0


@pytest.mark.parametrize("few", [True, False], ids=["few", "many"])
def test_any_other_error_does_not(own_suite: Suite, few: bool) -> None:
    own_suite.register("1")
    own_suite.run("insert into rating select g, 19 from generate_series(100, 199) g")
    own_suite.clear()
    seen_by_the_trigger(own_suite, "raise 'a bad day'")
    which = "where id = 9" if few else ""
    own_suite.run(f"update rating set stars = 3 {which}")
    assert len(own_suite.unresolved()) == (1 if few else 101)
    assert own_suite.one("select min(reason) from cdc.unresolved") == "a bad day (P0001)"
    own_suite.run("create or replace function look(number bigint) returns bigint return number")
    assert own_suite.resolve() == (1 if few else 101)


def test_a_lock_timeout_of_the_writer_is_no_error_of_ours(own_suite: Suite) -> None:
    """A session alters a parent: where the writer would not wait, the change waits instead."""
    own_suite.register("1")
    with connect(own_suite.url) as other:
        other.execute("begin; lock table candidate in access exclusive mode")
        own_suite.run("set lock_timeout = 50")
        own_suite.run("update rating set stars = 3")
        other.execute("commit")
    assert own_suite.unresolved() == [("rating", "9")]
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("m", "9")]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_writers_at_higher_levels(suite: Suite, level: str) -> None:
    suite.register("1")
    with connect(suite.url) as other:
        for conn in (suite.conn, other):
            conn.execute(f"begin isolation level {level}".encode())
        other.execute("insert into rating values (11, 19)")
        suite.run(
            "insert into rating values (10, 19, 1); update rating set stars = 1 where id = 10"
        )
        other.execute("commit")
        suite.run("commit")
    assert suite.changes() == [("c", "11"), ("c", "10"), ("m", "10")]


def test_serializable_writers_who_try_again_lose_nothing(suite: Suite) -> None:
    """They may fail more often: the trigger reads parents that others write."""
    suite.register("1", "rating_changed", "project_changed")
    failed = 0
    with connect(suite.url) as other:
        for number in range(10, 15):
            for conn in (suite.conn, other):
                conn.execute("begin isolation level serializable")
            suite.run(f"insert into rating values ({number}, 19); select count(*) from project")
            other.execute("update project set name = name || '.' where id = 17")
            other.execute("select count(*) from rating")
            try:
                suite.run("commit")
                other.execute("commit")
            except psycopg.errors.SerializationFailure:
                failed += 1
                other.execute("rollback")
    done = [("c", str(number)) for number in range(10, 15)]
    assert [change for change in suite.changes() if change[0] == "c"] == done
    names = suite.one("select name from project where id = 17")
    assert suite.changes().count(("m", "17")) == len(names) == 5 - failed
    assert suite.unresolved() == []


def test_under_replica_role_nothing_fires(suite: Suite) -> None:
    """As documented: what logical replication applies is not captured."""
    suite.register("1")
    suite.run("set session_replication_role = replica; update rating set stars = 1")
    suite.run("reset session_replication_role")
    assert suite.queued() == []
