"""Keys of several columns: their text, and what is refused, naming the place, before any change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture import plan
from cdc.capture.backfill import missing_indexes
from cdc.capture.check import check
from cdc.capture.fit import fitted
from cdc.capture.sql_text import key_text
from cdc.diagnosis.explain import suite as rows
from cdc.errors import MappingError, UsageError
from cdc.mapping import Mapping, parse_mapping, row_keys
from cdc.message.payload import Translator, Untranslatable
from cdc.model import Delivery
from tests.capture.kit import Suite
from tests.capture.test_several_columns import MAPPING, RESET, TABLES

ONE = """
base_url = "https://wide.example/"
[company]
table = "wide.firm"
key = "id"
url = "{company}/"
[resources.job]
table = "wide.job"
key = "nr"
parents = { company = "firm" }
url = "{company}jobs/{job}/"
event = "job_changed"
data = ["job"]
"""
"""The same jobs by another key: the number alone."""


@pytest.fixture(scope="module")
def suite(shared_database: str) -> Iterator[Suite]:
    made = Suite(shared_database, parse_mapping(MAPPING, "wide.toml"))
    made.run(TABLES + RESET)
    made.install()
    yield made
    made.close()


def test_a_key_of_one_column_may_be_written_as_a_list() -> None:
    one = parse_mapping(ONE, "x").resources["job"]
    listed = parse_mapping(ONE.replace('key = "nr"', 'key = ["nr"]'), "x")
    assert listed.resources["job"] == one
    assert listed.fingerprint == parse_mapping(ONE, "x").fingerprint


@given(st.lists(st.text(), min_size=2))
def test_the_text_of_a_key_is_its_own(values: list[str]) -> None:
    assert row_keys.parts(row_keys.joined(values)) == values
    assert row_keys.of_layout(row_keys.layout_field("a.b", values)) == ("a.b", (*values,))


def test_sql_and_python_write_the_same(suite: Suite) -> None:
    texts = ["", "/", "%", "%2F", "%25/", "//", "a/b%", "ü", "\\", "'"]
    key = key_text(["a", "b"]).replace("%", "%%")
    for one in texts:
        (said,) = suite.all(
            f"select array_agg({key} order by n)"
            "  from (select %s::text as a) one, unnest(%s::text[]) with ordinality two (b, n)",
            *(one, texts),
        )
        assert said[0] == [row_keys.joined([one, other]) for other in texts]


def test_what_was_queued_under_another_key_is_not_addressed_by_it(suite: Suite) -> None:
    """Nor, for the same columns in another order, by the wrong ones."""
    suite.register("a")
    suite.run("insert into wide.job values ('a', '1')")
    (delivery,) = suite.deliveries()

    def sent(mapping: str, delivery: Delivery = delivery) -> str:
        return Translator(parse_mapping(mapping, "x")).body(delivery, "https://r.example").decode()

    assert "/a/jobs/1/" in sent(MAPPING)
    assert "/a/jobs/1/" in sent(
        MAPPING.replace('key = ["firm", "nr"]', 'key = ["nr", "firm"]').replace(
            'job = ["firm", "job_nr"]', 'job = ["job_nr", "firm"]'
        )
    )
    with pytest.raises(Untranslatable, match="the key of job was the columns firm, nr"):
        sent(ONE)
    delivery.refs = (*delivery.refs[:-1], "1")
    with pytest.raises(Untranslatable, match="a key has 1 values; expected 2"):
        sent(MAPPING)


def test_a_backfill_needs_an_index_of_the_whole_foreign_key(suite: Suite) -> None:
    review = suite.mapping.resources["review"]
    assert missing_indexes(suite.conn, suite.mapping, review) == []
    with suite.conn.transaction(force_rollback=True):
        suite.run("drop index wide.review_job_nr_home_idx")
        missing = missing_indexes(suite.conn, suite.mapping, review)
        assert missing == [(review.table, ("home", "job_nr"))]


def wide(*edits: tuple[str, str]) -> Mapping:
    text = MAPPING
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return parse_mapping(text, "x")


JOB_KEY = 'key = ["firm", "nr"]'
JOB_URL = '"{company}jobs/{nr}/"'
PERSON_JOB = '{ job = ["firm", "job_nr"] }'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (JOB_KEY, "key = []", "resources.job.key: is empty"),
        (JOB_KEY, 'key = ["nr", "nr"]', "resources.job.key: names a column twice"),
        (JOB_KEY, 'key = ["nr", 7]', "resources.job.key"),
        (JOB_KEY, 'key = ["nr", "a.b"]', "resources.job.key: invalid column 'a.b'"),
        ('key = "id"', 'key = ["id", "nr"]', "company.key: expected a text"),
        (
            PERSON_JOB,
            '{ job = "job_nr" }',
            "resources.person.parents.job: is one column, but the key of job has 2",
        ),
        (
            '{ company = "firm" }',
            '{ company = ["firm", "nr"] }',
            "resources.job.parents.company: has 2 columns, but the key of company has 1",
        ),
        (
            PERSON_JOB,
            '{ company = "firm" }\nparents_if_there = { job = "job_nr" }',
            "resources.person.parents_if_there.job: is one column, but the key of job has 2",
        ),
        (
            JOB_URL,
            '"{company}jobs/{job}/"',
            "resources.job.url: '{company}jobs/{job}/': the key of job has several columns",
        ),
        (JOB_URL, '"{company}jobs/{nrr}/"', "unknown resource or column of the key 'nrr', did you"),
        (JOB_URL, '"{company}jobs/"', "'{company}jobs/' does not hold {nr}, a column of the key"),
        (JOB_URL, '"jobs/{nr}/"', "'jobs/{nr}/' does not hold {firm}, a column of the key"),
        (JOB_URL, '"{firm}/{company}/{nr}/"', "address must be at the beginning"),
        (JOB_URL, '"{company}jobs/{nr!r}/"', "only the name of a resource between braces"),
        (JOB_KEY, """key = ["firm", '"a:b"']""", "column 'a:b' of the key cannot be named"),
    ],
)
def test_wrong_declarations_name_their_place(old: str, new: str, says: str) -> None:
    with pytest.raises(MappingError) as refused:
        wide((old, new))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "edits", "says"),
    [
        (
            "",
            ((JOB_KEY, 'key = ["firm", "no"]'), (JOB_URL, '"{company}jobs/{no}/"')),
            'resources.job.key: table wide.job has no column "no"',
        ),
        (
            "",
            ((PERSON_JOB, '{ job = ["firm", "job_no"] }'),),
            'resources.person.parents.job: table wide.person has no column "job_no", did you mean',
        ),
        (
            "",
            ((PERSON_JOB, '{ job = ["job_nr", "firm"] }'),),
            'resources.person.parents.job: "job_nr", "firm" of wide.person are in another order'
            ' than the key of job, "firm", "nr"',
        ),
        (
            "alter table wide.review drop constraint review_pkey, alter id drop not null",
            (),
            'resources.review.key: column "id" of wide.review may be null',
        ),
        (
            "alter table wide.review drop constraint review_pkey",
            (),
            'resources.review.key: "firm", "id" of wide.review is not unique',
        ),
        (
            "alter table wide.job drop constraint job_pkey cascade;"
            "create unique index on wide.job (nr)",
            (),
            'resources.job.key: no index of wide.job begins with "firm", "nr"',
        ),
        (
            "alter table wide.review alter person type uuid using null",
            (),
            'resources.review.parents.person: column "person" of wide.review cannot be compared'
            ' with the key "code" of wide.person: their types differ (uuid, text)',
        ),
        (
            "alter table wide.review alter id type numeric",
            (),
            'resources.review.key: column "id" of wide.review cannot be a key: its type is numeric',
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    suite: Suite, sql: str, edits: tuple[tuple[str, str], ...], says: str
) -> None:
    with suite.conn.transaction(force_rollback=True):
        if "alter person" in sql:
            suite.run("alter table wide.review drop constraint review_firm_person_fkey")
        suite.run(sql or "select")
        with pytest.raises(MappingError) as refused:
            check(suite.conn, wide(*edits))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("index", "unique"),
    [
        ("index on wide.job (firm, nr)", False),
        ("unique index on wide.job (firm, title)", False),
        ("unique index on wide.job (nr, firm)", True),
        ("unique index on wide.job (firm, nr, title)", True),  # as far as PostgreSQL can know
    ],
)
def test_a_key_of_a_partitioned_table(suite: Suite, index: str, unique: bool) -> None:
    with suite.conn.transaction(force_rollback=True):
        suite.run(
            f"""alter table wide.job rename to ordinary;
                create table wide.job (firm text not null, nr text not null, title text)
                  partition by hash (firm);
                create {index}; create index on wide.job (firm, nr)"""
        )
        if unique:
            check(suite.conn, suite.mapping, trusting=False)
        else:
            with pytest.raises(MappingError, match=r'"firm", "nr" of .* is not unique'):
                check(suite.conn, suite.mapping, trusting=False)


def test_a_parent_of_which_a_column_is_not_there_is_left_out(suite: Suite) -> None:
    parents = 'parents = { person = ["firm", "person"], job = ["home", "job_nr"] }'
    with_more = f'{parents}\nparents_if_there = {{ company = "firm" }}'
    found = fitted(suite.conn, wide((parents, with_more))).resources["review"]
    assert list(found.parents) == ["person", "job", "company"]
    lacks = with_more.replace(', job = ["home", "job_nr"]', "").replace(
        'company = "firm"', 'company = "firm", job = ["home", "job_no"]'
    )
    found = fitted(suite.conn, wide((parents, lacks))).resources["review"]
    assert list(found.parents) == ["person", "company"]


def test_the_plan_grants_all_columns_of_a_key(suite: Suite) -> None:
    relations = check(suite.conn, suite.mapping)
    assert plan.plan(suite.conn, suite.mapping, relations) == []
    granted: Any = suite.one(
        "select array_agg(attname::text order by attnum) from pg_attribute"
        " where attrelid = 'wide.person'::regclass"
        "   and has_column_privilege('cdc_capture', attrelid, attnum, 'select') and attnum > 0"
    )
    assert granted == ["firm", "code", "job_nr"]


def test_explain_asks_for_all_values(suite: Suite) -> None:
    suite.run("insert into wide.job values ('a/b', '1%')")
    job = suite.mapping.resources["job"]
    rows.refuse_impossible(suite.conn, job, "a%2Fb/1%25")
    found = rows.find(suite.conn, suite.mapping, job, "a%2Fb/1%25")
    assert found == rows.FoundRow(True, "a/b")
    assert rows.find(suite.conn, suite.mapping, job, "a/7") == rows.FoundRow(False)
    with pytest.raises(UsageError, match=r"the key of wide\.job is firm, nr"):
        rows.refuse_impossible(suite.conn, job, "1")
    review = suite.mapping.resources["review"]
    with pytest.raises(UsageError, match=r"'x': a column of the key .* is id, of type"):
        rows.refuse_impossible(suite.conn, review, "a/x")
