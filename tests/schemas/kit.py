"""A suite's database from a framework's schema to an uninstalled cdc."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.receiver import Receiver
from tests.capture.kit import bodies
from tests.cli.command import Command
from tests.daemon.running import LIMIT, Running
from tests.schema.test_uninstall import inventory, uninstall

HERE = Path(__file__).parent
TIME = re.compile(r'"time": "[^"]+"')


class Place:
    """One database: the framework's schema, cdc beside it, and a receiver.

    app: a connection as the suite's own program has it.
    """

    def __init__(self, server: EmbeddedPostgres, url: str, name: str) -> None:
        self.server, self.url = server, url
        self.mapping = HERE / f"{name}.toml"
        self.app = psycopg.connect(url, autocommit=True)
        self.run((HERE / f"{name}.sql").read_text("utf-8"))
        self.before = inventory(url)
        self.receiver = Receiver()
        self.cdc = Command(
            {
                "CDC_DATABASE_URL": url,
                "CDC_MAPPING": str(self.mapping),
                "CDC_ALLOW_HTTP": "true",
                "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
        )

    def run(self, sql: str) -> None:
        """Statements of the suite's program; without ``begin`` in them, one transaction."""
        self.app.execute(sql.encode())

    def one(self, sql: str, *values: object) -> Any:
        row = self.app.execute(sql.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def install(self) -> None:
        """As a DBA does it; the second time there is nothing to do."""
        self.cdc.good("triggers", "plan")
        self.cdc.good("triggers", "install")
        assert self.cdc.json("triggers", "plan")["steps"] == []
        assert self.cdc.json("triggers", "status")["ok"] is True

    async def register(
        self, company: str, *events: str, path: str | None = None, options: tuple[str, ...] = ()
    ) -> int:
        """A webhook of a company, at a path of its name or another; its number."""
        path = f"/{path or company}"
        named = [part for event in events for part in ("--event", event)]
        # In a thread of its own: the command looks at the endpoint on a loop of its own.
        made = await asyncio.to_thread(
            self.cdc.json,
            *("webhook", "add", "--company", company, *named),
            *("--url", self.receiver.url(path), *options),
        )
        self.receiver.expect(path, made["secret"])
        return int(made["id"])

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """A daemon runs; at the end of the block all that is owed was taken."""
        async with Running(self.url, mapping=self.mapping):
            yield
            await self._settled()

    async def _settled(self) -> None:
        owed = (
            b"select (select count(*) from cdc.queue) + (select count(*) from cdc.retry)"
            b" + (select count(*) from cdc.unresolved)"
            b" + (select count(*) from cdc.backfill where state = 'running') = 0"
        )
        async with (
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn,
            asyncio.timeout(LIMIT),
        ):
            while not (await (await conn.execute(owed)).fetchone() or (False,))[0]:  # noqa: ASYNC110 - a table signals nothing
                await asyncio.sleep(0.02)

    def posts(self, path: str) -> list[str]:
        """What came at a path (a company's number, or another), sorted, with ``<time>`` and
        ``<endpoint>`` in place of both."""
        found = []
        for got in self.receiver.received:
            if got.path != f"/{path}":
                continue
            assert got.verified, got.problem
            endpoint = json.dumps(self.receiver.url(got.path))
            body = TIME.sub('"time": "<time>"', got.body.decode())
            found.append(body.replace(endpoint, '"<endpoint>"'))
        return sorted(found)

    def left_behind(self) -> list[tuple[str, ...]]:
        """Removes all of cdc; what is then there and was not before, or the other way round."""
        self.cdc.good("triggers", "remove", "--yes")
        done = uninstall(self.server, self.url)
        assert done.returncode == 0, done.stderr
        return sorted(set(inventory(self.url)) ^ set(self.before))


def expected(text: str) -> list[str]:
    """Bodies, each ``{action event: address, ...}`` in full; sorted as ``posts`` are."""
    return sorted(bodies(text))
