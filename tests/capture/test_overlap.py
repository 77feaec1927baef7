"""Two resources whose tables overlap: a table has one pair of triggers, so one event is lost."""

from __future__ import annotations

import pytest

from cdc.errors import MappingError
from cdc.mapping import Mapping, default_mapping, parse_mapping
from tests.capture.kit import Suite
from tests.cli.command import Command

OTHER = """
[resources.other]
table = "{table}"
key = "id"
parents = {{ candidate = "candidate_id" }}
url = "{{candidate}}others/{{other}}/"
"""
EVENT = 'event = "other_changed"\n'
LOSES = "so its changes would be two events"


def with_other(table: str, event: str = EVENT) -> Mapping:
    return parse_mapping(default_mapping().source + OTHER.format(table=table) + event, "it.toml")


@pytest.fixture(scope="module")
def partitioned() -> str:
    return """
        drop table rating;
        create table rating (id bigint, candidate_id bigint, customer_id bigint)
          partition by range (id);
        create table rating_1 partition of rating for values from (0) to (100)
          partition by range (id);
        create table rating_1_1 partition of rating_1 for values from (0) to (10);
    """


@pytest.mark.parametrize("table", ["rating_1", "rating_1_1"])
def test_a_partition_beside_its_root_is_refused(
    own_suite: Suite, partitioned: str, table: str
) -> None:
    own_suite.run(partitioned)
    own_suite.install()
    with pytest.raises(MappingError) as caught:
        own_suite.install(with_other(table))
    assert caught.value.message == (
        f"resources.rating and resources.other: public.{table} is a partition of public.rating, or"
        f" inherits from it, {LOSES}"
    )
    assert caught.value.hint == (
        "Give an event to one of them only; leave the other out, or without an event."
    )


def test_two_levels_of_a_tree_are_refused_in_either_order(
    own_suite: Suite, partitioned: str
) -> None:
    own_suite.run(partitioned)
    text = default_mapping().source.replace('table = "rating"', 'table = "rating_1_1"')
    mapping = parse_mapping(text + OTHER.format(table="rating_1") + EVENT, "it.toml")
    with pytest.raises(MappingError) as caught:
        own_suite.install(mapping)
    assert "public.rating_1_1 is a partition of public.rating_1, or" in caught.value.message


def test_a_table_that_inherits_is_refused_beside_its_parent(own_suite: Suite) -> None:
    own_suite.run("create table score () inherits (rating)")
    with pytest.raises(MappingError) as caught:
        own_suite.install(with_other("score"))
    assert "public.score is a partition of public.rating, or inherits" in caught.value.message


def test_a_table_that_inherits_from_two_captured_ones_is_refused(own_suite: Suite) -> None:
    own_suite.run(
        "create table other (id bigint primary key, candidate_id bigint);"
        "create table both_of_them () inherits (rating, other)"
    )
    with pytest.raises(MappingError) as caught:
        own_suite.install(with_other("other"))
    assert caught.value.message == (
        "resources.rating and resources.other: public.both_of_them is a part of both public.rating"
        f" and public.other, {LOSES}"
    )


def test_a_table_that_inherits_twice_from_one_root_is_captured_once(own_suite: Suite) -> None:
    own_suite.run(
        "create table left_ () inherits (rating); create table right_ () inherits (rating);"
        "create table lowest () inherits (left_, right_)"
    )
    own_suite.install()
    assert own_suite.install() == []
    assert own_suite.states()["public.lowest"] == "installed"
    own_suite.register("1")
    own_suite.run("insert into lowest (id, candidate_id) values (20, 19)")
    own_suite.run("update rating set stars = 1 where id = 20")
    assert own_suite.changes() == [("c", "20"), ("m", "20")]


def test_a_part_without_an_event_is_accepted(own_suite: Suite, partitioned: str) -> None:
    """It is only read, as a parent."""
    own_suite.run(partitioned)
    own_suite.install(with_other("rating_1_1", event=""))
    assert own_suite.install() == []
    own_suite.register("1")
    own_suite.run("insert into rating_1_1 values (5, 19)")
    assert own_suite.changes() == [("c", "5")]


def test_tables_that_overlap_later_are_named(own_suite: Suite) -> None:
    own_suite.run("create table twin () inherits (note, rating)")
    cdc = Command({"CDC_DATABASE_URL": own_suite.url})
    shared = (
        "resources.rating and resources.note: public.twin is a part of both public.rating and"
        f" public.note, {LOSES}"
    )
    assert shared in cdc("triggers", "status").err
    (found,) = [c for c in cdc("doctor", "--json").json["checks"] if c["check"] == "tables"]
    assert (found["verdict"], found["message"]) == ("fail", shared)
