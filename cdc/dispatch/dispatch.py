"""Keeps the lanes of a tenure going: fills windows, starts attempts, follows registrations."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cdc.channel import Channel
from cdc.dispatch.channels import PART, Channels
from cdc.dispatch.fill import Filler
from cdc.dispatch.register import Registrar
from cdc.lanes import Lane, Room
from cdc.observe import Observer
from cdc.pipeline import Pipeline
from cdc.queue.fetch import Fetcher
from cdc.queue.look import Snapshot, Work
from cdc.queue.session import Layouts, open_session
from cdc.road import Delivery, Span
from cdc.settings import Settings

UNSURE_POLL = 0.05  # how soon to ask again whether we may send
# Rows fetched at a time, twice as many where many webhooks want some: while more are to come, these
# are being sent.
AT_ONCE = 2_000


class Dispatch:
    """All channels of the shards owned; lives as long as a tenure.

    snapshot: the newest look's.  shards: those owned now.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        observer: Observer,
        snapshot: Callable[[], Snapshot],
        shards: Callable[[], list[int]],
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._snapshot = snapshot
        self._shards = shards
        self._room = Room(settings.total_window)
        self._behind: dict[Channel, None] = {}  # wait for recording to catch up, in order
        self._work = asyncio.Event()
        registrar = Registrar(settings, pipeline, observer, self._room)
        self._channels = Channels(registrar, self.pump, self._work.set)
        self.channels = self._channels.open
        self._hungry = self._channels.hungry
        self._defect: BaseException | None = None

    # -- told by the look -------------------------------------------------------------------------

    def noticed(self, webhook_id: int, where: Span) -> None:
        """There are rows that were not there before."""
        self._channels.noticed(webhook_id, where)

    def came(self, deliveries: Iterable[Delivery]) -> None:
        """All rows that were not there before, in order of id: a look brought them along."""
        by_webhook: dict[int, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            by_webhook[delivery.webhook_id].append(delivery)
        for webhook_id, rows in by_webhook.items():
            channel = self.channels.get(webhook_id)
            if channel is None or (park := channel.lane.came(rows)) is None:
                self.noticed(webhook_id, Span(rows[0].id, rows[-1].id))
            else:
                self._pipeline.settler.park(channel.lane, park)
                self.pump(channel)

    def touched(self, webhook_ids: Iterable[int]) -> None:
        """Registrations changed (or something was replayed)."""
        self._channels.touched(webhook_ids)

    def arriving(self, shards: Iterable[int]) -> None:
        """Shards have become ours. What their webhooks have to do is going to be known in parts."""
        self._channels.arriving(shards)

    def arrived(self, part: Sequence[Work], *, last: bool) -> None:
        """The next part of these webhooks, in order: deliveries to them may begin."""
        self._channels.arrived(part, last=last)

    # -- asked by care ----------------------------------------------------------------------------

    def removed(self) -> list[int]:
        """Webhooks that were removed and may have left something in the queue."""
        return self._channels.removed()

    def dropped(self, webhook_id: int) -> None:
        """Nothing is left in the queue of a removed webhook."""
        self._channels.dropped(webhook_id)

    def missing(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        """Whether a waiting row is known to no lane of ours (for the sweep)."""
        return self._channels.missing(webhook_id, delivery_id, uid)

    def shards(self) -> list[int]:
        return self._shards()

    # -- the end ----------------------------------------------------------------------------------

    async def let_go(self, shards: Iterable[int] | None, grace: float) -> int:
        """Stops the channels of these shards (None: all). Returns how many attempts were given up:
        what does not end within ``grace`` seconds is cancelled; the next owner sends it again."""
        mine = self._channels.leave(shards)
        tasks = [task for channel in mine for task in channel.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        for channel in mine:
            self._channels.forget(channel)
            self._behind.pop(channel, None)
        return len(left)

    @property
    def in_flight(self) -> int:
        return sum(len(channel.tasks) for channel in self.channels.values())

    # -- the fetch loop ---------------------------------------------------------------------------

    async def run(self, url: str, layouts: Layouts) -> None:
        """Fills windows until cancelled. Raises psycopg.OperationalError when it cannot."""
        conn = await open_session(url, "fetch")
        try:
            filler = Filler(Fetcher(conn, layouts), self._pipeline.settler)
            while True:
                await self._work.wait()
                self._work.clear()
                if self._defect is not None:
                    raise self._defect
                await self._channels.open_some(conn)
                await self._fill(filler)
        finally:
            self._channels.stop()
            await conn.close()

    async def _fill(self, filler: Filler) -> None:
        hungry = {c for c in self._hungry if not c.closing and not c.removed}
        self._hungry.clear()
        if not hungry:
            return
        # Each may always have what it needs to go on; where there is room, for twice as long: what
        # comes only when the last of it has been sent comes too late.
        cap = self._settings.max_concurrency
        share = max(cap, min(self._room.left, max(AT_ONCE, 2 * cap * len(hungry))) // len(hungry))
        waiting, most = list(hungry), max(1, min(PART, 2 * AT_ONCE // share))
        for start in range(0, len(waiting), most):
            some = [c for c in waiting[start : start + most] if not c.closing and not c.removed]
            await filler.fill([channel.lane for channel in some], share, self._snapshot())
            for channel in some:
                self.pump(channel)

    # -- lanes ------------------------------------------------------------------------------------

    def pump(self, channel: Channel) -> None:
        """Starts what may be started, asks for more rows, sets the alarm for what comes later."""
        if channel.closing:
            return
        now = time.monotonic()
        lane = channel.lane
        if not self._pipeline.may_send():
            # The ping is late. Started attempts would be given up at once, and started again.
            self._again(channel, UNSURE_POLL)
            return
        if self._pipeline.settler.behind(lane.webhook_id):
            self._behind[channel] = None
        else:
            self._begin(channel, lane.start(now))
        if lane.wants_fetch or _reached(lane.due_at(), now):
            self._hungry.add(channel)
            self._work.set()
        if lane.paused and not lane.in_flight:
            self._rest(channel)
        self._alarm(channel, now)
        self._channels.pumped(channel)

    def _begin(self, channel: Channel, started: Iterable[Delivery]) -> None:
        for delivery in started:
            task = asyncio.create_task(self._carry(channel, delivery))
            channel.tasks.add(task)
            task.add_done_callback(partial(self._ended, channel))

    async def _carry(self, channel: Channel, delivery: Delivery) -> None:
        """One attempt after the other, for as long as the end of one lets another begin: a task is
        dear."""
        lane = channel.lane
        while True:
            await self._pipeline.carry(channel, delivery)
            if channel.closing or not self._pipeline.may_send():
                return
            if self._pipeline.settler.behind(lane.webhook_id):
                return  # its end pumps the channel
            started = lane.start(time.monotonic())
            if not started:
                return
            delivery = started[0]
            if len(started) > 1:
                self._begin(channel, started[1:])
            if lane.wants_fetch:
                self._hungry.add(channel)
                self._work.set()

    def confirmed(self, lanes: set[Lane]) -> None:
        """Settlements were committed: windows have room, promoted retries are due; what waited for
        recording may go on. Without lanes: what was in the way was set aside."""
        for lane in lanes:
            channel = self.channels.get(lane.webhook_id)
            if channel is not None and channel.lane is lane:
                self.pump(channel)
        behind, self._behind = self._behind, {}
        for channel in behind:
            self.pump(channel)

    def _ended(self, channel: Channel, task: asyncio.Task[None]) -> None:
        channel.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of ours: the lane would stand still silently, so the daemon goes down loudly.
            self._defect = error
            self._work.set()
            return
        self.pump(channel)

    def _alarm(self, channel: Channel, now: float) -> None:
        times = [t for t in (channel.lane.wake_at(now), channel.lane.due_at()) if t is not None]
        self._again(channel, min(times) - now if times else 0.0)

    def _again(self, channel: Channel, delay: float) -> None:
        """Pumps the channel once more so many seconds later; 0: no more."""
        if channel.timer is not None:
            channel.timer.cancel()
            channel.timer = None
        if delay > 0:
            channel.timer = asyncio.get_running_loop().call_later(delay, self.pump, channel)

    def _rest(self, channel: Channel) -> None:
        """Held and nothing under way: tell who waits for it, and free the memory."""
        channel.lane.drop()
        if channel.acknowledged < channel.webhook.version:
            channel.acknowledged = channel.webhook.version
            self._pipeline.keep(channel)


def _reached(when: float | None, now: float) -> bool:
    return when is not None and when <= now
