"""One database and one process of `cdc serve` for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.support.installation import adopt
from tests.web.kit import Served, account, serving

_numbers = count(1)


@pytest.fixture(scope="module")
def shared_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """With companies 1 to 9."""
    name = f"served_{next(_numbers)}"
    create = sql.SQL("create database {} template {}")
    admin.execute(create.format(sql.Identifier(name), sql.Identifier(template_db)))
    url = postgres.url(name)
    adopt(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("insert into company select from generate_series(1, 9)")
    yield url
    admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def served(shared_database: str, admin: psycopg.Connection) -> Iterator[Served]:
    with account(admin, shared_database) as url, serving(url, shared_database) as made:
        yield made
