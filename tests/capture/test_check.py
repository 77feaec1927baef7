"""A mapping that does not fit the database is refused, naming the place, before any change."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from cdc.capture.check import check
from cdc.errors import MappingError
from cdc.mapping import default_mapping, parse_mapping
from tests.capture.kit import Suite
from tests.capture.test_install import changed


class Wrong(NamedTuple):
    """sql: what the suite is like. edits: how the mapping is. says: what the person reads."""

    sql: str
    edits: tuple[tuple[str, str], ...]
    says: str
    hint: str = ""


WRONG = {
    "unknown table": Wrong(
        "",
        (('table = "rating"', 'table = "ratings"'),),
        "resources.rating.table: table public.ratings does not exist in this database,"
        " did you mean public.rating?",
    ),
    "unknown company table": Wrong(
        "",
        (('table = "company"', 'table = "Crm.firm"'),),
        "company.table: table crm.firm does not exist in this database",
    ),
    "unknown key": Wrong(
        "",
        (('table = "rating"\nkey = "id"', 'table = "rating"\nkey = "idd"'),),
        'resources.rating.key: table public.rating has no column "idd", did you mean id?',
    ),
    "unknown road": Wrong(
        "",
        (('{ company = "company_id" }', '{ company = "firm" }'),),
        'resources.customer.parents.company: table public.customer has no column "firm"',
    ),
    "quoted name": Wrong(
        "",
        (('candidate = "candidate_id", question', "candidate = '\"Candidate_Id\"', question"),),
        "resources.answervideo.parents.candidate: table public.answervideo has no column"
        ' "Candidate_Id", did you mean candidate_id?',
    ),
    "unknown base url": Wrong(
        "",
        (('# base_url_column = "host"', 'base_url_column = "host"'),),
        'company.base_url_column: table public.company has no column "host"',
    ),
    "a view": Wrong(
        "alter table rating rename to real_rating; create view rating as select * from real_rating",
        (),
        "resources.rating.table: public.rating is a view; statement triggers",
    ),
    "a parent that is a view": Wrong(
        "alter table question rename to real_q; create materialized view"
        " question as select * from real_q",
        (),
        "resources.question.table: public.question is a materialized view; statement triggers",
    ),
    "a foreign table": Wrong(
        "drop table rating; create foreign data wrapper nowhere; create server nowhere"
        " foreign data wrapper nowhere; create foreign table rating"
        " (id int, candidate_id int, customer_id int) server nowhere",
        (),
        "resources.rating.table: public.rating is a foreign table; statement triggers",
    ),
    "a partition that is a foreign table": Wrong(
        "drop table rating; create foreign data wrapper nowhere; create server nowhere"
        " foreign data wrapper nowhere;"
        " create table rating (id int, candidate_id int, customer_id int) partition by list (id);"
        " create foreign table rating_far partition of rating for values in (1) server nowhere",
        (),
        "resources.rating.table: public.rating_far, a part of public.rating, is a foreign table;",
    ),
    "a key without an index": Wrong(
        "alter table candidate drop constraint candidate_pkey cascade",
        (),
        'resources.candidate.key: no index of public.candidate begins with "id", so every change'
        " of a child would read the whole table",
        'create unique index concurrently on "public"."candidate" ("id")',
    ),
    "a key with a partial index": Wrong(
        "alter table candidate drop constraint candidate_pkey cascade;"
        " create unique index on candidate (id) where id > 0",
        (),
        'resources.candidate.key: no index of public.candidate begins with "id"',
    ),
    "a key that is not unique": Wrong(
        "alter table project drop constraint project_pkey cascade; create index on project (id)",
        (),
        'resources.project.key: "id" of public.project is not unique',
        "A key identifies one row; give it a unique index.",
    ),
    "types that cannot be compared": Wrong(
        "alter table rating drop constraint rating_candidate_id_fkey, alter candidate_id type text",
        (),
        'resources.rating.parents.candidate: column "candidate_id" of public.rating cannot be'
        ' compared with the key "id" of public.candidate: their types differ',
    ),
    "collations that exclude each other": Wrong(
        "drop table note, rating, answervideo, candidate; create table candidate"
        ' (id text collate "C" primary key, project_id bigint);'
        " create table answervideo"
        ' (id bigint, candidate_id text collate "POSIX", question_id bigint);'
        " create unique index on answervideo (id);"
        ' create table rating (id bigint, candidate_id text collate "POSIX", customer_id bigint);'
        " create table note"
        " (id bigint, answervideo_id bigint, customer_id bigint, candidate_id text)",
        (),
        "no index of public.candidate can be used to find the row's parent there",
    ),
    "row-level security": Wrong(
        "alter table candidate enable row level security",
        (),
        "resources.candidate.table: row-level security of public.candidate may hide rows from"
        " cdc_capture, and changes below them would find no company",
        'create policy cdc_capture on "public"."candidate" for select to cdc_capture using (true);',
    ),
    "row-level security of the companies": Wrong(
        "alter table company add host text; alter table company enable row level security",
        (('# base_url_column = "host"', 'base_url_column = "host"'),),
        "company.table: row-level security of public.company may hide rows",
    ),
    "row-level security of several tables": Wrong(
        "alter table candidate enable row level security;"
        " alter table project enable row level security;"
        " create policy tenants on project using (company_id = 1)",
        (),
        "row-level security of public.candidate, public.project may hide",
        'create policy cdc_capture on "public"."project" for select',
    ),
    "row-level security with a policy that is restrictive": Wrong(
        "alter table candidate enable row level security;"
        " create policy everything on candidate using (true);"
        " create policy less on candidate as restrictive using (id > 0)",
        (),
        "row-level security of public.candidate may hide",
    ),
    "row-level security with a policy for others": Wrong(
        "alter table candidate enable row level security;"
        " create policy everything on candidate to cdc_reader using (true);"
        " create policy writes on candidate for insert to cdc_capture with check (true)",
        (),
        "row-level security of public.candidate may hide",
    ),
}


@pytest.fixture(scope="module")
def everything() -> str:
    """Reads all that an installation could change."""
    return """
        select (select json_agg(t order by oid) from pg_trigger t),
               (select json_agg(p order by oid) from pg_proc p
                 where pronamespace = 'cdc'::regnamespace),
               (select json_agg(array[attrelid::text, attnum::text, attacl::text]
                                order by attrelid, attnum) from pg_attribute),
               (select json_agg(i) from cdc.installation i), (select json_agg(l) from cdc.layout l)
    """


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_what_cannot_work_is_refused(suite: Suite, everything: str, wrong: Wrong) -> None:
    mapping = changed(*wrong.edits)
    # In a transaction, so that the next test finds the tables as they were.
    with suite.conn.transaction(force_rollback=True):
        if wrong.sql:
            suite.run(wrong.sql)
        before = suite.all(everything)
        with pytest.raises(MappingError) as caught:
            suite.install(mapping)
        assert wrong.says in caught.value.message
        assert wrong.hint in caught.value.hint
        assert suite.all(everything) == before


def test_a_virtual_generated_column_is_refused(own_suite: Suite) -> None:
    if own_suite.conn.info.server_version < 180000:
        pytest.skip("PostgreSQL has virtual generated columns since 18")
    own_suite.run(
        "alter table rating drop candidate_id, add real_id bigint,"
        " add candidate_id bigint generated always as (real_id) virtual"
    )
    with pytest.raises(MappingError) as caught:
        own_suite.install()
    assert caught.value.message == (
        'resources.rating.parents.candidate: column "candidate_id" of public.rating is a virtual'
        " generated column, which is empty in transition tables"
    )
    assert caught.value.hint == "Use a stored column."


def test_a_stored_generated_column_works(own_suite: Suite) -> None:
    own_suite.run(
        "alter table rating drop candidate_id, add real_id bigint,"
        " add candidate_id bigint generated always as (real_id) stored"
    )
    own_suite.install()
    own_suite.register("1")
    own_suite.run("insert into rating (id, real_id) values (10, 19)")
    assert "/candidates/19/ratings/10/" in own_suite.posts()[0]


def test_row_level_security_that_hides_nothing_is_accepted(own_suite: Suite) -> None:
    own_suite.run("alter table candidate enable row level security")
    own_suite.run("alter role cdc_capture bypassrls")
    try:
        assert own_suite.install() == []
        own_suite.register("1")
        own_suite.run("update rating set stars = 1")
        assert own_suite.changes() == [("m", "9")]
    finally:
        own_suite.run("alter role cdc_capture nobypassrls")


def test_row_level_security_that_comes_later_loses_nothing(own_suite: Suite) -> None:
    """Parents that are hidden look as if they were not there: kept, shown, captured later."""
    own_suite.register("1")
    own_suite.run("alter table candidate enable row level security")
    own_suite.run("update rating set stars = 1")
    assert own_suite.queued() == []
    assert own_suite.unresolved() == [("rating", "9")]
    own_suite.run("alter table candidate disable row level security")
    assert own_suite.resolve() == 1
    assert own_suite.changes() == [("m", "9")]


def test_row_level_security_of_the_changed_table_does_not_matter(own_suite: Suite) -> None:
    """Its rows come from the statement itself."""
    own_suite.run("alter table rating enable row level security, force row level security")
    assert own_suite.install() == []
    own_suite.register("1")
    own_suite.run("update rating set stars = 1")
    assert own_suite.changes() == [("m", "9")]


def test_a_hint_can_be_followed(own_suite: Suite) -> None:
    """Unquoted names are folded, so one with large letters has to be quoted in the mapping."""
    own_suite.run(
        'alter table rating rename to "Rating"; alter table "Rating" rename id to "Id";'
        "alter table candidate rename project_id to projekt_id"
    )
    text = default_mapping().source

    def refused() -> str:
        with pytest.raises(MappingError) as caught:
            check(own_suite.command, parse_mapping(text, "suite.toml"))
        return caught.value.message

    for old, new, key in (
        (
            'table = "candidate"\nkey = "id"\nparents = { project = "project_id"',
            "projekt_id",
            "table = 'candidate'\nkey = 'id'\nparents = {{ project = '{}'",
        ),
        ('table = "rating"\nkey', 'public."Rating"', "table = '{}'\nkey"),
        ('Rating"\'\nkey = "id"', '"Id"', "Rating\"'\nkey = '{}'"),
    ):
        said = refused()
        assert f"did you mean {new}?" in said or f"did you mean '{new}', with both" in said
        assert old in text
        text = text.replace(old, key.format(new))
    check(own_suite.command, parse_mapping(text, "suite.toml"))
