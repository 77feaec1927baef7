"""Brings up what the demo takes, and takes it down again, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Self, TypeVar

import psycopg
from psycopg import sql

from cdc.capture import check, install, plan
from cdc.mapping import default_mapping, parse_mapping
from cdc.model import SHARDS
from cdc.postgres import connections
from cdc.postgres.advisory_locks import LOCK_CLASS
from cdc.sandbox.demo.ledger import Connection, Ledger, SuiteSession
from cdc.sandbox.demo.protocol import EVENTS, SuiteRow
from cdc.sandbox.demo.show import Show
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.folder import PrivateFolder
from cdc.sandbox.process import ChildProcess
from cdc.sandbox.receiver import Receiver
from cdc.sandbox.records import Hook
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from cdc.settings import Settings
from cdc.webhooks.model import NewWebhook, Rules
from cdc.webhooks.registry import Registry

BULK = 2000
"""Rows of the bulk update."""
READY_WITHIN_S = 30.0

NETWORK = "127.0.0.0/8"
INTERVIEWED = "interviewed"
CRM = "/blue-harbor/crm"
COMPANIES = {1: "Acme", 2: "Blue Harbor", 3: "Cobalt Works", 4: "Dune"}
HOOKS = [
    Hook(0, "1", frozenset(EVENTS), "acme/everything"),
    Hook(1, "1", frozenset({"rating_changed"}), "acme/ratings"),
    Hook(2, "2", frozenset({"candidate_changed", "rating_changed"}), CRM[1:]),
    Hook(3, "3", frozenset({"project_changed"}), "cobalt/projects"),
    Hook(4, "1", frozenset({"candidate_changed"}), "acme/interviewed", INTERVIEWED),
]
_EVENT = 'event = "candidate_changed"'
MAPPING = parse_mapping(
    default_mapping()
    .source.replace(_EVENT, f'{_EVENT}\nfields = ["status"]')
    .replace("# name = ", "name = "),
    "suite.toml",
)
"""The interview suite's; a candidate's status can be asked for, and companies have names."""

# What the suite holds before a webhook is registered; changes of it from then on are captured.
SAMPLE = f"""
alter table candidate add status text not null default 'new';
insert into company (id, name) values {", ".join(f"({i}, '{n}')" for i, n in COMPANIES.items())};
insert into customer (id, company_id, name) values (1, 1, 'Ann'), (2, 2, 'Ben');
insert into project (id, company_id, name)
values (10, 1, 'Trainees'), (20, 2, 'Sailors'), (30, 3, 'Smiths'), (40, 4, 'Diggers');
insert into candidate (id, project_id, name)
select 1000 + n, 10, 'Applicant ' || n from generate_series(1, {BULK}) n;
insert into candidate (id, project_id, name) values (21, 20, 'Carl');
insert into rating (id, candidate_id, customer_id, stars) values (91, 21, 2, 3);
"""  # noqa: S608 - all of it is the demo's own

# A failed delivery is tried again after a moment: the demonstration goes on soon.
DAEMON = {"CDC_RETRY_SCHEDULE": "0.4,0.8,2,5", "CDC_RETRY_JITTER": "0", "CDC_LOG_FORMAT": "text"}

# A daemon holds a lock for each shard that it owns.
_SHARDS = (
    "select count(*) from pg_locks where locktype = 'advisory' and classid = %s and objid < %s"
)

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Waits for it to end, whatever cancels meanwhile: nothing is left half done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 - raised by the result below
            pass
    if cancelled is not None:
        task.exception()  # if it failed as well: being stopped is the news
        raise cancelled
    return task.result()


async def in_thread(work: Callable[..., T], *values: object) -> T:
    """Runs what would block, to its end."""
    return await to_its_end(asyncio.to_thread(work, *values))


class Stage:
    """All that is up: ``async with Stage(show) as stage``. Nothing of it stays behind.

    dsn:         the superuser's address of the database.
    environment: what a command line needs to work with it.
    """

    postgres: EmbeddedPostgres
    dsn: str
    environment: dict[str, str]
    receiver: Receiver
    ledger: Ledger
    suite: SuiteSession
    daemon: ChildProcess

    def __init__(self, show: Show, rows: dict[tuple[str, str], SuiteRow]) -> None:
        self._stack = AsyncExitStack()
        self._show = show
        self._rows = rows
        self._began = time.perf_counter()
        self._password = secrets.token_urlsafe(18)

    async def __aenter__(self) -> Self:
        try:
            await self._put_up()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_its_end(self._stack.aclose())

    async def _put_up(self) -> None:
        # Durable as in production: the latencies shown include the flush of a COMMIT.
        postgres = self.postgres = await in_thread(lambda: EmbeddedPostgres(durable=True))
        self._stack.push_async_callback(in_thread, postgres.close)
        await in_thread(postgres.start)
        at = f"{postgres.version} on 127.0.0.1:{postgres.port}, for this demo only"
        self._done("PostgreSQL", at)
        self.dsn = postgres.url()
        _, version = await in_thread(migrations.upgrade, self.dsn)
        self._done("migrations", f"schema cdc, version {version}")
        await in_thread(self._make_suite)
        await in_thread(self._install_triggers)
        receiver = self.receiver = Receiver()
        self._stack.push_async_callback(receiver.stop)
        await receiver.start()
        self._done("receiver", f"{receiver.url()}: verifies signatures, keeps what comes")
        await in_thread(self._register)
        mapping = self._folder() / "suite.toml"
        mapping.write_text(MAPPING.source, "utf-8")
        rules = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": NETWORK}
        self.environment = {"CDC_DATABASE_URL": self.dsn, **rules, "CDC_MAPPING": str(mapping)}
        await self._start_daemon()
        self.ledger = Ledger(receiver.url(""), HOOKS, self._rows)
        self.suite = SuiteSession(await self._session(self._login("suite")), self.ledger)
        self._show.hooks(HOOKS, COMPANIES)

    def _make_suite(self) -> None:
        """The suite's tables, and the roles of the suite, the daemon and the API."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            for role in ("suite", "cdc_demo", "cdc_demo_serve"):
                create = sql.SQL("create role {} login password {}")
                conn.execute(create.format(sql.Identifier(role), sql.Literal(self._password)))
            conn.execute("grant cdc_daemon to cdc_demo")
            conn.execute("grant cdc_serve to cdc_demo_serve")
            conn.execute("grant create on schema public to suite")
            conn.execute("set role suite")
            conn.execute(tables_sql(MAPPING).encode())
            conn.execute(SAMPLE.encode())
        self._done("sample suite", f"8 tables, {len(COMPANIES)} companies, {BULK:,} applicants")

    def _install_triggers(self) -> None:
        with connections.connect(self.dsn) as conn:
            steps = plan.plan(conn, MAPPING, check.check(conn, MAPPING))
            install.carry_out(conn, steps, lambda line: None)
            install.remember(conn, MAPPING)
        count = sum(step.lock == plan.TRIGGER_LOCK for step in steps)
        self._done("triggers", f"{count} on {len(MAPPING.captured)} tables")

    def _register(self) -> None:
        settings = Settings(
            database_url=self.dsn, allow_http=True, allowed_networks=(ip_network(NETWORK),)
        )
        with Registry(self.dsn, Rules.of(settings, MAPPING)) as registry:
            for hook in HOOKS:
                path, events = f"/{hook.name}", tuple(sorted(hook.events))
                new = NewWebhook(
                    hook.company,
                    events,
                    self.receiver.url(path),
                    actions=("modified",) if hook.became else (),
                    changed=("status",) if hook.became else None,
                    filter={"status": [hook.became]} if hook.became else {},
                )
                self.receiver.expect(path, registry.add(new).secret)
        self._done("webhooks", f"{len(HOOKS)} of {len({h.company for h in HOOKS})} companies")

    async def _start_daemon(self) -> None:
        daemon = self.daemon = self._start("the daemon", "cdc_demo", "run", **DAEMON)
        conn = await self._session(self.dsn)

        async def owns_all() -> bool:
            row = await (await conn.execute(_SHARDS, [LOCK_CLASS, SHARDS])).fetchone()
            return row == (SHARDS,)

        await self._ready(daemon, owns_all)
        self._done("daemon", f"`cdc run`, process {daemon.pid}, no right on the suite's tables")

    async def serve(self) -> tuple[str, str]:
        """Starts the API and the console. Returns their URL, without a slash, and an admin's key.

        Raises ProcessFailed.
        """
        key = self._folder() / "key"
        api = self._start(
            *("the API", "cdc_demo_serve", "serve", "--bootstrap-key-file", str(key)),
            CDC_SERVE_PORT="0",
            CDC_LOG_FORMAT="json",
        )
        logged: dict[object, dict[str, object]] = {}

        async def is_ready() -> bool:
            for line in api.log().splitlines():
                with suppress(ValueError):
                    logged[json.loads(line)["event"]] = json.loads(line)
            return "ready" in logged

        await self._ready(api, is_ready)
        url = f"http://127.0.0.1:{logged['serving the API']['port']}"
        return url, key.read_text("utf-8").strip()

    def _start(self, name: str, role: str, *arguments: str, **settings: str) -> ChildProcess:
        settings = {**self.environment, "CDC_DATABASE_URL": self._login(role), **settings}
        log = self._folder() / "log"
        process = ChildProcess(name, "-m", "cdc", *arguments, settings=settings, log=log)
        self._stack.push_async_callback(in_thread, process.stop)
        return process

    async def _ready(self, process: ChildProcess, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits until it is. Raises ProcessFailed."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not await is_ready():
            process.check()
            if time.monotonic() > deadline:
                raise process.failed(f"is not ready after {READY_WITHIN_S:.0f} s")
            await asyncio.sleep(0.01)

    def _folder(self) -> Path:
        return self._stack.enter_context(PrivateFolder(None)).path

    async def _session(self, dsn: str) -> Connection:
        conn = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        self._stack.push_async_callback(conn.close)
        return conn

    def _login(self, role: str) -> str:
        return f"postgresql://{role}:{self._password}@127.0.0.1:{self.postgres.port}/postgres"

    def _done(self, what: str, detail: str) -> None:
        now = time.perf_counter()
        self._show.done(what, detail, now - self._began)
        self._began = now
