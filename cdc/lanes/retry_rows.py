"""What a lane knows of its rows in the retry table: who is blocked, and when the next is due."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.lanes.decision import DuePlan
from cdc.lanes.order import DECIDED, Held, ResourceOrder
from cdc.model import Delivery, ResourceKey

OVERDUE = 0.0  # before any reading of a monotonic clock


def sooner(one: float | None, other: float | None) -> float | None:
    """The earlier of two times, either of which may be unknown."""
    if one is None:
        return other
    if other is None:
        return one
    return min(one, other)


class Retries:
    """Blocked resources and the earliest due time. At most one due plan is running.

    Whether a resource is free again is the database's to say, not a count's to guess: replays and
    expiry change the retry table without asking the lane.

    A replay may come while a row from the queue is in flight, and goes next. What waits behind that
    row stays in its line, in the queue, until the row is decided, and is parked then: settlements
    commit in their order, so after a crash the table never holds a later change of a resource than
    one that lies in the queue and was sent perhaps.
    """

    __slots__ = ("_asked", "_due", "_noted", "_order", "_overtaken", "blocked", "plan")

    def __init__(self, order: ResourceOrder) -> None:
        self._order = order
        # Each resource being retried, with the number of rows parked behind it. The number is
        # exact unless rows were parked or removed by others.
        self.blocked: dict[ResourceKey, int] = {}
        # Promotions that wait for their answers, and those of them that cannot free the resource
        # any more, because a row of it (a replay) was loaded since: it will ask again.
        self._asked: dict[ResourceKey, int] = {}
        self._overtaken: set[ResourceKey] = set()
        self.plan: DuePlan | None = None
        self._due: float | None = None
        self._noted: float | None = None  # noted while a plan is running: its answer may lack it

    @property
    def asks(self) -> bool:
        """An answer of the database is waited for."""
        return self.plan is not None or bool(self._asked)

    # -- who is blocked ---------------------------------------------------------------------------

    def park(self, resource: ResourceKey, rows: int) -> None:
        """``resource`` is being retried and ``rows`` more wait behind it."""
        self.blocked[resource] = self.blocked.get(resource, 0) + rows

    def block(self, resource: ResourceKey, waiting: int) -> list[Delivery]:
        """A resource is known from the retry table to be blocked; returns rows to park now."""
        self.blocked[resource] = max(waiting, self.blocked.get(resource, 0))
        return self.withdraw(resource)

    def withdraw(self, resource: ResourceKey) -> list[Delivery]:
        """Rows from the queue that wait in a blocked resource's line, to park now."""
        rows = self._order.withdraw(resource)
        self.park(resource, len(rows))
        return [held.delivery for held in rows]

    def behind(self, held: Held) -> list[Delivery]:
        """The delivery in flight will be retried. Returns what waits behind it, to park now."""
        park: list[Delivery] = []
        for other in self._order.retry(held):
            if other.queued:
                park.append(other.delivery)
            else:  # a replay that came while its resource was in flight: it has its place there
                self._order.forget(other.delivery)
                self.note(OVERDUE)
        self.park(held.resource, len(park))
        return park

    def done(self, held: Held) -> tuple[tuple[Delivery, ...], ResourceKey | None]:
        """The delivery in flight has ended. Returns what to park now, because a replay came while
        it was in flight, and the resource to promote, if it was retried itself."""
        self._order.final(held)
        if not held.queued:
            self._ask(held.resource)
            return (), held.resource
        late = held.resource in self.blocked
        return tuple(self.withdraw(held.resource)) if late else (), None

    def _ask(self, resource: ResourceKey) -> None:
        """A promotion was handed out."""
        waiting = self.blocked.get(resource, 0)
        self.blocked[resource] = waiting - 1 if waiting else 0
        self._asked[resource] = self._asked.get(resource, 0) + 1
        self._overtaken.discard(resource)

    def promoted(self, resource: ResourceKey, found: bool) -> bool:
        """The promotion's answer. True: ask again, rows were parked meanwhile."""
        left = self._asked.pop(resource, 1) - 1
        overtaken = resource in self._overtaken
        self._overtaken.discard(resource)
        if left:
            self._asked[resource] = left
        if found:
            self.note(OVERDUE)
            return False
        if left or overtaken:
            return False
        # Rows parked after the promotion was handed out were moved after it on the same
        # connection: it did not see them. One more question sees all that are counted now.
        if self.blocked.get(resource):
            self.blocked[resource] = 0
            self._asked[resource] = 1
            return True
        self.blocked.pop(resource, None)
        return False

    # -- what is due ------------------------------------------------------------------------------

    def note(self, due: float) -> None:
        """A row that is not in memory is due then."""
        if self.plan is None:
            self._due = sooner(self._due, due)
        else:
            self._noted = sooner(self._noted, due)

    def due_at(self, limit: int) -> float | None:
        """Earliest known due time of rows not in memory; None while it is being asked for, or
        while most of the ``limit`` are in memory, so that asking would bring few."""
        if self.plan is not None or len(self._order.retrying) * 2 > limit:
            return None
        return self._due

    def start(self, limit: int, now: float) -> DuePlan | None:
        due = self.due_at(limit)
        if due is None or due > now:
            return None
        order = self._order
        for key in order.retrying:
            held = order.held[key]
            # Dead, but not confirmed yet: a command may have replayed it already, and this plan
            # would not see that. Ask again once it is confirmed.
            if held.state == DECIDED and held.due is None:
                held.due = OVERDUE
        held_keys = tuple(order.retrying)
        self.plan = DuePlan(limit - len(held_keys), held_keys)
        return self.plan

    def take(self, rows: Sequence[Delivery], next_due: float | None) -> list[Delivery]:
        """Take in the plan's rows. Returns queue rows to park that turned out to stand behind."""
        park: list[Delivery] = []
        for row in rows:
            key = (row.id, row.uid)
            if (held := self._order.held.get(key)) is not None:
                # Its settlement is not confirmed yet (it was moved, or died and was replayed):
                # ask again then.
                held.due = OVERDUE if held.due is None else held.due
                continue
            resource = row.resource
            if resource in self._asked:
                self._overtaken.add(resource)
            if resource not in self.blocked:
                park += self.block(resource, 0)
            self._order.add(key, row, resource)
        self._due = sooner(next_due, self._noted)
        self.plan = self._noted = None
        return park

    def undo(self) -> None:
        """The due plan running, if there is one, does not count."""
        self._due = sooner(self._due, self._noted)
        self.plan = self._noted = None
