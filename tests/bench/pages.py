"""What pages of API and console cost, with a log of 10,000,000 rows and 10,000 webhooks.

    python -m tests.bench.pages [--rows 10000000] [--webhooks 10000] [--repeats 15] [--json]

A database of its own is filled by SQL, 28 days of log, a third of it of one webhook; `cdc serve`
answers. Reported are processor times, medians: of the server's sessions for a page, and of serve.
They bear a busy machine better than times of the clock do. Aims: a page of the list 1 ms of
PostgreSQL and 2.5 ms of serve, any other page 10 ms of PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from urllib.parse import quote

import psycopg
from rich.console import Console
from rich.table import Table

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.web import cursors
from cdc.web.recent import KEPT_S
from tests.bench.kit import arguments
from tests.support import installation
from tests.web.browser import Person, person
from tests.web.kit import Served, account, serving

SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
STEP_ROWS = 1_000_000
WARMED = 8
"""Requests before it counts: each connection of serve plans a statement some times."""
LIST_MS, PAGE_MS = 1.0, 10.0
FOLLOWED = "list, page after page"
"""As a client reads it that follows `next`. A page by itself, a moment after another, costs up to
twice as much: the processor's caches hold something else by then."""
FOLLOWED_PAGES = 100
READING = "status, a reading for all"
"""What overview and status show is read once for all requests: this waits until it is too old."""
READINGS = 3

FILL = """
set synchronous_commit = off;
insert into company select g from generate_series(1, 1000) g;
insert into cdc.webhook (company, endpoint)
select (1 + g % 1000)::text, 'https://abc.com/' || g from generate_series(1, {webhooks}) g;
insert into cdc.subscription (company, event, webhook_id)
select company, 'candidate_changed', id from cdc.webhook;
insert into cdc.webhook_secret (webhook_id, secret)
select id, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' from cdc.webhook;
insert into cdc.lane (webhook_id) select id from cdc.webhook;
insert into cdc.queue (webhook_id, layout, action, "time", refs)
select 2 + g % 300, {layout}, 'm', clock_timestamp(), array[null, '1', '1', (g % 1000)::text]
  from generate_series(1, 20000) g;
insert into cdc.retry (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                       tries, due_at)
select 1 + g % 200, g, gen_random_uuid(), '3', {layout}, 'm', now() - interval '1 hour',
       array['b', '1', '1', g::text], 'candidate_changed', g::text, 'x', 1, now() + interval '1 day'
  from generate_series(1, 20000) g;
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, "time", refs, event, key, body,
                      attempts, tries, died_at)
select 1 + g % 500, 1000000 + g, gen_random_uuid(), '3', {layout}, 'm',
       now() - g * interval '10 s', array['b', '1', '1', g::text], 'candidate_changed', g::text,
       'x', 1, 1, now() - g * interval '10 s'
  from generate_series(1, 100000) g;
insert into cdc.audit (actor, action, company, webhook_id)
select 'key:abc', 'webhook.update', (1 + g % 1000)::text, 1 + g % {webhooks}
  from generate_series(1, 200000) g;
insert into cdc.notice (kind, webhook_id, company, since, cause, sentence)
select 'failing', 1 + g % {webhooks}, (1 + g % 1000)::text, now() - g * interval '1 min', 'x', 'x'
  from generate_series(1, 50000) g;
insert into cdc.backfill (webhook_id, event, action, actor, state, ended_at)
select 1 + g % {webhooks}, 'candidate_changed', 'c', 'me', 'done', now()
  from generate_series(1, 5000) g;
"""
# The newest second of the log is now; transactions rise with it, below those that are open.
LOG = """
insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, "time", refs, try,
                         outcome, status, duration_ms, xid)
select extract(epoch from at)::bigint / 86400 % 32, at, 10000000 + g, gen_random_uuid(),
       case when g % 10 < 3 then 1
            else 2 + floor(({webhooks} - 3) * power(random(), 3))::int end,
       {layout}, 'm', at - interval '1 s', array['b', '1', '17', (g % 100000)::text], 1,
       case when g % 100 = 0 then 'failed' when g % 5000 = 1 then 'expired' else 'delivered' end,
       200, 12.5, (1 + g * 500::bigint / {rows})::text::xid8
  from (select g, now() - ({rows} - g) * (interval '28 days' / {rows}) as at
          from generate_series({first}, {last}) g) x
"""


@dataclass(frozen=True, slots=True)
class Page:
    """postgres, serve: milliseconds of processor time. ms: of the clock."""

    name: str
    postgres: float
    serve: float
    ms: float
    aim: float


def fill(url: str, rows: int, webhooks: int, say: Callable[[str], None]) -> None:
    """Into an empty database."""
    installation.prepare_template(url)
    installation.adopt(url)
    layout = "(select max(id) from cdc.layout where event = 'candidate_changed')"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(FILL.format(webhooks=webhooks, layout=layout).encode())
        for first in range(1, rows + 1, STEP_ROWS):
            last = min(rows, first + STEP_ROWS - 1)
            asked = {"rows": rows, "webhooks": webhooks, "first": first, "last": last}
            conn.execute(LOG.format(layout=layout, **asked).encode())
            say(f"  {last:,} rows of log")
        while conn.execute("select pg_current_xact_id()::text::int < 600").fetchone() == (True,):
            pass
        conn.execute("vacuum analyze")


def pages(served: Served) -> dict[str, tuple[str, float]]:
    """Name to address and aim; the API's begin with /v1."""
    ((busy,), (quiet,)) = served.rows(
        "(select webhook_id from cdc.attempt where slot = 5 group by 1 order by count(*) desc"
        "  limit 1) union all (select max(id) from cdc.webhook)"
    )
    one_of = "select uid::text, delivery from cdc.attempt where webhook_id = 5 order by at"
    ((old, _),) = served.rows(f"{one_of} limit 1")
    ((uid, number),) = served.rows(f"{one_of} desc limit 1")
    linked = f"{uid}?webhook=5&id={number}"
    client = served.client("operator")
    far = client.good("GET", f"/v1/webhooks/{busy}/deliveries?limit=50&since=2000-01-01T00:00:00Z")
    day = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 86400))
    week = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 7 * 86400))
    listed = f"/v1/webhooks/{busy}/deliveries"
    page = client.good("GET", f"{listed}?since={day}&limit=200")
    while page["more"]:
        page = client.good("GET", f"{listed}?limit=200&after={quote(page['next'])}")
    newest = quote(client.good("GET", f"{listed}?after={quote(page['next'])}")["next"])
    middle = cursors.cursor(quiet // 2)
    one = f"/console/webhooks/{busy}"
    return {
        "list, from the beginning": (listed, LIST_MS),
        "list, from a cursor": (f"{listed}?after={quote(far['next'])}", LIST_MS),
        "list, at the end": (f"{listed}?after={newest}", LIST_MS),
        "list, waiting": (f"{listed}?state=waiting", PAGE_MS),
        "list, of the last day": (f"{listed}?since={day}", PAGE_MS),
        "list, webhook 5": ("/v1/webhooks/5/deliveries", LIST_MS),
        "list, webhook without any": (f"/v1/webhooks/{quiet}/deliveries", LIST_MS),
        "delivery": (f"/v1/deliveries/{uid}", PAGE_MS),
        "delivery of 28 days ago": (f"/v1/deliveries/{old}", PAGE_MS),
        "delivery, as linked": (f"/v1/deliveries/{linked}", PAGE_MS),
        "webhook": (f"/v1/webhooks/{busy}", PAGE_MS),
        "search of all": ("/v1/deliveries", PAGE_MS),
        "search of a company": ("/v1/deliveries?company=7", PAGE_MS),
        "search, found little": (f"/v1/deliveries?webhook={busy}&row=nothing", PAGE_MS),
        "search of a company, found little": ("/v1/deliveries?company=7&row=nothing", PAGE_MS),
        "search of a time": (f"/v1/deliveries?webhook={busy}&until={week}", PAGE_MS),
        "search of a company, of a time": (f"/v1/deliveries?company=7&until={week}", PAGE_MS),
        "webhooks of all": ("/v1/webhooks", PAGE_MS),
        "webhooks of all, from the middle": (f"/v1/webhooks?after={middle}", PAGE_MS),
        "webhooks of all, found little": ("/v1/webhooks?state=suspended", PAGE_MS),
        "webhooks of a company": ("/v1/companies/7/webhooks", PAGE_MS),
        "companies": ("/v1/companies?prefix=7", PAGE_MS),
        "audit": ("/v1/audit", PAGE_MS),
        "audit of a webhook": (f"/v1/audit?webhook={busy}", PAGE_MS),
        "notices": ("/v1/notices", PAGE_MS),
        "backfills": ("/v1/backfills", PAGE_MS),
        "status": ("/v1/status", PAGE_MS),
        READING: ("/v1/status", PAGE_MS),
        "console: overview": ("/console/", PAGE_MS),
        "console: companies": ("/console/companies", PAGE_MS),
        "console: company": ("/console/company?name=7", PAGE_MS),
        "console: webhook": (one, PAGE_MS),
        "console: webhook, dead": (f"{one}?state=dead", PAGE_MS),
        "console: webhook, expired": (f"{one}?state=expired", PAGE_MS),
        "console: webhook, waiting": (f"{one}?state=waiting", PAGE_MS),
        "console: webhook without any": (f"/console/webhooks/{quiet}", PAGE_MS),
        "console: search": ("/console/deliveries?company=7", PAGE_MS),
        "console: delivery": (f"/console/deliveries/{uid}", PAGE_MS),
        "console: delivery, as linked": (f"/console/deliveries/{linked}", PAGE_MS),
        "console: audit": ("/console/audit", PAGE_MS),
        "console: audit of an actor": ("/console/audit?actor=key:abc", PAGE_MS),
        "console: unresolved": ("/console/unresolved", PAGE_MS),
        "console: doctor": ("/console/doctor", PAGE_MS),
        "console: keys": ("/console/keys", PAGE_MS),
    }


async def measure(
    served: Served, repeats: int, only: str, say: Callable[[str], None]
) -> list[Page]:
    found = []
    client = served.client("operator")
    async with person(served.url) as one:
        await one.sign_in(served.client("admin").key or "")
        listed = pages(served)
        if only in FOLLOWED:
            path, _ = listed["list, from the beginning"]
            made = [await _followed(served, one, client.key or "", path) for _ in range(repeats)]
            found.append(_page(FOLLOWED, made, LIST_MS, say))
        for name, (path, aim) in listed.items():
            if only not in name:
                continue
            made = []
            turns = WARMED + (READINGS if name == READING else repeats)
            for turn in range(turns):
                if name == READING and turn >= WARMED:
                    await asyncio.sleep(KEPT_S + 1)
                before, began = cpu(served), time.perf_counter()
                await _ask(one, client.key or "", path)
                took, after = time.perf_counter() - began, cpu(served)
                if turn >= WARMED:
                    made.append((after[0] - before[0], after[1] - before[1], took * 1000))
            found.append(_page(name, made, aim, say))
    return found


def _page(
    name: str, made: list[tuple[float, float, float]], aim: float, say: Callable[[str], None]
) -> Page:
    """made: of each repeat PostgreSQL, serve and the clock."""
    postgres, serve, ms = (round(median(each), 2) for each in zip(*made, strict=True))
    say(f"  {name}: {postgres:g} ms of PostgreSQL, {serve:g} of serve")
    return Page(name, postgres, serve, ms, aim)


async def _followed(served: Served, one: Person, key: str, path: str) -> tuple[float, float, float]:
    """A page of FOLLOWED_PAGES that were read one after the other, on average."""
    page = json.loads(await _ask(one, key, path))
    before, began = cpu(served), time.perf_counter()
    for _ in range(FOLLOWED_PAGES):
        page = json.loads(await _ask(one, key, f"{path}?after={quote(page['next'])}"))
        assert len(page["items"]) == 50, "the log ends"
    took, after = time.perf_counter() - began, cpu(served)
    postgres, serve = (end - begin for begin, end in zip(before, after, strict=True))
    return postgres / FOLLOWED_PAGES, serve / FOLLOWED_PAGES, took * 1000 / FOLLOWED_PAGES


async def _ask(one: Person, key: str, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {key}"} if path.startswith("/v1") else {}
    url = one.url.rstrip("/") + path
    async with one.http.get(url, headers=headers) as got:
        answer = await got.read()
        assert got.status == 200, (path, got.status, answer)
        return answer


def cpu(served: Served) -> tuple[float, float]:
    """Milliseconds, of the server's sessions for serve, and of serve."""
    pids = served.rows("select pid from pg_stat_activity where usename = %s", served.user)
    return sum(_of(f"/proc/{pid}") for (pid,) in pids), sum(
        _of(str(thread)) for thread in Path(f"/proc/{served.process.pid}/task").iterdir()
    )


def _of(folder: str) -> float:
    return int(Path(folder, "schedstat").read_text().split()[0]) / 1e6


def run(args: argparse.Namespace) -> list[Page]:
    say = Console(stderr=True, highlight=False).print
    with (
        EmbeddedPostgres(settings=SETTINGS) as server,
        psycopg.connect(server.url(), autocommit=True) as admin,
    ):
        admin.execute("create database pages")
        url = server.url("pages")
        fill(url, args.rows, args.webhooks, say)
        return measured(admin, url, args, say)


def measured(
    admin: psycopg.Connection, url: str, args: argparse.Namespace, say: Callable[[str], None]
) -> list[Page]:
    """Of a database that is full already."""
    with account(admin, url) as serve, serving(serve, url) as served:
        return asyncio.run(measure(served, args.repeats, args.only, say))


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the attempt log")
    parser.add_argument("--webhooks", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="pages whose names have this in them")
    args = parser.parse_args()
    found = run(args)
    if args.json:
        print(json.dumps([asdict(page) for page in found]))
    else:
        table = Table(
            title=f"{args.rows:,} rows of log, {args.webhooks:,} webhooks: ms of processor"
        )
        for column in ("page", "PostgreSQL", "aim", "serve", "clock"):
            table.add_column(column, justify="left" if column == "page" else "right")
        for page in found:
            cells = (page.postgres, page.aim, page.serve, page.ms)
            table.add_row(page.name, *(f"{value:g}" for value in cells))
        Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
