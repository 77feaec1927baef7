"""A webhook as its company sees it: sentences for people who do not know this software. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from cdc.causes import cause_of
from cdc.causes.companies import OURS, met
from cdc.diagnosis.deliveries import Failure
from cdc.diagnosis.explain import Sentence
from cdc.diagnosis.health import LATE, LaneState
from cdc.web.delivery_models import DeliveryDetail
from cdc.wording import counted, when


def sentences(lane: LaneState, now: datetime, failed: Sequence[Failure] = ()) -> list[Sentence]:
    """How its webhook does. failed: attempts of the one that is tried next, newest first."""
    return [*_state(lane, now, failed), *_dead(lane)]


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
    text, todo = met(result["cause"] or "", result["status"])
    if not result["ok"]:
        found.append(Sentence("bad", "challenge", f"The challenge of {when(at)}: {text}.", todo))
    return found


def _state(lane: LaneState, now: datetime, failed: Sequence[Failure]) -> Iterator[Sentence]:
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
        text, todo = _failing(lane, failed)
        late = (lane.oldest or 0.0) > LATE
        parts = (f"{text}.", _next_try(lane, now), _waiting(lane, now))
        yield Sentence("bad" if late else "wait", "failing", " ".join(filter(None, parts)), todo)
    elif lane.waiting:
        yield Sentence("wait", "waiting", f"{_many(lane.waiting, lane)} on the way.")
    else:
        yield Sentence("ok", "active", "All is well: nothing waits to be sent.")


def _failing(lane: LaneState, failed: Sequence[Failure]) -> tuple[str, str]:
    """What was met, without a full stop, and what to do; with how often, as the log has it."""
    alike = list(takewhile(lambda one: one[:2] == (lane.error, lane.status), failed))
    detail = alike[0].detail if alike else ""
    text, todo = met(cause_of(lane.error or "", lane.status, detail).code, lane.status)
    if todo == OURS:
        return text, todo
    if lane.error == "status":
        often = f"each of the last {len(alike)} requests" if len(alike) > 1 else "our last request"
        text += f" to {often}"
    elif len(alike) > 1:
        text += f", {len(alike)} times in a row"
    return (f"{text} for the same notification" if len(alike) > 1 else text), todo


def of_delivery(one: DeliveryDetail) -> list[Sentence]:
    """What became of one of its deliveries."""
    last = one.attempts[-1] if one.attempts else None
    if one.state == "delivered" and last is not None:
        return [Sentence("ok", "delivered", f"Your server accepted it at {when(last.at)}.")]
    if one.state in ("dropped", "expired"):
        text = "It was given up, and is not sent: "
        text += "a person decided that." if one.state == "dropped" else "it was held for too long."
        return [Sentence("wait", one.state, text)]
    met_, todo, found = "", "", list[Sentence]()
    if last is not None and last.error is not None:
        met_, todo = met(cause_of(last.error, last.status, last.detail).code, last.status)
    if one.state == "dead":
        text = f"It is given up after {counted(len(one.attempts), 'attempt')}."
        found = [Sentence("bad", "dead", f"{text} {met_ and met_ + '.'}".rstrip(), todo)]
    elif met_:
        text = f"{met_}."
        if one.due_at is not None:
            text += f" We try again at {when(one.due_at)}."
        found = [Sentence("wait", "failing", text, todo)]
    elif one.state == "parked":
        text = "An earlier change of the same row is sent first."
        found = [Sentence("wait", "parked", text)]
    elif one.state in ("queued", "held"):
        found = [Sentence("wait", "waiting", "It waits to be sent.")]
    return found


def _dead(lane: LaneState) -> Iterator[Sentence]:
    if lane.dead:
        text = (
            f"{_many(lane.dead, lane)} given up: your server did not accept them in all attempts."
        )
        yield Sentence("bad", "dead", text, "When your server works again, send them again.")


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
