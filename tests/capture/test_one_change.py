"""What is one change: each row, once per statement that wrote it. The exact POSTs, as a table."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.capture.kit import Suite, bodies


class Change(NamedTuple):
    """name: what happens. sql: how. posts: what company 1 (abc.com) and 2 (def.com) receive."""

    name: str
    sql: str
    posts: str


TABLE = [
    Change(
        "a project is inserted",
        "insert into project values (21, 1)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/"}}
        """,
    ),
    Change(
        "a project is updated",
        "update project set company_id = 1 where id = 17",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/"}}
        """,
    ),
    Change(
        "a candidate is inserted",
        "insert into candidate values (20, 17)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/20/"}}
        """,
    ),
    Change(
        "a candidate is updated",
        "update candidate set project_id = 15 where id = 19",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/15/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/15/candidates/19/"}}
        """,
    ),
    Change(
        "an answer video is inserted",
        "insert into answervideo values (8, 19, 123)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "answervideo_changed",
        "data": {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "question":
        "https://interview-suite.com/api/v3/companies/1/projects/17/questions/123/", "answervideo":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/answervideos/8/"}}
        """,
    ),
    Change(
        "an answer video is updated",
        "update answervideo set question_id = null where id = 7",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "answervideo_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "question":
        null, "answervideo":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/answervideos/7/"}}
        """,
    ),
    Change(
        "a rating is inserted",
        "insert into rating values (10, 19, 1)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "rating":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/ratings/10/"}}
        """,
    ),
    Change(
        "a rating is updated",
        "update rating set customer_id = null where id = 9",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "rating":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/ratings/9/"}}
        """,
    ),
    Change(
        "a note on an answer video is inserted: its candidate is the answer video's",
        "insert into note values (5, 7, 1, null)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "note_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "customer":
        "https://interview-suite.com/api/v3/companies/1/customers/1/", "answervideo":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/answervideos/7/",
        "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "note":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/notes/5/"}}
        """,
    ),
    Change(
        "a note is updated: it is on a candidate now, and without an author",
        "update note set answervideo_id = null, candidate_id = 19, customer_id = null where id = 4",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "note_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "customer": null,
        "answervideo": null, "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "note":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/notes/4/"}}
        """,
    ),
    Change(
        "a note by a customer, on nothing: all other parents are null",
        "insert into note values (5, null, 1, null)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "note_changed", "data":
        {"action": "created", "project": null, "customer":
        "https://interview-suite.com/api/v3/companies/1/customers/1/", "answervideo": null,
        "candidate": null, "note":
        "https://interview-suite.com/api/v3/companies/1/notes/5/"}}
        """,
    ),
    Change(
        "a note whose own candidate is not the answer video's: each has its own address",
        "insert into candidate values (20, 15); insert into note values (5, 7, null, 20)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/15/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/15/candidates/20/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "note_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/15/", "customer": null,
        "answervideo":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/answervideos/7/",
        "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/15/candidates/20/", "note":
        "https://interview-suite.com/api/v3/companies/1/projects/15/candidates/20/notes/5/"}}
        """,
    ),
    Change(
        "the question of an answer video belongs to another project",
        "insert into question values (124, 15); insert into answervideo values (8, 19, 124)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "answervideo_changed",
        "data": {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "question":
        "https://interview-suite.com/api/v3/companies/1/projects/15/questions/124/", "answervideo":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/answervideos/8/"}}
        """,
    ),
    Change(
        "an answer video without a candidate: the project is its question's",
        "insert into answervideo values (8, null, 123)",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "answervideo_changed",
        "data": {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate": null,
        "question":
        "https://interview-suite.com/api/v3/companies/1/projects/17/questions/123/", "answervideo":
        "https://interview-suite.com/api/v3/companies/1/answervideos/8/"}}
        """,
    ),
    Change(
        "three updates in a transaction are three changes",
        """
        update project set company_id = 1 where id = 17;
        update project set company_id = 1 where id = 17;
        update project set company_id = 1 where id = 17;
        """,
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/"}}
        """,
    ),
    Change(
        "inserted, then updated",
        "insert into project values (21, 1); update project set company_id = 1 where id = 21",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/"}}

        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/"}}
        """,
    ),
    Change(
        "inserted, then deleted",
        "insert into project values (21, 1); delete from project where id = 21",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/21/"}}
        """,
    ),
    Change("deleted", "delete from note where id = 4", ""),
    Change(
        "ON CONFLICT DO UPDATE that finds the row",
        "insert into project values (17, 1) on conflict (id) do update set company_id = 1",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/"}}
        """,
    ),
    Change(
        "ON CONFLICT DO NOTHING that finds the row",
        "insert into project values (17, 1) on conflict (id) do nothing",
        "",
    ),
    Change(
        "a changed key: modified, under the new one",
        "update rating set id = 90 where id = 9",
        """
        {"endpoint": "https://abc.com/hook", "time": "<time>", "event": "rating_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/", "rating":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/19/ratings/90/"}}
        """,
    ),
    Change(
        "a row moves to another company: for the new one only",
        "update candidate set project_id = 50 where id = 19",
        """
        {"endpoint": "https://def.com/hook", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/2/projects/50/", "candidate":
        "https://interview-suite.com/api/v3/companies/2/projects/50/candidates/19/"}}
        """,
    ),
    Change("an update that finds no row", "update project set company_id = 2 where id = 404", ""),
    Change("tables without an event", "update customer set company_id = 1; insert into "
           "question values (124, 17)", ""),
]  # fmt: skip


@pytest.mark.parametrize("change", TABLE, ids=[change.name for change in TABLE])
def test_the_posts_of_a_change(suite: Suite, change: Change) -> None:
    suite.register("1", endpoint="https://abc.com/hook")
    suite.register("2", endpoint="https://def.com/hook")
    suite.run(change.sql)
    assert suite.posts() == bodies(change.posts)
    assert suite.unresolved() == []


def test_each_webhook_that_wants_the_event_gets_the_change_once(suite: Suite) -> None:
    first = suite.register("1", "project_changed", "candidate_changed")
    second = suite.register("1", "project_changed")
    suite.register("1", "note_changed")
    suite.register("2")
    suite.run("update project set company_id = 1 where id = 17")
    assert sorted(row.webhook for row in suite.queued()) == [first, second]
    assert len({delivery.uid for delivery in suite.deliveries()}) == 2


def test_the_time_is_that_of_the_statement_not_of_the_transaction(suite: Suite) -> None:
    suite.register("1")
    suite.run("begin; select pg_sleep(0.01); update project set company_id = 1 where id = 17")
    began, now = suite.all("select now(), clock_timestamp()")[0]
    suite.run("commit")
    (delivery,) = suite.deliveries()
    assert began < delivery.time < now


def test_the_endpoint_is_as_registered(suite: Suite) -> None:
    suite.register("1", endpoint='https://abc.com/ü?a="b"&c=<d>')
    suite.run("update project set company_id = 1 where id = 17")
    (body,) = suite.posts()
    assert body.startswith(r'{"endpoint": "https://abc.com/\u00fc?a=\"b\"&c=<d>", "time": ')
