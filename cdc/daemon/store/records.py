"""Records: what is to be written about deliveries, and the arrays in which it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdc.lanes import Decision, Lane
from cdc.model import Delivery, Outcome, ResourceKey
from cdc.postgres.arrays import plain, texts


@dataclass(slots=True)
class Settled:
    """An attempt that ended, and what its lane decided. A promotion is made in the transaction that
    ends the retried delivery: between the two a later one might be taken for the first."""

    lane: Lane
    delivery: Delivery
    outcome: Outcome
    decision: Decision
    ended: float  # monotonic


@dataclass(slots=True)
class Parked:
    """A change that waits behind a retried one of its resource."""

    lane: Lane
    delivery: Delivery


@dataclass(slots=True)
class Promote:
    """The first row of a resource in the retry table is due: asked again, or found to
    be parked at a take-over."""

    lane: Lane
    resource: ResourceKey


@dataclass(slots=True)
class KeepLane:
    """The lane's breaker opened or closed, it slows down or recovers, or its owner acts on a
    version of the registration."""

    lane: Lane
    version: int
    error: str | None


@dataclass(slots=True)
class Suspend:
    """The webhook is not to be sent to any more, until a person resumes it.

    version: of the registration that was sent to.
    """

    lane: Lane
    reason: str
    version: int


Record = Settled | Parked | Promote | KeepLane | Suspend


def promotes(record: Record) -> ResourceKey | None:
    """The resource whose first row in the retry table is to be due once this is recorded."""
    match record:
        case Settled(decision=Decision(promote=resource)):
            return resource
        case Promote(resource=resource):
            return resource
    return None


Unit = tuple[int, ResourceKey | str]


def unit_of(record: Record) -> Unit:
    """Records of one unit are written in their order; those of different units in any."""
    match record:
        case Settled(delivery=delivery) | Parked(delivery=delivery):
            return record.lane.webhook_id, delivery.resource
        case Promote(resource=resource):
            return record.lane.webhook_id, resource
    return record.lane.webhook_id, type(record).__name__


def attempts(records: list[Settled], now: float) -> list[str]:
    """What all statements of a settlement begin with: arrays, as text."""
    return [
        plain([r.delivery.webhook_id for r in records]),
        plain([r.delivery.id for r in records]),
        plain([r.delivery.uid for r in records]),
        plain([r.delivery.tries for r in records]),
        plain([r.outcome.status for r in records]),
        plain([r.outcome.duration * 1000 for r in records]),
        texts([_storable(r.outcome.excerpt) for r in records]),
        plain([now - r.ended for r in records]),
    ]


def errors(records: list[Settled]) -> list[str]:
    """What is recorded of failures beyond that."""
    return [
        texts([r.outcome.error for r in records]),
        texts([_storable(r.outcome.detail) for r in records]),
    ]


def rows(records: list[Settled]) -> list[Any]:
    """What a delivery needs to be kept for later, beyond that."""
    return [
        [r.delivery.body for r in records],
        texts([r.delivery.resource.event for r in records]),
        texts([r.delivery.resource.key for r in records]),
    ]


def _storable(text: str) -> str:
    """What a receiver said, as PostgreSQL can keep it: no NUL, no lone surrogates."""
    if not text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
