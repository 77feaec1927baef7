"""Accounts that are no daemon and take a daemon's locks: any that can connect may."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.daemon.store import ownership
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER
from cdc.telemetry.logfile import LogFile
from tests.cli.command import Command
from tests.daemon.running import Running, eventually
from tests.daemon.world import Connection, World


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[Connection]:
    await world.run("create role stranger login password 'x'")
    address = make_conninfo(world.url, user="stranger", password="x")
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as conn:
        yield conn
    await world.run("drop role stranger")


async def test_who_is_no_daemon_is_left_no_share(world: World, stranger: Connection) -> None:
    await stranger.execute(f"select pg_advisory_lock_shared({LOCK_CLASS}, {MEMBER})".encode())
    async with Running(world.url) as daemon:
        await eventually(lambda: daemon.owned == 64, "all shards are its own")
        # A role that may act as a daemon is one.
        await world.run("grant cdc_daemon to stranger")
        await eventually(lambda: daemon.owned == 32, "half is left to the other")


async def test_who_may_take_over_shards_is_one_without_the_role(
    world: World, stranger: Connection
) -> None:
    """One that has installed is no member of cdc_daemon, and delivers. It was not counted: a second
    daemon got no shard from it."""
    await stranger.execute(f"select pg_advisory_lock_shared({LOCK_CLASS}, {MEMBER})".encode())
    await world.run("grant cdc_owner to stranger")
    async with Running(world.url) as daemon:
        await eventually(lambda: daemon.owned == 32, "half is left to the other")
    await world.run("revoke cdc_owner from stranger")


async def test_a_daemon_without_a_shard_says_why(
    world: World, stranger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.daemon.watcher.IDLE_LOGGED_AFTER_S", 0.0)
    await stranger.execute(
        f"select pg_advisory_lock({LOCK_CLASS}, n) from generate_series(0, 63) n".encode()
    )
    async with Running(world.url) as daemon:
        line = await daemon.until("owns no shard, sends nothing")
        assert line.values["error"] == (
            f"process {stranger.info.backend_pid} (no name, user stranger) holds the locks of 64 "
            "shards without being a daemon"
        )
        assert "grant cdc_daemon to stranger" in line.values["hint"]
        await stranger.execute(b"select pg_advisory_unlock_all()")
        await eventually(lambda: daemon.owned == 64, "they are taken at once")


async def test_what_a_daemon_shows_of_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock is apart, and its log cannot be written: log, metrics and commands say so."""
    real, apart = time.time, 600.0
    clock = SimpleNamespace(time=lambda: real() + apart, monotonic=time.monotonic)
    monkeypatch.setattr("cdc.daemon.store.flags.time", clock)
    monkeypatch.setattr("cdc.daemon.store.flags.COMPARE_CLOCKS_EVERY_S", 0.0)
    lost = LogFile(None)
    lost.debug("x")
    daemon = Running(world.url)
    daemon.observer.log_file = lost

    async def status() -> list[str]:
        done = await asyncio.to_thread(Command({"CDC_DATABASE_URL": world.url}), "status", "--json")
        return [p for p in done.json["problems"] if "clock" in p or "log" in p]

    async with daemon:
        line = await daemon.until("clocks of this host and the database differ")
        assert 599 <= line.values["ahead"] <= 601
        await eventually(lambda: daemon.owned == 64, "all shards are its own")
        output = " ".join(await status())
        assert "10 min ahead of the database's: receivers refuse signatures" in output
        assert "cannot write its log" in output
        page = (await daemon.observer.metrics.page()).decode()
        assert re.search(r"^cdc_clock_offset_seconds (599|600)", page, re.MULTILINE)
        assert "cdc_log_lines_lost_total 1.0" in page
        apart, lost.lost = 0.0, 0
        await daemon.until("clocks of this host and the database agree again")
        deadline = time.monotonic() + 30
        while await status():
            assert time.monotonic() < deadline


async def test_who_holds_a_shard_is_named(
    world: World, stranger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await world.hook()
    await stranger.execute(f"select pg_advisory_lock({LOCK_CLASS}, {hook.id % 64})".encode())
    monkeypatch.setattr(ownership, "DENIED_LOGGED_AFTER_S", 0.1)
    async with Running(world.url) as daemon:
        await eventually(lambda: daemon.owned == 63, "the others are its own")
        line = await daemon.until("shards cannot be taken over")
        assert line.values["count"] == 1
        command = Command({"CDC_DATABASE_URL": world.url})
        done = await asyncio.to_thread(command, "doctor", "--json")
        found = next(check for check in done.json["checks"] if check["check"] == "daemons")
        assert found["verdict"] == "fail"
        assert f"process {stranger.info.backend_pid} (no name, user stranger)" in found["message"]
        await stranger.execute(b"select pg_advisory_unlock_all()")
        await eventually(lambda: daemon.owned == 64, "it is taken at once")
