"""When each maintenance job runs. None of them may stop the daemon, or wait for a lock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import psycopg

from cdc.daemon.maintenance import drop_removed, expire, late_capture, notices, prune, sweep
from cdc.daemon.maintenance.measure import Measure
from cdc.daemon.maintenance.sweep import SweptLanes
from cdc.daemon.store.session import Connection, open_session
from cdc.daemon.store.statistics import FEW_ROWS, Statistics
from cdc.settings.kinds import DAY
from cdc.telemetry import Observer

if TYPE_CHECKING:
    from cdc.daemon.mail import Mailer

REMOVED_EVERY_S = 5.0
LATE_CAPTURE_EVERY_S = 0.1
SWEEP_EVERY_S = 60.0
NOTICES_EVERY_S = 60.0
SCHEDULE_READ_EVERY_S = 1.0
EXPIRE_EVERY_S = 600.0
PRUNE_EVERY_S = 600.0


class Lanes(SweptLanes, Protocol):
    """What maintenance needs to know of the lanes."""

    def removed(self) -> list[int]: ...

    def dropped(self, webhook_id: int) -> None: ...

    def epochs(self) -> Mapping[int, int]: ...

    def succeeding(self) -> list[int]: ...


@dataclass(slots=True)
class Maintenance:
    """The rounds of one daemon. ``run`` lasts as long as the connection of the watcher."""

    url: str
    observer: Observer
    log_days: int
    held_days: float
    dead_days: float
    suspend_after_days: float
    mailer: Mailer | None = None
    _measure: Measure = field(default_factory=Measure)
    _soon: asyncio.Event = field(default_factory=asyncio.Event)

    def resolve_soon(self) -> None:
        """A look saw changes in cdc.unresolved that are to be tried again."""
        self._soon.set()

    async def mail(self) -> None:
        """Sends mail until cancelled, if there is a server for it."""
        if self.mailer is not None:
            await self.mailer.run()

    async def run(self, lanes: Lanes) -> None:
        """Makes its rounds until cancelled."""
        now = time.monotonic()
        last = {
            "removed": 0.0,
            "measure": 0.0,
            "sweep": now,
            "notices": now,
            "expire": 0.0,
            "prune": 0.0,
        }
        every = {
            "measure": self._measure.every,
            "removed": REMOVED_EVERY_S,
            "sweep": SWEEP_EVERY_S,
            "notices": NOTICES_EVERY_S,
            "expire": EXPIRE_EVERY_S,
            "prune": PRUNE_EVERY_S,
        }
        while True:
            now = time.monotonic()
            soon = self._soon.is_set()
            # At once, whatever becomes of it: a look sets it again while there is something to do.
            self._soon.clear()
            every["measure"] = self._measure.every
            due = [name for name, seconds in every.items() if now - last[name] >= seconds]
            if not lanes.shards():
                due = [
                    name for name in due if name not in ("measure", "notices")
                ]  # nothing is ours
            if due == ["removed"] and not lanes.removed() and not soon:
                last["removed"] = now
                due = []
            if due or soon:
                last.update(dict.fromkeys(due, now))
                more = await self._round(lanes, [*due, "unresolved"] if soon else due)
                last.update(dict.fromkeys(more, 0.0))  # after what else is due
                if soon:
                    # Each takes a session of its own, and another daemon may be at these rows.
                    await asyncio.sleep(LATE_CAPTURE_EVERY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(SCHEDULE_READ_EVERY_S):
                    await self._soon.wait()

    async def _round(self, lanes: Lanes, due: list[str]) -> list[str]:
        """Returns those that have more to do."""
        more: list[str] = []
        try:
            conn = await open_session(self.url, "care")
        except psycopg.Error as error:
            self.observer.care_failed("connecting", error)
            return []
        try:
            if not {"removed", "expire"}.isdisjoint(due):
                # Batches of what was held: none of it was fetched.
                await self._one("statistics", Statistics().refresh(conn, FEW_ROWS))
            if "removed" in due:
                for webhook_id in lanes.removed():
                    emptying = drop_removed.run_once(conn, webhook_id, self.observer)
                    done = await self._one("removed", emptying)
                    if done:
                        lanes.dropped(webhook_id)
                    elif done is False:
                        more.append("removed")
            if "measure" in due:
                measuring = self._measure.run_once(conn, lanes.shards(), self.observer)
                await self._one("measure", measuring)
            if "sweep" in due:
                await self._one("sweep", sweep.run_once(conn, lanes, self.observer))
            if "notices" in due:
                await self._one("notices", self._notice(conn, lanes))
            if "expire" in due:
                expiring = expire.run_once(conn, self.held_days, self.dead_days, self.observer)
                if await self._one("expire", expiring) is False:
                    more.append("expire")
            if "prune" in due:
                await self._one("prune", prune.run_once(conn, self.log_days, self.observer))
            if "unresolved" in due:
                # Last: it runs what the owner of a table of the suite may have hidden there, with
                # hardly any rights; but that may leave traps behind for the rest of the session.
                await self._one("unresolved", late_capture.run_once(conn, self.observer))
        finally:
            await conn.close()
        return more

    async def _notice(self, conn: Connection, lanes: Lanes) -> None:
        days = (self.suspend_after_days, self.held_days, self.dead_days)
        terms = notices.Terms(*(DAY * n for n in days))
        epochs = dict(lanes.epochs())
        await notices.run_once(conn, epochs, lanes.succeeding(), terms, self.observer)

    async def _one(self, what: str, work: Awaitable[bool | None]) -> bool | None:
        """Whether all is done; None: it failed."""
        try:
            return await work is not False
        except (psycopg.Error, TimeoutError) as error:
            self.observer.care_failed(what, error)
            return None
