"""URLs and names: what may be registered, and where it would lead."""

from __future__ import annotations

import socket

import pytest

from cdc.deliver import dns
from cdc.deliver.guard import AddressRefused, usable
from cdc.deliver.url import parse
from cdc.errors import CdcError, UsageError
from tests.deliver.test_guard import guard
from tests.support.nameserver import NameServer


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://LOCALHOST:80/",
        "http://localhost./",
        "http://some.localhost/",
        "http://127.0.0.1/",
        "http://127.0.0.1.:9/",
        "http://user:pw@127.0.0.1/",
        "http://[::1]:8443/",
        "http://[::ffff:127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:7f00:0001]/",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_urls_that_lead_inside(url: str) -> None:
    with pytest.raises(AddressRefused, match="webhooks are not sent there"):
        guard().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https:",
        "https://",
        "https:///path",
        "//a.com/",
        "a.com",
        "ftp://a.com/",
        "file:///etc/passwd",
        "unix:///run/x.sock",
        "ws://a.com",
        "https://a.com:0/",
        "https://a.com:65536/",
        "https://a.com:/",
        "https://a.com:http/",
        "https://a.com:443x/",
        "https://a.com/ x",
        "https://a.com/\r\nHost: b.com",
        "https://a.com/\x00",
        "https://a.com/\x7f",
        " https://a.com/",
        "https://a.com/ä",
        "https://bücher.example/",
        "https://a.com\\@b.com/",
        "https://a@b@c.com/",
        "https://user:pw@/",
        "https://a..com/",
        "https://a.com../",
        "https://-a.com/",
        "https://%61.com/",
        "https://a_b$.com/",
        "https://a.com/#part",
        "https://[::1",
        "https://[::1]x/",
        "https://[v1.fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[127.0.0.1]/",
        "https://::1/",
        "https://" + "a" * 64 + ".com/",
        "https://a.com/" + "x" * 2048,
    ],
)
def test_malformed_urls(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        guard().check_url(url)
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://a.com",
        "HTTPS://Hooks.A.com:8443/x/%7Ey?a=b&c=[d]@e",
        "https://user:pw@a.com/",
        "https://xn--bcher-kva.example./x",
        "https://my_host.a.com?x",
        "http://1.1.1.1:1/",
        "https://[2606:4700::1111]:65535/",
        "https://1.2.3.a/",
    ],
)
def test_good_urls(url: str) -> None:
    guard().check_url(url)


def test_a_good_address_has_to_be_written_plainly() -> None:
    with pytest.raises(UsageError, match=r"1\.1\.1\.1"):
        guard().check_url("https://0x01010101/")
    with pytest.raises(UsageError, match=r"127\.0\.0\.1"):
        guard("127.0.0.0/8").check_url("http://127.1/")


def test_where_a_url_leads() -> None:
    target = parse("https://User:Pw@Hooks.Example.com.:8443/Path")
    assert (target.scheme, target.host, target.port) == ("https", "hooks.example.com", 8443)
    assert parse("http://a.com").port == 80


def test_plain_http_needs_its_setting() -> None:
    with pytest.raises(AddressRefused, match="http") as caught:
        guard(http=False).check_url("http://a.com/")
    assert "CDC_ALLOW_HTTP" in caught.value.hint
    guard(http=False).check_url("https://a.com/")


def test_of_a_mix_only_the_good_ones_are_used() -> None:
    assert usable(guard(), ["10.0.0.1", "1.1.1.1", "::1"]) == ["1.1.1.1"]
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        usable(guard(), ["10.0.0.1", "::1"])


async def test_preview_shows_what_would_be_refused() -> None:
    async def look(name: str, port: int) -> list[str]:
        assert (name, port) == ("a.com", 8443)
        return ["1.1.1.1", "10.0.0.1"]

    notes = await guard().preview("https://a.com:8443/", look=look)
    assert len(notes) == 1
    assert notes[0].startswith("a.com resolves to 10.0.0.1: ")


async def test_preview_shows_names_that_do_not_resolve() -> None:
    async def look(name: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    notes = await guard().preview("https://a.com/", look=look)
    assert notes == ["the name a.com cannot be resolved now (Name or service not known)"]
    assert await guard().preview("https://1.1.1.1/") == []
    with pytest.raises(CdcError):
        await guard().preview("https://127.0.0.1/")


async def test_preview_does_not_wait_for_a_hanging_name_server() -> None:
    async with NameServer() as server, dns.Resolver(0.05, servers=[server.where]) as look:
        notes = await guard().preview("https://a.hangs.example/", look=look)
    assert "no answer within 0.05 s" in notes[0]


async def test_lookup_of_a_real_name() -> None:
    found = await dns.lookup("localhost", 80)
    assert found
    assert set(found) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 300, "a..b", "\N{SNOWMAN}" * 99])
async def test_lookup_of_names_that_are_not(name: str) -> None:
    async with NameServer() as server, dns.Resolver(20.0, servers=[server.where]) as look:
        with pytest.raises(OSError, match=r"host name|no such name"):
            await look(name, 80)


def test_a_password_that_reads_as_a_port_is_not_shown() -> None:
    for url in ("https://me:geheim/x@host/", "https://me:geheim?x@host/"):
        with pytest.raises(UsageError, match="invalid port") as caught:
            parse(url)
        assert "geheim" not in caught.value.message
