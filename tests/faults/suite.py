"""The stage of a run: companies, their rows, and webhooks of all kinds."""

from __future__ import annotations

import random
from dataclasses import dataclass

import psycopg

from cdc.message.signing_keys import new_secret
from cdc.sandbox.records import Hook
from tests.faults.peer import Peer

EVENTS = (
    "candidate_changed",
    "rating_changed",
    "project_changed",
    "answervideo_changed",
    "note_changed",
)

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


def furnish(url: str, shape: Shape) -> dict[tuple[str, str], list[str]]:
    """Makes the rows. Returns the keys by company and event: rows at version 0, not yet captured,
    because nobody is registered."""
    with psycopg.connect(url, autocommit=True) as conn:
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
            for event in events:
                conn.execute(
                    "insert into cdc.subscription values (%s, %s, %s)", (company, event, row[0])
                )
            hooks.append(Hook(number, company, frozenset(events)))
    return hooks, secrets, ids
