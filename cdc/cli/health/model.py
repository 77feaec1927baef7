"""How everything stands: what `cdc status` shows, and what of it is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cdc.around.publications import Publication, Refused
from cdc.capture.plan import TableStatus
from cdc.cli.common import age, counted
from cdc.queue.ownership import SHARDS
from cdc.road import UNUSABLE

TOLD = 10
"""Webhooks of one kind of trouble that are named one by one."""

LATE = 60.0
"""Seconds after which a delivery that nobody holds back is late."""

UNTOLD = "no payload can be made"
"""So begins why deliveries fail of which nothing can be sent: error ``mapping``."""

FULL_QUEUE = 0.25
"""Share of the notification queue from which on nobody arms the bell any more: with a full one,
writers' commits fail."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A webhook and what it owes.

    queued, retrying, parked, dead: counted as far as ``bound``, a place each: a count that has
                reached it means "at least".
    oldest:     age in seconds of the oldest change that waits, in the queue or for a retry.
    oldest_dead: the same of those that are dead.
    last_error: why the next one to be retried failed last.
    next_try:   seconds until then.
    failing_for: seconds since the first bad answer after the last success, as far as it was noted.
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
    oldest_dead: float | None
    breaker: str
    failing_since: datetime | None
    last_error: str | None
    next_try: float | None
    bound: int
    failing_for: float | None = None

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
    def quiet(self) -> bool:
        """Nothing to tell of it."""
        return (
            self.state in ("active", "removed")
            and self.breaker == "closed"
            and not self.waiting
            and not self.dead
        )


@dataclass(frozen=True, slots=True)
class Daemon:
    """A live owner of shards."""

    owner: str
    shards: tuple[int, ...]
    since: datetime | None


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

    armed:    writers ring now, because a daemon sleeps; otherwise nobody runs, or all are busy.
    queue:    used share of the server's notification queue, 0 to 1.
    prepared: max_prepared_transactions; above 0 nobody rings, unless it is told to.
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
    """

    capture: tuple[TableStatus, ...]
    installed_mapping: str | None
    mapping_is_installed: bool
    members: int
    daemons: tuple[Daemon, ...]
    bell: Bell
    lanes: tuple[Lane, ...]
    unresolved: Unresolved
    expired: int
    copy: bool = False
    published: tuple[Publication, ...] = ()
    refused: tuple[Refused, ...] = ()
    filtered: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, list[int]] | None = None

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(shard for daemon in self.daemons for shard in daemon.shards)

    def problems(self) -> list[str]:
        """What is wrong, a sentence each; the most urgent first."""
        found = []
        if self.copy:
            found.append(
                "this database is a copy, and daemons refuse to send from it: if it is the real "
                "one now, `cdc adopt`"
            )
        if self.installed_mapping is None:
            found.append("capture is not installed: run `cdc triggers install`")
        elif not self.mapping_is_installed:
            found.append(
                "another mapping is installed than the one configured: correct CDC_MAPPING, or "
                "install this one (`cdc triggers plan` shows what would change)"
            )
        wrong = [row for row in self.capture if row.state != "installed"]
        if self.installed_mapping is not None and wrong:
            first = wrong[0]
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            found.append(f"capture of {first.table} is {first.state}{more}: `cdc triggers status`")
        found += [
            f"publication {one.publication} keeps daemons from changing cdc.{one.table}: what they "
            "send is not recorded, and is sent again; `cdc doctor` says what to do"
            for one in self.refused[:1]
        ]
        found += [
            f"row-level security of cdc.{table} hides rows from {', '.join(roles)}, or refuses "
            "them: changes are lost, or not sent; `cdc doctor` says what to do"
            for table, roles in list(self.filtered.items())[:1]
        ]
        abandoned = [
            lane
            for lane in self.lanes
            if lane.state == "active"
            and lane.waiting
            and lane.webhook_id % SHARDS not in self.owned
        ]
        if abandoned and not self.copy:
            count = sum(lane.waiting for lane in abandoned)
            least = "at least " if any(lane.more for lane in abandoned) else ""
            found.append(
                f"{least}{counted(count, 'delivery', 'deliveries')} without a daemon to send "
                "them: start `cdc run`; if it runs, its log says what is in its way"
            )
        if self.bell.queue >= FULL_QUEUE:
            found.append(
                f"the server's notification queue is {self.bell.queue:.0%} full: some session "
                "listens and stays in a transaction; `cdc doctor` names it"
            )
        if self.unresolved.count:
            found.append(
                f"{self.unresolved.changes} without a company, the oldest for "
                f"{age(self.unresolved.oldest)}: {self.unresolved.reason} (docs/dba.md, "
                "'What could not be resolved', says what to do)"
            )
        found += _first(
            [
                f"webhook {lane.webhook_id} is suspended: {lane.reason or 'no reason'}"
                for lane in self.lanes
                if lane.state == "suspended"
            ],
            "webhooks are suspended",
        )
        late = sorted((w for w in self.lanes if w.late), key=lambda lane: -(lane.oldest or 0.0))
        found += _first(
            [
                f"webhook {lane.webhook_id} is late, its oldest delivery waits for "
                f"{age(lane.oldest)}{_why(lane)}"
                for lane in late
            ],
            "webhooks are late",
        )
        return found


def _first(sentences: list[str], others: str) -> list[str]:
    """Where everything is wrong, a thousand lines tell less than ten."""
    if len(sentences) <= TOLD:
        return sentences
    return [*sentences[:TOLD], f"{len(sentences) - TOLD} more {others}"]


def _why(lane: Lane) -> str:
    if not lane.last_error and not lane.retrying:
        return (
            ": nothing has failed; its receiver is slow, or the daemon's log and `cdc doctor` "
            "say more"
        )
    error = lane.last_error or ""
    why = f": {error}" if error else ""
    if error.startswith(UNUSABLE):
        return why
    ours = error.startswith(UNTOLD)  # its receiver was never asked
    if lane.failing_for is not None and not ours:
        why += f", for {age(lane.failing_for)}"
    if lane.breaker != "closed" and not ours:
        return f"{why}; it is tried by itself, at least once a minute"
    if lane.next_try is not None and lane.next_try > 0:
        why += f", next try in {age(lane.next_try)}"
        if not ours:
            why += " (`cdc webhook resume` hurries it)"
    return why
