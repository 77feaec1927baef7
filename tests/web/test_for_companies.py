"""What a company reads about its webhook."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cdc.causes import companies, detail
from cdc.causes.sentences import CLASSES, SENTENCES, STATUSES
from cdc.diagnosis.deliveries import Failure
from cdc.diagnosis.health import LaneState
from cdc.web.console import for_companies
from cdc.web.delivery_models import AttemptOut, DeliveryDetail

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUIET = LaneState(
    webhook_id=5, company="7", state="active", reason="", since=NOW, queued=0, retrying=0, parked=0,
    dead=0, oldest=None, oldest_queued=None, oldest_dead=None, breaker="closed", failing_since=None,
    failing_for=None, slow=False, error=None, status=None, delivery=None, next_try=None,
    held_for=None, bound=1000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        ({}, ["ok: All is well: nothing waits to be sent."]),
        ({"queued": 3, "oldest": 0.1}, ["wait: 3 notifications are on the way."]),
        (
            {"retrying": 1, "parked": 44, "oldest": 3000, "error": "status", "status": 500,
             "next_try": 300},
            ["bad: Your server answered 500 to our last request. We try again at 2026-03-01 "
             "12:05:00Z. Since 2026-03-01 11:10:00Z, 45 notifications are waiting; changes of the "
             "same row will be sent in their order. Its log says why."],
        ),
        (
            {"retrying": 1, "oldest": 2, "error": "tls", "next_try": 0},
            ["wait: A secure connection to your server could not be made. We try again now. Since "
             "2026-03-01 11:59:58Z, 1 notification is waiting; changes of the same row will be "
             "sent in their order. Check its certificate: the date, the name, and that a public "
             "authority issued it, with all certificates in between."],
        ),
        (
            {"retrying": 1, "oldest": 2, "error": "guard"},
            ["wait: Nothing can be sent just now. Since 2026-03-01 11:59:58Z, 1 notification is "
             "waiting; changes of the same row will be sent in their order. This is not your "
             "server's fault; please contact us."],
        ),
        (
            {"state": "paused", "reason": "a move", "queued": 1, "held_for": 60},
            ["wait: Sending is paused since 2026-03-01 12:00:00Z (a move). Since 2026-03-01 "
             "11:59:00Z, 1 notification is waiting; changes of the same row will be sent in their "
             "order."],
        ),
        (
            {"state": "suspended", "dead": 1000},
            ["bad: Sending was stopped at 2026-03-01 12:00:00Z. When your server accepts "
             "notifications again, resume this webhook.",
             "bad: At least 1000 notifications are given up: your server did not accept them in "
             "all attempts. When your server works again, send them again."],
        ),
        ({"state": "removed"}, ["wait: This webhook was removed at 2026-03-01 12:00:00Z."]),
    ],
)  # fmt: skip
def test_it_is_said_in_whole_sentences(lane: dict[str, Any], said: list[str]) -> None:
    found = for_companies.sentences(QUIET._replace(**lane), NOW)
    assert [f"{one.verdict}: {one.text} {one.todo}".strip() for one in found] == said


CHALLENGED = {"state": "done", "ended_at": NOW, "result": {
    "ok": False, "cause": "challenge", "status": 200}}  # fmt: skip
PUT = "Put the signing secret into your server, then verify the address."
UNPROVEN = "wait: Nothing is sent to this address yet: it is not verified."


@pytest.mark.parametrize(
    ("lane", "challenge", "said"),
    [
        ({}, None, [f"{UNPROVEN} {PUT}"]),
        (
            {"state": "paused", "queued": 2, "held_for": 60},
            {"state": "waiting", "ended_at": None, "result": None},
            [f"{UNPROVEN} Since 2026-03-01 11:59:00Z, 2 notifications are waiting; changes of the "
             f"same row will be sent in their order. {PUT}",
             "wait: A challenge is being sent."],
        ),
        (
            {}, CHALLENGED,
            [f"{UNPROVEN} {PUT}",
             "bad: The challenge of 2026-03-01 12:00:00Z: Your server's answer did not hold the "
             "text of the challenge. Answer it with the text in data.challenge, and nothing else."],
        ),
        (
            {}, {"state": "failed", "ended_at": NOW, "result": None},
            [f"{UNPROVEN} {PUT}",
             "bad: The challenge of 2026-03-01 12:00:00Z could not be sent. Try again. This is not "
             "your server's fault; please contact us."],
        ),
    ],
)  # fmt: skip
def test_an_address_that_is_not_verified(lane: Any, challenge: Any, said: list[str]) -> None:
    found = for_companies.unverified(QUIET._replace(**lane), challenge, NOW)
    assert [f"{one.verdict}: {one.text} {one.todo}".strip() for one in found] == said


def delivery(state: str, *attempts: dict[str, Any], due: bool = False) -> DeliveryDetail:
    base = {"at": NOW, "outcome": "failed", "status": None, "error": None, "detail": "",
            "duration_ms": 1.0, "excerpt": ""}  # fmt: skip
    return DeliveryDetail(
        id=1, uid=UUID(int=1), webhook=1, company="1", event="e", action="created", key="1",
        time=NOW, state=state, due_at=NOW if due else None, body=None,
        attempts=[AttemptOut(**{**base, "number": n, **one}) for n, one in enumerate(attempts, 1)],
    )  # fmt: skip


EXPIRED = detail("tls expired", peer="ats.example.com:443")


@pytest.mark.parametrize(
    ("error", "status", "failed", "said"),
    [
        ("status", 500, [("status", 500, "")], "Your server answered 500 to our last request."),
        (
            "status", 500,
            [("status", 500, ""), ("status", 500, ""), ("timeout", None, ""), ("status", 500, "")],
            "Your server answered 500 to each of the last 2 requests for the same notification.",
        ),
        (
            "tls", None, [("tls", None, detail("tls self-signed", peer="x"))] * 12,
            "Your server's certificate was not issued by an authority: it is self-signed, 12 times"
            " in a row for the same notification.",
        ),
        ("status", 500, [("status", 503, "")], "Your server answered 500 to our last request."),
        ("guard", None, [("guard", None, "inside")] * 3, "Nothing can be sent just now."),
    ],
)  # fmt: skip
def test_how_often_it_failed_is_said_as_the_log_has_it(
    error: str, status: int | None, failed: list[Any], said: str
) -> None:
    """And which of the causes of an error it was."""
    lane = QUIET._replace(retrying=1, oldest=2, error=error, status=status)
    (found,) = for_companies.sentences(lane, NOW, [Failure(*one) for one in failed])
    assert found.text.startswith(said)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (delivery("queued"), "wait: It waits to be sent."),
        (delivery("parked"), "wait: An earlier change of the same row is sent first."),
        (
            delivery("delivered", {"outcome": "delivered", "status": 204}),
            "ok: Your server accepted it at 2026-03-01 12:00:00Z.",
        ),
        (
            delivery("retrying", {"error": "status", "status": 401}, due=True),
            "wait: Your server answered 401. We try again at 2026-03-01 12:00:00Z. Compare the "
            "signing secret, and the headers that your server asks for.",
        ),
        (
            delivery("dead", {"error": "reset"}, {"error": "tls", "detail": EXPIRED}),
            "bad: It is given up after 2 attempts. Your server's certificate has expired. Renew "
            "it.",
        ),
        (
            delivery("expired"),
            "wait: It was given up, and is not sent: it was held for too long.",
        ),
    ],
)
def test_what_became_of_a_delivery(one: DeliveryDetail, said: str) -> None:
    (found,) = for_companies.of_delivery(one)
    assert f"{found.verdict}: {found.text} {found.todo}".strip() == said


def test_each_cause_has_words_for_companies() -> None:
    """Without a command, a setting, a value that is left open, or a fault that is not theirs."""
    codes = {*SENTENCES, *CLASSES, "challenge", *(f"status {n}" for n in STATUSES if n > 99)}
    assert {code for code in companies.MET if code != "challenge"} <= codes
    for code in codes:
        status = int(code.partition(" ")[2]) if code.startswith("status ") else None
        text, todo = companies.met(code, status)
        assert not re.search(r"[`{}]|CDC_|\bcdc\b|docs/", f"{text} {todo}"), code
        assert text[0].isupper(), code
        assert todo.endswith("."), code
        assert not text.endswith("."), code
    ours = {code for code in codes if companies.met(code, None)[1] == companies.OURS}
    assert {code.partition(" ")[0] for code in ours if " " not in code} == {
        "guard", "proxy", "mapping", "record", "status",
    }  # fmt: skip
    assert companies.met("dns no answer", None) == (
        "The name servers of your domain did not answer",
        "If this lasts, check the name servers of your domain.",
    )
    assert companies.met("reset of another release", None) == companies.MET["reset"]
    # Each has its own words, but for what is not the company's to mend.
    shared = {code for code in SENTENCES if code not in companies.MET}
    assert {code.partition(" ")[0] for code in shared} <= {"proxy"}
    assert {n for n in STATUSES if n > 299} <= companies.ANSWERED.keys()
    assert companies.met("of another release", None)[1] == companies.OURS
