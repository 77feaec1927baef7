"""A webhook as its company sees it: sentences for people who do not know this software. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cdc.diagnosis.explain import Sentence
from cdc.diagnosis.health import LATE, LaneState
from cdc.message.challenge import ERROR as UNANSWERED
from cdc.wording import counted, when

OURS = "This is not your server's fault; please contact us."
_CHECK = "Check that your server runs, and that its firewall lets our requests in."
MET = {
    "tls": (
        "A secure connection to your server could not be made",
        "Check its certificate: the date, the name, and that a public authority issued it, with "
        "all certificates in between.",
    ),
    "dns": ("The name of your server could not be found", "Check the name in the address."),
    "refused": ("Your server took no connection", _CHECK),
    "reset": ("Your server ended the connection without an answer", _CHECK),
    "timeout": ("Your server did not answer in time", _CHECK),
    "protocol": ("What answered there is not a web server", "Check the port in the address."),
}
"""What was met, by error class, and what the company can do; of another class it can do nothing."""

_LOG = "Its log says why."
_SIGNED = "Compare the signing secret, and the headers that your server asks for."
_PATH = "Check the path of the address."
ANSWERED = {
    3: "Enter the address that it leads to: we do not follow it.",
    4: _LOG,
    5: _LOG,
    401: _SIGNED,
    403: _SIGNED,
    404: _PATH,
    405: _PATH,
    410: "This means that it wants no more notifications at this address.",
    429: "We wait for as long as it asks. A limit of requests per second prevents this.",
}
"""What the company can do, by status, or by its first digit."""


def sentences(lane: LaneState, now: datetime) -> list[Sentence]:
    """How its webhook does."""
    return [*_state(lane, now), *_dead(lane)]


def unverified(
    lane: LaneState, challenge: Mapping[str, Any] | None, now: datetime
) -> list[Sentence]:
    """Of an endpoint that the company has to prove first. challenge: the last one, as a task."""
    text = "Nothing is sent to this address yet: it is not verified."
    todo = "Put the signing secret into your server, then verify the address."
    found = [Sentence("wait", "unverified", f"{text} {_waiting(lane, now)}".rstrip(), todo)]
    if challenge is None or challenge["state"] == "cancelled":
        return found
    at, result = challenge["ended_at"], challenge["result"]
    if at is None:
        return [*found, Sentence("wait", "challenge", "A challenge is being sent.")]
    if result is None:
        text = f"The challenge of {when(at)} could not be sent."
        return [*found, Sentence("bad", "challenge", text, f"Try again. {OURS}")]
    if result["error"] == UNANSWERED:
        text = f"Your server answered {result['status']} to the challenge, but not with its text"
        todo = "Answer it with the text in data.challenge, and nothing else."
    else:
        text, todo = _met(result["error"] or "", result["status"])
        text = text.replace("our last request", "the challenge")
    if not result["ok"]:
        found.append(Sentence("bad", "challenge", f"{text}, at {when(at)}.", todo))
    return found


def _state(lane: LaneState, now: datetime) -> Iterator[Sentence]:
    why = f" ({lane.reason})" if lane.reason else ""
    if lane.state == "removed":
        yield Sentence("wait", "removed", f"This webhook was removed at {when(lane.since)}.")
    elif lane.state == "paused":
        text = f"Sending is paused since {when(lane.since)}{why}."
        yield Sentence("wait", "paused", f"{text} {_waiting(lane, now)}".rstrip())
    elif lane.state == "suspended":
        text = f"Sending was stopped at {when(lane.since)}{why}."
        todo = "When your server accepts notifications again, resume this webhook."
        yield Sentence("bad", "suspended", f"{text} {_waiting(lane, now)}".rstrip(), todo)
    elif lane.error is not None:
        met, todo = _met(lane.error, lane.status)
        late = (lane.oldest or 0.0) > LATE
        parts = (f"{met}.", _next_try(lane, now), _waiting(lane, now))
        yield Sentence("bad" if late else "wait", "failing", " ".join(filter(None, parts)), todo)
    elif lane.waiting:
        yield Sentence("wait", "waiting", f"{_many(lane.waiting, lane)} on the way.")
    else:
        yield Sentence("ok", "active", "All is well: nothing waits to be sent.")


def _dead(lane: LaneState) -> Iterator[Sentence]:
    if lane.dead:
        text = (
            f"{_many(lane.dead, lane)} given up: your server did not accept them in all attempts."
        )
        yield Sentence("bad", "dead", text, "When your server works again, send them again.")


def _met(error: str, status: int | None) -> tuple[str, str]:
    if error == "status" and status is not None:
        todo = ANSWERED.get(status) or ANSWERED.get(status // 100) or _LOG
        return f"Your server answered {status} to our last request", todo
    return MET.get(error, ("Nothing can be sent just now", OURS))


def _next_try(lane: LaneState, now: datetime) -> str:
    if lane.next_try is None:
        return ""
    if lane.next_try <= 0:
        return "We try again now."
    return f"We try again at {when(now + timedelta(seconds=lane.next_try))}."


def _waiting(lane: LaneState, now: datetime) -> str:
    oldest = lane.held_for if lane.state != "active" else lane.oldest
    if not lane.waiting or oldest is None:
        return ""
    since = when(now - timedelta(seconds=oldest))
    return (
        f"Since {since}, {_many(lane.waiting, lane).lower()} waiting; changes of the same row "
        + ("will be sent in their order.")
    )


def _many(number: int, lane: LaneState) -> str:
    """``3 notifications are``."""
    found = f"{counted(number, 'notification')} {'is' if number == 1 else 'are'}"
    return f"At least {found}" if lane.more else found
