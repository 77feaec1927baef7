"""The way out on the command line: a proxy, whose password is not shown, and CA certificates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.command import Command, Done
from tests.daemon.running import Process
from tests.deliver.tunnel import Tunnels
from tests.support.hostile import OK, Hostile, keeps_saying

PASSWORD = "marked-proxy-password"


def through(cdc: Command, proxy: Tunnels) -> Command:
    """The same, by way of the proxy, with a login."""
    url = proxy.url.replace("://", f"://me:{PASSWORD}@")
    return Command({**cdc.env, "CDC_PROXY": url})


def test_a_test_goes_through_it(cdc: Command) -> None:
    def tried(command: Command) -> tuple[Done, Done]:
        number = command.add(url="http://127.0.0.1:9/hook")["id"]
        return command("webhook", "test", number, "--json"), command("doctor", "--all")

    async def served() -> None:
        async with Hostile(keeps_saying(OK)) as peer, Tunnels(peer.port) as proxy:
            sent, seen = await asyncio.to_thread(tried, through(cdc, proxy))
            assert sent.json["ok"]
            assert proxy.asked == ["127.0.0.1:9"]
            assert f"endpoints are called through 127.0.0.1:{proxy.port}" in seen.out
            assert PASSWORD not in sent.out + sent.err + seen.out + seen.err

    asyncio.run(served())


def test_one_that_is_down(cdc: Command) -> None:
    async def port() -> Tunnels:
        async with Tunnels() as proxy:
            return proxy

    command = through(cdc, asyncio.run(port()))
    number = command.add()["id"]
    done = command("webhook", "test", number, "--json")
    assert (done.code, done.json["error"]) == (1, "proxy")
    [found] = [one for one in command("doctor", "--json").json["checks"] if one["check"] == "proxy"]
    assert found["verdict"] == "fail"
    assert "cannot be reached" in found["message"]
    assert PASSWORD not in done.out + done.err + str(found)


def test_names_are_not_looked_up_where_the_proxy_does(cdc: Command) -> None:
    cdc.env |= {"CDC_PROXY": "http://127.0.0.1:9", "CDC_PROXY_RESOLVES": "true"}
    add = ("webhook", "add", "--company", "1", "--event", "note_changed", "--url")
    assert "resolved" not in cdc.good(*add, "https://nowhere.invalid/").err
    del cdc.env["CDC_PROXY_RESOLVES"]
    assert "cannot be resolved" in cdc.good(*add, "https://nowhere.invalid/other").err


def test_settings_never_show_it(unchanged: Command) -> None:
    command = Command({**unchanged.env, "CDC_PROXY": f"http://me:{PASSWORD}@proxy.example:3128"})
    shown = command.good("config", "show")
    assert "http://***@proxy.example:3128" in shown.out
    assert PASSWORD not in shown.out + shown.err
    assert PASSWORD not in command.good("config", "show", "--json").out
    command.good("config", "check")


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{PASSWORD}@proxy.example:3128",
        f"socks5://me:{PASSWORD}@proxy.example:1080",
        f"http://me:{PASSWORD}@proxy.example",
        f"http://me:{PASSWORD}@:3128",
        f"http://me:{PASSWORD}@proxy.example:port",
        f"http://me:{PASSWORD}@proxy.example:99999",
        f"http://me:{PASSWORD}@proxy.example:3128/path",
        f"http://me:{PASSWORD}/x@proxy.example:3128",
        f"http://me:{PASSWORD}\u00e9@proxy.example:3128",
        f"http://me:{PASSWORD}\r\nX: y@proxy.example:3128",
        f"http://me:{PASSWORD}@[::1",
        f"me:{PASSWORD}",
        PASSWORD,
    ],
)
def test_what_is_no_proxy_is_refused_without_repeating_it(unchanged: Command, url: str) -> None:
    output = Command({**unchanged.env, "CDC_PROXY": url}).refused("config", "check")
    assert "proxy (CDC_PROXY) is not accepted" in output
    assert "http://user:password@host:port" in output
    assert PASSWORD not in output


def test_a_host_without_ca_certificates(
    cdc: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each https delivery fails there, and doctor said that tls was ok."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    found = {one["check"]: one for one in cdc("doctor", "--json").json["checks"]}
    assert found["tls"]["verdict"] == "fail"
    assert "no CA certificates" in str(found["tls"])
    assert "ca-certificates" in cdc.good("config", "check").err

    async def run() -> None:
        async with Process(cdc.env["CDC_DATABASE_URL"]) as daemon:
            line = await daemon.until("no CA certificates")
            assert "ca-certificates" in line.values["hint"]

    asyncio.run(run())
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CA certificates" not in cdc.good("config", "check").err
