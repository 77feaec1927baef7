"""Fetch: the next rows of lanes, in order, and the retries that are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc.daemon.lease import Snapshot
from cdc.daemon.store.session import Connection, Layouts, Row, run, run_within
from cdc.daemon.store.statistics import Statistics
from cdc.lanes import DuePlan, FetchPlan
from cdc.model import Delivery
from cdc.postgres.arrays import plain, texts


@dataclass(frozen=True, slots=True)
class FetchedWindow:
    """Rows of one lane in order of id, and created rows beyond them that belong before some."""

    rows: list[Delivery]
    created: list[Delivery]


@dataclass(frozen=True, slots=True)
class Due:
    """Retries of one lane whose time has come; seconds until the next one after them, or None."""

    rows: list[Delivery]
    next_in: float | None


class Fetcher:
    """Reads on one connection, one statement for many lanes."""

    def __init__(self, conn: Connection, layouts: Layouts) -> None:
        self._conn = conn
        self._layouts = layouts
        self._statistics = Statistics()

    async def fetch(
        self, plans: Mapping[int, FetchPlan], snapshot: Snapshot
    ) -> dict[int, FetchedWindow]:
        """For each webhook the rows that its plan asks for, as the look's snapshot shows them."""
        rows = await run(self._conn, "fetch", _asked(plans, snapshot))
        return await self._windows(plans, rows, snapshot)

    async def step(
        self, webhook_id: int, plan: FetchPlan, snapshot: Snapshot, within: float
    ) -> FetchedWindow | None:
        """The same for one that reads in steps; None if it took longer than that."""
        plans = {webhook_id: plan}
        rows = await run_within(self._conn, "fetch", _asked(plans, snapshot), within)
        if rows is None:
            return None
        return (await self._windows(plans, rows, snapshot))[webhook_id]

    async def _windows(
        self, plans: Mapping[int, FetchPlan], rows: Sequence[Row], snapshot: Snapshot
    ) -> dict[int, FetchedWindow]:
        await self._statistics.refresh(self._conn, len(rows))
        found: dict[int, list[Delivery]] = {webhook_id: [] for webhook_id in plans}
        for delivery in await self._layouts.deliveries(self._conn, rows):
            found[delivery.webhook_id].append(delivery)
        full = {
            webhook_id: rows_
            for webhook_id, rows_ in found.items()
            if len(rows_) >= plans[webhook_id].limit
        }
        created = await self._created(full, snapshot)
        return {
            webhook_id: FetchedWindow(rows_, created.get(webhook_id, []))
            for webhook_id, rows_ in found.items()
        }

    async def _created(
        self, full: Mapping[int, list[Delivery]], snapshot: Snapshot
    ) -> Mapping[int, list[Delivery]]:
        """Created rows beyond windows that end where there may be more."""
        modified = set()
        for row in (row for rows in full.values() for row in rows):
            key = (row.webhook_id, row.xid, row.layout.id, row.refs[-1])
            if row.action == "modified":
                modified.add(key)
            elif row.action == "deleted":  # what is created later, is after that
                modified.discard(key)
        if not modified:
            return {}
        webhooks, xids, layouts, keys = zip(*modified, strict=True)
        more = await run(
            self._conn,
            "fetch_created",
            [
                list(full),
                [rows[-1].id for rows in full.values()],
                snapshot.text,
                plain(webhooks),
                plain(xids),
                plain(layouts),
                texts(keys),
            ],
        )
        found: dict[int, list[Delivery]] = defaultdict(list)
        for delivery in await self._layouts.deliveries(self._conn, more):
            found[delivery.webhook_id].append(delivery)
        return found

    async def due(self, plans: Mapping[int, DuePlan]) -> dict[int, Due]:
        """For each webhook the retries that its plan asks for."""
        await self._statistics.refresh(self._conn, sum(plan.limit for plan in plans.values()))
        held = [(webhook_id, *key) for webhook_id, plan in plans.items() for key in plan.exclude]
        rows = await run(
            self._conn,
            "due",
            [
                list(plans),
                [plan.limit for plan in plans.values()],
                *_columns(held),
            ],
        )
        found: dict[int, list[Delivery]] = defaultdict(list)
        for delivery in await self._layouts.deliveries(self._conn, rows):
            found[delivery.webhook_id].append(delivery)
            held.append((delivery.webhook_id, delivery.id, delivery.uid))
        later = await run(
            self._conn,
            "due_next",
            [
                list(plans),
                *_columns(held),
            ],
        )
        next_in = {webhook_id: max(0.0, seconds) for webhook_id, seconds in later}
        return {webhook_id: Due(found[webhook_id], next_in.get(webhook_id)) for webhook_id in plans}


def _columns(held: list[tuple[int, int, str]]) -> list[list[object]]:
    """Webhooks, ids and uids."""
    return [[key[place] for key in held] for place in range(3)]


def _asked(plans: Mapping[int, FetchPlan], snapshot: Snapshot) -> list[object]:
    return [
        list(plans),
        [plan.from_id for plan in plans.values()],
        [plan.to_id for plan in plans.values()],
        [plan.limit for plan in plans.values()],
        snapshot.text,
    ]
