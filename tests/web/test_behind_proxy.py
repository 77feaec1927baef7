"""Requests smuggled through proxies that others wrote, which read a request in their own way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from cdc.sandbox.embedded.folder import PrivateFolder
from tests.support.foreign import Foreign, SquidProgram, found
from tests.web.kit import Client, Served, account, serving, until
from tests.web.test_attacks import raw

PREFIX = "/suite"
JSON = "Content-Type: application/json\r\n"
SQUID = """
http_port 127.0.0.1:{port} accel defaultsite=hooks.example
cache_peer 127.0.0.1 parent {target} 0 no-query no-digest originserver login=PASSTHRU
visible_hostname localhost
pid_filename {room}/pid
cache_log {room}/log
access_log none
cache_store_log none
coredump_dir {room}
cache deny all
memory_cache_shared off
pinger_enable off
netdb_filename none
shutdown_lifetime 0 seconds
acl hidden urlpath_regex -i /v1/keys
http_access deny hidden
http_access allow all
"""
TINYPROXY = """
Listen 127.0.0.1
Port {port}
Allow 127.0.0.1
PidFile "{room}/pid"
ReverseOnly Yes
ReversePath "/" "http://127.0.0.1:{target}/"
Filter "{filter}"
FilterURLs On
FilterDefaultDeny No
"""


class Reverse(Foreign):
    """In front of a process of `cdc serve`; refuses /v1/keys."""

    def __init__(self, served: Served) -> None:
        self.target = urlsplit(served.url).port


class ReverseSquid(SquidProgram, Reverse):
    def settings(self, folder: PrivateFolder, room: Path) -> str:
        return SQUID.format(port=self.port, target=self.target, room=room)


class ReverseTinyproxy(Reverse):
    PROGRAM = found("tinyproxy")

    def command(self, folder: PrivateFolder, room: Path) -> list[str | Path]:
        assert self.PROGRAM is not None
        refused = folder.write("filter", "/v1/keys\n")
        settings = TINYPROXY.format(port=self.port, target=self.target, room=room, filter=refused)
        return [self.PROGRAM, "-d", "-c", folder.write("tinyproxy.conf", settings)]


@pytest.fixture(scope="module")
def behind(shared_database: str, admin: psycopg.Connection) -> Iterator[Served]:
    with (
        account(admin, shared_database) as url,
        serving(
            url,
            shared_database,
            CDC_SERVE_TRUSTED_PROXIES="127.0.0.1/32",
            CDC_SERVE_URL=f"https://hooks.example{PREFIX}/",
        ) as made,
    ):
        yield made


def attacks(key: str, path: str) -> dict[str, bytes]:
    """Requests that hide another one, for the path, or ask for it by another name."""
    bearer = f"Authorization: Bearer {key}\r\n"
    hidden = f"GET {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n"
    size = len(hidden)
    get = f"GET {PREFIX}/v1/events HTTP/1.1\r\nHost: x\r\n{bearer}"
    post = f"POST {PREFIX}/v1/webhooks/99/pause HTTP/1.1\r\nHost: x\r\n{bearer}{JSON}"
    both = f"{post}Content-Length: {size + 5}\r\n"
    end = f"\r\n0\r\n\r\n{hidden}"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    chunked = f"{post}Transfer-Encoding: chunked\r\n\r\n"
    made = {
        "other form of the path": hidden.replace("/keys", "/%6beys"),
        "path with dots": hidden.replace("/keys", "/x/../keys"),
        "path of another host": hidden.replace(path, f"http://hooks.example{path}"),
        "headers that name a path": f"{get}X-Original-URL: {path}\r\nX-Rewrite-URL: {path}\r\n\r\n",
        "two hosts": f"{get}Host: y\r\n\r\n",
        "pipelined": f"{get}\r\n{hidden}",
        "pipelined behind chunks": f"{get}Transfer-Encoding: chunked\r\n{end}",
        "pipelined behind an upgrade": f"{get}{upgrade}\r\n{hidden}",
        "CL.TE": f"{both}Transfer-Encoding: chunked\r\n{end}",
        "CL.TE of HTTP/1.0": f"{both}Transfer-Encoding: chunked\r\n{end}".replace("1.1", "1.0", 1),
        "TE.CL": f"{chunked[:-2]}Content-Length: 4\r\n\r\n{size:x}\r\n{hidden}\r\n0\r\n\r\n",
        "TE.TE": f"{both}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n{end}",
        "TE unknown": f"{both}Transfer-Encoding: xchunked\r\n{end}",
        "TE list": f"{both}Transfer-Encoding: identity, chunked\r\n{end}",
        "TE behind a tab": f"{both}Transfer-Encoding:\tchunked\r\n{end}",
        "TE behind a vertical tab": f"{both}Transfer-Encoding:\x0bchunked\r\n{end}",
        "TE before a space": f"{both}Transfer-Encoding : chunked\r\n{end}",
        "TE folded": f"{both}Transfer-Encoding:\r\n chunked\r\n{end}",
        "TE in a fold": f"{both}X-A: b\r\n Transfer-Encoding: chunked\r\n{end}",
        "TE behind a bare LF": f"{both}X-A: b\nTransfer-Encoding: chunked\r\n{end}",
        "TE behind a bare CR": f"{both}X-A: b\rTransfer-Encoding: chunked\r\n{end}",
        "CL twice": f"{post}Content-Length: 0\r\nContent-Length: {size}\r\n\r\n{hidden}",
        "CL list": f"{post}Content-Length: 0, {size}\r\n\r\n{hidden}",
        "CL with a sign": f"{post}Content-Length: +{size}\r\n\r\n{hidden}",
        "CL before a space": f"{post}Content-Length : {size}\r\n\r\n{hidden}",
        "CL of a GET": f"{get}Content-Length: {size}\r\n\r\n{hidden}",
        "CL taken away": f"{both}Connection: keep-alive, Content-Length\r\n\r\n{hidden}",
        "CL expected": f"{both}Expect: 100-continue\r\n\r\n{hidden}",
        "chunk with an extension": f'{chunked}2;a="\r\n{{}}{end}',
        "chunk with a line in it": f"{chunked}2;\nxx\r\n{size + 20:x}{end}",
        "chunk by bare LF": f"{chunked}2\n{{}}\n0\n\n{hidden}",
        "chunk of 2 to the 64": f"{chunked}{'F' * 16}2\r\n{{}}{end}",
        "chunk below 0": f"{chunked}-2\r\n{{}}{end}",
        "chunk in C": f"{chunked}0x2\r\n{{}}{end}",
        "chunk without end": f"{chunked}2\r\n{{}}xx0\r\n\r\n{hidden}",
        "trailer": f"{chunked}2\r\n{{}}\r\n0\r\nContent-Length: {size}\r\n\r\n{hidden}",
    }
    return {name: sent.encode() for name, sent in made.items()}


def sent_at_once(served: Served, requests: dict[str, bytes]) -> dict[str, bytes]:
    with ThreadPoolExecutor(len(requests)) as threads:
        answers = threads.map(lambda sent: raw(served, sent), requests.values())
        return dict(zip(requests, answers, strict=True))


def routes_since(behind: Served, line: int) -> list[str]:
    """Of all requests that have been answered; of one that comes last, too."""
    number = behind.client("admin")("GET", "/v1/none").headers["x-request-id"]
    until(lambda: any(one.get("request") == number for one in behind.lines))
    assert [one for one in behind.lines if one.get("level") == "error"] == []
    return [one["route"] for one in behind.lines[line:] if "route" in one]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(one, marks=pytest.mark.skipif(one.PROGRAM is None, reason=f"no {name}"))
        for name, one in (("squid", ReverseSquid), ("tinyproxy", ReverseTinyproxy))
    ],
)
def test_nothing_comes_past_the_rules_of_a_proxy(behind: Served, kind: type[Reverse]) -> None:
    """It lets no request through to the keys, and mixes up no answers."""
    key = behind.client("admin").key or ""
    line = len(behind.lines)
    with kind(behind) as proxy:
        through = replace(behind, url=f"http://127.0.0.1:{proxy.port}/")
        sent_at_once(through, attacks(key, f"{PREFIX}/v1/keys"))
        client = Client(through.url, key)
        for path in ("/v1/events", f"{PREFIX}/v1/events") * 5:
            assert client.good("GET", path)["items"][0]["name"] == "project_changed"
    found = routes_since(behind, line)
    assert "GET /v1/events" in found
    assert "POST /v1/webhooks/{webhook_id}/pause" in found
    assert "GET /v1/keys" not in found


def test_what_could_be_read_differently_is_refused(behind: Served) -> None:
    """Without a proxy: a request that is whole may be followed by another one, none else."""
    key = behind.client("admin").key or ""
    line = len(behind.lines)
    got = sent_at_once(behind, attacks(key, f"{PREFIX}/v1/keys"))
    answers = {name: re.findall(rb"HTTP/1\.[01] ([0-9]+) ", one) for name, one in got.items()}
    followed = {name for name, codes in answers.items() if b"200" in codes[1:]}
    whole = {"pipelined", "pipelined behind chunks", "pipelined behind an upgrade"}
    assert followed == whole
    asked = whole | {"path of another host"}
    assert routes_since(behind, line).count("GET /v1/keys") == len(asked)
    for name, codes in answers.items():
        if name.startswith(("TE", "CL.TE", "CL twice", "CL list", "chunk", "trailer", "two")):
            assert codes == [b"400"], name
