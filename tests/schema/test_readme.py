"""sql/README.md documents every object, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from cdc.postgres import sqlfiles
from tests.capture.kit import Connection, connect


@pytest.fixture
def conn(database: str) -> Iterator[Connection]:
    with connect(database) as made:
        yield made


@pytest.fixture(scope="module")
def readme() -> str:
    return (sqlfiles.root() / "README.md").read_text(encoding="utf-8")


def names(conn: Connection, query: str) -> set[str]:
    return {row[0] for row in conn.execute(query.encode())}


RELATIONS = """
select case when relkind in ('i', 'I') then relname else 'cdc.' || relname end from pg_class c
 where relnamespace = 'cdc'::regnamespace and not relispartition
   and not exists (select from pg_constraint where conindid = c.oid and contype in ('p', 'u'))
"""
FUNCTIONS = """
select 'cdc.' || proname from pg_proc
 where pronamespace = 'cdc'::regnamespace
   and proname not like 'capture\\_%' and proname not like 'resolve\\_%'
"""
TRIGGERS = "select distinct tgname from pg_trigger where not tgisinternal"
ROLES = "select rolname from pg_roles where rolname like 'cdc\\_%'"


@pytest.mark.parametrize("query", [RELATIONS, FUNCTIONS, TRIGGERS, ROLES])
def test_every_object_is_documented(conn: Connection, readme: str, query: str) -> None:
    documented = set(re.findall(r"`([\w.]+)", readme))
    found = names(conn, query)
    assert found
    assert found - documented == set()


def test_every_documented_object_exists(conn: Connection, readme: str) -> None:
    documented = {
        name
        for name in re.findall(r"`cdc\.(\w+)", readme)
        if not name.startswith(("capture_", "resolve_", "backfill_"))
    }
    there = names(
        conn,
        "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
        " union select proname from pg_proc where pronamespace = 'cdc'::regnamespace",
    )
    assert documented - there == set()


def test_every_file_is_documented(readme: str) -> None:
    for path in sqlfiles.root().iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in readme or path.name in (
            "README.md",
        )


def test_every_file_has_a_head(readme: str) -> None:
    """Purpose first, in the file itself."""
    for path in sqlfiles.root().rglob("*.sql"):
        assert path.read_text(encoding="utf-8").startswith("-- "), path.name
