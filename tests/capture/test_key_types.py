"""Types of keys: those whose equal values are written alike are accepted, all others refused."""

from __future__ import annotations

import pytest

from cdc.capture import check
from cdc.errors import MappingError
from tests.capture.kit import Suite
from tests.cli.command import Command

# Type of a candidate's key, and of the column that leads there; a value, written in two ways.
ACCEPTED = {
    "smallint": ("smallint", "bigint", "19", "19"),
    "integer": ("bigint", "integer", "19", "19"),
    "uuid": (
        *("uuid", "uuid", "B9BFD2D1-2F2E-4B3B-9E5D-0C5A7F0C1A19"),
        "b9bfd2d1-2f2e-4b3b-9e5d-0c5a7f0c1a19",
    ),
    "text": ("text", "varchar(40)", "Ä 1.0", "Ä 1.0"),
    "varchar": ("varchar", "text", "1.0", "1.0"),
    "a collation": ('text collate "POSIX"', 'varchar collate "POSIX"', "a", "a"),
    "an enum": ("kind", "kind", "good one", "good one"),
    "a domain": ("positive", "bigint", "19", "19"),
    "a domain of a domain": ("moderate", "bigint", "19", "19"),
}

REFUSED = {
    "numeric": "1 and 1.0 are equal",
    "numeric(10)": "1 and 1.0 are equal",
    "real": "settings of the session decide how it is written",
    "double precision": "settings of the session decide how it is written",
    "money": "settings of the session decide how it is written",
    "timestamp": "settings of the session decide how it is written",
    "timestamptz": "settings of the session decide how it is written",
    "date": "settings of the session decide how it is written",
    "interval": "settings of the session decide how it is written",
    "bytea": "settings of the session decide how it is written",
    "char(5)": "blanks at its end do not count",
    "jsonb": "1 and 1.0 are equal",
    "json": "equal values of it may be written differently",
    "int4range": "equal values of it may be written differently",
    "int4multirange": "equal values of it may be written differently",
    "bigint[]": "equal values of it may be written differently",
    "bit(3)": "equal values of it may be written differently",
    "inet": "equal values of it may be written differently",
    "name": "equal values of it may be written differently",
    "boolean": "equal values of it may be written differently",
    "pair": "equal values of it may be written differently",
    # Of the same name as one of PostgreSQL's, and another type.
    "other.uuid": "equal values of it may be written differently",
}

TYPES = """
create type kind as enum ('good one', 'bad');
create domain kinder as kind;
create domain positive as int check (value > 0); create domain moderate as positive;
create type pair as (a int, b int);
create schema other; create type other.uuid as (a int);
"""

PLACES = {
    "company.key": ("company", "id"),
    "resources.rating.key": ("rating", "id"),
    "resources.project.parents.company": ("project", "company_id"),
    "resources.rating.parents.candidate": ("rating", "candidate_id"),
}


def retyped(suite: Suite, table: str, column: str, kind: str) -> None:
    suite.run(
        f"truncate {table} cascade;"
        f"alter table {table} drop {column} cascade; alter table {table} add {column} {kind}"
    )


@pytest.mark.parametrize(("key", "road", "value", "read"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_keys_that_are_accepted(
    own_suite: Suite, key: str, road: str, value: str, read: str
) -> None:
    own_suite.run(TYPES)
    for table, column, kind in (
        ("candidate", "id", f"{key} primary key"),
        ("rating", "candidate_id", road),
        ("note", "candidate_id", road),
        ("answervideo", "candidate_id", road),
    ):
        retyped(own_suite, table, column, kind)
    own_suite.install()
    own_suite.register("1", "candidate_changed", "rating_changed")
    own_suite.run(f"insert into candidate (id, project_id) values ('{value}', 17)")
    own_suite.run(f"insert into rating (id, candidate_id) values (1, '{value}')")
    own_suite.run("update candidate set project_id = 17; update rating set stars = 2")
    assert own_suite.unresolved() == []
    assert own_suite.changes() == [("c", read), ("c", "1"), ("m", read), ("m", "1")]
    assert {refs[-2] for (refs,) in own_suite.all("select refs from cdc.queue") if refs[-1] == "1"}
    for resource, event_key in (("candidate", read), ("rating", "1")):
        asked = f"select refs from cdc_capture.backfill_{resource}('1', 1, 'c', null, null, 9)"
        assert [refs and refs[-1] for (refs,) in own_suite.all(asked)] == [event_key, None]


@pytest.mark.parametrize("place", PLACES)
def test_keys_that_are_refused(suite: Suite, place: str) -> None:
    table, column = PLACES[place]
    column_type = (
        "select format_type(atttypid, null) from pg_attribute"
        " where attrelid = %s::regclass and attname = %s"
    )
    for kind, why in REFUSED.items():
        with suite.conn.transaction(force_rollback=True):
            suite.run(TYPES)
            retyped(suite, table, column, kind)
            written = suite.one(column_type, table, column)
            with pytest.raises(MappingError) as caught:
                check.check(suite.conn, suite.mapping, trusting=False)
        assert caught.value.message == (
            f'{place}: column "{column}" of public.{table} cannot be a key: its type is {written}:'
            f" {why}"
        )
        assert caught.value.hint == (
            "Keys are smallint, integer, bigint, uuid, text or varchar (with a deterministic"
            " collation), domains of these, or enums. Change the column's type, or map another"
            " column: a stored generated one of such a type will do."
        )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["text collate loose", "loose_text"])
def test_a_collation_in_which_different_texts_are_equal_is_refused(
    suite: Suite, kind: str, place: str
) -> None:
    table, column = PLACES[place]
    with suite.conn.transaction(force_rollback=True):
        # The PostgreSQL of the tests comes without ICU, which has such collations.
        suite.run('create collation loose from "C"')
        suite.run("update pg_collation set collisdeterministic = false where collname = 'loose'")
        suite.run("create domain loose_text as text collate loose")
        retyped(suite, table, column, kind)
        with pytest.raises(MappingError) as caught:
            suite.install()
    assert caught.value.message == (
        f'{place}: column "{column}" of public.{table} cannot be a key: texts that differ are equal'
        " in its collation loose"
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_domain_of_an_enum_is_refused(suite: Suite, place: str) -> None:
    """PostgreSQL does not compare its values."""
    table, column = PLACES[place]
    with suite.conn.transaction(force_rollback=True):
        suite.run(TYPES)
        retyped(suite, table, column, "kinder")
        with pytest.raises(MappingError) as caught:
            suite.install()
    assert caught.value.message == (
        f'{place}: column "{column}" of public.{table} cannot be a key: PostgreSQL has no = for its'
        " type, a domain of the enum kind"
    )


def test_citext_is_refused(suite: Suite) -> None:
    """An extension that the tests' PostgreSQL may not have: the type alone, by its name."""
    with suite.conn.transaction(force_rollback=True):
        suite.run("create type citext as (a text)")
        retyped(suite, "rating", "candidate_id", "citext")
        with pytest.raises(MappingError) as caught:
            suite.install()
    assert "its type is citext: capital and small letters are equal" in caught.value.message


@pytest.mark.parametrize(
    ("key", "road", "says"),
    [
        ("bigint", "text", "(text, a whole number)"),
        ("text", "bigint", "(a whole number, text)"),
        ("uuid", "text", "(text, uuid)"),
        ("kind", "text", "(text, kind)"),
        ("kind", "other.kind", "(other.kind, kind)"),
    ],
)
def test_a_road_of_another_type_than_its_key_is_refused(
    suite: Suite, key: str, road: str, says: str
) -> None:
    """Also where the suite has made an operator, or a cast, for it: capture does without."""
    with suite.conn.transaction(force_rollback=True):
        suite.run(TYPES)
        suite.run("create type other.kind as enum ('good one')")
        suite.run(
            "create function same(text, bigint) returns bool language sql as 'select true';"
            "create operator = (leftarg = text, rightarg = bigint, function = same);"
        )
        retyped(suite, "candidate", "id", f"{key} primary key")
        for table in ("rating", "note", "answervideo"):
            retyped(suite, table, "candidate_id", road)
        with pytest.raises(MappingError) as caught:
            suite.install()
    assert caught.value.message == (
        'resources.answervideo.parents.candidate: column "candidate_id" of public.answervideo'
        f' cannot be compared with the key "id" of public.candidate: their types differ {says}'
    )
    assert caught.value.hint == "Give both the same type."


def test_a_stored_generated_column_makes_a_key_of_another_type_acceptable(own_suite: Suite) -> None:
    """What the refusal advises."""
    own_suite.run("alter table note drop constraint note_candidate_id_fkey")
    own_suite.run("alter table note alter candidate_id type numeric")
    with pytest.raises(MappingError):
        own_suite.install()
    own_suite.run(
        "alter table note rename candidate_id to exact_id;"
        "alter table note add candidate_id bigint generated always as (exact_id::bigint) stored"
    )
    own_suite.install()
    own_suite.register("1", "note_changed")
    own_suite.run("update note set answervideo_id = null, customer_id = null, exact_id = 19.0")
    assert own_suite.changes() == [("m", "4")]
    assert own_suite.unresolved() == []


def test_keys_that_cannot_be_any_more_are_named_later(own_suite: Suite) -> None:
    """An installation of the first release, which accepted numeric."""
    own_suite.run("alter table note drop constraint note_candidate_id_fkey")
    own_suite.run("alter table note alter candidate_id type numeric")
    cdc = Command({"CDC_DATABASE_URL": own_suite.url})
    why = 'resources.note.parents.candidate: column "candidate_id" of public.note cannot be a key'
    assert why in cdc("triggers", "status").err
    assert why in cdc("doctor").out
