"""TLS profiles, as a running daemon deals with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.daemon.dispatch import register
from cdc.deliver import trust
from cdc.errors import ConfigError
from cdc.mapping import default_mapping
from cdc.webhooks.model import NewWebhook, Rules
from cdc.webhooks.registry import Registry
from tests.daemon.running import Running, settings
from tests.daemon.world import World
from tests.support.certificates import Authority, profile
from tests.support.hostile import OK, Hostile, keeps_saying


async def test_without_its_profile_a_webhook_is_held_until_it_is_there(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on; nothing is lost, restarted or registered again."""
    monkeypatch.setattr(register, "UNUSABLE_RETRY_S", 0.05)
    monkeypatch.setattr(trust, "FILES_READ_EVERY_S", 0.05)
    ca = Authority(tmp_path, "ours")
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    async with Hostile(keeps_saying(OK), tls=ca.demanding(ca)) as peer:
        with Registry(world.url, Rules.of(settings(world.url), default_mapping())) as book:
            new = NewWebhook("1", ("project_changed",), peer.url(), tls_profile="one")
            number = book.add(new).webhook.id
            plain = NewWebhook("1", ("project_changed",), world.receiver.url("/plain"))
            world.receiver.expect("/plain", book.add(plain).secret)
        writer = await world.writer()
        async with Running(world.url, tls_profiles=profiles) as daemon:
            await writer.change("project", 1)
            line = await daemon.until("registration cannot be used", webhook=number)
            assert "unknown TLS profile 'one'" in line.values["error"]
            await world.receiver.wait_for(1)
            await world.until(
                "select last_error like 'cannot be used: %%TLS profile%%' from cdc.lane"
                " where webhook_id = %s",
                number,
            )
            assert peer.connections == 0
            # Logged once, however often it is tried.
            assert len(daemon.log.all("registration cannot be used")) == 1
            cert, key = ca.issue("us")
            made = profile(tmp_path / "made", "one", ca=ca.file, cert=cert, key=key)
            made.rename(profiles / "one")
            await world.until("select not exists (select from cdc.queue)")
            assert len(peer.requests) == 1
            await world.until(
                "select last_error is null from cdc.lane where webhook_id = %s", number
            )
            # It was loaded again and again; nothing of it was changed.
            assert daemon.log.all("registration changed", webhook=number) == []


async def test_unusable_files_for_all_are_reported_at_the_start(
    world: World, tmp_path: Path
) -> None:
    daemon = Running(world.url, tls_ca_file=tmp_path / "missing.pem")
    daemon.begin()
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        await daemon.end()
