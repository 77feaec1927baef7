"""The command line for each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.cli.command import Command
from tests.conftest import fresh_database
from tests.support.installation import adopt

LOCAL = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": "127.0.0.0/8"}

_numbers = count(1)


@pytest.fixture
def cdc(database: str) -> Command:
    """The command line on a prepared database, which knows that it is no copy."""
    adopt(database)
    return Command({"CDC_DATABASE_URL": database, **LOCAL})


@pytest.fixture(scope="session")
def unchanged(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[Command]:
    """The command line on one database for all tests that only get refused: nothing changes it."""
    for url in fresh_database(postgres, admin, template_db):
        adopt(url)
        yield Command({"CDC_DATABASE_URL": url, **LOCAL})


@pytest.fixture
def db(cdc: Command) -> Iterator[psycopg.Connection]:
    """A connection to the same database, with two companies in it."""
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], autocommit=True) as conn:
        conn.execute("insert into company default values")
        conn.execute("insert into company default values")
        yield conn


@pytest.fixture
def as_role(cdc: Command, admin: psycopg.Connection) -> Iterator[Callable[[str], Command]]:
    """The command line as an account that has one of our roles and nothing else."""
    made: list[str] = []

    def account(role: str) -> Command:
        name = f"account_{next(_numbers)}"
        create = sql.SQL("create role {} login password 'guess' in role {}")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(role)))
        made.append(name)
        url = psycopg.conninfo.make_conninfo(
            cdc.env["CDC_DATABASE_URL"], user=name, password="guess"
        )
        return Command({**cdc.env, "CDC_DATABASE_URL": url})

    yield account
    for name in made:
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
