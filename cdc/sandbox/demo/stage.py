"""Brings up what the demo takes, and takes it down again, whatever happens in between."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeVar

import psycopg
from psycopg import sql

from cdc.capture import check, install, plan
from cdc.mapping import default_mapping
from cdc.model import SHARDS
from cdc.postgres import connections
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.daemon import DaemonProcess
from cdc.sandbox.demo.ledger import Hook, Ledger
from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.writer import Connection, Writer
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.folder import PrivateFolder
from cdc.sandbox.receiver import Receiver
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from cdc.settings import Settings
from cdc.webhooks.model import NewWebhook, Rules
from cdc.webhooks.registry import Registry

BULK = 2000
"""Rows of the bulk update."""

READY_WITHIN = 30.0
NETWORK = "127.0.0.0/8"

COMPANIES = {1: "Acme", 2: "Blue Harbor", 3: "Cobalt Works", 4: "Dune"}
HOOKS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("acme/everything", 1, protocol.EVENTS),
    ("acme/ratings", 1, ("rating_changed",)),
    ("blue-harbor/crm", 2, ("candidate_changed", "rating_changed")),
    ("cobalt/projects", 3, ("project_changed",)),
)

# What the suite holds before anybody registers a webhook; changes of it from then on are captured.
SAMPLE = f"""
insert into company (id, name) values {", ".join(f"({i}, '{n}')" for i, n in COMPANIES.items())};
insert into customer (id, company_id, name) values (1, 1, 'Ann'), (2, 2, 'Ben');
insert into project (id, company_id, name)
values (10, 1, 'Trainees'), (20, 2, 'Sailors'), (30, 3, 'Smiths'), (40, 4, 'Diggers');
insert into candidate (id, project_id, name)
select 1000 + n, 10, 'Applicant ' || n from generate_series(1, {BULK}) n;
insert into candidate (id, project_id, name) values (21, 20, 'Carl');
insert into rating (id, candidate_id, customer_id, stars) values (91, 21, 2, 3);
"""  # noqa: S608 - all of it is the demo's own

# A failed delivery is tried again after a moment, so that nobody has to wait for the demonstration.
DAEMON = {
    "CDC_RETRY_SCHEDULE": "0.4,0.8,2,5",
    "CDC_RETRY_JITTER": "0",
    "CDC_LOG_FORMAT": "text",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """All that is up.

    dsn:         the superuser's address of the database.
    environment: what a command line needs to work with it.
    secrets:     signing secrets by the webhooks' paths.
    """

    postgres: EmbeddedPostgres
    dsn: str
    environment: dict[str, str]
    receiver: Receiver
    ledger: Ledger
    writer: Writer
    beside: Writer
    daemon: DaemonProcess
    secrets: dict[str, str]


async def to_its_end(work: Awaitable[T]) -> T:
    """Waits for it to end, whoever cancels meanwhile: nothing is left half done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 - told by the result below
            pass
    if cancelled is not None:
        task.exception()  # if it failed as well: being stopped is the news
        raise cancelled
    return task.result()


async def in_thread(work: Callable[[], T]) -> T:
    """Runs what would block, to its end."""
    return await to_its_end(asyncio.to_thread(work))


class Setting:
    """Puts the stage up, part by part."""

    def __init__(self, stack: AsyncExitStack, show: Show) -> None:
        self._stack = stack
        self._show = show
        self._began = time.perf_counter()
        self._password = secrets.token_urlsafe(18)

    def _done(self, what: str, detail: str) -> None:
        now = time.perf_counter()
        self._show.done(what, detail, now - self._began)
        self._began = now

    async def database(self) -> EmbeddedPostgres:
        # Durable as in production: the latencies shown include the flush of a COMMIT.
        postgres = await in_thread(lambda: EmbeddedPostgres(durable=True))
        self._stack.push_async_callback(in_thread, postgres.close)
        await in_thread(postgres.start)
        self._done(
            "PostgreSQL", f"{postgres.version} on 127.0.0.1:{postgres.port}, for this demo only"
        )
        return postgres

    def schema(self, dsn: str) -> None:
        _, version = migrations.upgrade(dsn)
        self._done("migrations", f"schema cdc, version {version}")

    def suite(self, dsn: str) -> None:
        """The suite's tables, and the roles of those who work with them."""
        with psycopg.connect(dsn, autocommit=True) as conn:
            for role in ("suite", "cdc_demo"):
                conn.execute(
                    sql.SQL("create role {} login password {}").format(
                        sql.Identifier(role), sql.Literal(self._password)
                    )
                )
            conn.execute("grant cdc_daemon to cdc_demo")
            conn.execute("grant create on schema public to suite")
            conn.execute("set role suite")
            conn.execute(tables_sql(default_mapping()).encode())
            conn.execute(SAMPLE.encode())
        self._done("sample suite", f"8 tables, {len(COMPANIES)} companies, {BULK:,} applicants")

    def triggers(self, dsn: str) -> None:
        mapping = default_mapping()
        with connections.connect(dsn) as conn:
            steps = plan.plan(conn, mapping, check.check(conn, mapping))
            install.carry_out(conn, steps, lambda line: None)
            install.remember(conn, mapping)
        count = sum(step.lock == plan.TRIGGER_LOCK for step in steps)
        self._done("triggers", f"{count} on {len(mapping.captured)} tables")

    def webhooks(self, dsn: str, receiver: Receiver) -> tuple[list[Hook], dict[str, str]]:
        """Registers them. Returns them and their secrets by path."""
        settings = Settings(
            database_url=dsn, allow_http=True, allowed_networks=(ip_network(NETWORK),)
        )
        hooks, signing = [], {}
        with Registry(dsn, Rules.of(settings, default_mapping())) as registry:
            for name, company, events in HOOKS:
                hook = Hook(name, company, events, receiver.url(f"/{name}"))
                added = registry.add(NewWebhook(str(company), events, hook.endpoint))
                receiver.expect(hook.path, added.secret)
                signing[hook.path] = added.secret
                hooks.append(hook)
        self._done("webhooks", f"{len(hooks)} of {len({h.company for h in hooks})} companies")
        return hooks, signing

    async def receiver(self) -> Receiver:
        receiver = Receiver()
        self._stack.push_async_callback(receiver.stop)
        await receiver.start()
        self._done("receiver", f"{receiver.url()}: verifies signatures, keeps what comes")
        return receiver

    async def daemon(self, environment: dict[str, str], dsn: str) -> DaemonProcess:
        folder = self._stack.enter_context(PrivateFolder(None))
        daemon = DaemonProcess(environment, folder.path / "daemon.log")
        self._stack.push_async_callback(daemon.stop)
        await daemon.start()
        conn = await self.session(dsn)
        deadline = time.monotonic() + READY_WITHIN
        # It holds a lock for each shard that it owns, and one beside.
        locks = b"select count(*) from pg_locks where locktype = 'advisory' and classid = %s"
        while (await (await conn.execute(locks, [LOCK_CLASS])).fetchone()) != (SHARDS + 1,):
            daemon.check()
            if time.monotonic() > deadline:
                raise daemon.failed(f"the daemon is not ready after {READY_WITHIN:.0f} s")
            await asyncio.sleep(0.01)
        self._done("daemon", f"`cdc run`, process {daemon.pid}, no right on the suite's tables")
        return daemon

    async def session(self, dsn: str) -> Connection:
        conn = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        self._stack.push_async_callback(conn.close)
        return conn

    def login(self, postgres: EmbeddedPostgres, role: str) -> str:
        return f"postgresql://{role}:{self._password}@127.0.0.1:{postgres.port}/postgres"


@asynccontextmanager
async def stage(show: Show) -> AsyncIterator[Stage]:
    """The whole stage. Whatever way the block is left, nothing of it stays behind."""
    stack = AsyncExitStack()
    try:
        yield await _put_up(Setting(stack, show), show)
    finally:
        await to_its_end(stack.aclose())


async def _put_up(setting: Setting, show: Show) -> Stage:
    postgres = await setting.database()
    dsn = postgres.url()
    await in_thread(lambda: setting.schema(dsn))
    await in_thread(lambda: setting.suite(dsn))
    await in_thread(lambda: setting.triggers(dsn))
    receiver = await setting.receiver()
    hooks, signing = await in_thread(lambda: setting.webhooks(dsn, receiver))
    rules = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": NETWORK}
    login = setting.login(postgres, "cdc_demo")
    daemon = await setting.daemon({"CDC_DATABASE_URL": login, **rules, **DAEMON}, dsn)
    show.hooks(hooks, COMPANIES)
    ledger = Ledger(hooks)
    suite = setting.login(postgres, "suite")
    return Stage(
        postgres=postgres,
        dsn=dsn,
        environment={"CDC_DATABASE_URL": dsn, **rules},
        receiver=receiver,
        ledger=ledger,
        writer=Writer(await setting.session(suite), ledger),
        beside=Writer(await setting.session(suite), ledger),
        daemon=daemon,
        secrets=signing,
    )
