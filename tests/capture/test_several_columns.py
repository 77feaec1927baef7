"""Keys of several columns: each row is known by all of them, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.mapping import parse_mapping
from tests.capture.kit import Suite
from tests.capture.test_backfill import read

TABLES = """
create schema wide;
create table wide.firm (id text primary key);
create table wide.job (
  firm text not null references wide.firm, nr text not null, title text, other text,
  primary key (firm, nr));
create table wide.person (
  firm text not null, code text not null, job_nr text, primary key (firm, code),
  foreign key (firm, job_nr) references wide.job (firm, nr)
    on update cascade on delete cascade deferrable);
create index on wide.person (firm, job_nr);
create table wide.review (
  firm text not null, id int not null, person text, job_nr text, home text default 'a',
  primary key (firm, id),
  foreign key (firm, person) references wide.person (firm, code)
    on update cascade on delete cascade deferrable,
  foreign key (job_nr, home) references wide.job (nr, firm) on delete cascade deferrable);
create index on wide.review (firm, person);
create index on wide.review (job_nr, home);
"""
MAPPING = """
base_url = "https://wide.example/"

[company]
table = "wide.firm"
key = "id"
url = "{company}/"

[resources.job]
table = "wide.job"
key = ["firm", "nr"]
parents = { company = "firm" }
url = "{company}jobs/{nr}/"
event = "job_changed"
data = ["job"]
fields = ["title"]
deleted = true

[resources.person]
table = "wide.person"
key = ["firm", "code"]
parents = { job = ["firm", "job_nr"] }
url = "people/{firm}/{code}/"
event = "person_changed"
data = ["person", "job"]
deleted = true

[resources.review]
table = "wide.review"
key = ["firm", "id"]
parents = { person = ["firm", "person"], job = ["home", "job_nr"] }
url = ["{person}reviews/{id}/", "{job}reviews/{firm}-{id}/"]
event = "review_changed"
data = ["job", "person", "review"]
deleted = true
"""
RESET = """
set session_replication_role = replica;
delete from wide.review; delete from wide.person; delete from wide.job; delete from wide.firm;
delete from cdc.subscription; delete from cdc.webhook;
delete from cdc.queue; delete from cdc.unresolved; delete from cdc.gone;
reset session_replication_role;
insert into wide.firm values ('a'), ('a/b'), ('z');
"""
MANY = 100
"""Rows that are joined, rather than looked up one by one."""


@pytest.fixture(scope="module")
def installed(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database, parse_mapping(MAPPING, "wide.toml"))
    made.run(TABLES)
    made.install()
    yield made
    made.close()


@pytest.fixture
def suite(installed: Suite) -> Suite:
    """Three companies without rows, and a webhook of each."""
    installed.run(RESET)
    for company in ("a", "a/b", "z"):
        installed.register(company)
    installed.run("update cdc.subscription set actions = 'cmd'")
    return installed


def refs(suite: Suite) -> list[tuple[str | None, ...]]:
    """Of what is queued, without the base URL and the company."""
    return [delivery.refs[2:] for delivery in suite.deliveries()]


def addresses(suite: Suite) -> list[str]:
    start = "https://wide.example/"
    said = [body.partition('"action": ')[2].removesuffix("}}") for body in suite.posts()]
    return [one.replace(start, "").replace('"', "") for one in said]


def test_a_separator_in_a_text_makes_no_two_rows_equal(suite: Suite) -> None:
    suite.run(
        "insert into wide.job values ('a/b', 'c'), ('a', 'b/c'), ('a', 'b%2Fc'), ('a', ''),"
        " ('a', ' ü'), ('z', '%')"
    )
    assert [row.key for row in suite.queued()] == [
        *("a%2Fb/c", "a/b%2Fc", "a/b%252Fc", "a/", "a/ ü", "z/%25"),
    ]
    assert addresses(suite) == [
        "created, job: a%2Fb/jobs/c/",
        "created, job: a/jobs/b%2Fc/",
        "created, job: a/jobs/b%252Fc/",
        "created, job: a/jobs//",
        "created, job: a/jobs/%20%C3%BC/",
        "created, job: z/jobs/%25/",
    ]


@pytest.mark.parametrize("rows", [1, MANY])
def test_a_foreign_key_leads_on_if_none_of_its_columns_is_null(suite: Suite, rows: int) -> None:
    """The company is always there, so that column alone says nothing."""
    suite.run(
        "insert into wide.job values ('a', '1'), ('a', '2'), ('z', '1');"
        "insert into wide.person values ('a', 'p', '1'), ('z', 'p', '1')"
    )
    suite.clear_queue()
    for person, job in (("'p'", "'2'"), ("null", "'2'"), ("'p'", "null"), ("null", "null")):
        suite.run(
            "insert into wide.review"
            f" select 'a', n, {person}, {job} from generate_series(1, {rows}) n"
        )
        found = {(key.split("/")[0], *others) for *others, key in refs(suite) if key}
        if person == job == "null":
            assert not found
            assert len(suite.unresolved()) == rows
            assert ("review", "a/1") in suite.unresolved()
        else:
            assert len(suite.queued()) == rows
            # Job and person; the row's own job first.
            wanted = {
                ("'p'", "'2'"): ("a/2", "a/p"),
                ("null", "'2'"): ("a/2", None),
                ("'p'", "null"): ("a/1", "a/p"),
            }[person, job]
            assert found == {("a", *wanted)}
        suite.clear()
        suite.run("delete from wide.review")
        suite.clear()


@pytest.mark.parametrize("rows", [1, MANY])
def test_columns_of_two_foreign_keys_are_not_mixed(suite: Suite, rows: int) -> None:
    """Of the one a column is null, so the other's lead on: all of them."""
    suite.run(
        "insert into wide.job values ('a', '1'), ('z', '1');"
        "insert into wide.person values ('a', 'p', '1')"
    )
    suite.clear_queue()
    suite.run(
        f"insert into wide.review select 'a', n, 'p', null, 'z' from generate_series(1, {rows}) n"
    )
    assert {found[:2] for found in refs(suite)} == {("a/1", "a/p")}
    assert {row.webhook for row in suite.queued()} == {suite.one("select min(id) from cdc.webhook")}


def test_the_address_of_each_way(suite: Suite) -> None:
    suite.run(
        "insert into wide.job values ('a', '1'), ('a', '2');"
        "insert into wide.person values ('a', 'p', '1')"
    )
    suite.clear_queue()
    suite.run("insert into wide.review values ('a', 1, 'p', '2'), ('a', 2, null, '2')")
    assert addresses(suite) == [
        "created, job: a/jobs/2/, person: people/a/p/, review: people/a/p/reviews/1/",
        "created, job: a/jobs/2/, person: null, review: a/jobs/2/reviews/a-2/",
    ]


@pytest.mark.parametrize("rows", [2, MANY])
def test_a_row_is_compared_with_the_one_of_the_same_key(suite: Suite, rows: int) -> None:
    suite.run(
        f"""insert into wide.job select f, n, 'x' from generate_series(1, {rows}) n,
              unnest(array['a', 'z']) f;
            update cdc.subscription set actions = 'm', changed = '{{title}}'"""
    )
    suite.clear_queue()
    suite.run("update wide.job set title = 'x', other = 'y'")
    assert suite.changes() == []
    suite.run("update wide.job set title = 'new' where firm = 'a' and nr = '2'")
    assert suite.changes() == [("m", "a/2")]
    suite.clear_queue()
    # Another key: the row was not there before.
    suite.run("update wide.job set nr = nr || '/' where nr = '1'")
    assert sorted(suite.changes()) == [("m", "a/1%2F"), ("m", "z/1%2F")]


@pytest.mark.parametrize("rows", [1, MANY])
def test_what_a_cascade_deletes_is_found_over_its_parents(suite: Suite, rows: int) -> None:
    numbers = f"generate_series(1, {rows}) n, unnest(array['a', 'z']) f"
    suite.run(
        f"""insert into wide.job values ('a', '1'), ('z', '1');
            insert into wide.person select f, n, '1' from {numbers};
            insert into wide.review select f, n, n from {numbers}"""
    )
    suite.clear_queue()
    suite.run("delete from wide.job where firm = 'a'")
    assert suite.unresolved() == []
    assert {row.action for row in suite.queued()} == {"d"}
    assert sorted(row.key for row in suite.queued()) == sorted(
        ["a/1", *2 * [f"a/{n}" for n in range(1, rows + 1)]]
    )
    assert {found[:2] for found in refs(suite) if len(found) == 3} == {
        ("a/1", f"a/{n}") for n in range(1, rows + 1)
    }


def test_order_of_a_row_that_waits_for_its_parent(suite: Suite) -> None:
    """A row of another company with the same number does not wait behind it."""
    suite.run(
        """begin; set constraints all deferred;
           insert into wide.job values ('z', '1');
           insert into wide.person values ('z', 'p', '1'), ('a', 'p', '1');
           update wide.person set job_nr = '1';
           insert into wide.job values ('a', '1');
           update wide.person set job_nr = '1'; commit"""
    )
    people = [row for row in suite.queued() if row.event == "person_changed"]
    assert [(row.action, row.key) for row in people] == [("c", "z/p"), ("m", "z/p"), ("m", "z/p")]
    assert suite.unresolved() == [("person", "a/p")] * 3
    assert suite.resolve() == 3
    people = [row for row in suite.queued() if row.event == "person_changed"]
    assert [(row.action, row.key) for row in people if row.key == "a/p"] == [
        *(("c", "a/p"), ("m", "a/p"), ("m", "a/p"))
    ]


def test_a_renamed_column_of_the_row(suite: Suite) -> None:
    """Its key is read under the names that the mapping has, as far as they are there."""
    suite.run("insert into wide.job values ('a', '1/2')")
    suite.run("insert into wide.person values ('a', 'p', '1/2')")
    suite.clear_queue()
    suite.run("alter table wide.person rename job_nr to job")
    try:
        suite.run("update wide.person set job = job")
        assert suite.unresolved() == [("person", "a/p")]
    finally:
        suite.run("alter table wide.person rename job to job_nr")
    assert suite.resolve() == 1
    assert refs(suite) == [("a/1%2F2", "a/p")]


def test_a_parent_that_cannot_be_read(suite: Suite) -> None:
    suite.run("insert into wide.job values ('a', '1')")
    suite.run("insert into wide.person values ('a', 'p', '1')")
    suite.clear_queue()
    suite.run("alter table wide.job rename firm to company")
    try:
        suite.run("update wide.person set code = code")
        assert suite.unresolved() == [("person", "a/p")]
    finally:
        suite.run("alter table wide.job rename company to firm")
    assert suite.resolve() == 1
    assert refs(suite) == [("a/1", "a/p")]


def test_a_row_of_whose_key_a_part_was_not_kept_stays(suite: Suite) -> None:
    """Of a table whose columns have changed, long values are not kept."""
    suite.run("insert into wide.job values ('a', repeat('n', 300))")
    suite.clear_queue()
    suite.run("alter table wide.job rename title to name")
    try:
        suite.run("update wide.job set name = 'x'")
    finally:
        suite.run("alter table wide.job rename name to title")
    assert suite.unresolved() == [("job", None)]
    assert suite.resolve() == 0
    assert suite.queued() == []


def test_values_are_included(suite: Suite) -> None:
    suite.run("update cdc.subscription set include = '{title}' where event = 'job_changed'")
    suite.run("insert into wide.job values ('a', '1', 'Cook')")
    (body,) = suite.posts()
    assert body.endswith('a/jobs/1/", "changed": ["title"], "fields": {"title": "Cook"}}}')


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_backfill_reads_each_row_once(suite: Suite, most: int) -> None:
    suite.run(
        """insert into wide.job
             select f, n || '/' from generate_series(1, 4) n, unnest(array['a', 'z']) f;
           insert into wide.person select f, n || '%', 1 + n % 4 || '/'
             from generate_series(1, 9) n, unnest(array['a', 'z']) f;
           insert into wide.review select f, n, case when n % 3 > 0 then 1 + n % 9 || '%' end,
                                          case when n % 3 < 2 then 1 + n % 4 || '/' end, f
             from generate_series(1, 30) n, unnest(array['a', 'z']) f"""
    )
    suite.clear_queue()
    for resource in suite.mapping.captured:
        suite.run(f"update {resource.table.sql} set firm = firm")
        for company, hook in suite.all(
            "select company, id from cdc.webhook where company <> 'a/b'"
        ):
            wanted = suite.all("select refs from cdc.queue where webhook_id = %s", hook)
            got = read(suite, hook, company, resource.name, most)
            assert sorted(map(str, got)) == sorted(str(found) for (found,) in wanted)
            assert len(got) in (4, 9, 30)
        suite.clear_queue()
