"""A simple model of the database: writers whose transactions commit in any order, the queue and the
retry table, and the daemon's statements on them (as the SQL files do it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cdc.lanes import Dead, DuePlan, FetchPlan, Retry, Settlement
from cdc.model import Delivery, ResourceKey

from .made import delivery

LARGE = 4
"""Places that every fifth row takes."""


@dataclass
class Parked:
    """A row of the retry table; parked while it has no due time."""

    row: Delivery
    due: float | None


@dataclass
class Move:
    """One settlement on its way: what it does to the tables, and what its confirmation says."""

    commit: Callable[[], bool]
    confirm: Callable[[bool], None]
    found: bool | None = None  # set once committed


@dataclass
class Fetch:
    """A fetch in flight; it has rows once its statement has run."""

    plan: FetchPlan
    look: int
    rows: list[Delivery] | None = None
    created: list[Delivery] = field(default_factory=list)


@dataclass
class Due:
    """A read of due rows in flight."""

    plan: DuePlan
    rows: list[Delivery] | None = None
    next_due: float | None = None
    replayed: set[int] = field(default_factory=set)


class Tables:
    """``commits`` orders the transactions; a snapshot is how many of them had committed."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.open: dict[int, list[Delivery]] = {}
        self.locks: dict[str, int] = {}
        self.next_xid = 1
        self.next_id = 1
        self.commits: dict[int, int] = {}
        self.queue: dict[int, Delivery] = {}
        self.retry: dict[int, Parked] = {}
        self.dead: dict[int, Delivery] = {}
        self.committed: dict[int, Delivery] = {}  # the ledger of all that was ever due to be sent

    # -- writers ----------------------------------------------------------------------------------

    def write(self, xid: int | None, key: str, action: str) -> None:
        """A statement, in an open transaction or a new one; its row is locked until the end."""
        if xid is None or xid not in self.open:
            xid, self.next_xid = self.next_xid, self.next_xid + 1
            self.open[xid] = []
        if self.locks.setdefault(key, xid) == xid:
            places = LARGE if self.next_id % 5 == 0 else 1
            row = delivery(self.next_id, key, xid=xid, action=action, places=places)
            self.open[xid].append(row)
            self.next_id += 1

    def end(self, xid: int, commit: bool) -> None:
        rows = self.open.pop(xid)
        self.locks = {key: owner for key, owner in self.locks.items() if owner != xid}
        if commit:
            self.commits[xid] = len(self.commits) + 1
            for row in rows:
                self.queue[row.id] = row
                self.committed[row.id] = row

    # -- the daemon's statements ------------------------------------------------------------------

    def read_queue(self, plan: FetchPlan, look: int) -> tuple[list[Delivery], list[Delivery]]:
        """The rows of a window, and created rows beyond it that belong before one in it."""
        visible = [
            replace(row)
            for id, row in sorted(self.queue.items())
            if plan.from_id <= id <= plan.to_id and self.commits[row.xid] <= look
        ]
        rows, beyond = visible[: plan.limit], visible[plan.limit :]
        modified = [row for row in rows if row.action == "modified"]
        created = [
            late
            for late in beyond
            if late.action == "created" and any(self.one_life(row, late) for row in modified)
        ]
        return rows, created

    def one_life(self, one: Delivery, other: Delivery) -> bool:
        """Whether two rows are of one transaction and resource, and no delete waits in between."""
        return (one.xid, one.resource) == (other.xid, other.resource) and not any(
            row.action == "deleted"
            and (row.xid, row.resource) == (one.xid, one.resource)
            and one.id < row.id < other.id
            for row in (*self.queue.values(), *(parked.row for parked in self.retry.values()))
        )

    def read_due(self, plan: DuePlan) -> tuple[list[Delivery], float | None]:
        """Due rows, the lowest of each resource, and when the next one of all others is due."""
        lowest: dict[ResourceKey, tuple[int, float]] = {}
        for id, parked in sorted(self.retry.items()):
            if parked.due is not None:
                lowest.setdefault(parked.row.resource, (id, parked.due))
        held = {id for id, _ in plan.exclude}
        first = sorted((at, id) for id, at in lowest.values() if id not in held)
        taken = [id for at, id in first if at <= self.now][: plan.limit]
        rows = [replace(self.retry[id].row) for id in taken]
        return rows, min((at for at, id in first if id not in taken), default=None)

    def settle_row(self, row: Delivery, settlement: Settlement) -> None:
        table: dict[int, Parked] | dict[int, Delivery]
        table = self.retry if row.retrying else self.queue
        assert table.pop(row.id, None) is not None, "settled twice"
        if isinstance(settlement, Retry):
            kept = replace(row, attempts=settlement.attempts, retrying=True)
            self.retry[row.id] = Parked(kept, self.now + settlement.due_in)
        elif isinstance(settlement, Dead):
            self.dead[row.id] = row

    def park_row(self, row: Delivery) -> bool:
        assert self.queue.pop(row.id).id == row.id
        self.retry[row.id] = Parked(replace(row, retrying=True), None)
        self.promote(row.resource)
        return True

    def promote(self, resource: ResourceKey) -> bool:
        rows = [parked for _, parked in sorted(self.retry.items())]
        rows = [parked for parked in rows if parked.row.resource == resource]
        if rows:
            first = rows[0]
            for parked in rows:  # created first within a transaction, as in a lane
                if parked.row.xid == first.row.xid and parked.row.action != "modified":
                    first = parked if parked.row.action == "created" else first
                    break
            if first.due is None:
                first.due = self.now
        return bool(rows)

    def blocked(self) -> dict[ResourceKey, list[Parked]]:
        """What take-over finds in the retry table; nothing is left parked behind nothing."""
        found: dict[ResourceKey, list[Parked]] = {}
        for parked in self.retry.values():
            found.setdefault(parked.row.resource, []).append(parked)
        for resource in found:
            self.promote(resource)
        return found
