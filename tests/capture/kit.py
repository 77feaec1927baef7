"""A suite under capture, as a test sees it: write, then read what was queued."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from cdc.capture import check, install, plan
from cdc.mapping import Mapping, default_mapping
from cdc.message.payload import Translator
from cdc.model import ACTION_NAMES, Delivery, Layout
from cdc.postgres import connections

Connection = psycopg.Connection[Any]

# Two companies, and of each resource one row.
ROWS = """
insert into company values (1), (2);
insert into customer values (1, 1);
insert into project values (17, 1), (15, 1), (50, 2);
insert into question values (123, 17);
insert into candidate values (19, 17);
insert into answervideo values (7, 19, 123);
insert into rating values (9, 19, 1);
insert into note values (4, 7, 1, null);
"""

RESET = f"""
set session_replication_role = replica;
delete from note; delete from rating; delete from answervideo; delete from candidate;
delete from question; delete from project; delete from customer; delete from company;
delete from cdc.subscription; delete from cdc.webhook; delete from cdc.queue;
delete from cdc.unresolved; delete from cdc.gone;
alter sequence cdc.queue_id restart; select setval('cdc.bell', 1);
reset session_replication_role;
{ROWS}
"""


class Queued(NamedTuple):
    """A row of cdc.queue, in words."""

    webhook: int
    event: str
    action: str
    key: str


class Suite:
    """A database with capture installed, on one connection in autocommit.

    command: another, as commands have it.
    """

    def __init__(self, url: str, mapping: Mapping | None = None) -> None:
        self.url = url
        self.mapping = mapping or default_mapping()
        self.conn = connect(url)
        self.command = connections.connect(url)
        self.endpoints: dict[int, str] = {}

    def run(self, sql: str) -> None:
        """One or more statements; without ``begin`` in them, they are one transaction."""
        self.conn.execute(sql.encode())

    def become(self, account: str) -> None:
        """From now on all is done as this account."""
        for conn in (self.conn, self.command):
            conn.execute(f"set session authorization {account}".encode())

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql.encode(), values or None).fetchall()

    def one(self, sql: str, *values: object) -> Any:
        return self.all(sql, *values)[0][0]

    def register(self, company: str, *events: str, endpoint: str = "https://abc.com/hook") -> int:
        """A webhook of a company for these events, or for all."""
        webhook = self.one(
            "insert into cdc.webhook (company, endpoint) values (%s, %s) returning id",
            company,
            endpoint,
        )
        for event in events or self.mapping.events:
            self.conn.execute(
                "insert into cdc.subscription values (%s, %s, %s)", (company, event, webhook)
            )
        self.endpoints[webhook] = endpoint
        return int(webhook)

    def queued(self) -> list[Queued]:
        return [
            Queued(*row)
            for row in self.all(
                "select q.webhook_id, l.event, q.action::text, q.refs[cardinality(q.refs)]"
                "  from cdc.queue q join cdc.layout l on l.id = q.layout order by q.id"
            )
        ]

    def changes(self) -> list[tuple[str, str]]:
        """Action and key of what is queued, in the order of the queue."""
        return [(row.action, row.key) for row in self.queued()]

    def unresolved(self) -> list[tuple[str, str | None]]:
        """Resource and key of what could not be placed."""
        return [tuple(r) for r in self.all("select resource, key from cdc.unresolved order by id")]

    def resolve(self) -> int:
        """What the daemon does now and then."""
        return int(self.one("select cdc.resolve(array(select id from cdc.unresolved))"))

    def resolve_due(self) -> int:
        """The same for those whose time has come."""
        return int(
            self.one(
                "select cdc.resolve(array(select id from cdc.unresolved"
                " where retry_at <= clock_timestamp()))"
            )
        )

    def deliveries(self) -> list[Delivery]:
        layouts = {
            row[0]: Layout(row[0], row[1], tuple(row[2]))
            for row in self.all("select id, event, fields from cdc.layout")
        }
        return [
            Delivery(
                *(id_, webhook, int(xid), uid, layouts[layout], ACTION_NAMES[action], at, (*refs,)),
                included=included,
            )
            for id_, webhook, xid, uid, layout, action, at, refs, included in self.all(
                'select id, webhook_id, xid::text, uid::text, layout, action::text, "time", refs,'
                "       cdc.bounded(included)"
                "  from cdc.queue order by id"
            )
        ]

    def posts(self, translator: Translator | None = None) -> list[str]:
        """The exact bodies of what is queued, with ``<time>`` for the time of each row."""
        translator = translator or Translator(self.mapping)
        bodies = []
        for delivery in self.deliveries():
            body = translator.body(delivery, self.endpoints[delivery.webhook_id]).decode()
            assert f'"time": "{written(delivery.time)}", ' in body
            bodies.append(body.replace(written(delivery.time), "<time>"))
        return bodies

    def rows_read(self, table: str) -> int:
        """How many rows this session read of a table; to be compared within a transaction."""
        return int(
            self.one(
                "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)"
                "  from pg_stat_xact_user_tables where relname = %s",
                table,
            )
        )

    def clear_queue(self) -> None:
        self.run("delete from cdc.queue")

    def clear(self) -> None:
        self.run("delete from cdc.queue; delete from cdc.unresolved")

    def install(self, mapping: Mapping | None = None) -> list[plan.Step]:
        """Brings capture up to the mapping; returns what had to be done."""
        self.mapping = mapping or self.mapping
        steps = plan.plan(self.conn, self.mapping, check.check(self.conn, self.mapping))
        install.carry_out(self.command, steps, lambda _: None)
        install.remember(self.conn, self.mapping)
        return steps

    def states(self) -> dict[str, str]:
        """State of capture by table."""
        relations = check.check(self.conn, self.mapping)
        return {str(s.table): s.state for s in plan.status(self.conn, self.mapping, relations)}

    def close(self) -> None:
        self.conn.close()
        self.command.close()


def connect(url: str, **options: Any) -> Connection:
    return psycopg.connect(url, autocommit=True, **options)


def written(time: datetime) -> str:
    """ISO 8601, always six digits of microseconds, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def bodies(text: str) -> list[str]:
    """Bodies written over several lines, broken at single spaces; an empty line between two."""
    paragraphs = [" ".join(p.split("\n")) for p in _dedented(text).split("\n\n")]
    return [p for p in paragraphs if p]


def _dedented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().split("\n"))


def rows(numbers: Iterable[int], action: str = "c") -> list[tuple[str, str]]:
    return [(action, str(number)) for number in numbers]


def psql(bin_dir: Path, url: str, *arguments: str | Path) -> str:
    """Runs psql; raises with its output when it fails."""
    import subprocess

    done = subprocess.run(
        [bin_dir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *arguments, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
