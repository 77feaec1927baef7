"""Fixtures: the first release, and a database that it has installed itself in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.sandbox.suite import tables_sql
from tests.daemon.world import World
from tests.upgrade.release import Release, build


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build(tmp_path_factory.mktemp("release"))


@pytest.fixture
def old_database(empty_database: str, release: Release) -> str:
    """The sample suite with schema cdc and capture as the first release made them."""
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
    release(empty_database, "migrate")
    release(empty_database, "triggers", "install")
    return empty_database


@pytest.fixture
async def old_world(old_database: str) -> AsyncIterator[World]:
    made = World(old_database)
    await made.open()
    yield made
    await made.close()
