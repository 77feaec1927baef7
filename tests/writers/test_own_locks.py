"""Each of our own tables, locked as strongly as can be: which locks do writers wait for?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.writers.conformance.database import SETTINGS, Database, pair
from tests.writers.conformance.model import Variant
from tests.writers.scenario import Scenario

PLACED = "update candidate set name = 'x' where id {}"
UNPLACED = "update candidate set name = 'x' where id in (202, 203)"
CHILD_FIRST = (
    "begin; set constraints all deferred; insert into candidate (project_id) values (77);"
    "insert into project (id, company_id) values (77, 1); commit"
)
WRITES = {
    "one row": PLACED.format("= 1"),
    "65 rows": PLACED.format("<= 65"),
    "no company": UNPLACED,
    "child first": CHILD_FIRST,
}
UNAVOIDABLE = {"unresolved"}
"""Where a change goes that cannot go elsewhere."""


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with EmbeddedPostgres(settings=SETTINGS) as server, pair(server) as (_, made):
        yield made


def tables(database: Database) -> list[str]:
    rows = database.watch.execute(
        "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
        " and relkind in ('r', 'p') and not relispartition order by 1"
    )
    return [name for (name,) in rows]


@pytest.mark.parametrize("name", WRITES)
def test_which_locks_a_writer_waits_for(database: Database, name: str) -> None:
    waited = set()
    for table in tables(database):
        database.reset(Variant(bell=True), "")
        with Scenario(database, "dba", "writer") as scenario:
            scenario.do("dba", f"begin; lock table cdc.{table} in access exclusive mode")
            scenario.do("writer", WRITES[name])
            if scenario.held_up("writer"):
                waited.add(table)
            scenario.do("dba", "rollback")
            assert scenario.errors() == []
        database.watch.execute("select cdc.resolve(array(select id from cdc.unresolved))")
        assert database.captured(), f"nothing is lost while cdc.{table} is locked"
    assert waited == UNAVOIDABLE


def test_a_writer_without_a_webhook_waits_for_no_lock(database: Database) -> None:
    for table in tables(database):
        if table in UNAVOIDABLE:
            continue
        database.reset(Variant(webhooks=False), "")
        with Scenario(database, "dba", "writer") as scenario:
            scenario.do("dba", f"begin; lock table cdc.{table} in access exclusive mode")
            scenario.do("writer", WRITES["one row"])
            scenario.ends("writer")
            scenario.do("dba", "rollback")
            assert scenario.errors() == []
