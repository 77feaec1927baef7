"""Secrets at rest and ways of signing, as a running daemon deals with them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cdc.mapping import default_mapping
from cdc.message.signing_keys import Scheme, new_secret
from cdc.webhooks.model import NewWebhook, Rules
from cdc.webhooks.registry import Registry
from cdc.webhooks.vault import new_key
from tests.cli.command import Command
from tests.daemon.running import Running, eventually, settings
from tests.daemon.world import World


def registry(world: World, *keys: str) -> Registry:
    return Registry(world.url, Rules.of(settings(world.url, secret_keys=keys), default_mapping()))


def new(world: World, path: str) -> NewWebhook:
    url = world.receiver.url(path).replace("://", "://me:hush-hush@")
    return NewWebhook("1", ("project_changed",), url, headers={"X-Key": "marked"})


async def flags(world: World, number: int) -> tuple[bool, bool]:
    """Whether `cdc status` and `cdc webhook show` say that the registration cannot be used."""
    command = Command({"CDC_DATABASE_URL": world.url})
    why = "cannot be used: "
    status = await asyncio.to_thread(command, "status", "--company", "1", "--json")
    [lane] = [one for one in status.json["webhooks"] if one["webhook_id"] == number]
    shown = await asyncio.to_thread(command.json, "webhook", "show", number)
    return (lane["last_error"] or "").startswith(why), (shown["trouble"] or "").startswith(why)


async def test_what_is_sealed_is_sent_with(world: World) -> None:
    key = new_key()
    with registry(world, key) as book:
        added = book.add(new(world, "/sealed"))
    world.receiver.expect("/sealed", added.secret)
    writer = await world.writer()
    async with Running(world.url, secret_keys=[key]):
        await writer.change("project", 1)
        await world.receiver.wait_for(1)
    [got] = world.receiver.received
    assert got.verified
    assert got.headers["x-key"] == "marked"
    assert got.headers["authorization"].startswith("Basic ")
    assert b"hush" not in got.body


async def test_without_its_key_a_webhook_is_held_and_nothing_lost(world: World) -> None:
    """The others go on; the daemon does not end; with the key everything is sent."""
    key = new_key()
    with registry(world, key) as book, registry(world) as plain:
        sealed = book.add(new(world, "/sealed"))
        other = plain.add(new(world, "/plain"))
    world.receiver.expect("/sealed", sealed.secret)
    world.receiver.expect("/plain", other.secret)
    writer = await world.writer()
    async with Running(world.url, secret_keys=[new_key()]) as daemon:
        await writer.change("project", 1)
        line = await daemon.until("registration cannot be used", webhook=sealed.webhook.id)
        assert "CDC_SECRET_KEYS" in line.values["error"]
        await world.receiver.wait_for(1)
        assert [got.path for got in world.receiver.received] == ["/plain"]
        # For people, beside what the log says.
        await world.until(
            "select last_error like 'cannot be used: %%CDC_SECRET_KEYS%%' from cdc.lane"
            " where webhook_id = %s",
            sealed.webhook.id,
        )
    waiting = await world.all("select webhook_id from cdc.queue")
    assert waiting == [(sealed.webhook.id,)]
    # That is what commands show, until a daemon comes that has the key.
    assert await flags(world, sealed.webhook.id) == (True, True)
    async with Running(world.url, secret_keys=[key]):
        await world.until(
            "select last_error is null from cdc.lane where webhook_id = %s", sealed.webhook.id
        )
        await world.receiver.wait_for(2)
    assert await flags(world, sealed.webhook.id) == (False, False)
    assert [got.verified for got in world.receiver.received] == [True, True]


async def test_keys_are_changed_under_a_running_daemon(world: World) -> None:
    old, key = new_key(), new_key()
    with registry(world, old) as book:
        added = book.add(new(world, "/sealed"))
    world.receiver.expect("/sealed", added.secret)
    writer = await world.writer()
    async with Running(world.url, secret_keys=[key, old]) as daemon:
        await writer.change("project", 1)
        await world.receiver.wait_for(1)
        with registry(world, key, old) as book:
            assert book.reencrypt().webhooks == 1
        await daemon.until("registration changed", webhook=added.webhook.id)
        await writer.change("project", 1)
        await world.receiver.wait_for(2)
    assert all(got.verified for got in world.receiver.received)


async def test_rotated_from_one_scheme_to_the_other_and_the_old_one_ends(world: World) -> None:
    with registry(world) as book:
        added = book.add(new(world, "/hook"))
    number = added.webhook.id
    world.receiver.expect("/hook", added.secret)
    private = new_secret(Scheme.V1A)
    writer = await world.writer()

    async def signed_by(count: int, versions: list[str]) -> None:
        await writer.change("project", 1)
        await world.receiver.wait_for(count)
        got = world.receiver.received[-1]
        signatures = got.headers["webhook-signature"].split(" ")
        assert [one.partition(",")[0] for one in signatures] == versions
        assert got.verified

    async with Running(world.url) as daemon:

        def secrets() -> tuple[str, ...]:
            watcher = daemon.app._watcher
            assert watcher is not None
            return watcher.dispatcher.workers[number].webhook.secrets

        await signed_by(1, ["v1"])
        with registry(world) as book:
            book.rotate_secret(number, timedelta(hours=1), private)
        await daemon.until("registration changed", webhook=number)
        await signed_by(2, ["v1a", "v1"])  # verified with the old one still
        # The time of grace ends automatically, without a change of a registration.
        await world.run(
            "update cdc.webhook_secret set expires_at = clock_timestamp() + interval '0.2 s'"
            " where expires_at is not null"
        )
        await world.run("update cdc.webhook set description = 'look' where id = %s", number)
        world.receiver.expect("/hook", private)
        await world.until(
            "select not exists (select from cdc.webhook_secret where expires_at > now())"
        )
        # (In one change with the description, or in one of its own.)
        await eventually(lambda: secrets() == (private,), "the old one has ended")
        await signed_by(3, ["v1a"])
        with registry(world) as book:
            back = book.rotate_secret(number, timedelta(0), scheme=Scheme.V1)
        world.receiver.expect("/hook", back.secret)
        await eventually(lambda: secrets() == (back.secret,), "the new one is known")
        await signed_by(4, ["v1"])
