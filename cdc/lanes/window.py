"""Where a lane stands in the queue: the next id to read, and what a running fetch may repeat."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.lanes.decision import FetchPlan
from cdc.lanes.order import ResourceOrder, created_for, modified_last
from cdc.lanes.rules import LaneRules
from cdc.model import UNREAD, Delivery, ResourceKey, Span

FIRST_STEP_IDS = 1 << 20
"""Ids of the first step of reading where it is not known how long it takes."""


class Window:
    """Position and tombstones. At most one fetch is running.

    A row whose settlement was confirmed may still be returned by a fetch that began before. Its
    key is kept as a tombstone for as long as one is running; a fetch planned later cannot see it.
    """

    __slots__ = ("_noted", "_order", "_step", "_tombstones", "_unread", "_usual", "plan")

    def __init__(self, order: ResourceOrder) -> None:
        self._order = order
        self.plan: FetchPlan | None = None
        # Where there may be rows that are not held; None: there are none. Its end spares the fetch
        # what open transactions have written behind it, of which there is nothing to see.
        self._unread: Span | None = None
        self._noted: Span | None = None  # noticed while a fetch is running: it need not see them
        self._tombstones: set[tuple[int, str]] = set()
        self._step = 0  # ids that are read at a time; 0: all
        self._usual = 1  # places of a row, by those that came last

    def noticed(self, where: Span) -> None:
        if self.plan is None:
            self._unread = where.joined(self._unread)
        else:
            self._noted = where.joined(self._noted)

    @property
    def unread(self) -> Span | None:
        """Where rows lie that are not held, while no fetch is running."""
        return self._unread

    @property
    def is_read(self) -> bool:
        """All rows that were seen are held, or were: what is new comes after them."""
        return self._unread is None and self.plan is None

    def admit(self, rows: Sequence[Delivery], blocked: dict[ResourceKey, int]) -> list[Delivery]:
        """Take in rows that were read without a plan. Returns those to park."""
        park: list[Delivery] = []
        for row in rows:
            if (row.id, row.uid) not in self._order.held:
                self._admit(row, blocked, park)
        return park

    def will_read(self, delivery_id: int) -> bool:
        if self.plan is not None:
            return True
        return self._unread is not None and self._unread.first <= delivery_id <= self._unread.last

    def bury(self, delivery: Delivery) -> None:
        """A row of the queue is held no longer."""
        if self.plan is not None:
            self._tombstones.add((delivery.id, delivery.uid))

    def capacity(self, rules: LaneRules) -> int:
        """Places that may be filled now: as many as the window and the whole daemon have left, and
        in any case what the lane needs to go on."""
        left = self._order.capacity.left
        if left < rules.cap:  # not worth a fetch
            left = rules.cap - self._order.waiting
        return min(rules.window - self._order.queued, left)

    def wants(self, rules: LaneRules) -> bool:
        if self._unread is None or self.plan is not None or self.capacity(rules) < 1:
            return False
        # Many rows at a time, unless the lane is about to run dry.
        capacity = rules.window - self._order.queued
        return capacity * 2 >= rules.window or self._order.waiting < rules.cap

    def start(self, rules: LaneRules, most: int | None) -> FetchPlan | None:
        if not self.wants(rules) or self._unread is None:
            return None
        capacity = self.capacity(rules)
        if most is not None:
            capacity = min(capacity, most)
        if capacity < 1:
            return None
        # Without the held ones in the limit they would fill it, and the fetch bring nothing new.
        # More than there are places for would be read for nothing.
        limit = -(-capacity // self._usual) + self._order.queued_from(self._unread.first)
        first, end = self._unread
        if first == UNREAD:
            self._step = self._step or FIRST_STEP_IDS
        if self._step:
            # Ids begin above 0: steps from the lowest number there is would never arrive.
            last = min(end, max(first, 0) + self._step)
            self.plan = FetchPlan(first, last, limit, capacity, end)
        else:
            self.plan = FetchPlan(first, end, limit, capacity)
        return self.plan

    def stepped(self, *, done: bool) -> None:
        """A step of reading was made, or took too long and was given up."""
        self._step = self._step * 4 if done else max(1, self._step // 8)

    def take(
        self,
        plan: FetchPlan,
        rows: Sequence[Delivery],
        blocked: dict[ResourceKey, int],
        created: Sequence[Delivery] = (),
    ) -> list[Delivery]:
        """Take in the rows of a fetch. Returns those to park: their resource is blocked."""
        held, tombstones = self._order.held, self._tombstones
        park: list[Delivery] = []
        capacity = plan.capacity
        if rows:
            self._usual = sum([row.places for row in rows]) // len(rows)
        # As many rows as asked for: there may be more. Ids may be equal (a damaged database), so
        # the next fetch begins with the last one again.
        next_id = rows[-1].id if rows and len(rows) >= plan.limit else None
        cut: int | None = None
        for place, row in enumerate(rows):
            if (row.id, row.uid) in held or (row.id, row.uid) in tombstones:
                continue
            if capacity < 1:
                next_id, cut = row.id, place
                break
            capacity -= row.places
            self._admit(row, blocked, park)
        if cut is not None:
            # Where the lane takes fewer rows than came, its window ends earlier.
            created = created_for(modified_last(rows[:cut]), (*rows[cut:], *created))
        # They lie beyond the window, so they do not move the position; a later fetch skips them.
        for row in created:
            if (row.id, row.uid) not in held and (row.id, row.uid) not in tombstones:
                self._admit(row, blocked, park)
        end = plan.to_id if plan.end is None else plan.end
        if next_id is None and plan.to_id < end:
            next_id = plan.to_id + 1
        rest = None if next_id is None else Span(next_id, end)
        if rest is None:
            self._step = 0
        self._unread = self._noted if rest is None else rest.joined(self._noted)
        self._over()
        return park

    def _admit(self, row: Delivery, blocked: dict[ResourceKey, int], park: list[Delivery]) -> None:
        key, resource = (row.id, row.uid), row.resource
        if blocked and resource in blocked and not self._order.sends_queued(resource):
            self._order.add_done(key, row, resource)
            blocked[resource] += 1
            park.append(row)
        else:
            self._order.add(key, row, resource)

    def undo(self) -> None:
        """The fetch running, if there is one, does not count."""
        if self._noted is not None:
            self._unread = self._noted.joined(self._unread)
        self._over()

    def _over(self) -> None:
        self.plan = self._noted = None
        self._tombstones.clear()
