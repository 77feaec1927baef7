"""`cdc webhook test`: the real client, the real signature, the protocol's form."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import psycopg
import pytest

from cdc.sandbox.receiver import Receiver, Reply, Script
from tests.cli.command import Command, Done

pytestmark = pytest.mark.usefixtures("db")


async def try_out(cdc: Command, *arguments: object) -> Done:
    return await asyncio.to_thread(cdc, "webhook", "test", *arguments)


async def test_sends_one_signed_post_of_the_protocols_form(
    cdc: Command, db: psycopg.Connection
) -> None:
    receiver = Receiver()
    await receiver.start()
    try:
        url = receiver.url("/hook").replace("://", "://me:pass@")
        added = await asyncio.to_thread(cdc.add, event="rating_changed", url=url)
        cdc.good("webhook", "pause", added["id"])
        receiver.expect("/hook", added["secret"])
        done = await try_out(cdc, added["id"], "--json")
    finally:
        await receiver.stop()
    assert done.code == 0, done
    (got,) = receiver.received
    assert got.problem is None
    assert got.headers["user-agent"] == "interview suite webhook"
    assert got.headers["authorization"].startswith("Basic ")
    assert got.headers["webhook-id"] == done.json["webhook_id"]
    assert done.json["body"] == got.body.decode()
    body = json.loads(got.body)
    at = "https://interview-suite.com/api/v3/companies/1/projects/0/"
    assert list(body) == ["endpoint", "time", "event", "data"]
    assert body["endpoint"] == receiver.url("/hook")
    assert body["event"] == "rating_changed"
    assert body["data"] == {
        "action": "test",
        "project": at,
        "candidate": f"{at}candidates/0/",
        "rating": f"{at}candidates/0/ratings/0/",
    }
    assert db.execute("select from cdc.queue").fetchall() == []
    assert db.execute("select from cdc.attempt").fetchall() == []


async def test_a_clock_that_is_apart_is_warned_of(
    cdc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = (await asyncio.to_thread(cdc.add))["id"]
    assert "clock" not in (await try_out(cdc, number)).err
    real = time.time
    monkeypatch.setattr("cdc.cli.webhook.trial.time", SimpleNamespace(time=lambda: real() - 600))
    assert "this host's clock is 10 min behind the database's" in (await try_out(cdc, number)).err


async def test_a_failure_is_reported_with_exit_code_1(cdc: Command) -> None:
    receiver = Receiver()
    await receiver.start()
    try:
        number = (await asyncio.to_thread(cdc.add, url=receiver.url("/hook")))["id"]
        receiver.script("/hook", Script(reply=Reply(500, b"out of order")))
        done = await try_out(cdc, number, "--json")
        output = await try_out(cdc, number)
    finally:
        await receiver.stop()
    assert (done.code, output.code) == (1, 1)
    assert done.json["ok"] is False
    assert done.json["status"] == 500
    assert "out of order" in output.out
    refused = await try_out(cdc, number)
    assert refused.code == 1
    assert "refused the connection" in refused.out


async def test_the_guard_stands_in_the_way_here_too(cdc: Command) -> None:
    number = (await asyncio.to_thread(cdc.add))["id"]
    cdc.env["CDC_ALLOWED_NETWORKS"] = ""
    done = await try_out(cdc, number, "--json")
    assert (done.code, done.json["error"]) == (1, "guard")


async def test_the_event_is_one_of_its_own(cdc: Command) -> None:
    number = (await asyncio.to_thread(cdc.add))["id"]
    done = await try_out(cdc, number, "--event", "note_changed")
    assert done.code == 2
    assert "project_changed" in done.err


async def test_the_cause_and_what_to_do_are_shown(cdc: Command) -> None:
    receiver = Receiver()
    await receiver.start()
    try:
        number = (await asyncio.to_thread(cdc.add, url=receiver.url("/hook")))["id"]
        receiver.script("/hook", Script(reply=Reply(401)))
        done = await try_out(cdc, number, "--json")
        output = await try_out(cdc, number)
    finally:
        await receiver.stop()
    assert done.json["cause"] == "status 401"
    assert f"`cdc webhook rotate-secret {number}`" in output.out
    refused = await try_out(cdc, number, "--json")
    assert (refused.json["cause"], bool(refused.json["todo"])) == ("refused", True)
