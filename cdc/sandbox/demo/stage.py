"""What the demo takes: brought up, the story played on it, and taken down again."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network

import psycopg

from cdc.capture.plan import TRIGGER_LOCK
from cdc.errors import CdcError
from cdc.sandbox.demo import story
from cdc.sandbox.demo.ledger import Ledger, SuiteSession
from cdc.sandbox.demo.report import latencies
from cdc.sandbox.demo.show import Show
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.folder import PrivateFolder
from cdc.sandbox.embedded.server import free_port
from cdc.sandbox.process import ChildProcess
from cdc.sandbox.receiver import Receiver, Script
from cdc.sandbox.suite import capture, tables_sql
from cdc.schema import migrations
from cdc.settings import Settings
from cdc.webhooks.model import ALL_CHANGES, NewWebhook, Rules
from cdc.webhooks.registry import Registry

SCENE_WITHIN_S = 40.0
"""Seconds that the POSTs of a scene may take before the demo gives up."""
LOOK_EVERY_S = 0.1  # at what came while a scene waits

HIDDEN = {"steady": b"", "bulk": b'"candidate_changed"'}
"""What is in the POSTs that are too many to show, by the kind of scene."""

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

    dsn:         the suite's database, as its owner.
    environment: what a command line needs to work with it.
    begun:       titles of the scenes that were begun.
    """

    def __init__(self, show: Show) -> None:
        super().__init__()
        # Durable as in production: the latencies shown include the flush of a COMMIT.
        self.postgres = EmbeddedPostgres(durable=True)
        self.receiver = Receiver()
        self.ledger = Ledger(story.HOOKS, story.ROWS)
        self.begun: list[str] = []
        self._show = show
        self._shown = 0  # POSTs that were shown or counted
        self._password = secrets.token_urlsafe(18)

    async def bring_up(self) -> None:
        self.callback(self.postgres.close)
        self.postgres.start()
        self._execute(self.postgres.url(), OWNER.format(password=self._password))
        self.dsn = self._login("suite")
        where = f"127.0.0.1:{self.postgres.port}, for this demo only"
        await self._up("PostgreSQL", f"{self.postgres.version} on {where}")

        self._execute(self.dsn, f"{tables_sql(story.MAPPING)}{story.SAMPLE}")
        await self._up("sample suite", f"8 tables, 4 companies, {story.BULK:,} applicants")

        await self._up("migrations", f"schema cdc, version {migrations.upgrade(self.dsn)[1]}")
        self._execute(self.dsn, DAEMONS.format(password=self._password))

        made = sum(step.lock == TRIGGER_LOCK for step in capture(self.dsn, story.MAPPING))
        await self._up("triggers", f"{made} on {len(story.MAPPING.captured)} tables")

        self.push_async_callback(self.receiver.stop)
        await self.receiver.start()
        self.receiver.script("/blue-harbor/crm", Script(fail_first=1, per_id=False))
        await self._up("receiver", f"{self.receiver.url()}: verifies signatures, keeps what comes")

        self._register()
        await self._up("webhooks", f"{len(story.HOOKS)} of 3 companies")

        self._folder = self.enter_context(PrivateFolder(None))
        mapping = self._folder.write("suite.toml", story.MAPPING.source)
        rules = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": NETWORK}
        self.environment = {"CDC_DATABASE_URL": self.dsn, **rules, "CDC_MAPPING": str(mapping)}
        self.daemon = self._start("the daemon", "cdc_demo", "run", **RETRY_SOON)
        self.daemon.wait_for_log("] connected")
        conn_of_suite = await psycopg.AsyncConnection.connect(self.dsn)
        self.push_async_callback(conn_of_suite.close)
        self._suite = SuiteSession(conn_of_suite, self.ledger)
        started = f"`cdc run`, process {self.daemon.pid}, no right on the suite's tables"
        await self._up("daemon", started)
        self._show.hooks(story.HOOKS)

    def _execute(self, dsn: str, sql: str) -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute(sql.encode())

    async def _up(self, what: str, detail: str) -> None:
        self._show.part(what, detail)
        # What brings them up blocks the loop: here it learns of a signal that came meanwhile.
        await asyncio.sleep(0.001)

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

    async def play(self) -> None:
        """The story. Raises CdcError when it cannot go on."""
        for scene in story.SCENES:
            self.begun.append(scene.title)
            self._show.scene(len(self.begun), scene)
            self.ledger.refused += scene.kind == "retry"
            start = time.perf_counter()
            for n, sql in enumerate(scene.sql):
                if scene.kind == "steady":
                    await asyncio.sleep(start + n * story.STEADY_PACE_S - time.perf_counter())
                else:
                    self._show.sql(sql)
                await self._suite.run(sql, scene.kind)
                if scene.kind == "live" and not self._suite.in_transaction:
                    await self._arrived()
            await self._arrived(HIDDEN.get(scene.kind))
            if scene.kind in HIDDEN:
                owed = self.ledger.account(self.receiver.received).deliveries
                self._show.counted(latencies(owed, scene.kind))

    async def _arrived(self, hidden: bytes | None = None) -> None:
        """Waits until everything owed so far came and was answered."""
        due = self.ledger.due()
        deadline = time.monotonic() + SCENE_WITHIN_S
        while self.receiver.answered < due:
            with suppress(TimeoutError):
                await self.receiver.wait_for(due, LOOK_EVERY_S)
            self.show_posts(hidden)
            self.daemon.check()
            if time.monotonic() > deadline:
                missing = f"{due - self.receiver.answered} of {due} POSTs"
                raise CdcError(f"{missing} did not come within {SCENE_WITHIN_S:.0f} s")
        self.show_posts(hidden)

    def show_posts(self, hidden: bytes | None = None) -> None:
        """Shows those that were answered since the last time, but those that contain ``hidden``."""
        for got in self.receiver.received[self._shown :]:
            if got.status is None:
                return
            self._shown += 1
            if hidden is None or hidden not in got.body:
                self._show.post(got)
