"""A simple model of all that surrounds a lane: the database (``tables.py``), looks, fetches under
way, and settlements that commit in order and are confirmed later.

It checks what the lane starts. It is one object with steps that may be taken in any order; the
state machine chooses them, and ``finish_everything()`` takes the sensible ones until all is done.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import partial
from random import Random

from cdc.lanes import Capacity, Dead, Decision, Kept, Lane, LaneRules
from cdc.lanes.order import DECIDED
from cdc.lanes.rate_limit import CATCH_UP_S
from cdc.model import Answer, Delivery, Outcome, ResourceKey, Span

from .endpoint_model import EndpointModel
from .made import OK
from .tables import LARGE, Due, Fetch, Move, Parked, Tables

FEW = 3  # rows that a look brings along at most


class World(Tables):
    def __init__(self, rules: LaneRules, seed: int, capacity: int = 1000) -> None:
        super().__init__()
        self.limit = capacity
        self.rules = rules
        self.due_limit = rules.due_limit
        self.random = Random(seed)
        # the ledger
        self.final: set[int] = set()
        self.unannounced: set[int] = set()  # replayed, and the lane has not loaded it yet
        self.replayed: set[int] = set()
        # the daemon
        self.began: dict[int, float] = {}
        self.take_over()

    def take_over(self, kept: Kept | None = None) -> None:
        """A new daemon, after a crash or at first: what was in memory or in flight is lost.

        kept: what the last owner had kept of the lane, if it could.
        """
        self.looked = len(self.commits)
        self.flying: dict[int, Delivery] = {}
        self.moves: deque[Move] = deque()
        self.fetches: list[Fetch] = []
        self.dues: list[Due] = []
        self.starts: list[float] = []
        self.endpoint = EndpointModel(self.rules)
        self.abandoned: set[int] = set()
        self.paused = False
        undone = self.queue.keys() | self.retry.keys()
        self.final -= undone
        self.unannounced.clear()
        self.capacity = Capacity(self.limit)
        self.lane = Lane(1, self.rules, self.random, self.capacity)
        for resource, rows in self.blocked().items():
            due = min(p.due for p in rows if p.due is not None)
            waiting = sum(p.due is None for p in rows)
            assert self.lane.load_blocked(resource, waiting, due) == []
        if kept is not None:
            self.lane.restore(kept, self.now)
        if self.queue:
            self.lane.noticed(Span(min(self.queue)))

    def hand_over(self) -> None:
        """Another daemon goes on: what is in flight is given up, what was decided is recorded, and
        what the lane knows of its endpoint is passed on."""
        for row in list(self.flying.values()):
            self.abandon(row)
        while self.moves:
            self.commit()
            self.confirm()
        kept, endpoint, paused = self.lane.kept(self.now), self.endpoint, self.paused
        assert kept.failures == endpoint.streak
        self.take_over(kept)
        self.endpoint.taken_over(endpoint, self.now)
        if paused:
            self.pause()

    # -- look and fetch ---------------------------------------------------------------------------

    def look(self) -> None:
        new = sorted(id for id, row in self.queue.items() if self.commits[row.xid] > self.looked)
        self.looked = len(self.commits)
        if not new:
            return
        if len(new) <= FEW:
            park = self.lane.came([replace(self.queue[id]) for id in new])
            if park is not None:
                self.park(park)
                return
        self.lane.noticed(Span(new[0], new[-1]))

    def plan_fetch(self) -> bool:
        plan = self.lane.plan_fetch()
        if plan is not None:
            assert not self.paused
            self.fetches.append(Fetch(plan, self.looked))
        return plan is not None

    def run_fetch(self) -> None:
        for fetch in self.fetches:
            if fetch.rows is None:
                fetch.rows, fetch.created = self.read_queue(fetch.plan, fetch.look)

    def end_fetch(self, lost: bool = False) -> None:
        for fetch in [fetch for fetch in self.fetches if fetch.rows is not None]:
            self.fetches.remove(fetch)
            if lost:
                self.lane.fetch_failed(fetch.plan)
            else:
                self.park(self.lane.fetched(fetch.plan, fetch.rows or [], fetch.created))

    # -- due rows ---------------------------------------------------------------------------------

    def plan_due(self) -> bool:
        plan = self.lane.plan_due(self.now)
        if plan is not None:
            assert plan.limit > 0
            self.dues.append(Due(plan))
        return plan is not None

    def run_due(self) -> None:
        for due in self.dues:
            if due.rows is None:
                due.rows, due.next_due = self.read_due(due.plan)
                due.replayed = set(self.unannounced)

    def end_due(self) -> None:
        for due in [due for due in self.dues if due.rows is not None]:
            self.dues.remove(due)
            rows = due.rows or []
            self.park(self.lane.take_due(due.plan, rows, due.next_due))
            held = self.lane._order.held
            keys = [key for row in rows if (key := (row.id, row.uid)) in held]
            taken = {held[key].resource for key in keys if held[key].state != DECIDED}
            # With the first of a resource those that are parked behind it are known to exist.
            self.unannounced -= {id for id in due.replayed if self.committed[id].resource in taken}

    def replay(self) -> None:
        """An operator replays some dead deliveries: the first of each resource is due at once, the
        others are parked behind it."""
        first: set[ResourceKey] = set()
        for id, row in sorted(self.dead.items())[: self.random.randint(1, 4)]:
            del self.dead[id]
            due = None if row.resource in first else self.now
            first.add(row.resource)
            self.retry[id] = Parked(replace(row, attempts=0, retrying=True), due)
            self.final.discard(id)
            self.unannounced.add(id)
            self.replayed.add(id)
        if first:
            self.lane.noticed_due(self.now)

    # -- sending ----------------------------------------------------------------------------------

    def start(self) -> int:
        wake = self.lane.wake_at(self.now)
        rows = self.lane.start(self.now)
        if wake is not None and wake <= self.now:
            assert rows, "woken for nothing"
        for row in rows:
            self.check_start(row)
            self.flying[row.id] = row
        after = self.lane.wake_at(self.now)
        assert after is None or after > self.now, "would have to be asked again at once"
        return len(rows)

    def check_start(self, row: Delivery) -> None:
        assert not self.paused
        assert row.id in self.committed, "rolled back"
        assert row.id not in self.final, "sent again without a reason"
        assert row.id not in self.flying, "in flight twice"
        self.endpoint.starts(row.id, self.flying, self.now)
        for other in self.committed.values():
            if other.resource != row.resource or other.id == row.id:
                continue
            assert other.id not in self.flying, "two of one resource in flight"
            if other.id in self.final or other.id in self.unannounced:
                continue
            if row.id in self.abandoned and other.id in self.retry:
                continue  # a replay came while it was in flight; what was begun goes first
            before, behind = sorted((row, other), key=lambda one: one.id)
            together = behind.action == "created" and before.action == "modified"
            together = together and self.one_life(before, behind)
            if together and row is behind:
                waits = other.id not in self.retry or self.retry[other.id].due is None
                waits = waits or row.id in self.replayed  # again, and created goes first
                assert waits, "overtakes a retried one"
            elif together:
                assert row.retrying or row.id in self.began, "modified before created"
            else:
                assert other.id > row.id, "overtakes a lower one"
        if self.rules.rate is not None:
            self.starts.append(self.now)
            for first, begin in enumerate(self.starts):
                allowed = self.rules.rate * (self.now - begin)
                allowed += max(1.0, self.rules.rate * CATCH_UP_S)
                assert len(self.starts) - first <= allowed + 1e-6, "too fast"
        self.began[row.id] = self.now

    def finish(self, row: Delivery, outcome: Outcome) -> None:
        del self.flying[row.id]
        decision = self.lane.finish(row, outcome, self.now)
        self.endpoint.ends(row, outcome, decision, self.flying, self.now)
        if outcome.answer is Answer.SUCCESS:
            self.final.add(row.id)
        if isinstance(decision.settlement, Dead):
            self.final.add(row.id)
        self.paused = self.paused or decision.suspend
        self.settle(row, decision)

    def abandon(self, row: Delivery) -> None:
        del self.flying[row.id]
        self.endpoint.abandoned(row.id)
        self.abandoned.add(row.id)
        self.lane.abandon(row)

    # -- settle -----------------------------------------------------------------------------------

    def settle(self, row: Delivery, decision: Decision) -> None:
        settlement, promote = decision.settlement, decision.promote

        def commit() -> bool:
            self.settle_row(row, settlement)
            return promote is not None and self.promote(promote)

        def confirm(found: bool) -> None:
            self.lane.settled(row)
            if promote is not None:
                self.promoted(promote, found)

        self.moves.append(Move(commit, confirm))
        self.park(list(decision.park))

    def park(self, rows: list[Delivery]) -> None:
        for row in rows:
            self.moves.append(Move(partial(self.park_row, row), partial(self.confirm_park, row)))

    def confirm_park(self, row: Delivery, _: bool) -> None:
        self.lane.settled(row)

    def promoted(self, resource: ResourceKey, found: bool) -> None:
        if self.lane.promoted(resource, found):
            self.moves.append(
                Move(lambda: self.promote(resource), lambda again: self.promoted(resource, again))
            )

    def commit(self) -> None:
        for move in self.moves:
            if move.found is None:
                move.found = move.commit()
                return

    def confirm(self) -> None:
        if self.moves and self.moves[0].found is not None:
            move = self.moves.popleft()
            move.confirm(bool(move.found))

    # -- pause ------------------------------------------------------------------------------------

    def pause(self) -> None:
        self.lane.pause()
        self.paused = True

    def drop(self) -> None:
        self.lane.drop()
        assert self.lane.waiting == 0

    def resume(self) -> None:
        if self.paused:
            self.lane.resume()
            self.paused = False
            self.endpoint.resumed(self.now)

    def renew(self) -> None:
        self.lane.renew()
        self.endpoint.renewed(self.flying)

    def reconfigure(self, cap: int, rate: float | None) -> None:
        self.rules = replace(self.rules, cap=cap, rate=rate)
        self.due_limit = max(self.due_limit, self.rules.due_limit)
        self.starts.clear()
        self.endpoint.rules = self.rules
        self.lane.reconfigure(self.rules)

    # -- always, and at the end -------------------------------------------------------------------

    def check(self) -> None:
        lane = self.lane
        # Created rows from beyond the window come on top, one for each modified one at most.
        held = [one.delivery for one in lane._order.held.values()]
        created = sum(row.places for row in held if row.action == "created")
        # The last row may be larger than what is left.
        assert lane._order.queued - created < self.rules.window + LARGE
        assert sum(row.retrying for row in held) <= self.due_limit
        assert self.capacity.taken == sum(row.places for row in held)
        assert lane.in_flight == len(self.flying)
        assert lane.waiting >= 0

    def finish_everything(self) -> None:
        """The receiver is good from now on: everything arrives, without outside help."""
        for xid in list(self.open):
            self.end(xid, commit=True)
        self.resume()
        for _ in range(5000):
            self.look()
            busy = self.plan_fetch() | self.plan_due() | bool(self.fetches or self.dues)
            self.run_fetch()
            self.end_fetch()
            self.run_due()
            self.end_due()
            busy = bool(self.start()) | bool(self.moves or self.flying) | busy
            for row in list(self.flying.values()):
                self.finish(row, OK)
            while self.moves:
                self.commit()
                self.confirm()
            self.check()
            if not self.queue and not self.retry:
                break
            if not busy:
                times = (self.lane.wake_at(self.now), self.lane.due_at())
                known = [at for at in times if at is not None]
                assert known, "stuck: nothing to do, nothing to wait for"
                assert min(known) > self.now, "woken for nothing"
                self.now = min(known)
        else:
            raise AssertionError("no end")
        assert self.final == set(self.committed), "not everything arrived"
        assert self.lane.size == 0
