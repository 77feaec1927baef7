"""The suite's schema changes under the triggers: its writers never fail, and nothing is lost."""

from __future__ import annotations

import pytest

from cdc.mapping import default_mapping, parse_mapping
from tests.capture.kit import Suite

WRITES = {
    "one row": "insert into rating values (10, 19, null)",
    "many rows": "insert into rating select g, 19, null from generate_series(10, 109) g",
}


@pytest.fixture(params=list(WRITES))
def write(request: pytest.FixtureRequest) -> str:
    return WRITES[request.param]


def expect_kept_then_captured(suite: Suite, write: str, mend: str, reason: str) -> None:
    count = 1 if "values" in write else 100
    suite.run(write)
    assert suite.queued() == []
    assert len(suite.unresolved()) == count
    assert {resource for resource, _ in suite.unresolved()} == {"rating"}
    assert reason in suite.one("select min(reason) from cdc.unresolved")
    # No migration finds it in vain, and a try changes nothing.
    assert suite.resolve() == 0
    assert len(suite.unresolved()) == count
    suite.run(mend)
    assert suite.resolve() == count
    assert suite.unresolved() == []
    assert sorted(suite.changes()) == sorted(("c", str(key)) for key in range(10, 10 + count))
    assert all("/projects/17/candidates/19/ratings/" in post for post in suite.posts())


@pytest.mark.parametrize("warm", [True, False], ids=["warm session", "new session"])
@pytest.mark.parametrize(
    ("broken", "mended", "reason"),
    [
        (
            "alter table candidate rename column project_id to job_id",
            "alter table candidate rename column job_id to project_id",
            "column candidate.project_id does not exist (42703)",
        ),
        (
            "alter table candidate rename to applicant",
            "alter table applicant rename to candidate",
            'relation "public.candidate" does not exist (42P01)',
        ),
        (
            "alter table candidate rename column id to number",
            "alter table candidate rename column number to id",
            "column candidate.id does not exist (42703)",
        ),
        (
            "revoke select (id, project_id) on candidate from cdc_capture",
            "grant select (id, project_id) on candidate to cdc_capture",
            "permission denied for table candidate (42501)",
        ),
        (
            "revoke usage on schema public from public, cdc_capture",
            "grant usage on schema public to public, cdc_capture",
            "permission denied for schema public (42501)",
        ),
        (
            "alter table rating rename column candidate_id to applicant_id",
            "alter table rating rename column applicant_id to candidate_id",
            "column own.candidate_id does not exist (42703)",
        ),
        (
            "alter table rating rename column id to number",
            "alter table rating rename column number to id",
            "column own.id does not exist (42703)",
        ),
    ],
    ids=[
        "parent's road",
        "parent",
        "parent's key",
        "right on parent",
        "right on schema",
        "own road",
        "own key",
    ],
)
def test_renamed_and_renamed_back(
    suite: Suite, write: str, warm: bool, broken: str, mended: str, reason: str
) -> None:
    suite.register("1", "rating_changed")
    if warm:
        suite.run("update rating set id = id; update rating set id = id where false")
        suite.clear()
    suite.run(broken)
    expect_kept_then_captured(suite, write, mended, reason)


def test_a_parents_column_is_dropped(own_suite: Suite, write: str) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table candidate drop column project_id")
    expect_kept_then_captured(
        own_suite,
        write,
        "alter table candidate add project_id bigint; update candidate set project_id = 17;"
        "grant select (project_id) on candidate to cdc_capture; delete from cdc.unresolved"
        " where resource = 'candidate'",
        "column candidate.project_id does not exist",
    )


def test_a_parent_is_dropped(own_suite: Suite, write: str) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run("drop table candidate cascade")
    expect_kept_then_captured(
        own_suite,
        write,
        "create table candidate (id bigint primary key, project_id bigint);"
        "insert into candidate values (19, 17);"
        "grant select (id, project_id) on candidate to cdc_capture",
        'relation "public.candidate" does not exist',
    )


def test_a_type_that_cannot_be_compared(own_suite: Suite, write: str) -> None:
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table rating alter candidate_id type text")
    expect_kept_then_captured(
        own_suite,
        write,
        "alter table rating alter candidate_id type bigint using candidate_id::bigint;"
        "delete from cdc.queue",
        "operator does not exist: bigint = text",
    )


def test_a_renamed_table_goes_on(own_suite: Suite) -> None:
    """Its triggers go with it; the mapping has to follow before the next installation."""
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table rating rename to score")
    own_suite.run("insert into score values (10, 19, null)")
    assert own_suite.changes() == [("c", "10")]


@pytest.mark.parametrize(
    "gone",
    [
        "alter table rating rename to score",
        "alter table rating rename id to a;"
        "alter table rating rename candidate_id to b; alter table rating rename customer_id to c",
        "drop table rating",
    ],
    ids=["table renamed", "columns renamed", "dropped"],
)
def test_late_capture_says_that_the_table_is_gone(own_suite: Suite, gone: str) -> None:
    """Not that an argument of EXECUTE is null."""
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.run("insert into rating values (10, 777, null)")
    own_suite.run(gone)
    assert own_suite.resolve() == 0
    assert own_suite.all("select key, reason from cdc.unresolved") == [
        ("10", "table public.rating does not exist, or has none of the mapped columns (42P01)")
    ]


@pytest.mark.parametrize("column", ["id", "candidate_id"])
def test_the_mapping_follows_a_renaming(own_suite: Suite, write: str, column: str) -> None:
    """What was changed between the renaming and the new mapping is captured after all."""
    own_suite.register("1", "rating_changed")
    own_suite.run(f"alter table rating rename column {column} to renamed")
    own_suite.run(write)
    assert own_suite.queued() == []
    head, rating, rest = default_mapping().source.partition("[resources.rating]")
    old, new = {
        "id": ('key = "id"', 'key = "renamed"'),
        "candidate_id": ('candidate = "candidate_id"', 'candidate = "renamed"'),
    }[column]
    own_suite.install(parse_mapping(head + rating + rest.replace(old, new, 1), "new.toml"))
    count = 1 if "values" in write else 100
    assert own_suite.resolve() == count
    assert sorted(own_suite.changes()) == sorted(("c", str(key)) for key in range(10, 10 + count))
    assert all("/projects/17/candidates/19/ratings/" in post for post in own_suite.posts())


def test_no_more_than_needed_is_kept_of_a_row(own_suite: Suite) -> None:
    """Keys are short; a letter of application is not, and must not leave the table."""
    own_suite.run("alter table rating add letter text, add cv jsonb")
    own_suite.register("1")
    own_suite.run("alter table candidate rename to applicant")
    insert = "insert into rating (id, candidate_id, letter, cv, stars) values"
    own_suite.run(f"{insert} (10, 19, 'Dear Sirs', '{{}}', 5)")
    assert own_suite.one("select own from cdc.unresolved") == {
        "id": 10, "candidate_id": 19, "customer_id": None
    }  # fmt: skip
    own_suite.run("delete from cdc.unresolved; alter table rating rename column id to number")
    insert = insert.replace("(id", "(number")
    own_suite.run(f"{insert} (11, 19, repeat('Dear Sirs ', 100), '{{\"a\": 1}}', 5)")
    own = own_suite.one("select own - '' from cdc.unresolved")
    assert own == {"number": 11, "candidate_id": 19, "name": "", "stars": 5}


def test_a_row_that_cannot_become_json(own_suite: Suite) -> None:
    """Then it is not known which rows were changed, but that some were."""
    own_suite.run(
        """
        create type mood as enum ('good', 'bad');
        create function fail(mood) returns json language plpgsql as
          $$begin raise exception 'no json today'; end$$;
        create cast (mood as json) with function fail(mood);
        alter table rating add feeling mood;
        """
    )
    own_suite.register("1", "rating_changed")
    own_suite.run("insert into rating (id, candidate_id, feeling) values (10, 19, 'good')")
    assert own_suite.changes() == [("c", "10")]
    own_suite.run("alter table candidate rename to applicant")
    own_suite.run("insert into rating (id, candidate_id, feeling) values (11, 19, 'bad')")
    assert own_suite.unresolved() == [("rating", "11")]
    own_suite.run("delete from cdc.unresolved; alter table rating rename column id to number")
    own_suite.run("insert into rating (number, candidate_id, feeling) values (12, 19, 'bad')")
    assert own_suite.unresolved() == [("rating", None)]
    assert own_suite.resolve() == 0
