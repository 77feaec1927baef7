"""Whatever statement writes: each of its rows is captured, once, in the writer's transaction."""

from __future__ import annotations

import psycopg
import pytest

from tests.capture.kit import Suite, connect, rows


def test_many_rows_in_one_statement(suite: Suite) -> None:
    suite.register("1")
    suite.run("insert into project select g, 1 from generate_series(100, 110) g")
    assert suite.changes() == rows(range(100, 111))
    suite.clear()
    suite.run("update project set company_id = company_id where id >= 100")
    assert sorted(suite.changes()) == sorted(rows(range(100, 111), "m"))


@pytest.mark.parametrize("count", [63, 64, 65, 66, 500])
def test_few_rows_and_many_are_captured_alike(suite: Suite, count: int) -> None:
    """Up to 64 rows go one way, more another."""
    one = suite.register("1")
    other = suite.register("1", "candidate_changed")
    two = suite.register("2")
    suite.run(
        "insert into candidate"
        f" select g, case g % 3 when 0 then 17 when 1 then 50 end"
        f"   from generate_series(1, {count}) g where g <> 19"
    )
    keys = {g for g in range(1, count + 1) if g != 19}
    by_webhook: dict[int, set[str]] = {one: set(), other: set(), two: set()}
    for row in suite.queued():
        assert (row.event, row.action) == ("candidate_changed", "c")
        assert row.key not in by_webhook[row.webhook]
        by_webhook[row.webhook].add(row.key)
    assert by_webhook[one] == by_webhook[other] == {str(g) for g in keys if g % 3 == 0}
    assert by_webhook[two] == {str(g) for g in keys if g % 3 == 1}
    # No project, so no company: kept, and tried again at COMMIT.
    assert {key for _, key in suite.unresolved()} == {str(g) for g in keys if g % 3 == 2}


def test_copy(suite: Suite) -> None:
    suite.register("1")
    with (
        suite.conn.cursor() as cursor,
        cursor.copy("copy candidate (id, project_id) from stdin") as copy,
    ):
        for number in range(200, 300):
            copy.write_row((number, 17))
    assert sorted(suite.changes()) == rows(range(200, 300))


def test_insert_on_conflict_does_both_in_one_statement(suite: Suite) -> None:
    suite.register("1")
    suite.run(
        "insert into project values (17, 1), (21, 1), (15, 1), (22, 1)"
        " on conflict (id) do update set company_id = excluded.company_id"
    )
    assert sorted(suite.changes()) == [("c", "21"), ("c", "22"), ("m", "15"), ("m", "17")]


def test_merge_inserts_updates_and_deletes(suite: Suite) -> None:
    suite.register("1")
    suite.run("insert into project values (16, 1)")
    suite.clear()
    suite.run(
        """
        merge into project p using (values (15), (16), (21)) wanted (id) on p.id = wanted.id
        when matched and p.id = 16 then delete
        when matched then update set company_id = 1
        when not matched then insert values (wanted.id, 1)
        """
    )
    assert sorted(suite.changes()) == [("c", "21"), ("m", "15")]


def test_writes_inside_ctes(suite: Suite) -> None:
    suite.register("1")
    suite.run(
        """
        with added as (insert into candidate values (30, 15) returning id),
             moved as (update candidate set project_id = 15 where id = 19 returning id)
        update project set company_id = 1 where id in (15, 17)
        """
    )
    assert sorted(suite.changes()) == [("c", "30"), ("m", "15"), ("m", "17"), ("m", "19")]


def test_a_savepoint_rolled_back_leaves_nothing(suite: Suite) -> None:
    suite.register("1")
    suite.run(
        """
        begin;
        update project set company_id = 1 where id = 17;
        savepoint s; update project set company_id = 1 where id = 15; rollback to s;
        savepoint t; insert into project values (21, 1); release t;
        commit
        """
    )
    assert suite.changes() == [("m", "17"), ("c", "21")]


def test_a_transaction_rolled_back_leaves_nothing(suite: Suite) -> None:
    suite.register("1")
    suite.run(
        "begin; update project set company_id = 1; insert into candidate values (30); rollback"
    )
    assert suite.queued() == []
    assert suite.unresolved() == []


def test_a_failing_statement_leaves_nothing(suite: Suite) -> None:
    suite.register("1")
    with pytest.raises(psycopg.errors.UniqueViolation):
        suite.run("insert into project values (21, 1), (17, 1)")
    assert suite.queued() == []


def test_without_a_webhook_nothing_is_written(suite: Suite) -> None:
    suite.register("3")
    suite.register("1", "note_changed")
    suite.run("update project set company_id = company_id")
    suite.run("insert into candidate select g, 17 from generate_series(100, 300) g")
    assert suite.queued() == []
    assert suite.unresolved() == []
    # Not even a number was taken.
    assert suite.one("select is_called from cdc.queue_id") is False


def test_a_statement_without_rows_writes_nothing(suite: Suite) -> None:
    suite.register("1")
    suite.run(
        """
        update project set company_id = 2 where false;
        insert into project select 1, 1 where false;
        insert into project values (17, 1) on conflict do nothing;
        """
    )
    assert suite.queued() == []
    assert suite.one("select is_called from cdc.queue_id") is False


def test_a_paused_webhook_keeps_collecting_and_a_removed_one_does_not(suite: Suite) -> None:
    webhook = suite.register("1")
    suite.run("update cdc.webhook set state = 'paused'")
    suite.run("update project set company_id = 1 where id = 17")
    assert suite.changes() == [("m", "17")]
    suite.run(f"delete from cdc.subscription where webhook_id = {webhook}")
    suite.run("update project set company_id = 1 where id = 17")
    assert suite.changes() == [("m", "17")]


def test_the_suites_own_row_triggers(own_suite: Suite) -> None:
    """One before that changes the row, one after that updates it and writes elsewhere, too."""
    own_suite.register("1")
    own_suite.run(
        """
        create function prepare() returns trigger language plpgsql as
          $$begin new.project_id := 15; return new; end$$;
        create trigger a_first before insert on candidate
          for each row execute function prepare();
        create function follow_up() returns trigger language plpgsql as
          $$begin
            update candidate set project_id = 17 where id = new.id;
            insert into rating values (new.id, new.id, null);
            return null;
          end$$;
        create trigger a_last after insert on candidate
          for each row execute function follow_up();
        insert into candidate values (30, null);
        """
    )
    got = [(row.event, row.action, row.key) for row in own_suite.queued()]
    # The trigger's update ends first, so `modified` has the lower number: fetch puts it right.
    assert got == [
        ("candidate_changed", "m", "30"),
        ("rating_changed", "c", "30"),
        ("candidate_changed", "c", "30"),
    ]
    created, modified = own_suite.posts()[2], own_suite.posts()[0]
    assert (
        '"action": "created", "project": "https://interview-suite.com/api/v3/companies/1/'
        in created
    )
    assert "/projects/15/candidates/30/" in created
    assert "/projects/17/candidates/30/" in modified
    assert len({delivery.xid for delivery in own_suite.deliveries()}) == 1


def test_a_statement_that_is_executed_again_and_again(suite: Suite) -> None:
    """Prepared, so that server-side plans are cached, and the table changes its size meanwhile."""
    suite.register("1")
    suite.clear()
    for number in range(100, 120):
        suite.conn.execute("insert into project values (%s, 1)", (number,), prepare=True)
        suite.conn.execute(
            "update project set company_id = 1 where id = %s", (number,), prepare=True
        )
    assert sorted(suite.changes()) == sorted([*rows(range(100, 120)), *rows(range(100, 120), "m")])


def test_a_webhook_receives_what_begins_after_its_registration(suite: Suite) -> None:
    """An older writer, whose snapshot does not show the registration, may not see it."""
    with connect(suite.url) as other:
        other.execute("begin isolation level repeatable read; select 1 from project")
        suite.register("1")
        other.execute("update project set company_id = 1 where id = 17")
        other.execute("commit")
        assert suite.queued() == []
        other.execute("begin isolation level repeatable read")
        other.execute("update project set company_id = 1 where id = 17")
        other.execute("commit")
        assert suite.changes() == [("m", "17")]
