"""A lane: one webhook's deliveries in memory, and the rules they go by.

    noticed -> plan_fetch -> fetched  -> start -> finish -> settled
               plan_due   -> take_due -^                            (what is retried)

Pure and synchronous. It does no I/O and knows no clock: ``now`` is monotonic seconds, and every
effect is returned to the caller, who has exactly one lane per webhook and owns it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from cdc.lanes.breaker import BreakerState
from cdc.lanes.capacity import Capacity
from cdc.lanes.decision import (
    PLAIN_SUCCESS,
    Dead,
    Decision,
    Delivered,
    DuePlan,
    FetchPlan,
    Kept,
    Retry,
)
from cdc.lanes.order import ResourceOrder
from cdc.lanes.rest import RESTING_AFTER_S, Rest
from cdc.lanes.retry_policy import RetryPolicy
from cdc.lanes.retry_rows import OVERDUE, Retries, sooner
from cdc.lanes.rules import LaneRules
from cdc.lanes.sending import Limits, Sending
from cdc.lanes.window import Window
from cdc.model import Answer, Delivery, Outcome, ResourceKey, Span


class Lane:
    """One webhook's deliveries and rules inside one daemon."""

    __slots__ = (
        *("_policy", "_order", "_paused", "_retries", "_rules", "_sending", "_window"),
        "webhook_id",
    )

    def __init__(
        self,
        webhook_id: int,
        rules: LaneRules,
        random: Random,
        capacity: Capacity | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.webhook_id = webhook_id
        self._rules = rules
        self._paused = False
        self._order = ResourceOrder(capacity or Capacity())
        self._window = Window(self._order)
        self._retries = Retries(self._order)
        self._sending = Sending(rules, self._order, self._retries, limits)
        self._policy = RetryPolicy(rules, random, self._sending.breaker, self._sending.slow)

    # -- what can be seen -------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Deliveries in memory: waiting, in flight, or to be confirmed as settled."""
        return len(self._order.held)

    @property
    def waiting(self) -> int:
        """Deliveries in memory that were not started yet."""
        return self._order.waiting

    @property
    def starves(self) -> bool:
        """Rows are to be read, and none waits: it goes on when what was sent is recorded."""
        return not self._order.waiting and self._window.unread is not None

    @property
    def in_flight(self) -> int:
        """Deliveries that were started and have no outcome yet; 0: a pause can be acknowledged."""
        return self._order.flying

    @property
    def paused(self) -> bool:
        """Whether it was paused, or has paused itself after 410."""
        return self._paused

    @property
    def blocked(self) -> Mapping[ResourceKey, int]:
        """Resources being retried, each with the number of rows parked behind it."""
        return self._retries.blocked

    @property
    def breaker(self) -> BreakerState:
        """State of the breaker."""
        return self._sending.breaker.state

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._sending.breaker.failures

    def failing_for(self, now: float) -> float:
        """Seconds since the first bad answer after the last success; 0.0 while all is well."""
        since = self._sending.breaker.failing_since
        return 0.0 if since is None else max(0.0, now - since)

    def knows(self, delivery_id: int, uid: str) -> bool:
        """Whether this queue row is in memory or will be fetched."""
        return (delivery_id, uid) in self._order.held or self._window.will_read(delivery_id)

    # -- changes from outside ---------------------------------------------------------------------

    def reconfigure(self, rules: LaneRules) -> None:
        """New limits hold for what is decided from now on."""
        self._rules = self._policy.rules = rules
        self._sending.reconfigure(rules)

    def pause(self) -> None:
        """Start and fetch nothing until ``resume()``. What is in flight goes on (see ``idle``)."""
        self._paused = True

    def resume(self) -> None:
        """Go on; what held the lane back before (breaker, slow-down) is tried again at once."""
        self._paused = False
        self._sending.breaker.forgive()
        self._sending.slow.forgive()

    def renew(self) -> None:
        """The endpoint is another one: begin as a new lane. What is in flight is sent to the one
        before: it says nothing about this one, and goes again at once where it fails."""
        self._sending.renew()

    def drop(self) -> None:
        """Forget what was not started, to free memory; it will be fetched again. Plans that run do
        not count then: their rows may come after dropped ones of the same resource."""
        self._window.undo()
        self._retries.undo()
        for held in self._order.drop_waiting():
            if held.queued:
                self._window.noticed(Span(held.delivery.id, held.delivery.id))
            else:
                self._retries.note(OVERDUE)

    def leave(self) -> None:
        """Hold nothing of the daemon's capacity any more: nothing new will be started."""
        self._order.leave()

    def rests(self, now: float) -> bool:
        """Nothing is in flight, nothing is to be confirmed, and nothing to be done for a while."""
        order = self._order
        asks = self._window.plan is not None or self._retries.asks
        if asks or len(order.held) > order.waiting or self.wants_fetch:
            return False
        wake = sooner(self.wake_at(now), self.due_at())
        return wake is None or wake > now + RESTING_AFTER_S

    def let_go(self, now: float) -> Rest:
        """End a lane that rests; what it leaves is for the next one of its webhook."""
        wake = sooner(self.wake_at(now), self.due_at())
        self.drop()
        return Rest(self._window.unread, wake, self._sending.limits(now))

    def kept(self, now: float) -> Kept:
        """What the next owner of this lane has to know."""
        breaker = self._sending.breaker
        failing = None if breaker.failing_since is None else self.failing_for(now)
        return Kept(breaker.failures, failing, max(0.0, self._sending.slow.until - now))

    def restore(self, kept: Kept, now: float) -> None:
        """Take over what the last owner kept."""
        since = None if kept.failing_for is None else now - kept.failing_for
        self._sending.breaker.restore(kept.failures, since)
        if kept.slow_for > 0:
            self._sending.slow.restore(now + kept.slow_for)

    # -- the queue --------------------------------------------------------------------------------

    def noticed(self, where: Span) -> None:
        """A look saw queue rows that were not visible before; they lie there."""
        self._window.noticed(where)

    def came(self, rows: Sequence[Delivery]) -> list[Delivery] | None:
        """A look brought along all queue rows that were not visible before, in order of id.

        Returns those to park, as ``fetched()`` does; None: not taken, because rows before them were
        not read yet, or for want of capacity. Then call ``noticed()``.
        """
        if not self._takes or not self._window.is_read:
            return None
        if sum([row.places for row in rows]) > self._window.capacity(self._rules):
            return None
        return self._window.admit(rows, self._retries.blocked)

    def plan_fetch(self, most: int | None = None) -> FetchPlan | None:
        """What to read from the queue next, or None while there is nothing to read or no need.

        most: places to fill at most, where many lanes want to.

        Every plan ends with ``fetched()`` or ``fetch_failed()``; until then there is no other.
        """
        return self._window.start(self._rules, most) if self._takes else None

    @property
    def wants_fetch(self) -> bool:
        """Whether ``plan_fetch()`` would have a plan."""
        return self._takes and self._window.wants(self._rules)

    @property
    def _takes(self) -> bool:
        return not self._paused and len(self._retries.blocked) < self._rules.blocked_limit

    def fetched(
        self, plan: FetchPlan, rows: Sequence[Delivery], created: Sequence[Delivery] = ()
    ) -> list[Delivery]:
        """Take in the rows the database returned, in order of id.

        created: rows beyond the window that belong before one in it (``fetch_created.sql``).
        Returns those to park: their resource is being retried. They stay in memory until
        ``settled()``. Rows of a plan that does not count any more (``drop()``) are ignored.
        """
        if plan is not self._window.plan:
            return []
        if self._paused:
            self._window.undo()
            return []
        return self._window.take(plan, rows, self._retries.blocked, created)

    def fetch_failed(self, plan: FetchPlan) -> None:
        """The fetch was lost: it will be planned again."""
        if plan is self._window.plan:
            self._window.undo()

    def stepped(self, *, done: bool) -> None:
        """A fetch whose plan reads in steps came back, or took too long and was given up."""
        self._window.stepped(done=done)

    # -- the retry table --------------------------------------------------------------------------

    def load_blocked(
        self, resource: ResourceKey, waiting: int, due: float | None = None
    ) -> list[Delivery]:
        """A resource has rows in the retry table; for a new lane, before ``noticed()``.

        waiting: rows parked behind the retried one, as far as known. due: when that one is due.
        Returns rows in memory that now have to be parked (none of a new lane).
        """
        if due is not None:
            self._retries.note(due)
        return self._retries.block(resource, waiting)

    def noticed_due(self, due: float) -> None:
        """Another session (a replay) put a row into the retry table, due then."""
        self._retries.note(due)

    def due_at(self) -> float | None:
        """When ``plan_due()`` will have a plan; None if only another event can change that."""
        return None if self._paused else self._retries.due_at(self._rules.due_limit)

    def plan_due(self, now: float) -> DuePlan | None:
        """Which due rows to read from the retry table, or None while none is due. Every plan ends
        with ``take_due()``; until then there is no other."""
        return None if self._paused else self._retries.start(self._rules.due_limit, now)

    def take_due(
        self, plan: DuePlan, rows: Sequence[Delivery], next_due: float | None
    ) -> list[Delivery]:
        """Take in due rows (``retrying`` is set).

        next_due: the earliest due time among the webhook's other retried rows, without those
                  excluded by the plan; None if there are none.
        Returns queue rows to park, as ``fetched()`` does: of resources that were not known to be
        retried (a replay).
        """
        if plan is not self._retries.plan:
            return []
        if self._paused:
            self._retries.undo()
            return []
        return self._retries.take(rows, next_due)

    def promoted(self, resource: ResourceKey, found: bool) -> bool:
        """The answer to ``Decision.promote``, once committed and after ``settled()``.

        found: a row of the resource is being retried now, promoted by this or not.
        True: promote again (and answer again), because rows were parked meanwhile.
        """
        return self._retries.promoted(resource, found)

    # -- sending ----------------------------------------------------------------------------------

    def start(self, now: float) -> list[Delivery]:
        """What is to be sent now, in flight from here on; lowest id first."""
        return [] if self._paused else self._sending.start(now)

    def wake_at(self, now: float) -> float | None:
        """When ``start()`` will return something if nothing else happens; ``now`` if it would
        already. None: only another event helps (an outcome, a fetch, due rows: see ``due_at()``).
        """
        return None if self._paused else self._sending.wake_at(now)

    def finish(self, delivery: Delivery, outcome: Outcome, now: float) -> Decision:
        """An attempt ended. Raises LookupError if the delivery is not in flight."""
        held = self._order.in_flight(delivery)
        if outcome.answer is Answer.SUCCESS:
            transition = None if held.outdated else self._sending.success()
            park, promote = self._retries.done(held)
            if promote is None and not park and transition is None:
                return PLAIN_SUCCESS
            return Decision(Delivered(), park, promote, transition=transition)
        due_in, attempts, transition, slowed = self._policy.verdict(held, outcome, now)
        if due_in is None:
            park, promote = self._retries.done(held)
            return Decision(Dead(attempts), park, promote, transition=transition, slowed=slowed)
        suspend = outcome.answer is Answer.GONE and not held.outdated
        self._paused = self._paused or suspend
        held.due = now + due_in
        park = tuple(self._retries.behind(held))
        settlement = Retry(due_in, attempts)
        return Decision(settlement, park, None, suspend, transition, slowed, held.outdated)

    def abandon(self, delivery: Delivery) -> None:
        """The attempt was cancelled and has no outcome: the delivery is ready again.

        Raises LookupError if it is not in flight.
        """
        held = self._order.in_flight(delivery)
        if self._sending.breaker.probe is held:
            self._sending.breaker.probe_lost()
        held.probe = held.outdated = False
        self._order.back(held)

    def settled(self, delivery: Delivery) -> None:
        """The database has confirmed what was decided: final, moved or parked.

        Raises LookupError if nothing was decided about it; unknown deliveries are ignored.
        """
        held = self._order.forget(delivery)
        if held is None:
            return
        if held.queued:
            self._window.bury(delivery)
        if held.due is not None:
            self._retries.note(held.due)
