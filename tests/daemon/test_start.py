"""What a daemon refuses to start with, and that it says so in words."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc import mapping
from cdc.daemon import preflight
from cdc.daemon.app import App
from cdc.daemon.store.session import Connection
from cdc.errors import DatabaseError
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema import migrations
from tests.cli.command import Command
from tests.daemon.running import Process, Running, settings
from tests.daemon.world import World
from tests.support import installation


async def refused(url: str, **values: object) -> DatabaseError:
    with pytest.raises(DatabaseError) as raised:
        await App(settings(url, **values)).run()
    assert raised.value.hint
    return raised.value


def execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.encode())


async def test_nothing_installed(empty_database: str) -> None:
    error = await refused(empty_database)
    assert "schema cdc is not installed" in error.message
    assert "cdc migrate" in error.hint


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_is_not_in_utf8(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, encoding: str
) -> None:
    """What a receiver answers could not be recorded there; said before anything is installed."""
    name = f"in_{encoding.lower()}"
    admin.execute(
        f"create database {name} encoding '{encoding}' locale 'C' template template0".encode()
    )
    url = postgres.url(name)
    try:
        error = await refused(url)
        assert f"the database's encoding is {encoding}" in error.message
        with pytest.raises(DatabaseError, match=encoding):
            migrations.upgrade(url)
        with psycopg.connect(url) as conn:
            assert conn.execute("select to_regnamespace('cdc')").fetchone() == (None,)
        checks = Command({"CDC_DATABASE_URL": url})("doctor", "--json").json["checks"]
        assert {c["check"]: c["verdict"] for c in checks}["encoding"] == "fail"
    finally:
        admin.execute(f"drop database {name} with (force)".encode())


async def test_no_capture_installed(suite_url: str) -> None:
    execute(suite_url, "update cdc.installation set mapping = null")
    error = await refused(suite_url)
    assert "capture is not installed" in error.message
    assert "cdc triggers install" in error.hint


async def test_an_old_schema(suite_url: str) -> None:
    execute(suite_url, "update cdc.schema_version set version_num = '0000'")
    error = await refused(suite_url)
    assert "0000" in error.message
    assert "cdc migrate" in error.hint


async def test_another_mapping(suite_url: str, tmp_path: Path) -> None:
    text = mapping.default_mapping().source
    other = tmp_path / "mapping.toml"
    other.write_text(text.replace('"rating"', '"ratings"', 1))
    assert mapping.load_mapping(other).fingerprint != mapping.default_mapping().fingerprint
    error = await refused(suite_url, mapping=other)
    assert "mapping" in error.message
    assert "CDC_MAPPING" in error.hint


async def test_a_copy_until_it_is_adopted(database: str) -> None:
    error = await refused(database)
    assert "copy" in error.message
    assert "cdc adopt" in error.hint
    installation.adopt(database)
    app = App(settings(database))
    app.stop("at once")
    await app.run()


async def test_a_wrong_password(suite_url: str) -> None:
    error = await refused(make_conninfo(suite_url, password="wrong"))
    assert "password authentication failed" in error.message
    assert "wrong" not in error.message
    assert "CDC_DATABASE_URL" in error.hint


async def test_no_such_database(suite_url: str) -> None:
    error = await refused(make_conninfo(suite_url, dbname="nowhere"))
    assert "nowhere" in error.message


async def test_an_account_without_rights(suite_url: str) -> None:
    execute(suite_url, "create role nobody_much login password 'x'")
    try:
        error = await refused(make_conninfo(suite_url, user="nobody_much", password="x"))
        assert error.message == "permission denied for schema cdc"
        assert "grant cdc_daemon to nobody_much." in error.hint
    finally:
        execute(suite_url, "drop role nobody_much")


@pytest.mark.parametrize(
    ("options", "revoke", "said", "remedy"),
    [
        ((), "cdc_daemon from losing", "permission denied", "grant cdc_daemon to losing."),
        (
            ("--processes", "2"),
            "usage on schema cdc from cdc_daemon",
            "missing: cdc_daemon: usage on cdc",
            "sql/schema/90_grants.sql",
        ),
        (
            (),
            "select on cdc.queue from cdc_daemon",
            "missing: cdc_daemon: select on cdc.queue",
            "sql/schema/90_grants.sql",
        ),
    ],
    ids=["membership", "schema", "table"],
)
async def test_rights_that_are_lost(
    suite_url: str, options: tuple[str, ...], revoke: str, said: str, remedy: str
) -> None:
    """While it runs they used to end it with a traceback; a restart says the same, in a line."""
    execute(suite_url, "create role losing login password 'x' in role cdc_daemon")
    url = make_conninfo(suite_url, user="losing", password="x")
    try:
        async with Process(url, options=options, fresh=True) as daemon:
            await daemon.until("connected")
            execute(suite_url, f"revoke {revoke}")
            assert await daemon.ended() == 1
            [line, *_] = daemon.log.all("cannot run")
            assert daemon.other == []
        assert said in line.values["error"]
        assert remedy in line.values["hint"]
        error = await refused(url)
        assert (error.message, error.hint) == (line.values["error"], line.values["hint"])
    finally:
        execute(suite_url, "drop role losing")


async def test_a_function_of_postgresql_that_was_taken_away(suite_url: str) -> None:
    """The hint was about members that do not inherit."""
    execute(suite_url, "create role hardened login password 'x' in role cdc_daemon")
    url = make_conninfo(suite_url, user="hardened", password="x")
    try:
        execute(suite_url, "revoke execute on function pg_control_system() from public")
        error = await refused(url)
        assert error.message == "permission denied for function pg_control_system"
        assert "grant execute on function pg_control_system() to cdc_daemon," in error.hint
        statement = error.hint.partition("database: ")[2].partition(";")[0]
        execute(suite_url, statement)
        async with Running(url):
            pass
    finally:
        execute(suite_url, "drop role hardened")


async def test_rights_that_are_lost_while_it_starts(
    suite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two of its checks: it said `permission denied`, without the right or a remedy."""
    check = preflight._installation

    async def revoked(conn: Connection, installed: mapping.Mapping) -> None:
        execute(suite_url, "revoke usage on schema cdc from cdc_daemon")
        await check(conn, installed)

    monkeypatch.setattr(preflight, "_installation", revoked)
    execute(suite_url, "create role losing login password 'x' in role cdc_daemon")
    try:
        error = await refused(make_conninfo(suite_url, user="losing", password="x"))
    finally:
        execute(suite_url, "drop role losing")
    assert "missing: cdc_daemon: usage on cdc" in error.message
    assert "sql/schema/90_grants.sql" in error.hint


async def test_the_owner_of_everything_without_the_daemons_role(suite_url: str) -> None:
    """It used to deliver, while status counted no daemon and a second one got no shard."""
    execute(suite_url, """create role "Suite-Owner" login password 'x' in role cdc_owner""")
    owner = make_conninfo(suite_url, user="Suite-Owner", password="x")
    try:
        error = await refused(owner)
        assert error.message == "the daemon's account is not a member of cdc_daemon"
        assert 'grant cdc_daemon to "Suite-Owner".' in error.hint
        execute(suite_url, 'grant cdc_daemon to "Suite-Owner"')
        app = App(settings(owner))
        app.stop("at once")
        await app.run()
    finally:
        execute(suite_url, 'drop role "Suite-Owner"')


async def test_stopped_while_it_waits_for_the_database(suite_url: str) -> None:
    """It was asked to end, so it ends well: exit code 0."""
    async with Process(make_conninfo(suite_url, port=1), fresh=True) as daemon:
        await daemon.until("connection lost")
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert await daemon.until("stopped")


@pytest.mark.parametrize("closes", [False, True])
async def test_stopped_while_a_server_does_not_answer(suite_url: str, closes: bool) -> None:
    """Its connecting may take longer than whatever stops it waits."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        app = App(settings(make_conninfo(suite_url, port=port, connect_timeout=60)))
        running = asyncio.create_task(app.run())
        silent.setblocking(False)
        conn, _ = await asyncio.get_running_loop().sock_accept(silent)
        with conn:
            app.stop("the test")
            if closes:
                conn.close()
            await asyncio.wait_for(running, 4)


async def test_a_newer_schema_that_still_serves_it(suite_url: str) -> None:
    """Migrated already, and this daemon comes back: it goes on unless the schema says otherwise."""
    execute(suite_url, "update cdc.schema_version set version_num = '9999'")
    app = App(settings(suite_url))
    app.stop("at once")
    await app.run()
    execute(suite_url, "update cdc.installation set serves = '9999'")
    error = await refused(suite_url)
    assert "serves programs from version 9999" in error.message
    assert "newer release" in error.hint


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({}, (), "schema cdc is not installed"),
        ({}, ("--processes", "2"), "schema cdc is not installed"),
        ({"CDC_MAX_CONCURRENCY": "many"}, (), "max_concurrency"),
        ({"CDC_MAPPING": "/nowhere"}, ("--processes", "2"), "cannot be read"),
    ],
    ids=["database", "a child", "settings", "mapping"],
)
def test_the_reason_is_a_line_of_a_log_in_json(
    empty_database: str, variables: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    """It used to be text, of which what collects logs makes several lines, or none."""
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "run", *options],
        env={**os.environ, "CDC_DATABASE_URL": empty_database, **variables},
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    refusals = [line for line in lines if line["event"] == "cannot run"]
    assert done.returncode == 1
    assert refusals[-1] is lines[-1]
    assert said in refusals[0]["error"]
    assert refusals[0]["hint"]
    assert refusals[0]["level"] == "error"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("options", [(), ("--processes", "2")])
async def test_a_log_that_cannot_be_written_stops_nothing(
    world: World, options: tuple[str, ...]
) -> None:
    """A full disk under the log: the daemon used to end with its first line."""
    hook = await world.hook()
    await (await world.writer()).insert("candidate", project_id=1)
    async with Process(world.url, options=options, log_to=Path("/dev/full"), fresh=True) as daemon:
        await world.arrived(hook)
        assert daemon.code is None
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
