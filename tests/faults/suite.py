"""The stage of a run: companies, their rows, and webhooks of all kinds."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from cdc.mapping import default_mapping, parse_mapping
from cdc.message.signing_keys import new_secret
from cdc.sandbox.records import Hook
from cdc.sandbox.suite import capture, tables_sql
from cdc.schema import migrations
from tests.faults.peer import Peer

EVENTS = (
    "candidate_changed",
    "rating_changed",
    "project_changed",
    "answervideo_changed",
    "note_changed",
)

STATUSES = ("invited", "interviewed", "expired")
CAPTURED_WHEN_DELETED = ("rating_changed", "note_changed")
FILTERED, CHANGED, DELETED = 0.2, 0.2, 0.4
"""Shares of webhooks: want candidates of one status; updates that change the name; deleted rows."""

_MAPPING = parse_mapping(
    re.sub(
        f'event = "({"|".join(CAPTURED_WHEN_DELETED)})"',
        r"\g<0>\ndeleted = true",
        default_mapping().source.replace(
            'event = "candidate_changed"',
            'event = "candidate_changed"\nfields = ["status", "name"]',
        ),
    ),
    "faults.toml",
)
_STATUS = "alter table candidate add if not exists status text not null default 'new'"

ROWS = """
insert into company (id) select c from generate_series(1, {companies}) c;
insert into customer (id, company_id, name) select w, 1, '0' from generate_series(1, {writers}) w;
insert into project (id, company_id, name)
  select c * 1000 + n, c, '0' from generate_series(1, {companies}) c, generate_series(1, 10) n;
insert into question (id, project_id) select c, c * 1000 + 1 from generate_series(1, {companies}) c;
insert into candidate (id, project_id, name)
  select c * 1000 + n, c * 1000 + 1 + n % 10, '0'
    from generate_series(1, {companies}) c, generate_series(1, 60) n;
insert into answervideo (id, candidate_id, question_id, name)
  select c * 1000 + n, c * 1000 + n, c, '0'
    from generate_series(1, {companies}) c, generate_series(1, 20) n;
insert into rating (id, candidate_id, name)
  select c * 1000 + n, c * 1000 + n, '0'
    from generate_series(1, {companies}) c, generate_series(1, 60) n;
insert into note (id, candidate_id, name)
  select c * 1000 + n, c * 1000 + n, '0'
    from generate_series(1, {companies}) c, generate_series(1, 20) n;
"""
# Rows that writers make get numbers beyond those that are there from the beginning.
NUMBERS = "alter table {table} alter column id restart with 1000000"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a stage is."""

    companies: int = 6
    webhooks: int = 48
    writers: int = 8


def table_of(event: str) -> str:
    return event.removesuffix("_changed")


def prepare(url: str, folder: Path) -> Path:
    """Schema cdc, the suite and its triggers. Returns the file of its mapping: a candidate's status
    can be asked for, and ratings and notes are captured when they are deleted, too."""
    migrations.upgrade(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(tables_sql(_MAPPING).encode())
        conn.execute(_STATUS.encode())
    capture(url, _MAPPING)
    file = folder / "faults.toml"
    file.write_text(_MAPPING.source, "utf-8")
    return file


def furnish(url: str, shape: Shape) -> dict[tuple[str, str], list[str]]:
    """Makes the rows. Returns the keys by company and event: rows at version 0, not yet captured,
    because no webhook is registered."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(_STATUS.encode())
        conn.execute(ROWS.format(companies=shape.companies, writers=shape.writers).encode())
        for event in EVENTS:
            conn.execute(NUMBERS.format(table=table_of(event)).encode())
        keys: dict[tuple[str, str], list[str]] = {}
        for event in EVENTS:
            for company in range(1, shape.companies + 1):
                rows = conn.execute(
                    f"select id::text from {table_of(event)} where id / 1000 = %s order by id",
                    (company,),
                ).fetchall()
                keys[str(company), event] = [row[0] for row in rows]
    return keys


def register(
    url: str, shape: Shape, peer: Peer, chance: random.Random
) -> tuple[list[Hook], dict[int, str], dict[int, int]]:
    """Registers webhooks. Returns them, their secrets by number, and their ids in the registry."""
    hooks, secrets, ids = [], {}, {}
    with psycopg.connect(url, autocommit=True) as conn:
        for number in range(shape.webhooks):
            company = str(number % shape.companies + 1)
            # Most want what changes most; all want something.
            events = {"candidate_changed"} if chance.random() < 0.8 else set()
            events |= set(chance.sample(EVENTS, chance.randint(0 if events else 1, 3)))
            status = chance.choice(STATUSES) if chance.random() < FILTERED else ""
            if status:
                events = {"candidate_changed"}
            secrets[number] = new_secret()
            row = conn.execute(
                "insert into cdc.webhook (company, endpoint) values (%s, %s) returning id",
                (company, peer.url(number)),
            ).fetchone()
            assert row is not None
            ids[number] = row[0]
            conn.execute(
                "insert into cdc.webhook_secret (webhook_id, secret) values (%s, %s)",
                (row[0], secrets[number]),
            )
            deleted = chance.random() < DELETED
            for event in events:
                of_candidates = event == "candidate_changed"
                conn.execute(
                    "insert into cdc.subscription (company, event, webhook_id, actions, filter,"
                    " changed) values (%s, %s, %s, %s, %s, %s)",
                    (
                        *(company, event, row[0]),
                        "cmd" if deleted and event in CAPTURED_WHEN_DELETED else None,
                        Jsonb({"status": [status]}) if status and of_candidates else None,
                        # Each update changes the name: it wants all of them.
                        ["name"] if of_candidates and chance.random() < CHANGED else None,
                    ),
                )
            hooks.append(Hook(number, company, frozenset(events), became=status, deleted=deleted))
    return hooks, secrets, ids
