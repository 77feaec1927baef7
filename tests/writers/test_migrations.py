"""Migrations of the suite beside its writers: capture makes none of them wait, fail or deadlock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.writers.conformance.database import SETTINGS, Database, pair
from tests.writers.conformance.model import Variant
from tests.writers.scenario import Scenario

CHANGES = {
    "project": "name = 'x'",
    "candidate": "name = 'x'",
    "rating": "candidate_id = 1",
    "note": "text = 'x'",
    "ticket": "state = 'x'",
}


def alter(table: str) -> str:
    return f"alter table {table} add column more int"


def write(table: str, where: str = "id = 1") -> str:
    return f"update {table} set {CHANGES[table]} where {where}"


def _alone(ddl: str) -> list[str]:
    """In a transaction that is rolled back, if it can be in one."""
    return [ddl] if ddl.startswith(("vacuum", "cluster")) else ["begin", ddl, "rollback"]


@pytest.fixture(scope="module")
def databases() -> Iterator[tuple[Database, Database]]:
    with EmbeddedPostgres(settings=SETTINGS) as server, pair(server) as made:
        yield made


@pytest.fixture(params=["without capture", "with capture"])
def database(
    request: pytest.FixtureRequest, databases: tuple[Database, Database]
) -> Iterator[Database]:
    """Each scenario runs on both: what the suite itself makes wait is not ours to mend."""
    made = databases[request.param == "with capture"]
    made.reset(Variant(), "")
    yield made
    for table in CHANGES:
        made.watch.execute(f"alter table {table} drop column if exists more".encode())


PAIRS = [
    ("project", "candidate"),
    ("candidate", "project"),
    ("rating", "project"),
    ("rating", "candidate"),
    ("note", "project"),
    ("ticket", "candidate"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("rows", ["id = 1", "id <= 65"])
def test_a_migration_of_two_tables(database: Database, first: str, second: str, rows: str) -> None:
    """The writer has changed a child before it begins, and writes on while it runs."""
    with Scenario(database, "writer", "migration") as scenario:
        scenario.do("writer", "begin")
        scenario.do("writer", write("candidate", rows) if second == "project" else write("note"))
        scenario.do("migration", "begin")
        scenario.do("migration", alter(first))
        scenario.do("migration", alter(second))
        scenario.do("migration", "commit")
        scenario.do("writer", write("rating" if first != "candidate" else "ticket", rows))
        scenario.do("writer", "commit")
        assert scenario.errors() == []


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_migration_that_has_begun(database: Database, first: str, second: str) -> None:
    """It holds one table when the writer comes, and then wants the other."""
    if first == "candidate":
        pytest.skip("the writer waits for it before capture has its turn")
    with Scenario(database, "writer", "migration") as scenario:
        scenario.do("migration", "begin")
        scenario.do("migration", alter(first))
        scenario.do("writer", "begin")
        scenario.do("writer", write("candidate" if second == "project" else second))
        scenario.do("migration", alter(second))
        scenario.do("migration", "commit")
        scenario.do("writer", "commit")
        assert scenario.errors() == []


DDL = [
    "alter table project add column more int",
    "alter table project rename name to title",
    "alter table project disable trigger all",
    "truncate project",
    "drop table project cascade",
    "create index on project (name)",
    "vacuum full project",
    "cluster project using project_pkey",
]


@pytest.fixture
def lone(databases: tuple[Database, Database]) -> Iterator[Database]:
    """With capture, and the parent can be truncated."""
    made = databases[1]
    made.reset(Variant(), "alter table candidate drop constraint candidate_project_id_fkey")
    yield made
    made.reset(Variant(), "")
    made.watch.execute("alter table candidate add foreign key (project_id) references project")


@pytest.mark.parametrize("ddl", DDL)
@pytest.mark.parametrize("rows", ["id = 1", "id <= 65"])
def test_ddl_on_a_parent_waits_for_no_writer(lone: Database, ddl: str, rows: str) -> None:
    """A writer of its children is in the middle of a transaction."""
    with Scenario(lone, "writer", "dba") as scenario:
        scenario.do("writer", "begin")
        scenario.do("writer", write("candidate", rows))
        for step in _alone(ddl):
            scenario.do("dba", step)
        assert not scenario.waits("dba")
        scenario.do("writer", write("candidate", rows))
        scenario.do("writer", "commit")
        assert scenario.errors() == []


@pytest.mark.parametrize("ddl", [ddl for ddl in DDL if len(_alone(ddl)) > 1])
@pytest.mark.parametrize("rows", ["id = 1", "id <= 65", "id > 201"])
def test_no_writer_waits_for_ddl_on_a_parent(lone: Database, ddl: str, rows: str) -> None:
    """Nor at COMMIT. What could not be read is captured later."""
    expected = lone.one(f"select count(*) from candidate where {rows}")
    with Scenario(lone, "writer", "dba") as scenario:
        for step in _alone(ddl)[:-1]:
            scenario.do("dba", step)
        scenario.do("writer", "begin")
        scenario.do("writer", write("candidate", rows))
        scenario.do("writer", "commit")
        scenario.ends("writer")
        scenario.do("dba", "rollback")
        assert scenario.errors() == []
    lone.watch.execute("select cdc.resolve(array(select id from cdc.unresolved))")
    assert lone.captured() == expected
