"""Order within a lane: one line per resource, and a heap of the heads that may go."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from cdc.lanes.capacity import Capacity
from cdc.model import Delivery, ResourceKey

# States of a held delivery. Plain numbers: they are compared several times per delivery.
WAITS: Final = 0  # in its line, not started
FLIES: Final = 1  # in flight, head of its line
DECIDED: Final = 2  # decided and out of its line; held until the database has confirmed it


class Held:
    """A delivery in memory, from fetch to confirmed settlement.

    queued:  came from the queue, not from the retry table.
    probe:   was started as the probe of an open breaker.
    started: when its attempt began.
    due:     once confirmed, the row is in the retry table and due then.
    outdated: it is in flight to what was the endpoint before (``Lane.renew()``).
    """

    __slots__ = (
        *("delivery", "due", "outdated", "probe", "queued", "resource", "started", "state"),
    )

    def __init__(self, delivery: Delivery, resource: ResourceKey, state: int) -> None:
        self.delivery = delivery
        self.resource = resource
        self.state = state
        self.queued = not delivery.retrying
        self.probe = self.outdated = False
        self.started = 0.0
        self.due: float | None = None


class ResourceOrder:
    """All held deliveries of a lane.

    Each resource with rows to send has a line, in order; its head is in flight or is ready. Ready
    heads lie in a heap by id, those of a backfill (below 0) behind all others. Heap entries that
    were overtaken by events are left there and thrown away when they come up.

    held:    everything in memory, by (id, uid).
    queued:  places taken by held rows that came from the queue.
    waiting, flying: counts of rows not started, of rows in flight.
    capacity: the daemon's, of which they all take their places.
    retrying: keys of held rows that came from the retry table.
    """

    __slots__ = (
        "_lines",
        "_ready",
        "_turn",
        "capacity",
        "flying",
        "held",
        "queued",
        "retrying",
        "waiting",
    )

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.held: dict[tuple[int, str], Held] = {}
        self.queued = 0
        self.waiting = 0
        self.flying = 0
        self.retrying: set[tuple[int, str]] = set()
        self._lines: dict[ResourceKey, list[Held]] = {}
        self._ready: list[tuple[int, int, Held]] = []
        self._turn = count()  # distinguishes two entries of one id

    def add(self, key: tuple[int, str], delivery: Delivery, resource: ResourceKey) -> None:
        """Put a delivery into its line."""
        held = self._hold(key, delivery, resource, WAITS)
        self.waiting += 1
        line = self._lines.get(resource)
        if line is None:
            self._lines[resource] = [held]
            self._push(held)
            return
        at = _place(line, delivery)
        line.insert(at, held)
        if at == 0:
            self._push(held)
        elif line[0].delivery.id < 0 <= delivery.id and line[0].state == WAITS:
            self._push(line[0])  # comes earlier now

    def add_done(self, key: tuple[int, str], delivery: Delivery, resource: ResourceKey) -> None:
        """Hold a delivery that is not to be sent (it will be parked) until that is confirmed."""
        self._hold(key, delivery, resource, DECIDED)

    def outdate(self) -> None:
        """What is in flight goes to an endpoint that does not count any more."""
        for held in self.held.values():
            held.outdated = held.state == FLIES

    def is_ready(self) -> bool:
        """Whether there is a head that ``take()`` would return."""
        ready = self._ready
        while ready:
            held = ready[0][2]
            if held.state == WAITS and self._lines[held.resource][0] is held:
                return True
            heappop(ready)
        return False

    def take(self) -> Held | None:
        """The ready head that comes first, now in flight."""
        if not self.is_ready():
            return None
        held = heappop(self._ready)[2]
        self._fly(held)
        return held

    def take_beyond(self, after_id: int) -> Held | None:
        """The ready head with the lowest id above ``after_id``, else the lowest, now in flight.

        Looks at all lines: for probes, which are rare.
        """
        heads = [line[0] for line in self._lines.values() if line[0].state == WAITS]
        if not heads:
            return None
        held = min(heads, key=lambda head: (head.delivery.id <= after_id, head.delivery.id))
        self._fly(held)
        return held

    def in_flight(self, delivery: Delivery) -> Held:
        """The held delivery; it must be in flight.

        Raises LookupError if it is not: the caller has lost track of its own attempts.
        """
        held = self.held.get((delivery.id, delivery.uid))
        if held is None or held.state != FLIES:
            raise LookupError(f"delivery {delivery.id} ({delivery.uid}) is not in flight")
        return held

    def final(self, held: Held) -> None:
        """The delivery in flight is done: the next one of its line is ready."""
        self.flying -= 1
        held.state = DECIDED
        line = self._lines[held.resource]
        if len(line) == 1:
            del self._lines[held.resource]
        else:
            del line[0]
            self._push(line[0])

    def back(self, held: Held) -> None:
        """The delivery in flight was not sent after all: it is ready again."""
        self.flying -= 1
        self.waiting += 1
        held.state = WAITS
        self._push(held)

    def retry(self, held: Held) -> list[Held]:
        """The delivery in flight has to be tried again; returns all that waited behind it."""
        self.flying -= 1
        held.state = DECIDED
        line = self._lines.pop(held.resource)
        rest = line[1:]
        self._decided(rest)
        return rest

    def sends_queued(self, resource: ResourceKey) -> bool:
        """Whether a row from the queue is the head of the resource's line."""
        line = self._lines.get(resource)
        return line is not None and line[0].queued

    def withdraw(self, resource: ResourceKey) -> list[Held]:
        """Take those out of a resource's line that wait there and came from the queue; none while
        one from the queue is in flight: see ``Retries``."""
        line = self._lines.get(resource, [])
        if line and line[0].queued and line[0].state == FLIES:
            return []
        out = [held for held in line if held.state == WAITS and held.queued]
        if out:
            self._decided(out)
            line[:] = [held for held in line if held.state != DECIDED]
            if not line:
                del self._lines[resource]
            elif line[0].state == WAITS:
                self._push(line[0])
        return out

    def drop_waiting(self) -> list[Held]:
        """Forget everything that was not started; returns it."""
        out = [held for held in self.held.values() if held.state == WAITS]
        for held in out:
            held.state = DECIDED
            self.forget(held.delivery)
        self.waiting = 0
        self._ready.clear()
        heads = [line[0] for line in self._lines.values() if line[0].state == FLIES]
        self._lines = {head.resource: [head] for head in heads}
        return out

    def forget(self, delivery: Delivery) -> Held | None:
        """Hold a delivery no longer. None if it was not held.

        Raises LookupError if nothing was decided about it: the caller confirms what was not done.
        """
        key = (delivery.id, delivery.uid)
        held = self.held.get(key)
        if held is None:
            return None
        if held.state != DECIDED:
            raise LookupError(f"delivery {delivery.id} ({delivery.uid}) was not decided")
        del self.held[key]
        places = delivery.places
        self.capacity.taken -= places
        if held.queued:
            self.queued -= places
        else:
            self.retrying.discard(key)
        return held

    def leave(self) -> None:
        """Go on outside of the daemon's capacity: what is still held is not its any more."""
        self.capacity.taken -= sum(held.delivery.places for held in self.held.values())
        self.capacity = Capacity()

    def queued_from(self, from_id: int) -> int:
        """How many rows from the queue with this id or a higher one are held."""
        return sum(1 for held in self.held.values() if held.queued and held.delivery.id >= from_id)

    def _hold(
        self, key: tuple[int, str], delivery: Delivery, resource: ResourceKey, state: int
    ) -> Held:
        held = self.held[key] = Held(delivery, resource, state)
        places = delivery.places
        self.capacity.taken += places
        if held.queued:
            self.queued += places
        else:
            self.retrying.add(key)
        return held

    def _push(self, held: Held) -> None:
        if len(self._ready) > 2 * len(self._lines) + 64:
            # Mostly entries that were overtaken: they hold memory.
            lines = [line for line in self._lines.values() if line[0].state == WAITS]
            self._ready = [(_rank(line), next(self._turn), line[0]) for line in lines]
            heapify(self._ready)
        heappush(self._ready, (_rank(self._lines[held.resource]), next(self._turn), held))

    def _fly(self, held: Held) -> None:
        held.state = FLIES
        self.flying += 1
        self.waiting -= 1

    def _decided(self, rows: list[Held]) -> None:
        self.waiting -= len(rows)
        for held in rows:
            held.state = DECIDED


def _rank(line: list[Held]) -> int:
    """When its head goes. Live changes do not wait for a backfill, whose rows have numbers below 0,
    other than for one of their own resource."""
    first = line[0].delivery.id
    if first >= 0:
        return first
    last = line[-1].delivery.id
    return last if last >= 0 else first + 2**64


def modified_last(rows: Iterable[Delivery]) -> set[tuple[int, ResourceKey]]:
    """Transactions and resources of rows, in order of id, before which a created row may belong
    that comes later: they were modified, and not deleted since."""
    found = set()
    for row in rows:
        if row.action == "modified":
            found.add((row.xid, row.resource))
        elif row.action == "deleted":
            found.discard((row.xid, row.resource))
    return found


def created_for(
    modified: set[tuple[int, ResourceKey]], later: Iterable[Delivery]
) -> list[Delivery]:
    """Those of later rows, in order of id, that belong before ``modified`` (``modified_last``)."""
    found = []
    for row in later:
        key = (row.xid, row.resource)
        if row.action == "deleted":
            modified.discard(key)
        elif row.action == "created" and key in modified:
            found.append(row)
    return found


def _place(line: list[Held], delivery: Delivery) -> int:
    """Where in its line a delivery belongs: by id, and within one transaction created before
    modified, unless the row was deleted in between.

    (A suite's own row trigger that updates the inserted row gives "modified" the lower id.)
    """
    first = 1 if line[0].state == FLIES else 0
    at = len(line)
    while at > first and line[at - 1].delivery.id > delivery.id:  # rarely: ids come in order
        at -= 1
    place = at
    if delivery.action == "created":
        for before in range(at - 1, first - 1, -1):
            other = line[before].delivery
            if other.xid == delivery.xid:
                if other.action == "deleted":
                    break
                if other.action == "modified":
                    place = before
    elif delivery.action == "modified":
        for behind in range(at, len(line)):
            other = line[behind].delivery
            if other.xid == delivery.xid:
                if other.action == "deleted":
                    break
                if other.action == "created":
                    place = behind + 1
    return place
