"""Fixtures for tests of capture."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import RESET, ROWS, Suite
from tests.conftest import fresh_database


@pytest.fixture(scope="module")
def shared_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """One for a whole file: making one takes longer than most tests."""
    yield from fresh_database(postgres, admin, template_db)


@pytest.fixture
def suite(shared_database: str) -> Iterator[Suite]:
    """The default mapping's suite with a few rows and no webhook; its tables are to be left
    as they are."""
    made = Suite(shared_database)
    made.run(RESET)
    yield made
    made.close()


@pytest.fixture
def own_suite(database: str) -> Iterator[Suite]:
    """The same in a database of its own, to do with as one likes."""
    made = Suite(database)
    made.run(ROWS)
    yield made
    made.close()
