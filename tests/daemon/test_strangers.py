"""Accounts that are no daemon and take a daemon's locks: any that can connect may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.queue.ownership import LOCK_CLASS, MEMBER
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


async def test_who_holds_a_shard_is_named(world: World, stranger: Connection) -> None:
    hook = await world.hook()
    await stranger.execute(f"select pg_advisory_lock({LOCK_CLASS}, {hook.id % 64})".encode())
    async with Running(world.url) as daemon:
        await eventually(lambda: daemon.owned == 63, "the others are its own")
        command = Command({"CDC_DATABASE_URL": world.url})
        done = await asyncio.to_thread(command, "doctor", "--json")
        found = next(check for check in done.json["checks"] if check["check"] == "daemons")
        assert found["verdict"] == "fail"
        assert f"process {stranger.info.backend_pid} (no name, user stranger)" in found["message"]
        await stranger.execute(b"select pg_advisory_unlock_all()")
        await eventually(lambda: daemon.owned == 64, "it is taken at once")
