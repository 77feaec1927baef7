"""What a backfill reads: all rows of a company, each once, by the indexes of foreign keys."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.capture.backfill import create_index, missing_indexes
from cdc.mapping import default_mapping, parse_mapping
from cdc.sandbox.suite import KeyType, declaring
from tests.capture.kit import Suite
from tests.support import installation

# Of company 1 and 2, and rows that lead to it on several ways, on one of them to another company,
# and to none.
ROWS = """
insert into customer (id, company_id) select g, 1 + g % 2 from generate_series(2, 9) g;
insert into project (id, company_id) select g, 1 + g % 2 from generate_series(100, 120) g;
insert into question (id, project_id) select g, g - 100 from generate_series(200, 220) g;
insert into candidate (id, project_id) select g, 100 + g % 21 from generate_series(300, 399) g;
insert into answervideo (id, candidate_id, question_id)
select g, case when g % 3 > 0 then 300 + g % 100 end, case when g % 4 > 0 then 200 + g % 21 end
  from generate_series(500, 599) g;
insert into rating (id, candidate_id, customer_id)
select g, case when g % 3 > 0 then 300 + g % 100 end, case when g % 2 > 0 then 2 + g % 8 end
  from generate_series(600, 699) g;
insert into note (id, answervideo_id, customer_id, candidate_id)
select g, case when g % 4 > 0 then 500 + g % 100 end, case when g % 3 > 0 then 2 + g % 8 end,
       case when g % 2 > 0 then 300 + g % 100 end
  from generate_series(700, 999) g;
"""


SCHEMA = '"The ""Suite"""'


def read(
    suite: Suite,
    webhook: int,
    company: str = "1",
    resource: str = "candidate",
    most: int = 7,
    since: str | None = None,
    action: str = "c",
) -> list[list[str | None] | None]:
    """References of all rows, a page at a time."""
    found: list[list[str | None] | None] = []
    after = None
    for _ in range(10_000):
        page = suite.all(
            f"select place, layout, refs from cdc_capture.backfill_{resource}"
            "(%s, %s, %s, %s::timestamptz, %s::text[], %s)",
            *(company, webhook, action, since, after, most),
        )
        assert page
        for place, layout, refs in page:
            if place is None:
                return found
            after = place
            if layout is not None:
                found.append(refs)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_what_capture_would_queue_of_each_row(own_suite: Suite, most: int) -> None:
    """The same references as an update of all rows, each once, whatever the way to the company."""
    own_suite.run(ROWS)
    hooks = {"1": own_suite.register("1"), "2": own_suite.register("2")}
    own_suite.clear()
    for resource in own_suite.mapping.captured:
        own_suite.run(f"update {resource.table.sql} set name = 'x'")
        for company, hook in hooks.items():
            wanted = own_suite.all("select refs from cdc.queue where webhook_id = %s", hook)
            got = read(own_suite, hook, company, resource.name, most)
            got = [refs for refs in got if refs is not None]
            assert len(wanted) > 5 or resource.name == "project"
            assert sorted(map(str, got)) == sorted(str(refs) for (refs,) in wanted)
        own_suite.clear()


def test_a_company_costs_what_its_own_rows_cost(own_suite: Suite) -> None:
    """Whatever the planner knows of the tables, and whatever another company has."""
    hook = own_suite.register("1")
    own_suite.run(
        "set session_replication_role = replica;"
        " insert into candidate (id, project_id) select g, 50 from generate_series(100, 50000) g;"
        " update candidate set project_id = 17 where id % 1000 = 0;"
        " reset session_replication_role"
    )
    for analyzed in (False, True):
        if analyzed:
            own_suite.run("analyze")
        with own_suite.conn.transaction():
            before = own_suite.rows_read("candidate")
            assert len(read(own_suite, hook, most=10)) == 51
            # A page walks through what lies below one parent, and looks up its own rows.
            assert own_suite.rows_read("candidate") - before <= 6 * 51 + 2 * 51


def test_a_page_ends_in_time_and_gets_on(own_suite: Suite) -> None:
    """Where there is little to be found below many parents."""
    own_suite.run(ROWS)
    hook = own_suite.register("1")
    body = own_suite.one("select prosrc from pg_proc where proname = 'backfill_note'")
    assert "interval '1 s'" in body
    whole = read(own_suite, hook, resource="note")
    own_suite.run(
        "do $$ begin execute replace(pg_get_functiondef("
        "'cdc_capture.backfill_note'::regproc), $i$interval '1 s'$i$, $i$interval '0'$i$); end $$"
    )
    assert read(own_suite, hook, resource="note", most=10) == whole


def test_only_what_the_webhook_wants(own_suite: Suite) -> None:
    own_suite.run(
        "alter table candidate add status text, add changed timestamptz default '2026-01-01'"
    )
    own_suite.install(
        declaring("candidate_changed", 'fields = ["status"]', 'changed_at = "changed"')
    )
    own_suite.run(
        "insert into candidate (id, project_id, status, changed) values"
        " (20, 17, 'new', now()), (21, 17, 'expired', '2026-02-01'), (22, 15, 'expired', now())"
    )
    hook = own_suite.register("1", "candidate_changed")
    own_suite.run("""update cdc.subscription set filter = '{"status": ["expired"]}'""")

    def keys(**more: Any) -> list[str | None]:
        return [refs[-1] if refs else None for refs in read(own_suite, hook, **more)]

    assert keys() == ["22", None, None, "21"]
    assert keys(since="2026-02-01T00:00Z") == ["22", None, "21"]
    assert keys(since="2026-02-01T00:01Z") == ["22", None]
    assert keys(company="2") == []
    own_suite.run("update cdc.subscription set actions = 'm'")
    assert keys() == [None] * 4
    assert keys(action="m") == ["22", None, None, "21"]


@pytest.mark.parametrize("key_type", ["uuid", "text"])
def test_other_keys_and_quoted_names(empty_database: str, key_type: KeyType) -> None:
    text = default_mapping().source
    for name in ("company", "project", "candidate"):
        text = text.replace(f'table = "{name}"', f"table = '{SCHEMA}.{name}s'")
    mapping = parse_mapping(text.replace('key = "id"', """key = '"The key"'"""), "x.toml")
    installation.prepare(empty_database, mapping, key_type)
    suite = Suite(empty_database, mapping)
    for _ in range(2):
        suite.run(f"insert into {SCHEMA}.companys default values")
    suite.run(
        f'insert into {SCHEMA}.projects (company_id) select "The key" from {SCHEMA}.companys;'
        f'insert into {SCHEMA}.candidates (project_id) select "The key" from {SCHEMA}.projects,'
        " generate_series(1, 10);"
        f'insert into rating (candidate_id) select "The key" from {SCHEMA}.candidates'
    )
    for company, *_ in suite.all(f'select "The key"::text from {SCHEMA}.companys'):
        hook = suite.register(company)
        suite.run(f"update {SCHEMA}.candidates set name = 'x'; update rating set name = 'x'")
        for resource in ("candidate", "rating"):
            wanted = suite.all(
                "select q.refs from cdc.queue q join cdc.layout l on l.id = q.layout"
                " where q.webhook_id = %s and l.event = %s",
                hook,
                f"{resource}_changed",
            )
            got = read(suite, hook, company, resource, most=3)
            assert sorted(map(str, got)) == sorted(str(refs) for (refs,) in wanted)
            assert len(got) == 10
    suite.close()


def test_a_foreign_key_without_an_index(own_suite: Suite) -> None:
    """Of a partition, too: there the index of the whole table counts for nothing."""
    candidate = own_suite.mapping.resources["candidate"]

    def missing() -> list[str]:
        found = missing_indexes(own_suite.conn, own_suite.mapping, candidate)
        return [f"{table.name}.{column}" for table, (column,) in found]

    assert missing() == []
    own_suite.run("drop index candidate_project_id_idx")
    assert missing() == ["candidate.project_id"]
    own_suite.run("create index on candidate (project_id) where id > 5")
    own_suite.run("create index on candidate (id, project_id)")
    assert missing() == ["candidate.project_id"]
    own_suite.run("create index on candidate (project_id, id)")
    own_suite.run("create table more () inherits (candidate)")
    assert missing() == ["more.project_id"]
    own_suite.run("create index on more (project_id)")
    assert missing() == []


def test_partitions_without_an_index_are_named(own_suite: Suite) -> None:
    """Of the whole table none can be made CONCURRENTLY."""
    own_suite.run(
        "drop table candidate cascade;"
        " create table candidate (id bigint, project_id bigint, primary key (id))"
        " partition by range (id);"
        " create table candidate_1 partition of candidate for values from (1) to (9);"
        " create schema old;"
        ' create table old."C 2" partition of candidate for values from (9) to (99)'
    )
    rating = own_suite.mapping.resources["rating"]
    found = missing_indexes(own_suite.conn, own_suite.mapping, rating)
    assert [str(table) for table, _ in found] == ["old.C 2", "public.candidate_1"]
    for one in found:
        own_suite.conn.execute(create_index(*one).encode())
    assert missing_indexes(own_suite.conn, own_suite.mapping, rating) == []


def test_where_deleted_rows_are_captured(own_suite: Suite) -> None:
    """None of what it reads is deleted: what is kept of parents is not looked at."""
    own_suite.install(declaring("note_changed", "deleted = true"))
    found = read(own_suite, own_suite.register("1"), resource="note")
    assert [refs[-1] for refs in found if refs] == ["4"]
