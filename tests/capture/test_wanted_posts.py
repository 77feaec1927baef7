"""One change for webhooks that want different parts of it: the exact POSTs, as a table.

Change x action x changed fields x filter x included fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cdc.sandbox.suite import declaring
from tests.capture.kit import RESET, Suite, bodies

# Endpoint, and what the webhook asks for: columns of its row in cdc.subscription.
WEBHOOKS: dict[str, dict[str, Any]] = {
    "https://abc.com/all": {},
    "https://abc.com/created": {"actions": "c"},
    "https://abc.com/status": {"actions": "m", "changed": ["status"]},
    "https://abc.com/done": {"filter": '{"status": ["done"]}'},
    "https://abc.com/values": {"actions": "cmd", "include": ["score", "status"]},
    "https://abc.com/each": {
        "actions": "m", "changed": ["status"], "filter": '{"status": ["done"]}',
        "include": ["status"],
    },
}  # fmt: skip


class Change(NamedTuple):
    """Of candidate 1, which is 'new' and has a score of 1.50; candidate 2 is 'done'."""

    sql: str
    posts: str


TABLE = [
    Change(
        "insert into candidate (id, project_id, status, score) values (3, 17, 'done', 2.0)",
        """
        {"endpoint": "https://abc.com/all", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/3/"}}

        {"endpoint": "https://abc.com/created", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/3/"}}

        {"endpoint": "https://abc.com/done", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/3/"}}

        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "created", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/3/", "changed":
        ["status", "score"], "fields": {"status": "done", "score": 2.0}}}
        """,
    ),
    Change(
        "update candidate set status = 'done' where id = 1",
        """
        {"endpoint": "https://abc.com/all", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/"}}

        {"endpoint": "https://abc.com/done", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/"}}

        {"endpoint": "https://abc.com/each", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/", "changed":
        ["status"], "fields": {"status": "done"}}}

        {"endpoint": "https://abc.com/status", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/"}}

        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/", "changed":
        ["status"], "fields": {"status": "done", "score": 1.50}}}
        """,
    ),
    Change(
        "update candidate set score = null where id = 1",
        """
        {"endpoint": "https://abc.com/all", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/"}}

        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/1/", "changed":
        ["score"], "fields": {"status": "new", "score": null}}}
        """,
    ),
    Change(
        "update candidate set id = id where id = 2",
        """
        {"endpoint": "https://abc.com/all", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/"}}

        {"endpoint": "https://abc.com/done", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/"}}

        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/", "changed":
        [], "fields": {"status": "done", "score": null}}}
        """,
    ),
    Change(
        "update candidate set status = repeat('x', 4000) where id = 2",
        """
        {"endpoint": "https://abc.com/all", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/"}}

        {"endpoint": "https://abc.com/status", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/"}}

        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "modified", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/", "changed":
        ["status"], "fields": {"score": null}, "omitted": ["status"]}}
        """,
    ),
    Change(
        "delete from candidate where id = 2",
        """
        {"endpoint": "https://abc.com/values", "time": "<time>", "event": "candidate_changed",
        "data": {"action": "deleted", "project":
        "https://interview-suite.com/api/v3/companies/1/projects/17/", "candidate":
        "https://interview-suite.com/api/v3/companies/1/projects/17/candidates/2/", "changed":
        ["status", "score"], "fields": {"status": "done", "score": null}}}
        """,
    ),
]


@pytest.fixture(scope="module")
def wanting(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database)
    made.run(RESET)
    made.run("alter table candidate add status text, add score numeric")
    made.install(declaring("candidate_changed", 'fields = ["status", "score"]', "deleted = true"))
    for endpoint, asked in WEBHOOKS.items():
        webhook = made.register("1", "candidate_changed", endpoint=endpoint)
        for column, value in asked.items():
            made.conn.execute(
                f"update cdc.subscription set {column} = %s where webhook_id = %s".encode(),
                (value, webhook),
            )
    yield made
    made.close()


@pytest.mark.parametrize("change", TABLE, ids=[change.sql for change in TABLE])
def test_the_posts(wanting: Suite, change: Change) -> None:
    wanting.run(
        "delete from candidate where id < 4;"
        " insert into candidate (id, project_id, status, score)"
        " values (1, 17, 'new', 1.50), (2, 17, 'done', null); delete from cdc.queue"
    )
    wanting.run(change.sql)
    assert sorted(wanting.posts()) == bodies(change.posts)
