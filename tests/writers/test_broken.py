"""Whatever was done to schema cdc, the suite's writers go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from psycopg import sql

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.writers.conformance.database import SETTINGS, Database, pair
from tests.writers.conformance.model import Variant

WRITES = {
    "one row": ["update candidate set name = 'x' where id = 1"],
    "65 rows": ["update candidate set name = 'x' where id <= 65"],
    "no company": ["update candidate set name = 'x' where id > 201"],
    "65 of no company": ["update candidate set project_id = 30 where id <= 65"],
    "child first": [
        "begin",
        "set constraints all deferred",
        "insert into candidate (project_id) values (77)",
        "insert into project (id, company_id) values (77, 1)",
        "commit",
    ],
}

SECURITY = "enable row level security, force row level security"

# What a DBA, a migration tool or a security scanner does to our schema.
BREAKS = {
    "no right on the queue": "revoke all on cdc.queue from cdc_capture",
    "no right on the subscriptions": "revoke all on cdc.subscription from cdc_capture",
    "no right on the unresolved": "revoke all on cdc.unresolved from cdc_capture",
    "no right on the bell": "revoke all on sequence cdc.bell from cdc_capture",
    "no right at all": (
        "revoke all on all tables in schema cdc, cdc_capture, public from cdc_capture;"
        "revoke all on all sequences in schema cdc, cdc_capture, public from cdc_capture;"
        "revoke all on all functions in schema cdc, cdc_capture from cdc_capture, public;"
        "revoke all on schema cdc, cdc_capture, public from cdc_capture"
    ),
    "no queue": "drop table cdc.queue",
    "no subscriptions": "drop table cdc.subscription",
    "no unresolved": "drop table cdc.unresolved",
    "no bell": "drop sequence cdc.bell",
    "no functions": "drop function cdc.resolve cascade; drop function cdc.kept cascade",
    "no types": "drop type cdc.captured, cdc.unplaced cascade",
    "no schema": "drop schema cdc cascade",
    "no capture schema": "drop schema cdc_capture cascade",
    "row-level security on the queue": f"alter table cdc.queue {SECURITY}",
    "row-level security on the unresolved": f"alter table cdc.unresolved {SECURITY}",
    "row-level security on the subscriptions": f"alter table cdc.subscription {SECURITY}",
    "columns renamed": (
        "alter table cdc.queue rename refs to r; alter table cdc.unresolved rename own to o"
    ),
    "a view in the place of a table": (
        "alter table cdc.subscription rename to s;"
        "create view cdc.subscription as select 1 / 0 as company"
    ),
}

# docs/capture.md: what cannot be known before a row is written.
NOT_SURVIVED = {
    "a check": "alter table cdc.queue add check (false) not valid",
    "a unique index": "create unique index on cdc.queue (action)",
    "a column that must not be null": "alter table cdc.queue add column more text not null",
    "a trigger that fails": (
        "create function public.no() returns trigger language plpgsql as"
        " $$begin raise 'no'; end$$;"
        "create trigger no before insert on cdc.queue for each row execute function public.no()"
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings=SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def captured(server: EmbeddedPostgres) -> str:
    """Name of a database with capture and webhooks, to be copied."""
    with pair(server) as (_, database):
        database.reset(Variant(bell=True), "")
    return "with_capture"


@contextmanager
def broken(server: EmbeddedPostgres, captured: str, how: str) -> Iterator[Database]:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database broken template {}").format(sql.Identifier(captured))
        )
        database = Database(server.url("broken"))
        try:
            database.watch.execute(how.encode())
            yield database
        finally:
            database.close()
            admin.execute("drop database broken with (force)")


def failing(database: Database) -> dict[str, str]:
    """The writes that fail, and how."""
    failed = {}
    for name, steps in WRITES.items():
        with closing(database.connect("writer")) as conn:
            conn.execute("set session authorization suite_app")
            try:
                for step in steps:
                    conn.execute(step.encode())
            except psycopg.Error as error:
                failed[name] = f"{error.sqlstate} {error.diag.message_primary}"
    return failed


@pytest.mark.parametrize("what", BREAKS)
def test_a_writer_goes_on(server: EmbeddedPostgres, captured: str, what: str) -> None:
    with broken(server, captured, BREAKS[what]) as database:
        assert failing(database) == {}


@pytest.mark.parametrize("what", NOT_SURVIVED)
def test_what_a_writer_does_not_survive(server: EmbeddedPostgres, captured: str, what: str) -> None:
    with broken(server, captured, NOT_SURVIVED[what]) as database:
        assert "65 rows" in failing(database)
