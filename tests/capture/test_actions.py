"""A webhook that wants some actions gets these, and nothing else is queued for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.capture.kit import Suite

WANTS = {"all": None, "both": "cm", "created": "c", "modified": "m"}

MANY = "insert into candidate select g, 17 from generate_series(1000, 999 + {0}) g"
STATEMENTS = {
    "insert": ("insert into candidate values (20, 17)", "c"),
    "update": ("update candidate set name = 'x' where id = 19", "m"),
    "upsert": (
        "insert into candidate values (19, 17), (20, 17) on conflict (id) do update set name = 'x'",
        "cm",
    ),
    "merge": (
        "merge into candidate c using (values (19), (20)) v (id) on c.id = v.id"
        " when matched then update set name = 'x'"
        " when not matched then insert (id, project_id) values (v.id, 17)",
        "cm",
    ),
    **{f"insert of {n}": (MANY.format(n), "c" * n) for n in (64, 65, 6000)},
    "update of 6000": (
        f"{MANY.format(6000)}; delete from cdc.queue;"
        " update candidate set name = 'x' where id >= 1000",
        "m" * 6000,
    ),
}


@pytest.fixture
def wanting(own_suite: Suite) -> Suite:
    """A webhook for each wish, on the same company."""
    for number, wants in enumerate(WANTS.values(), 1):
        assert own_suite.register("1", "candidate_changed") == number
        own_suite.conn.execute(
            "update cdc.subscription set actions = %s where webhook_id = %s", (wants, number)
        )
    return own_suite


def queued(suite: Suite) -> dict[str, str]:
    """Actions in the order of the queue, by wish."""
    found = dict.fromkeys(WANTS, "")
    for row in suite.queued():
        found[list(WANTS)[row.webhook - 1]] += row.action
    return found


def wished(actions: str) -> dict[str, str]:
    return {
        name: "".join(a for a in actions if wants is None or a in wants)
        for name, wants in WANTS.items()
    }


@pytest.mark.parametrize(("statement", "actions"), STATEMENTS.values(), ids=STATEMENTS)
def test_only_what_is_wanted_is_queued(wanting: Suite, statement: str, actions: str) -> None:
    wanting.run(statement)
    assert {name: "".join(sorted(got)) for name, got in queued(wanting).items()} == wished(actions)
    assert not wanting.unresolved()


def test_where_no_webhook_wants_it_nothing_is_written(wanting: Suite) -> None:
    wanting.run("delete from cdc.subscription where actions is distinct from 'c'")
    wanting.run("begin; update candidate set name = 'x' where id = 19")
    written = wanting.one("select count(*) from pg_locks where relation = 'cdc.queue'::regclass")
    wanting.run("commit")
    assert not wanting.queued()
    assert written == 0, "nor locked"


def test_late_capture_asks_too(wanting: Suite) -> None:
    """Of a change that waited for its parent."""
    wanting.run(
        "begin; set constraints all deferred; insert into candidate values (30, 21);"
        " update candidate set name = 'x' where id = 30; insert into project values (21, 1); commit"
    )
    assert queued(wanting) == wished("")
    assert wanting.resolve() == 2
    assert queued(wanting) == wished("cm")


@settings(max_examples=15)
@given(
    st.lists(
        st.sampled_from(
            [
                "insert into candidate select max(id) + 1, 17 from candidate",
                "insert into candidate select max + g, 17 from generate_series(1, 70) g,"
                " (select max(id) from candidate) x",
                "update candidate set name = name || 'x' where id = 19",
                "update candidate set name = name || 'x'",
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_sent_is_the_subset_of_what_is_sent_to_all(
    wanting: Suite, statements: list[str]
) -> None:
    wanting.run("truncate cdc.queue")
    for statement in statements:
        wanting.run(statement)
    rows: dict[int, list[tuple[str, str]]] = {n: [] for n in range(1, 5)}
    for row in wanting.queued():
        rows[row.webhook].append((row.action, row.key))
    assert rows[2] == rows[1]
    for number, action in ((3, "c"), (4, "m")):
        assert rows[number] == [row for row in rows[1] if row[0] == action]


def test_what_is_no_action_cannot_be_stored(wanting: Suite) -> None:
    for wrong in ("", "x", "mc", "created"):
        with pytest.raises(Exception, match="subscription_actions_check"):
            wanting.conn.execute("update cdc.subscription set actions = %s", (wrong,))
