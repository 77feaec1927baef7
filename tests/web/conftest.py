"""One database and one process of `cdc serve` for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.support.installation import adopt
from tests.web.kit import Served, account, serving


@pytest.fixture(scope="module")
def shared_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """With companies 1 to 9."""
    for url in fresh_database(postgres, admin, template_db):
        adopt(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("insert into company select from generate_series(1, 9)")
        yield url


@pytest.fixture(scope="module")
def served(shared_database: str, admin: psycopg.Connection) -> Iterator[Served]:
    with account(admin, shared_database) as url, serving(url, shared_database) as made:
        yield made
