"""A backfill of a company that has 10,000 of 5,000,000 rows: its own rows decide what it costs.

The small size is for each change; `make long` runs the large one, in some 2 GB of disk or memory.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from cdc.mapping import Mapping, default_mapping, parse_mapping
from cdc.postgres import connections
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import KeyType, capture, tables_sql
from cdc.schema import migrations
from cdc.webhooks import backfills
from cdc.webhooks.audit import Actor
from tests.capture.test_several_columns import MAPPING, TABLES
from tests.daemon.running import Process
from tests.daemon.world import World

SIZES = [25_000, pytest.param(5_000_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
SHARE = 500
"""Of the rows one in so many is a company's."""
STATEMENT_S = 5.0
WHOLE_S = 120.0
LIMIT_S = 1200.0
ME = Actor("test")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """It logs what takes long, with the name of the session."""
    settings = {
        "log_min_duration_statement": "100",
        "log_line_prefix": "%a|",
        "max_wal_size": "4GB",
        "maintenance_work_mem": "256MB",
        "synchronous_commit": "off",
    }
    with EmbeddedPostgres(settings=settings) as made:
        yield made


class Large:
    """A suite with many rows, a daemon, and backfills one after the other."""

    def __init__(self, server: EmbeddedPostgres, world: World, mapping: Mapping) -> None:
        self.server, self.world, self.mapping = server, world, mapping
        self._read = 0  # of the server's log
        self.slowest()  # what others before it had

    @classmethod
    async def filled(
        cls,
        server: EmbeddedPostgres,
        name: str,
        fill: str,
        mapping: Mapping | None = None,
        *,
        tables: str | None = None,
        key_type: KeyType = "bigint",
    ) -> Large:
        mapping = mapping or default_mapping()
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute(f"create database {name}".encode())
        url = server.url(name)
        migrations.upgrade(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute((tables or tables_sql(mapping, key_type)).encode())
            indexes = conn.execute(
                "select indexrelid::regclass::text, pg_get_indexdef(indexrelid)"
                "  from pg_index i join pg_class c on c.oid = i.indrelid"
                "  join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname in ('public', 'wide') and not i.indisprimary"
            ).fetchall()
            for index, _ in indexes:
                conn.execute(f"drop index {index}".encode())
            conn.execute("set session_replication_role = replica")
            conn.execute(fill.encode())
            for _, create in indexes:
                conn.execute(create.encode())
            conn.execute("vacuum analyze")
        capture(url, mapping)
        world = World(url)
        await world.open("select")
        return cls(server, world, mapping)

    async def drop(self) -> None:
        name = self.world.conn.info.dbname
        await self.world.close()
        with psycopg.connect(self.server.url(), autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)".encode())

    async def backfill(
        self, company: str, table: str, own: str, *, unless: str = "", within: float = WHOLE_S
    ) -> None:
        """All rows of the company's come once, in this time and without a long statement.

        own:    a query for the keys in their addresses.
        unless: what is done after it was started.
        """
        world = self.world
        hook = await world.hook(table, company=company)
        with connections.engine(world.url).begin() as conn:
            made = backfills.start(conn, ME, self.mapping, hook.id, f"{table}_changed", "created")
        if unless:
            await world.run(unless)
        await world.until(
            "select state <> 'running' from cdc.backfill where id = %s", made.id, limit=LIMIT_S
        )
        await world.settled(LIMIT_S)
        wanted = Counter(key for (key,) in await world.all(own))
        came = {got.uid: json.loads(got.body)["data"][table] for got in world.came[hook.path]}
        assert Counter(url.rsplit("/", 2)[-2] for url in came.values()) == wanted
        [(state, looked, queued, took)] = await world.all(
            "select state, looked, queued, extract(epoch from ended_at - created_at)::float8"
            "  from cdc.backfill where id = %s",
            made.id,
        )
        assert (state, looked, queued) == ("done", len(wanted), len(wanted))
        slowest = self.slowest()
        print(f"{table} of {company}: {queued} rows in {took:.1f} s, slowest {slowest:.2f} s")
        assert took < within
        assert slowest < STATEMENT_S

    def slowest(self) -> float:
        """Seconds that the longest statement of a daemon took, since it was asked before."""
        log = self.server.log_path.read_text("utf-8", "replace")[self._read :]
        self._read += len(log)
        found = re.findall(r"^cdc (?!command)[^|]*\|LOG:  duration: (\S+) ms", log, re.M)
        return max(map(float, found), default=0.0) / 1000


@pytest.fixture
async def databases() -> AsyncIterator[list[Large]]:
    """Those that a test has filled, to be dropped."""
    made: list[Large] = []
    yield made
    for one in made:
        await one.drop()


@pytest.mark.parametrize("rows", SIZES)
async def test_candidates(server: EmbeddedPostgres, databases: list[Large], rows: int) -> None:
    """Company 1: among those of all others. 2: the last keys, in one project. 3: a project for each
    candidate. 4: without the index, which is dropped when the backfill has been started."""
    own, projects = rows // SHARE, 20 * SHARE
    large = await Large.filled(
        server,
        "candidates",
        f"""
        insert into company (id) select generate_series(1, {SHARE});
        insert into project (id, company_id)
        select g, case when g % {SHARE} in (1, 2) then 4 else 1 + g % {SHARE} end
          from generate_series(1, {projects}) g;
        insert into candidate (id, project_id)
        select g, 1 + g % {projects} from generate_series(1, {rows - 2 * own}) g;
        insert into project (id, company_id)
        select {projects} + g, 3 from generate_series(1, {own}) g;
        insert into candidate (id, project_id)
        select {rows - 2 * own} + g, {projects} + g from generate_series(1, {own}) g;
        insert into project (id, company_id) values (1000000000, 2);
        insert into candidate (id, project_id)
        select {rows - own} + g, 1000000000 from generate_series(1, {own}) g
        """,
    )
    databases.append(large)
    keys = (
        "select c.id::text from candidate c join project p on p.id = c.project_id"
        " where p.company_id = {}"
    )
    async with Process(large.world.url):
        for company in ("1", "2", "3"):
            await large.backfill(company, "candidate", keys.format(company))
        # Started before; it would be refused now. It takes longer, and no statement does.
        await large.backfill(
            "4",
            "candidate",
            keys.format("4"),
            unless="drop index candidate_project_id_idx",
            within=LIMIT_S,
        )


@pytest.mark.parametrize("rows", SIZES)
async def test_notes(server: EmbeddedPostgres, databases: list[Large], rows: int) -> None:
    """Four ways lead to them, over answervideos, candidates, questions and customers."""
    candidates, videos = rows // 5, rows // 2
    large = await Large.filled(
        server,
        "notes",
        f"""
        insert into company (id) select generate_series(0, {SHARE - 1});
        insert into customer (id, company_id)
        select g, g % {SHARE} from generate_series(0, {4 * SHARE - 1}) g;
        insert into project (id, company_id)
        select g, g % {SHARE} from generate_series(0, {20 * SHARE - 1}) g;
        insert into question (id, project_id)
        select g, g from generate_series(0, {20 * SHARE - 1}) g;
        insert into candidate (id, project_id)
        select g, g % {20 * SHARE} from generate_series(0, {candidates - 1}) g;
        insert into answervideo (id, candidate_id, question_id)
        select g, case when g / {SHARE} % 3 > 0 then g % {candidates} end, g % {20 * SHARE}
          from generate_series(0, {videos - 1}) g;
        insert into note (id, answervideo_id, customer_id, candidate_id)
        select g, case when g / {SHARE} % 4 > 0 then g % {videos} end,
               case when g / {SHARE} % 3 > 0 then g % {4 * SHARE} end,
               case when g / {SHARE} % 2 > 0 or g / {SHARE} % 12 = 0 then g % {candidates} end
          from generate_series(0, {rows - 1}) g
        """,
    )
    databases.append(large)
    async with Process(large.world.url):
        keys = f"select id::text from note where id % {SHARE} = 7"
        await large.backfill("7", "note", keys)


@pytest.mark.parametrize("rows", SIZES)
async def test_keys_of_two_columns(
    server: EmbeddedPostgres, databases: list[Large], tmp_path: Path, rows: int
) -> None:
    large = await Large.filled(
        server,
        "two_columns",
        f"""
        insert into wide.firm select 'f' || generate_series(1, {SHARE});
        insert into wide.job (firm, nr)
        select 'f' || f, n::text from generate_series(1, {SHARE}) f, generate_series(1, 20) n;
        insert into wide.person (firm, code, job_nr)
        select 'f' || 1 + g % {SHARE}, g::text, 1 + g / {SHARE} % 20
          from generate_series(1, {rows}) g
        """,
        parse_mapping(MAPPING, "wide.toml"),
        tables=TABLES,
    )
    databases.append(large)
    file = tmp_path / "wide.toml"
    file.write_text(MAPPING)
    async with Process(large.world.url, mapping=file):
        keys = "select code from wide.person where firm = 'f3'"
        await large.backfill("f3", "person", keys)


@pytest.mark.parametrize("rows", SIZES)
async def test_uuid_keys(server: EmbeddedPostgres, databases: list[Large], rows: int) -> None:
    def key(of: str, number: object) -> str:
        return f"md5('{of}' || {number})::uuid"

    large = await Large.filled(
        server,
        "uuids",
        f"""
        insert into company (id) select {key("f", "g")} from generate_series(0, {SHARE - 1}) g;
        insert into project (id, company_id)
        select {key("p", "g")}, {key("f", f"g % {SHARE}")}
          from generate_series(0, {20 * SHARE - 1}) g;
        insert into candidate (id, project_id)
        select {key("c", "g")}, {key("p", f"g % {20 * SHARE}")}
          from generate_series(0, {rows - 1}) g
        """,
        key_type="uuid",
    )
    databases.append(large)
    [(company,)] = await large.world.all(f"select ({key('f', 9)})::text")
    async with Process(large.world.url):
        keys = f"select ({key('c', 'g')})::text from generate_series(9, {rows - 1}, {SHARE}) g"
        await large.backfill(company, "candidate", keys)
