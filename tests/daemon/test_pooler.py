"""A connection pooler in between: a daemon refuses it, commands work through it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.errors import DatabaseError
from cdc.mapping import default_mapping
from cdc.postgres.connections import PREPARED_AFTER
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from cdc.web import keys
from cdc.web.pool import RequestPool
from tests.capture.kit import connect
from tests.cli.command import Command
from tests.daemon.running import Process, Running
from tests.support import installation
from tests.support.pooler import Pooler, needs_pooler

pytestmark = needs_pooler

LOCAL = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": "127.0.0.0/8"}

# What a session of the daemon is set to, and no session of the suite may be.
SETTINGS = (
    "select name, setting from pg_settings where name in ('enable_seqscan', 'synchronous_commit',"
    " 'idle_in_transaction_session_timeout', 'plan_cache_mode', 'lock_timeout',"
    " 'statement_timeout') and source = 'session'"
)


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooler(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    with Pooler(postgres, request.param) as made:
        yield made


def through(pooler: Pooler, url: str) -> str:
    """The same database by way of the pooler."""
    return pooler.url(str(conninfo_to_dict(url)["dbname"]))


@pytest.fixture
def pooled(pooler: Pooler, database: str) -> str:
    """The prepared database by way of the pooler."""
    installation.adopt(database)
    with connect(database) as conn:
        conn.execute("insert into company default values; insert into company default values")
    return through(pooler, database)


async def test_a_daemon_refuses_it(pooled: str) -> None:
    daemon = Running(pooled)
    daemon.begin()
    with pytest.raises(DatabaseError, match="connection pooler") as refused:
        await daemon.end()
    assert "direct address" in refused.value.hint
    # The pooler has no session that it would hand to the suite with settings of ours.
    with connect(pooled) as suite:
        assert suite.execute(SETTINGS).fetchall() == []


async def test_the_command_says_what_to_do(pooled: str) -> None:
    async with Process(pooled) as daemon:
        assert await daemon.ended() == 1
        [line] = daemon.log.all("cannot run")
        assert "there is a connection pooler between" in line.values["error"]
        assert "Give CDC_DATABASE_URL the database's direct address." in line.values["hint"]
        assert daemon.other == []


def test_doctor_warns_of_it(pooled: str) -> None:
    checks = Command({"CDC_DATABASE_URL": pooled, **LOCAL})("doctor", "--json").json["checks"]
    found = {check["check"]: check["verdict"] for check in checks}
    assert found.pop("pooler") == "warn"
    assert found.pop("daemons") == "fail"  # there is none
    assert "fail" not in found.values(), found
    with connect(pooled) as suite:
        assert suite.execute(SETTINGS).fetchall() == []


def test_commands_work_through_it(pooled: str) -> None:
    cdc = Command({"CDC_DATABASE_URL": pooled, **LOCAL})
    added = [cdc.add(url=f"http://127.0.0.1:9/{n}")["id"] for n in range(12)]
    assert [row["id"] for row in cdc.json("webhook", "list")] == added
    exported = cdc.good("webhook", "export", "--secrets").out
    for number in added:
        cdc.good("webhook", "pause", number)
        cdc.good("webhook", "resume", number)
        cdc.good("webhook", "remove", number, "--yes")
    cdc.good("webhook", "import", "-", stdin=exported)
    assert cdc("status", "--json").json["states"] == {"active": 12, "removed": 12}
    cdc.good("triggers", "status")
    cdc.good("delivery", "list")
    # There are none; they are looked for all the same, by index.
    assert "not found" in cdc.refused("delivery", "replay", "1", "--dry-run")
    cdc("explain", "project", "1")
    with connect(pooled) as suite:
        assert suite.execute(SETTINGS).fetchall() == []


def test_serve_through_it(pooled: str) -> None:
    """It keeps nothing in sessions that others get next, and still has its limits."""
    pool = RequestPool(pooled)
    for _ in range(PREPARED_AFTER + 2):
        with pool.transaction() as conn:
            limit = conn.exec_driver_sql("show statement_timeout").scalar()
            assert (limit, keys.valid(conn, f"cdc_{'a' * 12}_{'b' * 43}")) == ("10s", None)
    pool.close()  # in session mode others wait for its session
    with connect(pooled) as suite:
        assert suite.execute(SETTINGS).fetchall() == []
        assert suite.execute("select count(*) from pg_prepared_statements").fetchall() == [(0,)]


def test_an_installation_through_it(pooler: Pooler, empty_database: str) -> None:
    url = through(pooler, empty_database)
    with connect(empty_database) as conn:
        conn.execute(tables_sql(default_mapping(), "bigint").encode())
    cdc = Command({"CDC_DATABASE_URL": url, **LOCAL})
    cdc.good("migrate")
    cdc.good("triggers", "plan")
    cdc.good("triggers", "install")
    cdc.good("triggers", "off")
    cdc.good("triggers", "on")
    assert cdc.json("triggers", "status")["ok"] is True
    cdc.good("triggers", "remove", "--yes")
    with connect(url) as suite:
        assert suite.execute(SETTINGS).fetchall() == []
