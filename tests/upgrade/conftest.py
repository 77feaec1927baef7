"""Fixtures: the first release, and a database that it has installed itself in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from tests.conftest import fresh_database
from tests.daemon.world import World
from tests.support import installation
from tests.upgrade.release import Release, build


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def old_template(postgres: EmbeddedPostgres, admin: psycopg.Connection, release: Release) -> str:
    """Name of a database with schema cdc and capture as the first release made them."""
    admin.execute("create database template_0001")
    url = postgres.url("template_0001")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
    release(url, "migrate")
    release(url, "triggers", "install")
    return "template_0001"


@pytest.fixture
def old_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, old_template: str
) -> Iterator[str]:
    """Address of a copy of it, of which daemons know that it is none."""
    for url in fresh_database(postgres, admin, old_template):
        installation.adopt(url)
        yield url


@pytest.fixture
async def old_world(old_database: str) -> AsyncIterator[World]:
    async with World(old_database) as made:
        yield made
