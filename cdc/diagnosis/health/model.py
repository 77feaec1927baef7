"""How everything stands: what `cdc status` shows. What of it is wrong: problems.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cdc.capture.plan import TableStatus
from cdc.model import SHARDS, UNUSABLE
from cdc.postgres.publications import Publication, RefusedChange
from cdc.wording import counted

LATE = 60.0
"""Seconds after which a delivery that is not held back is late."""

NO_PAYLOAD = "no payload can be made"
"""How the cause begins of deliveries that have no payload: error ``mapping``."""


class LaneState(NamedTuple):
    """A webhook and what it owes. (A tuple: there may be 100,000 of them.)

    queued, retrying, parked, dead: counted as far as ``bound``, a place each: a count that has
                reached it means "at least".
    oldest:     age in seconds of the oldest change that waits, in the queue or for a retry.
    oldest_queued: the same of the queue alone.
    oldest_dead: the same of those that are dead.
    error, status, delivery: why the next one to be retried failed last, and its number; without
                one, why its lane does not send.
    next_try:   seconds until then.
    failing_for: seconds since the first bad answer after the last success, as far as it was noted.
    slow:       its receiver wants to be left alone just now.
    held_for:   for paused and suspended ones: seconds that its oldest change has been held.
    """

    webhook_id: int
    company: str
    state: str
    reason: str
    since: datetime
    queued: int
    retrying: int
    parked: int
    dead: int
    oldest: float | None
    oldest_queued: float | None
    oldest_dead: float | None
    breaker: str
    failing_since: datetime | None
    failing_for: float | None
    slow: bool
    error: str | None
    status: int | None
    delivery: int | None
    next_try: float | None
    held_for: float | None
    bound: int

    @property
    def waiting(self) -> int:
        return self.queued + self.retrying + self.parked

    @property
    def more(self) -> bool:
        """There are more than the counts say."""
        return self.bound in (self.queued, self.retrying + self.parked, self.dead)

    @property
    def late(self) -> bool:
        return self.state == "active" and (self.oldest or 0.0) > LATE

    @property
    def lag(self) -> float | None:
        """Age of the oldest change that no receiver is in the way of: `cdc_lag_seconds`."""
        free = self.state == "active" and self.breaker == "closed" and not self.slow
        return self.oldest_queued if free else None

    @property
    def unusable(self) -> str | None:
        """Why daemons cannot use the registration; None if they can."""
        error = self.error or ""
        return error if error.startswith(UNUSABLE) else None

    @property
    def refused_here(self) -> bool:
        """Our own keys, files or settings keep it from being called; no receiver is asked."""
        refused = self.unusable is not None or self.error == "guard"
        return self.state == "active" and refused

    @property
    def last_error(self) -> str | None:
        """In words."""
        if self.error == "status" and self.status is not None:
            return f"answered {self.status}"
        if self.error == "mapping":
            look = (
                f"`cdc explain {self.delivery}` says why"
                if self.delivery is not None
                else f"`cdc delivery list --webhook {self.webhook_id}`"
            )
            return f"{NO_PAYLOAD}: {look}"
        return self.error

    @property
    def quiet(self) -> bool:
        """Nothing to report."""
        return (
            self.state in ("active", "removed")
            and self.breaker == "closed"
            and not self.waiting
            and not self.dead
            and self.unusable is None
        )


@dataclass(frozen=True, slots=True)
class DaemonState:
    """A live owner of shards.

    clock:     seconds by which its clock is ahead of the database's, if that is much.
    log_lost:  lines of its log cannot be written.
    """

    owner: str
    shards: tuple[int, ...]
    since: datetime | None
    clock: float | None = None
    log_lost: bool = False


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Changes whose company could not be found. more: there are more than were counted."""

    count: int
    oldest: float | None
    reason: str
    more: bool = False

    @property
    def changes(self) -> str:
        return ("more than " if self.more else "") + counted(self.count, "change")


@dataclass(frozen=True, slots=True)
class Bell:
    """The doorbell.

    armed:    writers ring now, because a daemon sleeps; otherwise none runs, or all are busy.
    queue:    used share of the server's notification queue, 0 to 1.
    prepared: max_prepared_transactions; above 0 writers do not ring, unless CDC_DOORBELL is on.
    """

    armed: bool
    queue: float
    prepared: int


@dataclass(frozen=True, slots=True)
class Health:
    """A reading.

    members: daemons that are there, with shards or without.
    expired: deliveries that expired within the last day.
    copy:    daemons refuse to run, because the database is another than that of the installation.
    published: publications that send our tables to subscribers.
    refused: tables of ours that daemons cannot change because of a publication.
    filtered: tables of ours of which row-level security hides or refuses rows, and from which
             roles.
    gone:    companies that are registered and not in the suite, with their webhooks; None where
             this account cannot see it.
    strangers: sessions that hold locks of daemons and may not act as one.
    held_days: after how many days what is held expires.
    details: of some failing webhooks: the line of detail of the last attempt.
    backfills: that run, are paused or have failed: how many, by state.
    """

    capture: tuple[TableStatus, ...]
    installed_mapping: str | None
    mapping_is_installed: bool
    members: int
    daemons: tuple[DaemonState, ...]
    bell: Bell
    lanes: tuple[LaneState, ...]
    unresolved: Unresolved
    expired: int
    copy: bool = False
    published: tuple[Publication, ...] = ()
    refused: tuple[RefusedChange, ...] = ()
    filtered: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, list[int]] | None = None
    strangers: tuple[str, ...] = ()
    held_days: float = 14.0
    details: dict[int, str] = field(default_factory=dict)
    backfills: dict[str, int] = field(default_factory=dict)

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(shard for daemon in self.daemons for shard in daemon.shards)

    @property
    def abandoned(self) -> tuple[LaneState, ...]:
        """Active webhooks with something waiting, and no daemon to send it."""
        owned = self.owned
        return tuple(
            lane
            for lane in self.lanes
            if lane.state == "active" and lane.waiting and lane.webhook_id % SHARDS not in owned
        )
