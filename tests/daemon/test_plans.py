"""Every statement of the daemon goes by index, however much waits: their plans on full tables.

Made as the daemon makes them: with its session's settings, prepared, and generic.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from cdc.daemon.store.session import open_session
from cdc.diagnosis import owed
from cdc.model import LOG_RING
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.support import installation
from tests.support.filled import FILL, HOOKS, PARKED, QUEUED, RETRIED

# The arguments of an attempt's settlement, for a row of webhook 3: of the queue, or of retries.
ATTEMPT = "'{{3}}', '{{{id}}}', '{{{uid}}}', '{{1}}', '{{200}}', '{{1.5}}', '{{ok}}', '{{0.1}}'"
ERRORS = ", '{{status}}', '{{bad}}', '{{1}}'"
BODY = ", '{{abc}}', '{{candidate_changed}}', '{{3}}'"
BACKLOG = f"'{{{{{2**62},{2**62}}}}}', '{{{{9,9}}}}'"
ALL_SHARDS = "'{{" + ",".join(map(str, range(64))) + "}}'"


class Case(NamedTuple):
    """Arguments of a query, and which indexes it has to use.

    read: rows of queue and retry table that it may look at, at most.
    """

    arguments: str
    indexes: tuple[str, ...] = ()
    read: int = 20


CASES = {
    "look": Case(
        "'{xmax}', '{{}}', true, 4408387, '{{1,2,3}}', 201, '{xmax}', '{{}}'",
        ("queue_xid", "webhook_xid", "unresolved_due", "task_open"),
    ),
    "glance": Case("'{xmax}', '{{}}', 21", ("queue_xid",)),
    "look_all": Case(f"{ALL_SHARDS}, 0, 5000", ("queue_lane",), 2 * HOOKS),
    # A backlog may be of any length: what counts is how many rows come.
    "fetch": Case(f"'{{{{3,4}}}}', '{{{{1,1}}}}', {BACKLOG}, '{{snapshot}}'", ("queue_lane",)),
    "fetch_created": Case(
        "'{{3}}', '{{{id}}}', '{snapshot}', '{{3}}', '{{{xid}}}', '{{{layout}}}', '{{5}}'",
        ("queue_xid",),
        QUEUED // 5,
    ),
    "due": Case(
        "'{{3,4}}', '{{9,9}}', '{{3}}', '{{302}}', '{{{uid}}}'",
        ("retry_due", "retry_resource"),
        100,
    ),
    "due_next": Case(
        "'{{3,4}}', '{{3}}', '{{302}}', '{{{uid}}}'", ("retry_due", "retry_resource"), 100
    ),
    "blocked": Case("'{{3,4}}', '', '', 2000", ("retry_resource", "retry_created"), 4000),
    "next_webhook": Case(f"{ALL_SHARDS}, 0", ("webhook_pkey",)),
    "webhooks": Case("'{{3,4}}'", ("webhook_pkey",)),
    "fence": Case("'{{3}}', '{{0}}'", ("shard_pkey",)),
    "settle_delivered": Case(f"{ATTEMPT}, '{{{{3}}}}', '{{{{0}}}}'", ("queue_lane", "shard_pkey")),
    "settle_locked": Case("'{{3}}', '{{{id}}}', '{{{uid}}}'", ("queue_lane", "retry_pkey")),
    "settle_recovered": Case(ATTEMPT, ("retry_pkey",)),
    "settle_failed": Case(ATTEMPT + ERRORS + ", '{{5.0}}'" + BODY, ("queue_lane", "retry_pkey")),
    "settle_dead": Case(ATTEMPT + ERRORS + BODY, ("queue_lane", "retry_pkey")),
    "park": Case("'{{3}}', '{{{id}}}', '{{{uid}}}', '{{e}}', '{{k}}'", ("queue_lane",)),
    "promote": Case(
        "'{{12,4}}', '{{candidate_changed,candidate_changed}}', '{{11,hot}}'",
        ("retry_resource", "retry_created"),
    ),
    "keep_lane": Case("3, 'open', 5, 1.0, 0.5, 'bad', 2", ("webhook_pkey",)),
    "suspend": Case("3, 'gone', 1", ("webhook_pkey",)),
    "future_rows": Case("10000", ("queue_xid",)),
    "sweep": Case(f"{ALL_SHARDS}, 60", ("queue_lane",), HOOKS),
    "sweep_retry": Case(f"{ALL_SHARDS}, 60", (), 2 * (RETRIED + PARKED)),
    "expire_which": Case("86400", ("queue_lane",)),
    "expire_queue": Case("7, 0, 0, 100", ("queue_lane",), 200),
    "expire_retry": Case("7, 0, 100, 100", ("retry_pkey",), 200),
    "expire_dead": Case("1209600, '-infinity', 100", ("dead_age", "dead_pkey")),
    "forget_gone": Case("'0', 1000", ("gone_pkey",)),
    "replay": Case(
        "'{{3,3}}', '{{302,22}}', '{{{uid},{uid}}}', '{{null,5}}', now(), '{{1,2}}', true,"
        " 'me', 'cli', 'a request'",
        ("dead_pkey", "retry_pkey", "queue_lane", "webhook_pkey"),
    ),
    "cancel": Case(
        "'{{3,3}}', '{{302,22}}', '{{{uid},{uid}}}', 'cancelled', 'me', 'cli', 'a request'",
        ("dead_pkey", "retry_pkey", "queue_lane", "webhook_pkey"),
    ),
    "drop_dead": Case(
        "'{{3}}', '{{302}}', '{{{uid}}}', now(), 'given up', 'me', 'cli', 'a request'",
        ("dead_pkey",),
    ),
    "backlog": Case(
        f"{ALL_SHARDS}, 10",
        ("queue_lane", "retry_pkey", "dead_list"),
        # Ten of each webhook, and the step to the next.
        10 * (HOOKS + 20) + HOOKS + 20,
    ),
    "notice_find": Case(
        f"{ALL_SHARDS}, '{{{{3,7}}}}', 900, 432000, 86400, 1209600, 172800, 3600, 20000",
        ("queue_lane", "retry_pkey", "retry_due", "dead_age", "notice_webhook_id_kind_since_key"),
        100,
    ),
    "notice_add": Case(
        "'{{3}}', '{{0}}', now(), '{{dead}}', '{{3}}', '{{1}}', '{{null}}', '{{2026-01-31}}',"
        " '{{x}}', '{{y}}'",
        ("shard_pkey",),
    ),
    "trial_claim": Case("'{{3}}', '{{0}}', 10, 30, 1", ("task_open", "shard_pkey")),
    "trial_end": Case("md5('')::uuid, 'd', null, null, 'x', ''", ("task_pkey", "webhook_pkey")),
    "mail_claim": Case("300, 100, 7", ("contact_pkey", "mail_pkey", "notice_pkey")),
    "mail_sent": Case("1, '{{1}}', 900", ("contact_pkey",)),
    "mail_failed": Case("1, 'x'", ("contact_pkey",)),
    "notice_prune": Case("86400, 100", ("notice_pkey", "notice_webhook_id_kind_since_key")),
    "drop_removed": Case("8, 0, 0, 1000", ("queue_lane", "retry_pkey"), 4000),
    "shard_take": Case("'{{3}}', 'me'", ("shard_pkey",)),
    "backfills": Case(f"{ALL_SHARDS}, 500", ("backfill_open", "queue_lane", "retry_pkey")),
    "backfill_read": Case("0, 'candidate', 2000"),
    "backfill_queue": Case(
        "3, 3, 0, '{{1,5}}', '{{1,6}}', false, 1, '{{{layout}}}', '{{\"{{NULL,1,5,6}}\"}}'",
        ("backfill_pkey", "webhook_pkey"),
    ),
    "backfill_prune": Case("86400, 100", ("backfill_pkey",)),
    "backfill_end": Case("3, 3, 0, 'failed', 'x'", ("backfill_pkey",)),
    "log_forget": Case("", ("attempt_00_webhook_id_xid_delivery_idx",), HOOKS),
    "resolve": Case("500", ("unresolved_due",)),
}

SMALL = {
    *("snapshot", "ping", "transaction_id", "layouts", "clock", "flag_show", "flag_hide"),
    *("join", "shard_lock", "shard_unlock", "shard_holders", "log_today", "trial_release"),
    *("server", "schema_version", "installation", "backend_pid", "log_day"),
    "refresh_statistics",
}
"""Those that read no table that grows, or (log_day) any one row of a table without dead ones."""


@pytest.fixture(scope="module")
def filled(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """Name of a database with a long queue, many retries and dead ones: to be copied."""
    for url in fresh_database(postgres, admin, template_db):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("set synchronous_commit = off")
            # Not by autovacuum either, in the middle of the test.
            for table in ("queue", "retry", "dead"):
                conn.execute(f"alter table cdc.{table} set (autovacuum_enabled = off)".encode())
            conn.execute(FILL.encode())
            name = conn.info.dbname
        yield name


# What comes after an idle table was analyzed does not exist for the planner.
ANALYZED_EMPTY = """
create temporary table kept_{0} as table cdc.{0};
delete from cdc.{0};
analyze cdc.{0};
insert into cdc.{0} select * from kept_{0};
"""


@pytest.fixture(scope="module", params=["analyzed", "never analyzed", "analyzed while empty"])
def full(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    admin: psycopg.Connection,
    filled: str,
) -> Iterator[str]:
    """A copy of it."""
    for url in fresh_database(postgres, admin, filled):
        installation.adopt(url)
        if request.param == "analyzed":
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("analyze")
        if request.param == "analyzed while empty":
            with psycopg.connect(url, autocommit=True) as conn:
                for table in ("queue", "retry", "dead"):
                    conn.execute(ANALYZED_EMPTY.format(table).encode())
                conn.execute("set role cdc_daemon")
                conn.execute(sqlfiles.query("refresh_statistics").encode())  # as a fetch does
        yield url


def test_there_is_a_case_for_each_query() -> None:
    folder = Path(__file__).parents[2] / "sql" / "queries"
    texts = {path.stem: path.read_text("utf-8") for path in folder.glob("*.sql")}
    # A person's search: it reads the log as far back as that person wants.
    assert texts.keys() - {"replay_find"} == CASES.keys() | SMALL
    growing = re.compile(r"(from|into|update|join) cdc\.(?!layout|shard|schema|install|attempt_00)")
    assert not [name for name in SMALL if growing.search(texts[name])]


@pytest.mark.parametrize("name", CASES)
def test_it_goes_by_index(full: str, name: str) -> None:
    plan = asyncio.run(_plan(full, name))
    nodes = list(_walk(plan))
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert set(CASES[name].indexes) <= used
    looked_at = 0
    for node in nodes:
        relation = node.get("Relation Name")
        if relation not in ("queue", "retry") and not str(relation).startswith("attempt"):
            continue
        assert node["Node Type"] != "Seq Scan", node
        if node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"):
            removed = node.get("Rows Removed by Filter", 0)
            removed += node.get("Rows Removed by Index Recheck", 0)
            looked_at += (node["Actual Rows"] + removed) * node["Actual Loops"]
    assert looked_at <= CASES[name].read
    # Its rule about long keys is part of it, and no call for each row.
    assert "cdc.brought" not in str(plan)


@pytest.mark.parametrize("webhook", [3, 30], ids=["behind a place", "much is queued"])
def test_a_page_of_the_list_goes_by_index(full: str, webhook: int) -> None:
    """As the function runs it: cdc.owed."""
    # Less than is queued for the one, more than for the other.
    nodes = _owed(full, f"{webhook}, '1', 300, 20, {400 + webhook * 10}", owed.ALL_SLOTS)[1]
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert {"queue_lane", "queue_xid", "retry_list", "dead_list"} <= used
    assert len({name for name in used if "xid_delivery" in name}) == LOG_RING
    assert _read_by_index(nodes) <= 3 * 20 + LOG_RING + 2 * 700


def test_a_page_reads_those_days_of_the_log_that_it_is_asked_for(full: str) -> None:
    """It took seconds to go through the deliveries of a webhook on other days."""
    for slots, days in ((owed.NO_SLOTS, 0), ((5, 6, 1, 0), 2), ((30, 31, 0, 3), 6)):
        nodes = _owed(full, "3, '0', 0, 20, 1000", slots)[1]
        assert len([node for node in nodes if "attempt" in str(node.get("Index Name"))]) == days
        assert _read_by_index(nodes) <= 3 * 20 + LOG_RING + 700


def test_what_is_behind_the_frontier_is_found_by_index(full: str) -> None:
    nodes = _owed(full, "3, '0', 0, 20, 100", owed.ALL_SLOTS)[0]
    assert _read_by_index(nodes) <= 5 * 100


def _owed(url: str, asked: str, slots: tuple[int, ...]) -> list[list[dict[str, Any]]]:
    """Plans of the two statements of cdc.owed, as it runs them: what they did."""
    found: list[list[dict[str, Any]]] = []
    with psycopg.connect(url) as conn:
        ((source, options),) = conn.execute(
            "select prosrc, proconfig from pg_proc where oid = 'cdc.owed'::regproc"
        ).fetchall()
        for option in options:
            conn.execute(f"set local {option}".encode())
        kinds = "bigint, xid8, bigint, int, int, smallint[], bool, xid8, timestamptz"
        frontier = "pg_snapshot_xmin(pg_current_snapshot())"
        call = f"({asked}, '{{{','.join(map(str, slots))}}}', false, {frontier}, now())"
        for part in (r"with lane.*?;\n", r"with here.*?;\n"):
            statement = re.search(part, source, re.DOTALL)
            assert statement is not None
            query = statement[0].rstrip(";\n").replace(" into behind", "")
            query = re.sub(r"\bfrontier\b", "$8", query)
            query = re.sub(r"\bbehind\)", "$9)", query)
            conn.execute(f"prepare part{len(found)} ({kinds}) as {query}".encode())
            explain = f"explain (analyze, timing off, format json) execute part{len(found)}"
            ((plan,),) = conn.execute((explain + call).encode()).fetchall()
            found.append(list(_walk(plan[0]["Plan"])))
    return found


def _read_by_index(nodes: list[dict[str, Any]]) -> float:
    """Rows of our large tables that were looked at, all by index."""
    read = 0.0
    for node in nodes:
        relation = str(node.get("Relation Name"))
        if relation in ("queue", "retry", "dead") or "attempt" in relation:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
            read += node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return read


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


async def _plan(url: str, name: str) -> dict[str, Any]:
    """Runs the query, rolled back; returns what it did."""
    conn = await open_session(url, "test")
    try:
        cursor = await conn.execute(
            b"select id, uid, xid::text, layout, pg_current_snapshot()::text as snapshot,"
            b"       pg_snapshot_xmax(pg_current_snapshot())::text as xmax"
            b"  from cdc.queue where webhook_id = 3 order by id offset 100 limit 1"
        )
        [row] = await cursor.fetchall()
        here = dict(zip(("id", "uid", "xid", "layout", "snapshot", "xmax"), row, strict=True))
        # Something new for the look to see.
        await conn.execute(b"begin")
        await conn.execute(
            b'insert into cdc.queue (webhook_id, layout, action, "time", refs)'
            b' select webhook_id, layout, action, "time", refs from cdc.queue'
            b" where webhook_id = 3 order by id limit 1"
        )
        await conn.execute(f"prepare it as {sqlfiles.query(name)}".encode())
        arguments = CASES[name].arguments.format(**here)
        call = f"execute it({arguments})" if arguments else "execute it"
        cursor = await conn.execute(f"explain (analyze, verbose, format json) {call}".encode())
        [(found,)] = await cursor.fetchall()
        await conn.execute(b"rollback")
    finally:
        await conn.close()
    plan: dict[str, Any] = found[0]["Plan"]
    return plan
