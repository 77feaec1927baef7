"""Marked secrets go in at every door; nothing that comes out anywhere may hold one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import psutil
import pytest
from aiohttp import web
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.message.signing_keys import Scheme, new_secret
from cdc.sandbox.receiver import Received, Reply, Script
from cdc.webhooks.vault import new_key
from tests.cli.command import Command
from tests.daemon.running import Process, eventually
from tests.daemon.world import World
from tests.deliver.tunnel import Tunnels

LOGIN = "p%40ss-marked-login"
HEADER = "marked-header-value"
DB_PASSWORD = "marked-db-password"
PROXY_PASSWORD = "pr%2Fxy-marked-p%40ss"


class Marks:
    """All that is secret here, in every form in which it might come out."""

    def __init__(self) -> None:
        self.secret = new_secret()
        self.private = new_secret(Scheme.V1A)
        self.old_key, self.key = new_key(), new_key()

    def login_at(self, proxy: Tunnels) -> str:
        """The proxy's address, with a login."""
        return proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@")

    @property
    def forms(self) -> dict[str, str]:
        basic = base64.b64encode(b"me:p@ss-marked-login").decode()
        return {
            "signing secret": self.secret.partition("_")[2],
            "private key": self.private.partition("_")[2],
            "old encryption key": self.old_key,
            "encryption key": self.key,
            "header": HEADER,
            "login": "ss-marked-login",
            "login as Basic": basic,
            "login quoted": quote(LOGIN, safe=""),
            "database password": DB_PASSWORD,
            "proxy password": "xy-marked-p",
            "proxy login as Basic": base64.b64encode(b"me:pr/xy-marked-p@ss").decode(),
            # What is encrypted must not be shown either.
            "sealed": "gAAAA",
        }

    def in_(self, text: str) -> list[str]:
        return [name for name, form in self.forms.items() if form in text]


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
async def account(world: World) -> AsyncIterator[str]:
    """Address of the database for an account whose password is marked."""
    await world.run(
        f"create role marked login superuser password '{DB_PASSWORD}'",
    )
    yield make_conninfo(world.url, user="marked", password=DB_PASSWORD)
    await world.run("drop role marked")


async def cdc(url: str, keys: str, proxy: str, *arguments: str, stdin: str = "") -> str:
    """All that a command writes; a traceback raises."""
    command = Command(
        {
            "CDC_DATABASE_URL": url,
            "CDC_ALLOW_HTTP": "true",
            "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CDC_LOG_LEVEL": "debug",
            "CDC_SECRET_KEYS": keys,
            "CDC_PROXY": proxy,
        }
    )
    # In a thread: some commands have a loop of their own, and the receiver needs this one.
    done = await asyncio.to_thread(command, *arguments, stdin=stdin)
    return done.out + done.err


def echo(got: Received) -> Reply:
    """A receiver that repeats all it was sent, in its headers too."""
    echoed = json.dumps(dict(got.headers))
    return Reply(500, (echoed + got.body.decode()).encode(), {"X-Echo": echoed})


async def registry_commands(world: World, account: str, marks: Marks, proxy: str) -> dict[str, str]:
    """Every command on webhooks, in the order of a webhook's life; output by command."""
    keys = f"{marks.key},{marks.old_key}"
    place = world.receiver.url("/echo").replace("://", f"://me:{LOGIN}@")
    options = ["--event", "project_changed", "--header", f"X-Key: {HEADER}"]
    said: dict[str, str] = {}

    async def run(*arguments: str, keys: str = keys, stdin: str = "") -> None:
        name = f"{len(said)}. {' '.join(arguments[:2])}"
        said[name] = await cdc(account, keys, proxy, *arguments, stdin=stdin)

    add = ["webhook", "add", "--company", "1", "--url", place, *options, "--secret"]
    # Shown once, where it is made: so these two outputs may show it, and nothing else.
    made = await cdc(account, marks.old_key, proxy, *add, "-", "--json", stdin=marks.secret + "\n")
    assert marks.in_(made) == ["signing secret"]
    await run("webhook", "list")
    await run("webhook", "list", "--json")
    await run("webhook", "show", "1")
    await run("webhook", "show", "1", "--json")
    await run(*add, "-", stdin=marks.secret)  # a duplicate
    await run(*add, marks.secret + "!")
    await run(*add, f"whsec_{HEADER}")
    await run("webhook", "update", "1", "--url", place + "?changed")
    await run("webhook", "update", "1", "--header", f"X-Key: {HEADER}\u00e9")
    await run("webhook", "update", "1", "--header", f"X Key: {HEADER}")
    await run("webhook", "rotate-secret", "1", "--secret", "-", "--json", stdin=marks.private)
    await run("webhook", "reencrypt-secrets")
    await run("webhook", "test", "1")
    await run("webhook", "test", "1", "--json")
    await run("webhook", "test", "1", keys="")
    await run("webhook", "show", "1", keys=new_key())
    await run("webhook", "export")
    await run("webhook", "export", "--json")
    await run("webhook", "import", "-", stdin=f'{{"format": "{HEADER}"}}')
    exported = await cdc(account, keys, proxy, "webhook", "export", "--secrets")
    assert "signing secret" in marks.in_(exported)
    await run("webhook", "import", "-", stdin=exported)  # duplicates all
    await run("webhook", "pause", "1", "--timeout", "0")
    await run("webhook", "resume", "1")
    return said


async def other_commands(account: str, marks: Marks, proxy: Tunnels) -> dict[str, str]:
    """Those that look, and those that fail for their settings."""
    keys = f"{marks.key},{marks.old_key}"
    login = marks.login_at(proxy)
    said = {}
    for line in (
        "status", "status --json", "doctor", "doctor --json", "delivery list",
        "delivery list --json", "delivery show 1", "config show", "config show --json",
        "config check", "triggers status", "triggers plan", "migrate", "adopt",
        "webhook list --company 99", "webhook show 99",
    ):  # fmt: skip
        said[line] = await cdc(account, keys, login, *line.split())
    wrong = {
        "no server": (make_conninfo(account, port="1"), keys),
        "no address": (f"postgresql://me:{DB_PASSWORD}@host:port/", keys),
        "no such database": (make_conninfo(account, dbname="nowhere"), keys),
        "no keys": (account, f"{marks.key}x,{HEADER}"),
        "an option of none": (account + f" password={DB_PASSWORD} nonsense=1", keys),
    }
    for name, (url, with_keys) in wrong.items():
        for line in ("status", "config show", "webhook list"):
            said[f"{name}: {line}"] = await cdc(url, with_keys, login, *line.split())
    proxies = {
        "a proxy that is down": login.replace(f":{proxy.port}", ":9"),
        "a proxy of another kind": login.replace("http:", "socks5:"),
        "a proxy without a port": login.replace(f":{proxy.port}", ""),
        "a proxy with half a login": login.replace("%2F", "/"),
    }
    for name, address in proxies.items():
        for line in ("doctor", "config show", "webhook test 1", "webhook test 1 --json"):
            said[f"{name}: {line}"] = await cdc(account, keys, address, *line.split())
    return said


@pytest.fixture
async def spans(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What a collector of traces is sent."""
    taken: list[str] = []

    async def take(request: web.Request) -> web.Response:
        taken.append((await request.read()).decode("latin-1"))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/traces", take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield taken
    await runner.cleanup()


async def test_nothing_that_comes_out_holds_a_secret(
    world: World, account: str, marks: Marks, spans: list[str]
) -> None:
    """All of it by way of a proxy, which lets through, and later does not."""
    world.receiver.script("/echo", Script(answer=echo))
    port = int(world.receiver.url("/").split(":")[2].split("/")[0])
    async with Tunnels(port) as proxy:
        login = marks.login_at(proxy)
        said = await registry_commands(world, account, marks, login)
        assert proxy.asked
        writer = await world.writer()
        daemon = Process(
            account, secret_keys=f"{marks.key},{marks.old_key}", log_level="debug", http_port=0,
            retry_schedule="0.05", breaker_failures=1000, proxy=login, traces=True,
        )  # fmt: skip
        async with daemon:
            serving = await daemon.until("serving health and metrics")
            await writer.change("project", 1)
            await daemon.until("attempt", status=500)
            # What the proxy sends back goes the same ways.
            answer = json.dumps([head.decode() for head in proxy.heads])
            proxy.answer = f"HTTP/1.1 407 No\r\nX-Echo: {answer}\r\n\r\n".encode()
            proxy.cut()
            await writer.change("project", 1)
            await daemon.until("attempt", error="proxy")
            await world.until("select count(*) = 2 from cdc.dead")
            metrics = serving.values["port"]
            async with aiohttp.ClientSession() as client:
                for path in ("metrics", "healthz", "readyz"):
                    async with client.get(f"http://127.0.0.1:{metrics}/{path}") as got:
                        said[path] = await got.text()
            said |= await other_commands(account, marks, proxy)
            # The log while a registration cannot be used, too.
            await world.run('update cdc.webhook set headers = \'{"X-Key": "cdc-sealed:none"}\'')
            await daemon.until("registration cannot be used")
            await eventually(lambda: any("proxy" in span for span in spans), "a span of it")
        said["log"] = "\n".join([*map(str, daemon.log.lines), *daemon.other])
    said["traces"] = "\n".join(spans)
    assert len(daemon.log.all("attempt")) >= 2, "at this level each attempt is logged"
    for table in ("attempt", "dead", "lane", "retry", "queue", "unresolved", "shard"):
        rows = await world.all(f"select x::text from cdc.{table} x")
        said[f"table {table}"] = "\n".join(row[0] for row in rows)
    assert "500" in said["table attempt"]
    assert "it answered 407" in said["table attempt"]
    leaks = {name: found for name, text in said.items() if (found := marks.in_(text))}
    assert leaks == {}


async def test_the_list_of_processes_shows_no_secret(account: str, marks: Marks) -> None:
    """Anybody on the host sees what processes were started with."""
    async with Tunnels() as proxy:
        daemon = Process(
            account, options=("--processes", "2"), secret_keys=marks.key,
            proxy=marks.login_at(proxy), http_port=0,
        )  # fmt: skip
        async with daemon:
            await daemon.log.seen("started", times=2)
            parent = psutil.Process(daemon.pid)
            family = [parent, *parent.children(recursive=True)]
            seen = [(" ".join(one.cmdline()), one.name()) for one in family]
    assert len(seen) >= 3
    assert marks.in_(str(seen)) == []


def test_the_marks_would_be_found(marks: Marks) -> None:
    for name, form in marks.forms.items():
        assert name in marks.in_(f"... {form} ...")


async def test_a_failed_statement_does_not_log_its_values(world: World) -> None:
    """PostgreSQL puts values into some messages: of a check that fails, the whole row."""
    from cdc.errors import DatabaseError
    from cdc.postgres.connections import explained

    conn = await world.connect()
    insert = sql.SQL("insert into cdc.webhook (company, endpoint) values ('1', {})")
    with pytest.raises(DatabaseError) as caught, explained():
        await conn.execute(insert.format(f"ftp://me:{LOGIN}@x/"))
    assert LOGIN not in caught.value.message + caught.value.hint
