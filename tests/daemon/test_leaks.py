"""Marked secrets go in at every door; nothing that comes out anywhere may hold one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.keys import Scheme, new_secret
from cdc.receiver import Received, Reply, Script
from cdc.vault import new_key
from tests.cli.command import Command
from tests.daemon.running import Process
from tests.daemon.world import World

LOGIN = "p%40ss-marked-login"
HEADER = "marked-header-value"
DB_PASSWORD = "marked-db-password"


class Marks:
    """All that is secret here, in every form in which it might come out."""

    def __init__(self) -> None:
        self.secret = new_secret()
        self.private = new_secret(Scheme.V1A)
        self.old_key, self.key = new_key(), new_key()

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
            # What is encrypted is nobody's business either.
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


async def cdc(url: str, keys: str, *arguments: str, stdin: str = "") -> str:
    """All that a command writes; a traceback raises."""
    command = Command(
        {
            "CDC_DATABASE_URL": url,
            "CDC_ALLOW_HTTP": "true",
            "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CDC_LOG_LEVEL": "debug",
            "CDC_SECRET_KEYS": keys,
        }
    )
    # In a thread: some commands have a loop of their own, and the receiver needs this one.
    done = await asyncio.to_thread(command, *arguments, stdin=stdin)
    return done.out + done.err


def echo(got: Received) -> Reply:
    """A receiver that tells all it was sent, in its headers too."""
    told = json.dumps(dict(got.headers))
    return Reply(500, (told + got.body.decode()).encode(), {"X-Echo": told})


async def registry_commands(world: World, account: str, marks: Marks) -> dict[str, str]:
    """Every command on webhooks, in the order of a webhook's life; output by command."""
    keys = f"{marks.key},{marks.old_key}"
    place = world.receiver.url("/echo").replace("://", f"://me:{LOGIN}@")
    options = ["--event", "project_changed", "--header", f"X-Key: {HEADER}"]
    said: dict[str, str] = {}

    async def run(*arguments: str, keys: str = keys, stdin: str = "") -> None:
        name = f"{len(said)}. {' '.join(arguments[:2])}"
        said[name] = await cdc(account, keys, *arguments, stdin=stdin)

    add = ["webhook", "add", "--company", "1", "--url", place, *options, "--secret"]
    # Shown once, where it is made: so these two outputs may tell it, and nothing else.
    made = await cdc(account, marks.old_key, *add, "-", "--json", stdin=marks.secret + "\n")
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
    exported = await cdc(account, keys, "webhook", "export", "--secrets")
    assert "signing secret" in marks.in_(exported)
    await run("webhook", "import", "-", stdin=exported)  # duplicates all
    await run("webhook", "pause", "1", "--timeout", "0")
    await run("webhook", "resume", "1")
    return said


async def other_commands(account: str, marks: Marks) -> dict[str, str]:
    """Those that look, and those that fail for their settings."""
    keys = f"{marks.key},{marks.old_key}"
    said = {}
    for line in (
        "status", "status --json", "doctor", "doctor --json", "delivery list",
        "delivery list --json", "delivery show 1", "config show", "config show --json",
        "config check", "triggers status", "triggers plan", "migrate", "adopt",
        "webhook list --company 99", "webhook show 99",
    ):  # fmt: skip
        said[line] = await cdc(account, keys, *line.split())
    wrong = {
        "no server": (make_conninfo(account, port="1"), keys),
        "no address": (f"postgresql://me:{DB_PASSWORD}@host:port/", keys),
        "no such database": (make_conninfo(account, dbname="nowhere"), keys),
        "no keys": (account, f"{marks.key}x,{HEADER}"),
        "an option of none": (account + f" password={DB_PASSWORD} nonsense=1", keys),
    }
    for name, (url, with_keys) in wrong.items():
        for line in ("status", "config show", "webhook list"):
            said[f"{name}: {line}"] = await cdc(url, with_keys, *line.split())
    return said


async def test_nothing_that_comes_out_holds_a_secret(
    world: World, account: str, marks: Marks
) -> None:
    world.receiver.script("/echo", Script(answer=echo))
    said = await registry_commands(world, account, marks)
    writer = await world.writer()
    daemon = Process(
        account, secret_keys=f"{marks.key},{marks.old_key}", log_level="debug", http_port=0,
        retry_schedule="0.05", breaker_failures=1000,
    )  # fmt: skip
    async with daemon:
        serving = await daemon.until("serving health and metrics")
        await writer.change("project", 1)
        await world.until("select exists (select from cdc.dead)")
        port = serving.values["port"]
        async with aiohttp.ClientSession() as client:
            for path in ("metrics", "healthz", "readyz"):
                async with client.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    said[path] = await answer.text()
        said |= await other_commands(account, marks)
        # The log while a registration cannot be used, too.
        await world.run('update cdc.webhook set headers = \'{"X-Key": "cdc-sealed:none"}\'')
        await daemon.until("registration cannot be used")
    said["log"] = "\n".join([*map(str, daemon.log.lines), *daemon.other])
    assert len(daemon.log.all("attempt")) >= 2, "at this level each attempt is told"
    for table in ("attempt", "dead", "lane", "retry", "queue", "unresolved", "shard"):
        rows = await world.all(f"select x::text from cdc.{table} x")
        said[f"table {table}"] = "\n".join(row[0] for row in rows)
    assert "500" in said["table attempt"]
    leaks = {name: found for name, text in said.items() if (found := marks.in_(text))}
    assert leaks == {}


def test_the_marks_would_be_found(marks: Marks) -> None:
    for name, form in marks.forms.items():
        assert name in marks.in_(f"... {form} ...")


async def test_a_statement_that_fails_does_not_tell_its_values(world: World) -> None:
    """PostgreSQL puts values into some messages: of a check that fails, the whole row."""
    from cdc.db import explained
    from cdc.errors import DatabaseError

    conn = await world.connect()
    insert = sql.SQL("insert into cdc.webhook (company, endpoint) values ('1', {})")
    with pytest.raises(DatabaseError) as caught, explained():
        await conn.execute(insert.format(f"ftp://me:{LOGIN}@x/"))
    assert LOGIN not in caught.value.message + caught.value.hint
