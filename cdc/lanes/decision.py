"""What a lane decides. The lane acts on nothing itself: a decision returns the effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cdc.model import Delivery, ResourceKey


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it: the row leaves its table."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The budget is used up: the row moves to the dead.

    attempts: tries that used up the budget, this one included.
    """

    attempts: int


@dataclass(frozen=True, slots=True)
class Retry:
    """The row moves to the retry table, or stays there with a new due time.

    due_in:   seconds from now to the next attempt.
    attempts: tries that used up the budget, this one included if it did.
    """

    due_in: float
    attempts: int


Settlement = Delivered | Dead | Retry


@dataclass(frozen=True, slots=True)
class Transition:
    """The breaker opened, or closed again (open to probing and back is not a transition).

    reason: one line for a person.
    """

    opened: bool
    reason: str


class Kept(NamedTuple):
    """What the next owner of a lane has to know; all in seconds from now.

    failures:    in a row, since the last success.
    failing_for: since the first bad answer after the last success; None while all is well.
    slow_for:    the receiver asked to be left alone for this time; 0.0: it did not.
    """

    failures: int
    failing_for: float | None
    slow_for: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The effects of one outcome, to be carried out in this order, on one connection.

    settlement: what becomes of the delivery itself.
    park:       deliveries of the same resource that move to the retry table, in the order given,
                to wait there behind it, or behind a replay that it was in flight before.
    promote:    a retried delivery of this resource is done. In the transaction that settles it:
                if the first row that the retry table still has of the resource is parked, it
                becomes due at once. Answer with ``Lane.promoted()`` whether there is one.
    suspend:    the receiver is gone (410): the webhook is to be suspended. The lane has paused
                itself.
    transition: the breaker opened or closed: to log and to keep.
    slowed:     the lane starts nothing for a while longer than before: to keep.
    outdated:   the attempt went to what was the endpoint before: it says nothing about the lane.
    """

    settlement: Settlement
    park: tuple[Delivery, ...] = ()
    promote: ResourceKey | None = None
    suspend: bool = False
    transition: Transition | None = None
    slowed: bool = False
    outdated: bool = False


# Most outcomes are this one; it is shared so that success allocates nothing.
PLAIN_SUCCESS = Decision(Delivered())


@dataclass(frozen=True, slots=True, eq=False)
class FetchPlan:
    """Which queue rows to read: the first ``limit`` of the webhook from ``from_id`` to ``to_id``,
    in order of id, visible in the newest look's snapshot.

    capacity: places that rows new to the lane may take (the last one may need more); the rest of
          the limit makes up for rows it holds already.
    end:  None, or where the rows end of which this plan reads the first: where it is not known how
          long reading takes (``model.UNREAD``), it is done in steps.
    """

    from_id: int
    to_id: int
    limit: int
    capacity: int
    end: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DuePlan:
    """Which retry rows to read: up to ``limit`` due ones of the webhook without those in memory,
    lowest due time first, and only the lowest retried one of a resource.

    exclude: id and uid of the retry rows in memory. Ids alone may be equal (after a restore).
    """

    limit: int
    exclude: tuple[tuple[int, str], ...]
