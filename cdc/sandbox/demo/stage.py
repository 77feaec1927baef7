"""What the demo takes: brought up, and taken down again."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import ip_network

import psycopg

from cdc.capture.plan import TRIGGER_LOCK
from cdc.sandbox.demo import story
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.folder import PrivateFolder
from cdc.sandbox.embedded.server import free_port
from cdc.sandbox.process import ChildProcess
from cdc.sandbox.receiver import Received, Receiver, Script
from cdc.sandbox.suite import capture, tables_sql
from cdc.schema import migrations
from cdc.settings import Settings
from cdc.webhooks.model import ALL_CHANGES, NewWebhook, Rules
from cdc.webhooks.registry import Registry

NETWORK = "127.0.0.0/8"
# As README.md installs it: the suite's owner does all, daemons have accounts of their own.
OWNER = """
create role suite login createrole password '{password}';
grant create on database postgres to suite;
grant create on schema public to suite;
"""
DAEMONS = """
create role cdc_demo login password '{password}' in role cdc_daemon;
create role cdc_demo_serve login password '{password}' in role cdc_serve;
"""
# A failed delivery is tried again after a moment: the demonstration goes on soon.
RETRY_SOON = {"CDC_RETRY_SCHEDULE": "0.4,0.8,2,5", "CDC_RETRY_JITTER": "0"}


class Stage(AsyncExitStack):
    """All that is up. Nothing of it stays behind when it is left.

    answered:    POSTs that were answered, until they are taken from here.
    dsn:         the suite's database, as its owner; ``suite`` is a connection to it.
    environment: what a command line needs to work with it.
    """

    def __init__(self) -> None:
        super().__init__()
        # Durable as in production: the latencies shown include the flush of a COMMIT.
        self.postgres = EmbeddedPostgres(durable=True)
        self.answered: deque[Received] = deque()
        self.receiver = Receiver(on_answered=self.answered.append)
        self._password = secrets.token_urlsafe(18)

    async def bring_up(self) -> AsyncIterator[tuple[str, str]]:
        """Brings up one part after the other. Yields the name of each, and what to say of it."""
        self.callback(self.postgres.close)
        self.postgres.start()
        self._execute(self.postgres.url(), OWNER)
        self.dsn = self._login("suite")
        where = f"127.0.0.1:{self.postgres.port}, for this demo only"
        yield "PostgreSQL", f"{self.postgres.version} on {where}"

        self._execute(self.dsn, f"{tables_sql(story.MAPPING)}{story.SAMPLE}")
        yield "sample suite", f"8 tables, 4 companies, {story.BULK:,} applicants"

        yield "migrations", f"schema cdc, version {migrations.upgrade(self.dsn)[1]}"
        self._execute(self.dsn, DAEMONS)

        made = sum(step.lock == TRIGGER_LOCK for step in capture(self.dsn, story.MAPPING))
        yield "triggers", f"{made} on {len(story.MAPPING.captured)} tables"

        self.push_async_callback(self.receiver.stop)
        await self.receiver.start()
        self.receiver.script("/blue-harbor/crm", Script(fail_first=1, per_id=False))
        yield "receiver", f"{self.receiver.url()}: verifies signatures, keeps what comes"

        self._register()
        yield "webhooks", f"{len(story.HOOKS)} of 3 companies"

        self._folder = self.enter_context(PrivateFolder(None))
        self.environment = {
            "CDC_DATABASE_URL": self.dsn,
            "CDC_ALLOW_HTTP": "true",
            "CDC_ALLOWED_NETWORKS": NETWORK,
            "CDC_MAPPING": str(self._folder.write("suite.toml", story.MAPPING.source)),
        }
        self.daemon = self._start("the daemon", "cdc_demo", "run", **RETRY_SOON)
        self.daemon.wait_for_log("] connected")
        self.suite = await psycopg.AsyncConnection.connect(self.dsn)
        self.push_async_callback(self.suite.close)
        started = f"`cdc run`, process {self.daemon.pid}, no right on the suite's tables"
        yield "daemon", started

    def _execute(self, dsn: str, sql: str) -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute(sql.replace("{password}", self._password).encode())

    def _register(self) -> None:
        network = ip_network(NETWORK)
        settings = Settings(database_url=self.dsn, allow_http=True, allowed_networks=(network,))
        with Registry(self.dsn, Rules.of(settings, story.MAPPING)) as registry:
            for hook in story.HOOKS:
                new = NewWebhook(
                    *(hook.company, tuple(sorted(hook.events)), self.receiver.url(f"/{hook.name}")),
                    **(story.INTERVIEWED if hook.became else ALL_CHANGES).parts(),
                )
                self.receiver.expect(f"/{hook.name}", registry.add(new).secret)

    def serve(self) -> tuple[str, str]:
        """Starts the API and the console. Returns their URL, without a slash, and an admin's key.

        Raises ProcessFailed.
        """
        port, key = free_port(), self._folder.path / "key"
        arguments = ("serve", "--bootstrap-key-file", str(key))
        api = self._start("the API", "cdc_demo_serve", *arguments, CDC_SERVE_PORT=str(port))
        api.wait_for_log("] ready")
        url = f"http://127.0.0.1:{port}"
        self.environment["CDC_SERVE_URL"] = f"{url}/"
        return url, key.read_text("utf-8").strip()

    def _start(self, name: str, role: str, *arguments: str, **settings: str) -> ChildProcess:
        own = {"CDC_DATABASE_URL": self._login(role), "CDC_LOG_FORMAT": "text", **settings}
        log = self._folder.path / f"{arguments[0]}.log"
        settings = {**self.environment, **own}
        process = ChildProcess(name, "-m", "cdc", *arguments, settings=settings, log=log)
        # In a thread: meanwhile the receiver answers what is in flight.
        self.push_async_callback(asyncio.to_thread, process.stop)
        return process

    def _login(self, role: str) -> str:
        return f"postgresql://{role}:{self._password}@127.0.0.1:{self.postgres.port}/postgres"
