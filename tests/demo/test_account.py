"""The account finds whatever is not exactly as it should be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cdc.message.signing import SignatureProblem
from cdc.sandbox.demo.account import LATE_AFTER, Account, Line
from cdc.sandbox.demo.report import DemoReport, proven
from tests.demo.made import DORA, ERIN, PROJECT, STARS, START, World


@pytest.fixture
def world() -> World:
    return World()


def faults(account: Account) -> list[tuple[str, str]]:
    return [(fault.kind, fault.text) for fault in account.faults]


def only_fault(account: Account) -> tuple[str, str]:
    (fault,) = faults(account)
    return fault


def test_everything_as_it_should_be(world: World) -> None:
    for row, action in ((PROJECT, "created"), (DORA, "created"), (DORA, "modified")):
        for entry in world.wrote(row, action):
            world.posted(entry)
    for entry in world.wrote(STARS, "created"):  # two webhooks
        world.posted(entry)
    world.wrote(ERIN, "created", committed=False)
    account = world.account()
    assert account.ok
    assert (account.total.expected, account.total.received) == (5, 5)
    assert account.events["candidate_changed"].expected == 2
    assert account.events["rating_changed"].received == 2
    assert account.total.latencies[0] == pytest.approx(0.001)


def test_rows_of_one_statement_may_come_in_any_order(world: World) -> None:
    (dora,), (erin,) = world.wrote(DORA), world.wrote(ERIN)
    world.posted(erin)
    world.posted(dora)
    assert world.account().ok


def test_missing(world: World) -> None:
    first, second = world.wrote(STARS)
    world.posted(second)
    account = world.account()
    assert only_fault(account) == ("missing", f"never came: {first}")
    assert account.events["rating_changed"].missing == 1
    assert account.total.received == 1


def test_the_missing_one_of_many_alike_is_named(world: World) -> None:
    entries = [world.wrote(DORA)[0] for _ in range(3)]
    world.posted(entries[0])
    world.posted(entries[2])
    assert only_fault(world.account())[0] == "missing"


def test_a_post_that_nobody_is_owed(world: World) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed)
    world.posted(owed)  # under another webhook-id
    account = world.account()
    assert only_fault(account)[0] == "unexpected"
    assert account.total.wrong == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b'{"event": "candidate_changed"}'])
def test_garbage_is_unexpected(world: World, body: bytes) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed)
    world.posted(owed, body=body)
    assert only_fault(world.account())[0] == "unexpected"


def test_what_was_rolled_back_is_recognised(world: World) -> None:
    (never,) = world.wrote(DORA, committed=False)
    (owed,) = world.wrote(DORA)
    world.posted(never)
    world.posted(owed)
    account = world.account()
    assert only_fault(account)[0] == "rolled back"
    assert account.count("missing") == 0
    assert not proven(account, [owed])


def test_the_rollback_is_proven_only_by_a_change_that_came(world: World) -> None:
    world.wrote(DORA, committed=False)
    (owed,) = world.wrote(DORA)
    assert not proven(world.account(), [owed])
    world.posted(owed)
    assert proven(world.account(), [owed])
    assert not proven(world.account(), [])


def test_a_wrong_body(world: World) -> None:
    (owed,) = world.wrote(DORA)
    time = (START + timedelta(microseconds=500)).isoformat(timespec="microseconds")
    good = owed.body(time)
    wrong = good.replace(b'"action": "modified", "project"', b'"action": "modified",  "project"')
    assert wrong != good
    world.posted(owed, body=wrong)
    account = world.account()
    kind, text = only_fault(account)
    assert kind == "wrong"
    assert "owed was" in text
    assert (account.total.received, account.total.wrong, account.total.missing) == (1, 1, 0)


def test_members_in_another_order_are_wrong(world: World) -> None:
    (owed,) = world.wrote(DORA)
    time = (START + timedelta(microseconds=500)).isoformat(timespec="microseconds")
    project, candidate = f'"project": "{PROJECT.url}"', f'"candidate": "{DORA.url}"'
    body = owed.body(time).decode()
    swapped = body.replace(f"{project}, {candidate}", f"{candidate}, {project}")
    assert swapped != body
    world.posted(owed, body=swapped.encode())
    assert only_fault(world.account())[0] == "wrong"


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
    (owed,) = world.wrote(DORA)
    world.posted(owed, body=owed.body(time))
    assert only_fault(world.account())[0] == "wrong"


def test_a_time_after_the_receipt_is_wrong(world: World) -> None:
    (owed,) = world.wrote(DORA)
    owed.statement.ended = None
    world.posted(owed, body=owed.body("2025-03-16T15:32:35.000000+00:00"))
    assert only_fault(world.account())[0] == "wrong"


def test_the_wrong_webhook(world: World) -> None:
    first, second = world.wrote(STARS)
    world.posted(first, path=second.hook.path)
    world.posted(second)
    kinds = sorted(kind for kind, _ in faults(world.account()))
    assert kinds == ["missing", "unexpected"]


def test_order_within_a_row(world: World) -> None:
    (first,), (second,) = world.wrote(DORA), world.wrote(DORA)
    world.posted(second)
    world.posted(first)
    account = world.account()
    assert only_fault(account) == ("order", f"{first}: came after a later change of the same row")
    assert account.total.wrong == 1


def test_an_older_change_must_be_accepted_before_the_next_comes(world: World) -> None:
    (first,) = world.wrote(DORA, answers=(500, 200))
    (second,) = world.wrote(DORA)
    got = world.posted(first, status=500)
    world.posted(second)
    world.again(got)
    assert only_fault(world.account())[0] == "order"


def test_a_retry_as_planned(world: World) -> None:
    (first,) = world.wrote(DORA, answers=(500, 200), kind="retry")
    (second,) = world.wrote(DORA, kind="retry")
    got = world.posted(first, status=500)
    world.again(got)
    world.posted(second)
    account = world.account()
    assert account.ok
    assert account.kinds["retry"].received == 2
    assert account.total.latencies == []  # told apart


def test_a_retry_that_never_came(world: World) -> None:
    (owed,) = world.wrote(DORA, answers=(500, 200))
    world.posted(owed, status=500)
    account = world.account()
    kind, text = only_fault(account)
    assert kind == "missing"
    assert "answered 500" in text
    assert account.total.missing == 1


def test_a_retry_with_other_bytes(world: World) -> None:
    (owed,) = world.wrote(DORA, answers=(500, 200))
    got = world.posted(owed, status=500)
    world.again(got, body=got.body.replace(b".175252+", b".175253+"))
    assert only_fault(world.account())[0] == "wrong"


def test_a_retry_under_another_id_is_no_retry(world: World) -> None:
    (owed,) = world.wrote(DORA, answers=(500, 200))
    world.posted(owed, status=500)
    world.posted(owed)
    assert sorted(kind for kind, _ in faults(world.account())) == ["missing", "unexpected"]


def test_repeated(world: World) -> None:
    (owed,) = world.wrote(DORA)
    got = world.posted(owed)
    world.again(got)
    world.again(got)
    account = world.account()
    assert only_fault(account)[0] == "repeated"
    assert account.total.repeated == 2
    assert account.total.wrong == 0


def test_one_id_for_two_webhooks(world: World) -> None:
    first, second = world.wrote(STARS)
    world.posted(first, uid="same")
    world.posted(second, uid="same")
    kind, text = only_fault(world.account())
    assert kind == "wrong"
    assert "webhook-id same" in text


def test_one_id_for_two_changes_of_a_row(world: World) -> None:
    (first,), (second,) = world.wrote(DORA), world.wrote(DORA)
    world.posted(first, uid="same")
    world.posted(second, uid="same")
    kinds = {kind for kind, _ in faults(world.account())}
    assert kinds >= {"missing", "repeated"}


def test_late(world: World) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed, late=LATE_AFTER + 1)
    kind, text = only_fault(world.account())
    assert kind == "wrong"
    assert "after its COMMIT" in text


def test_not_verified(world: World) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed, problem=SignatureProblem.MISMATCH)
    kind, text = only_fault(world.account())
    assert kind == "wrong"
    assert SignatureProblem.MISMATCH in text


@pytest.mark.parametrize(
    "headers", [{"user-agent": "python"}, {"content-type": "application/json; charset=utf-8"}]
)
def test_wrong_headers(world: World, headers: dict[str, str]) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed, headers=headers)
    assert only_fault(world.account())[0] == "wrong"


def test_another_method(world: World) -> None:
    (owed,) = world.wrote(DORA)
    world.posted(owed, method="PUT")
    assert only_fault(world.account())[0] == "wrong"


def test_posts_without_an_id_are_never_taken_together(world: World) -> None:
    (owed,) = world.wrote(DORA, answers=(500, 200))
    got = world.posted(owed, uid="", status=500)
    world.again(got)
    assert not world.account().ok


def test_percentiles() -> None:
    assert Line().percentile(0.5) is None
    line = Line(latencies=[float(n) for n in range(1, 101)])
    assert (line.percentile(0.5), line.percentile(0.99), line.percentile(1)) == (50, 99, 100)
    assert Line(latencies=[3.0]).percentile(0.99) == 3


def test_a_story_that_did_nothing_is_no_success() -> None:
    assert not DemoReport(Account(), "18.4", 1.0, proven=True).ok


def test_the_report_tells_what_was_wrong(world: World) -> None:
    (owed,) = world.wrote(DORA)
    account = world.account()
    report = DemoReport(account, "18.4", 1.0, problems=["the daemon ended"], log="one\ntwo")
    told = report.as_json()
    assert (told["ok"], told["total"]["missing"]) == (False, 1)
    assert told["faults"] == [{"kind": "missing", "text": f"never came: {owed}"}]
    assert told["daemon_log"] == ["one", "two"]
    assert "the daemon ended" in report.verdict
