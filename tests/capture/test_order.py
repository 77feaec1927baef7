"""A change that waits in cdc.unresolved is not overtaken by a later one of its row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.mapping.load import parse_mapping
from tests.capture.kit import Connection, Suite, connect


@pytest.fixture
def other(own_suite: Suite) -> Iterator[Connection]:
    with connect(own_suite.url) as conn:
        yield conn


@pytest.mark.parametrize("count", [1, 65])
def test_changes_wait_behind_one_that_found_a_table_locked(
    own_suite: Suite, other: Connection, count: int
) -> None:
    """Five changes by two sessions; another row is not held up."""
    own_suite.register("1", "rating_changed")
    # The foreign key's own check would wait for the lock.
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.run("insert into rating values (11, 19)")
    own_suite.clear()
    with connect(own_suite.url) as migration:
        migration.execute("begin; lock table candidate in access exclusive mode")
        rows = f"select g, 19 from generate_series(1001, 1000 + {count}) g"
        own_suite.run(f"insert into rating {rows}")
        migration.execute("rollback")
    for turn in range(4):
        session = (other, own_suite.conn)[turn % 2]
        session.execute("update rating set stars = 2 where id > 1000")
    own_suite.run("update rating set stars = 2 where id = 11")
    assert own_suite.changes() == [("m", "11")]
    own_suite.clear_queue()
    # However few of them are asked for: the others come along, in their order.
    assert own_suite.one("select cdc.resolve(array(select min(id) from cdc.unresolved))") == 5
    if count == 1:
        assert own_suite.unresolved() == []
    own_suite.resolve()
    for key in range(1001, 1001 + count):
        mine = [action for action, of in own_suite.changes() if of == str(key)]
        assert mine == ["c", "m", "m", "m", "m"]
    own_suite.run("update rating set stars = 3 where id = 1001")
    assert own_suite.changes()[-1] == ("m", "1001")


def test_a_later_change_stays_while_the_earlier_one_does(own_suite: Suite) -> None:
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.run("insert into rating values (10, 404)")
    own_suite.run("update rating set candidate_id = 19 where id = 10")
    assert own_suite.unresolved() == [("rating", "10")] * 2
    # The second alone could be placed: it is not, asked for together or alone.
    assert own_suite.resolve() == 0
    assert own_suite.one("select cdc.resolve(array(select max(id) from cdc.unresolved))") == 0
    own_suite.run("insert into candidate values (404, 17)")
    own_suite.clear_queue()
    assert own_suite.resolve() == 2
    assert own_suite.changes() == [("c", "10"), ("m", "10")]


def test_a_change_that_never_finds_a_company_does_not_stop_its_row(own_suite: Suite) -> None:
    """Captured by the trigger again, and late capture lets pass what had come behind it."""
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    own_suite.run("insert into rating values (10, 404)")
    own_suite.run("update rating set candidate_id = 19 where id = 10")
    own_suite.run("update cdc.unresolved set tries = 10 where action = 'c'")
    assert own_suite.resolve() == 1
    own_suite.run("update rating set stars = 1 where id = 10")
    assert own_suite.changes() == [("m", "10"), ("m", "10")]
    assert own_suite.unresolved() == [("rating", "10")]


def test_keys_of_any_length_can_wait(own_suite: Suite) -> None:
    own_suite.run(
        "alter table note alter column id drop identity;"
        "alter table note alter column id type text;"
        "alter table note alter column answervideo_id drop not null"
    )
    own_suite.register("1", "note_changed")
    own_suite.run("insert into note (id) values (repeat('ab', 100000))")
    own_suite.run("update note set answervideo_id = 7 where length(id) > 9")
    assert len(own_suite.unresolved()) == 2


def test_optional_rows_without_a_company_cost_nothing(own_suite: Suite) -> None:
    """A late parent is waited for all the same."""
    text = own_suite.mapping.source
    assert "[resources.rating]\n" in text
    own_suite.mapping = parse_mapping(
        text.replace("[resources.rating]\n", "[resources.rating]\noptional = true\n"), "test"
    )
    own_suite.install()
    own_suite.register("1", "rating_changed")
    own_suite.run("alter table rating drop constraint rating_candidate_id_fkey")
    for statement in (
        "insert into rating values (10, null)",
        "insert into rating (id) select g from generate_series(100, 199) g",
    ):
        own_suite.run(statement)
        assert own_suite.queued() == []
        assert own_suite.unresolved() == []
    own_suite.run("insert into rating values (11, 404)")
    assert own_suite.unresolved() == [("rating", "11")]
    own_suite.run("update rating set candidate_id = 19 where id = 10")
    assert own_suite.changes() == [("m", "10")]
