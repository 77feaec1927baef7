"""A writer's session may have any settings: what is queued is the same."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tests.capture.kit import Suite
from tests.support import odd

WRITES = [
    "insert into rating (id, candidate_id, stars) values (10, 19, 1)",
    "update rating set stars = 2",
    "insert into rating (id, candidate_id) select g, 19 from generate_series(100, 200) g",
    "update rating set stars = 3 where id >= 100",
    "insert into note (id, answervideo_id, customer_id, candidate_id) values (5, null, null, 19)",
    # A parent that comes later, in the same transaction.
    "begin; set constraints all deferred;"
    "insert into rating (id, candidate_id) values (11, 30); insert into candidate values (30, 17);"
    "commit",
    # Its own column has another name now.
    "alter table rating rename candidate_id to applicant_id; update rating set stars = 4;"
    "alter table rating rename applicant_id to candidate_id",
    "delete from rating where id >= 10; delete from note where id = 5;"
    "delete from candidate where id = 30",
]


def captured(suite: Suite) -> list[tuple[Any, ...]]:
    """What was queued or kept, of all writes; rows of one statement come in any order."""
    for write in WRITES:
        suite.run(write)
    queued = suite.all("select webhook_id, layout, action::text, refs from cdc.queue order by id")
    kept = suite.all(
        "select resource, source, key, action::text, own from cdc.unresolved order by id"
    )
    resolved = suite.resolve()
    late = suite.all("select webhook_id, layout, action::text, refs from cdc.queue order by id")
    suite.run("delete from cdc.queue; delete from cdc.unresolved")
    return [*sorted([*queued, *kept, *late[len(queued) :]], key=str), (resolved,)]


def test_it_is_the_same(own_suite: Suite) -> None:
    own_suite.register("1")
    usual = captured(own_suite)
    assert len(usual) > 300
    for name, value in odd.SETTINGS.items():
        own_suite.run(sql.SQL("select set_config({}, {}, false)").format(name, value).as_string())
    assert own_suite.one("show DateStyle") == "German, DMY"
    assert captured(own_suite) == usual
