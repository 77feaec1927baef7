"""The demo finds whatever is not exactly as it should be: each is made up once.

What the account itself finds in any writer's ledger: tests/sandbox/test_account.py.
"""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from cdc.message.signing import SignatureProblem
from cdc.sandbox import protocol
from cdc.sandbox.demo.ledger import LATE_AFTER_S, percentiles_ms
from cdc.sandbox.demo.show import Show
from cdc.sandbox.receiver import Received
from tests.demo.made import (
    ALL,
    BASE,
    DONE,
    DORA,
    ERIN,
    FOREIGN,
    OTHER,
    PROJECT,
    RATINGS,
    STARS,
    World,
    body_of,
)

PROJECT_URL, DORA_URL = str(DORA.data["project"]), str(DORA.data["candidate"])


@pytest.fixture
def world() -> World:
    return World()


def kinds(world: World) -> dict[str, int]:
    return world.account().counts


def test_everything_as_it_should_be(world: World) -> None:
    for row, action in ((PROJECT, "created"), (DORA, "created"), (DORA, "modified")):
        world.posted(row, world.wrote(row, action), action=action)
    time = world.wrote(STARS, "created")
    world.posted(STARS, time, RATINGS, action="created")
    world.posted(STARS, time, action="created")
    world.wrote(ERIN, "created", committed=False)
    time = world.wrote(ERIN)
    world.posted(ERIN, time)
    assert kinds(world) == {}
    made = world.report()
    assert (made["ok"], made["rollback"]) == (True, {"forbidden": 1, "proven": True})
    assert (made["found"], made["faults"], made["problems"]) == ({}, [], [])
    assert made["total"] == {"expected": 6, "received": 6, "p50_ms": 1.0, "p99_ms": 2.0}
    assert list(made["events"]) == list(protocol.EVENTS)
    assert made["events"]["candidate_changed"]["expected"] == 3
    assert made["events"]["rating_changed"]["received"] == 2


def test_webhooks_are_owed_what_they_want(world: World) -> None:
    world.wrote(STARS, "created")  # two of them
    world.wrote(FOREIGN)
    world.wrote(FOREIGN._replace(company="3"))
    world.wrote(PROJECT, committed=False)
    assert world.ledger.due() == 3
    world.ledger.refused = 1  # it comes twice
    assert world.ledger.due() == 4
    assert [(d.webhook, d.change.key) for d in world.account().deliveries] == [
        (ALL.number, "9"),
        (RATINGS.number, "9"),
        (OTHER.number, "1"),
    ]


def test_a_webhook_that_wants_a_status_is_owed_that_alone(world: World) -> None:
    """What it gets beyond that was not owed; what it does not get of that is missing."""
    world.posted(DORA, world.wrote(DORA, became="begun"))
    time = world.wrote(DORA, became="done")
    world.posted(DORA, time)
    world.posted(DORA, time, DONE)
    world.posted(DORA, world.wrote(DORA))
    assert world.ledger.due() == 4
    assert kinds(world) == {}
    time = world.wrote(ERIN)
    world.posted(ERIN, time)
    world.posted(ERIN, time, DONE)
    assert kinds(world) == {"unowed": 1}
    world.posted(ERIN, world.wrote(ERIN, became="done"))
    assert kinds(world) == {"unowed": 1, "lost": 1}


def test_missing_at_one_of_two(world: World) -> None:
    world.posted(STARS, world.wrote(STARS), RATINGS)
    assert kinds(world) == {"lost": 1}
    made = world.report()
    line = made["events"]["rating_changed"]
    assert (line["expected"], line["received"], made["found"]) == (2, 1, {"lost": 1})
    assert not made["rollback"]["proven"]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b'{"event": "candidate_changed"}', b"1"])
def test_garbage_is_not_owed(world: World, body: bytes) -> None:
    world.posted(DORA, world.wrote(DORA))
    world.posted(DORA, "", body=body)
    assert kinds(world) == {"unowed": 1}
    made = world.report()
    assert (made["ok"], made["found"], made["total"]["received"]) == (False, {"unowed": 1}, 1)


def test_what_was_rolled_back_is_recognised(world: World) -> None:
    never, time = world.wrote(DORA, committed=False), world.wrote(DORA)
    world.posted(DORA, never)
    world.posted(DORA, time)
    assert kinds(world) == {"rolled back": 1}
    assert not world.report()["rollback"]["proven"]


def test_the_rollback_is_proven_only_by_a_change_that_came(world: World) -> None:
    world.wrote(DORA, committed=False)
    time = world.wrote(DORA)
    assert not world.report()["rollback"]["proven"]
    world.posted(DORA, time)
    assert world.report()["rollback"]["proven"]
    # The story did not come to the change after it.
    assert not world.report("the daemon ended")["rollback"]["proven"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"action": "modified", "project"', '"action": "modified",  "project"'),
        (
            f'"project": "{PROJECT_URL}", "candidate": "{DORA_URL}"',
            f'"candidate": "{DORA_URL}", "project": "{PROJECT_URL}"',
        ),
        (f"{BASE}/{ALL.name}", f"{BASE}/{OTHER.name}"),
        (DORA_URL, DORA_URL.replace("projects/17", "projects/18")),
    ],
    ids=["another space", "another order", "another endpoint", "another parent"],
)
def test_a_body_with_other_bytes(world: World, right: str, wrong: str) -> None:
    time = world.wrote(DORA)
    body = body_of(DORA, time).decode()
    assert body.replace(right, wrong) != body
    world.posted(DORA, time, body=body.replace(right, wrong).encode())
    assert kinds(world) == {"altered": 1}
    assert "owed was" in world.account().violations[0].text
    made = world.report()
    assert (made["ok"], made["total"]["received"]) == (False, 1)


@pytest.mark.parametrize(
    "time",
    [
        "2025-03-16T15:32:34.174252+00:00",  # before the statement
        "2025-03-16T15:32:34.176752+00:00",  # after it
        "2025-03-16T15:32:34.175252Z",
        "2025-03-16T16:32:34.175252+01:00",
        "2025-03-16T15:32:34.175+00:00",
        "2025-03-16 15:32:34.175252+00:00",
        "2025-02-30T15:32:34.175252+00:00",
    ],
)
def test_a_wrong_time(world: World, time: str) -> None:
    world.wrote(DORA)
    world.posted(DORA, time)
    assert set(kinds(world)) & {"altered", "unowed"}


def test_the_wrong_webhook(world: World) -> None:
    time = world.wrote(STARS)
    world.posted(STARS, time, path=f"/{RATINGS.name}")
    world.posted(STARS, time, RATINGS)
    assert set(kinds(world)) > {"lost", "altered", "identity"}
    world.posted(STARS, time, path="/nowhere")
    assert kinds(world)["unowed"] == 1


def test_order_within_a_row(world: World) -> None:
    first, second = world.wrote(DORA), world.wrote(DORA)
    world.posted(DORA, second)
    world.posted(DORA, first)
    assert kinds(world) == {"overtaken": 1}


def test_rows_of_their_own_may_come_in_any_order(world: World) -> None:
    dora, erin = world.wrote(DORA), world.wrote(ERIN)
    world.posted(ERIN, erin)
    world.posted(DORA, dora)
    assert kinds(world) == {}


def test_a_retry_is_counted_and_must_have_been_planned(world: World) -> None:
    got = world.posted(DORA, world.wrote(DORA), status=500)
    world.again(got)
    assert kinds(world) == {}
    assert world.report()["problems"] == ["1 retries; 0 POSTs were refused"]
    world.ledger.refused += 1
    assert world.report()["ok"]


def test_a_retry_that_never_came(world: World) -> None:
    world.posted(DORA, world.wrote(DORA), status=500)
    assert kinds(world) == {"lost": 1}


def test_a_retry_with_other_bytes_or_another_id(world: World) -> None:
    got = world.posted(DORA, world.wrote(DORA), status=500)
    world.again(got, body=got.body.replace(b".175252+", b".175253+"))
    assert kinds(world) == {"altered": 1}
    time = world.wrote(ERIN)
    world.posted(ERIN, time, status=500)
    world.posted(ERIN, time)
    assert kinds(world)["identity"] == 1


def test_repeated(world: World) -> None:
    got = world.posted(DORA, world.wrote(DORA))
    world.again(got)
    world.again(got)
    assert kinds(world) == {"repeated without a cause": 2}
    made = world.report()
    assert (made["ok"], made["found"]) == (False, {"repeated without a cause": 2})


def test_one_id_for_two_webhooks_or_two_changes(world: World) -> None:
    time = world.wrote(STARS)
    world.posted(STARS, time, uid="same")
    world.posted(STARS, time, RATINGS, uid="same")
    assert kinds(world) == {"identity": 1}
    world.posted(DORA, world.wrote(DORA), uid="same")
    assert kinds(world) == {"identity": 2}


def test_late(world: World) -> None:
    world.posted(DORA, world.wrote(DORA), late=LATE_AFTER_S + 1)
    assert kinds(world) == {"late": 1}


@pytest.mark.parametrize("problem", [SignatureProblem.MISMATCH, SignatureProblem.NO_ID])
def test_not_verified(world: World, problem: SignatureProblem) -> None:
    world.posted(DORA, world.wrote(DORA), problem=problem)
    assert kinds(world) == {"unverified": 1}


@pytest.mark.parametrize(
    "headers", [{"user-agent": "python"}, {"content-type": "application/json; charset=utf-8"}]
)
def test_wrong_headers_and_another_method(world: World, headers: dict[str, str]) -> None:
    time = world.wrote(DORA)
    world.posted(DORA, time, headers=headers)
    assert kinds(world) == {"altered": 1}
    world.posted(ERIN, world.wrote(ERIN), method="PUT")
    assert kinds(world) == {"altered": 2}


def shown(*received: Received) -> list[str]:
    """The lines that the demo prints of them."""
    console = Console(record=True, file=StringIO())
    show = Show(console)
    for got in received:
        show.post(got)
    return console.export_text().splitlines()


def test_a_post_is_shown_with_its_time_and_what_it_says(world: World) -> None:
    got = world.posted(DORA, world.wrote(DORA), late=0.02)
    first, *body = shown(got)
    # From the statement, whose middle is what its body says, to the receipt.
    assert first == "   POST /a/all                 22.5 ms  verified  200  candidate modified 19"
    assert " ".join(line.strip() for line in body) == got.body.decode()
    again = replace(got, tries=2, status=500, problem=SignatureProblem.NO_ID)
    foreign = world.posted(DORA, "", body=b"{}", problem=SignatureProblem.NO_SECRET)
    later = " ".join(shown(got, again, foreign)[1 + len(body) :])
    assert "22.5 ms  webhook-id is missing  500  try 2  candidate modified 19" in later
    assert "     - ms  signed; secret unknown here  200  (another form)" in later


def test_latencies_are_those_of_single_changes_at_a_receiver_that_accepts(world: World) -> None:
    for tag, late in (("live", 0.001), ("steady", 0.003), ("retry", 0.5), ("bulk", 0.7)):
        world.posted(DORA, world.wrote(DORA, tag=tag), late=late)
    world.wrote(DORA)
    assert world.report()["total"] == {"expected": 5, "received": 4, "p50_ms": 2.0, "p99_ms": 4.0}
    slow = [d for d in world.account().deliveries if d.change.tag in ("bulk", "retry")]
    assert percentiles_ms(slow) == {"p50_ms": 501.0, "p99_ms": 701.0}
    assert world.report()["events"]["project_changed"]["p50_ms"] is None


def test_a_story_that_did_nothing_is_no_success(world: World) -> None:
    assert not world.report()["ok"]


def test_the_report_says_what_was_wrong(world: World) -> None:
    world.wrote(DORA)
    made = world.report("the daemon ended")
    assert (made["ok"], made["found"]) == (False, {"lost": 1})
    (fault,) = made["faults"]
    assert fault["kind"] == "lost"
    assert "webhook 1, candidate_changed of 19: version 0 (modified)" in fault["text"]
    console = Console(record=True, file=StringIO())
    Show(console, quiet=True).report({**made, "daemon_log": ["[one]", "two\x1b"]})
    text = console.export_text()
    assert "1 lost\n" in text
    assert "lost: webhook 1, candidate_changed of 19: version 0 (modified)" in text
    assert "Not everything was as it should be: the daemon ended." in text
    assert "The end of the daemon's log:\n" in text
    assert "[one]\n" in text


def test_a_status_is_owed_with_its_value(world: World) -> None:
    time = world.wrote(DORA, became="done")
    world.posted(DORA, time)
    without = body_of(DORA, time, ALL).replace(ALL.name.encode(), DONE.name.encode())
    world.posted(DORA, time, DONE, body=without)
    assert kinds(world) == {"altered": 1}
    owed = b', "changed": ["status"], "fields": {"status": "done"}}}'
    assert body_of(DORA, time, DONE) == without.removesuffix(b"}}") + owed
