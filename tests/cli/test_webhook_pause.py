"""`cdc webhook pause` returns when the daemon that owns the webhook has stopped sending to it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS
from tests.cli.command import Command


@pytest.fixture
def owned(cdc: Command, db: psycopg.Connection) -> Iterator[int]:
    """A webhook whose shard is owned, as a daemon owns it."""
    number = int(cdc.add()["id"])
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, number % SHARDS))
        yield number


def test_waits_for_the_owner(cdc: Command, db: psycopg.Connection, owned: int) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(cdc.env["CDC_DATABASE_URL"], autocommit=True) as listener,
    ):
        listener.execute("listen cdc")
        waiting = pool.submit(cdc, "webhook", "pause", owned, "--json")
        rung = next(iter(listener.notifies(timeout=20)), None)  # the change rings the daemons
        assert rung is not None
        row = db.execute("select version, state from cdc.webhook where id = %s", [owned]).fetchone()
        assert row is not None
        assert row[1] == "paused"
        assert not waiting.done()
        db.execute("insert into cdc.lane (webhook_id, version) values (%s, %s)", (owned, row[0]))
        done = waiting.result(timeout=20)
    assert done.code == 0, done
    assert done.json["daemon"] == "confirmed"


def test_gives_up_after_the_timeout(cdc: Command, db: psycopg.Connection, owned: int) -> None:
    done = cdc("webhook", "pause", owned, "--timeout", 0.1)
    assert done.code == 1
    assert "has not confirmed" in done.err
    assert cdc.json("webhook", "show", owned)["state"] == "paused"
    assert "may still be in flight" in cdc.good("webhook", "pause", owned, "--timeout", 0).err


def test_another_database_owning_the_same_shard_does_not_count(
    cdc: Command, db: psycopg.Connection, postgres: object
) -> None:
    number = cdc.add()["id"]
    elsewhere = psycopg.conninfo.make_conninfo(cdc.env["CDC_DATABASE_URL"], dbname="postgres")
    with psycopg.connect(elsewhere, autocommit=True) as owner:
        owner.execute("select pg_advisory_lock(%s, %s)", (LOCK_CLASS, number % SHARDS))
        assert cdc.json("webhook", "pause", number)["daemon"] == "nobody"
