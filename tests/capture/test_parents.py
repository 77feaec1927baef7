"""Roads to the company: parents that are null, late, moved, or gone."""

from __future__ import annotations

import pytest

from tests.capture.kit import Suite, bodies, connect, rows


def test_a_row_that_leads_to_no_company_is_kept_and_shown(suite: Suite) -> None:
    suite.register("1")
    suite.run("insert into rating values (10, null, null)")
    assert suite.queued() == []
    assert suite.unresolved() == [("rating", "10")]
    assert suite.all("select source, action::text, own, tries, reason from cdc.unresolved") == [
        (
            "public.rating",
            "c",
            {"id": 10, "candidate_id": None, "customer_id": None},
            0,
            "a parent row is not there (yet), or no company was found",
        )
    ]
    # What is mended later is captured then, as the change it was.
    suite.run("update cdc.unresolved set own = own || '{\"candidate_id\": 19}'")
    assert suite.resolve() == 1
    assert suite.changes() == [("c", "10")]


def test_a_child_before_its_parent(suite: Suite) -> None:
    suite.register("1", endpoint="https://abc.com/hook")
    suite.run(
        """
        begin;
        set constraints all deferred;
        insert into rating values (10, 30, 1);
        insert into candidate values (30, 21);
        insert into project values (21, 1);
        commit
        """
    )
    assert suite.resolve() == 2
    assert suite.posts() == bodies(
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/21/candidates/30/", "rating":
        "https://interview-suite.com/api/v3/companies/1/projects/21/candidates/30/ratings/10/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/21/candidates/30/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/"}}
        """
    )
    assert suite.unresolved() == []


def test_a_child_before_its_parent_keeps_its_place(suite: Suite) -> None:
    """Its number was taken when it was written, so later changes of the row come later."""
    suite.register("1", "candidate_changed")
    suite.run(
        """
        begin;
        set constraints all deferred;
        insert into candidate values (30, 21);
        update candidate set project_id = 21 where id = 30;
        insert into project values (21, 1);
        update candidate set project_id = 21 where id = 30;
        commit
        """
    )
    assert suite.resolve() == 3
    assert suite.changes() == [("c", "30"), ("m", "30"), ("m", "30")]
    times = [delivery.time for delivery in suite.deliveries()]
    assert times == sorted(times)
    assert len({delivery.uid for delivery in suite.deliveries()}) == 3


@pytest.mark.parametrize("count", [3, 5000])
def test_many_children_before_their_parents(suite: Suite, count: int) -> None:
    suite.register("1", "candidate_changed", "rating_changed")
    suite.run(
        f"""
        begin;
        set constraints all deferred;
        insert into rating select g, g, null from generate_series(1001, 1000 + {count}) g;
        insert into candidate select g, 21 from generate_series(1001, 1000 + {count}) g;
        insert into project values (21, 1);
        commit
        """
    )
    assert suite.resolve() == 2 * count
    assert suite.unresolved() == []
    got = [(row.event, row.key) for row in suite.queued()]
    keys = [str(g) for g in range(1001, 1001 + count)]
    assert got == [("rating_changed", k) for k in keys] + [("candidate_changed", k) for k in keys]
    ids = [delivery.id for delivery in suite.deliveries()]
    assert len(set(ids)) == len(ids)


def test_a_savepoint_with_a_child_is_rolled_back(suite: Suite) -> None:
    suite.register("1", "candidate_changed")
    suite.run(
        """
        begin;
        set constraints all deferred;
        savepoint s; insert into candidate values (30, 21); rollback to s;
        savepoint t; insert into candidate values (31, 21); release t;
        insert into project values (21, 1);
        commit
        """
    )
    assert suite.resolve() == 1
    assert suite.changes() == [("c", "31")]
    assert suite.unresolved() == []


def test_a_parent_that_never_comes(own_suite: Suite) -> None:
    """Without a foreign key: where another road leads to the company, the change is sent."""
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.register("1", endpoint="https://abc.com/hook")
    own_suite.run("insert into rating values (10, 404, 1), (11, 404, null)")
    # At the first try nothing is sent yet: the parent may come with another transaction.
    assert own_suite.resolve() == 0
    assert own_suite.unresolved() == [("rating", "10"), ("rating", "11")]
    assert own_suite.resolve() == 1
    assert own_suite.posts() == bodies(
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "created", "project": null, "candidate": null, "rating":
        "https://interview-suite.com/api/v3/companies/1/ratings/10/"}}
        """
    )
    assert own_suite.unresolved() == [("rating", "11")]


def test_changes_of_a_parents_key_cascade(own_suite: Suite) -> None:
    own_suite.run(
        """
        alter table rating drop constraint rating_candidate_id_fkey;
        alter table rating add constraint rating_candidate_id_fkey
          foreign key (candidate_id) references candidate on update cascade;
        alter table answervideo drop constraint answervideo_candidate_id_fkey;
        insert into rating values (10, 19, null);
        """
    )
    own_suite.register("1")
    own_suite.run("update candidate set id = 119 where id = 19")
    got = {(row.event, row.action, row.key) for row in own_suite.queued()}
    assert got == {
        ("candidate_changed", "m", "119"),
        ("rating_changed", "m", "9"),
        ("rating_changed", "m", "10"),
    }
    assert all("/candidates/119/" in post for post in own_suite.posts())


def test_a_deleted_parent_sets_null(own_suite: Suite) -> None:
    own_suite.run(
        """
        alter table rating drop constraint rating_candidate_id_fkey;
        alter table rating add constraint rating_candidate_id_fkey
          foreign key (candidate_id) references candidate on delete set null;
        insert into candidate values (30, 17);
        insert into rating values (10, 30, 1), (11, 30, 1);
        """
    )
    own_suite.register("1", endpoint="https://abc.com/hook")
    own_suite.run("delete from candidate where id = 30")
    assert own_suite.changes() == rows((10, 11), "m")
    assert (
        own_suite.posts()[0]
        == bodies(
            """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "modified", "project": null, "candidate": null, "rating":
        "https://interview-suite.com/api/v3/companies/1/ratings/10/"}}
        """
        )[0]
    )


def test_a_parent_committed_after_the_writers_snapshot(own_suite: Suite) -> None:
    """A repeatable-read writer cannot see it, nor can its trigger: kept, and captured later."""
    own_suite.run("alter table candidate drop constraint candidate_project_id_fkey")
    own_suite.register("1")
    with connect(own_suite.url) as other:
        other.execute("begin isolation level repeatable read; select 1 from project")
        own_suite.run("insert into project values (21, 1)")
        own_suite.clear()
        other.execute("insert into candidate values (30, 21)")
        other.execute("commit")
    assert own_suite.queued() == []
    assert own_suite.unresolved() == [("candidate", "30")]
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("c", "30")]
    assert own_suite.unresolved() == []


def test_a_row_is_resolved_once_by_two_who_try(own_suite: Suite) -> None:
    own_suite.register("1")
    own_suite.run("alter table candidate drop constraint candidate_project_id_fkey")
    own_suite.run("insert into candidate values (30, 21), (31, 21)")
    own_suite.run("insert into project values (21, 1)")
    own_suite.run("delete from cdc.queue")
    with connect(own_suite.url) as other:
        own_suite.run("begin")
        assert own_suite.one("select cdc.resolve(array[(select min(id) from cdc.unresolved)])") == 1
        # It neither waits for the first nor does its work again.
        other.execute("set statement_timeout = '10s'")
        all_of_them = "select cdc.resolve(array(select id from cdc.unresolved))"
        assert other.execute(all_of_them).fetchall() == [(1,)]
        own_suite.run("commit")
    assert sorted(own_suite.changes()) == rows((30, 31))
    assert own_suite.unresolved() == []


def test_what_lies_in_unresolved_does_not_slow_down_a_writer(suite: Suite) -> None:
    """Whether an earlier change of the row waits there is found by index, whatever else does."""
    suite.register("1")
    # A session keeps the plans that it made when the table was known to be empty.
    suite.run("vacuum analyze cdc.unresolved")
    for stars in range(10):
        suite.run(f"update rating set stars = {1 + stars % 5}")
    suite.clear()
    suite.run(
        """
        insert into cdc.unresolved (resource, source, key, action, "time", reason)
        select 'rating', 'public.rating', g, 'c', now(), 'test' from generate_series(10, 2000) g
        """
    )
    suite.run("begin")
    before = suite.rows_read("unresolved")
    suite.run("update rating set stars = 1")
    assert suite.rows_read("unresolved") - before < 5
    suite.run("commit")
    assert suite.changes() == [("m", "9")]
