"""The daemons of a run: processes of their own, some of them on a line that can be cut."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.daemon.running import Process
from tests.support.proxy import Proxy

# Settings of a daemon, so that what takes days takes seconds here. Budget: attempts of a delivery
# until it is dead. A receiver that misbehaves for a while must not use that up.
SCHEDULE = (0.3, 0.5, 1, 1, 1, 2, 2, 2, 3, 3, 3)
BUDGET = len(SCHEDULE) + 1
QUICK = {
    "retry_schedule": ",".join(map(str, SCHEDULE)),
    "attempt_timeout": 4,
    "connect_timeout": 1,
    "breaker_first_probe": 0.2,
    "breaker_max_probe": 1,
    "retry_after_cap": 1,
    "stop_grace": 2,
}


@dataclass(eq=False)
class Daemon:
    """One of the fleet."""

    number: int
    process: Process
    proxy: Proxy | None
    stack: AsyncExitStack
    stopped: bool = False  # by SIGSTOP

    @property
    def is_working(self) -> bool:
        """Whether it has owned something already."""
        return bool(self.process.log.all("connected"))


class Fleet:
    """Starts daemons and ends them: ``async with Fleet(url, folder, chance) as fleet``.

    wired: share of daemons that reach the database through a proxy; one at least does.
    deaf:  share of daemons that do without the doorbell.

    ended_alone: what daemons did without being asked.
    amiss: when shards changed hands, or anything else was logged that may make a daemon send again
           (Unix seconds), by those that have ended.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        chance: random.Random,
        *,
        wired: float = 0.4,
        deaf: float = 0.2,
        **settings: Any,
    ) -> None:
        self._url = url
        self._folder = folder
        self._chance = chance
        self._wired = wired
        self._deaf = deaf
        self._settings = {**QUICK, **settings}
        self._made = 0
        self.daemons: list[Daemon] = []
        self.ended_alone: list[str] = []
        self.amiss: list[float] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for daemon in list(self.daemons):
            await self.kill(daemon)

    async def start(self, *, wired: bool | None = None) -> Daemon:
        """One more daemon. Does not wait until it works."""
        stack = AsyncExitStack()
        proxy = None
        if wired is None:
            alone = all(daemon.proxy is None for daemon in self.daemons)
            wired = self._chance.random() < self._wired or alone
        if wired:
            proxy = await stack.enter_async_context(Proxy(self._url))
        settings = dict(self._settings)
        if self._chance.random() < self._deaf:
            settings["doorbell"] = "off"
        process = Process(proxy.url if proxy else self._url, **settings)
        await stack.enter_async_context(process)
        self._made += 1
        daemon = Daemon(self._made, process, proxy, stack)
        self.daemons.append(daemon)
        return daemon

    async def kill(self, *which: Daemon) -> float:
        """SIGKILL; returns when it was sent. Their logs are kept."""
        at = time.monotonic()
        for daemon in which:
            if daemon.process.code is None:
                daemon.process.signal(signal.SIGKILL)
        for daemon in which:
            await daemon.process.ended()
            await self._remove(daemon)
        return at

    async def end(self, daemon: Daemon) -> None:
        """SIGTERM, and SIGKILL if that does not help within its time."""
        starting = not daemon.process.log.all("started")
        daemon.process.signal(signal.SIGTERM)
        try:
            code = await daemon.process.ended(20)
        except TimeoutError:
            self.ended_alone.append(f"daemon {daemon.number} did not end within 20 s of SIGTERM")
            await self.kill(daemon)
            return
        # While Python still imports the signal has no handler, and it ends the process.
        if code != 0 and not (starting and code == -signal.SIGTERM):
            self.ended_alone.append(f"daemon {daemon.number} ended with {code} after SIGTERM")
        await self._remove(daemon)

    def stop(self, *which: Daemon) -> float:
        """SIGSTOP; returns when."""
        at = time.monotonic()
        for daemon in which:
            daemon.process.signal(signal.SIGSTOP)
            daemon.stopped = True
        return at

    def go_on(self, *which: Daemon) -> None:
        """SIGCONT."""
        for daemon in which:
            daemon.process.signal(signal.SIGCONT)
            daemon.stopped = False

    async def check(self) -> None:
        """Notes daemons that have ended without being stopped, and replaces them."""
        for daemon in list(self.daemons):
            if daemon.process.code is not None:
                said = [f"{x.level} {x.event} {x.values}" for x in daemon.process.log.lines[-5:]]
                said += daemon.process.other[-30:]
                self.ended_alone.append(
                    f"daemon {daemon.number} ended unasked, exit code {daemon.process.code}:\n"
                    + "\n".join(said)
                )
                await self._remove(daemon)
                await self.start()

    async def ready(self, limit: float = 60.0) -> None:
        """Waits until every daemon has connected at least once."""
        async with asyncio.timeout(limit):
            for daemon in self.daemons:
                await daemon.process.until("started", limit=limit)

    async def _remove(self, daemon: Daemon) -> None:
        self.daemons.remove(daemon)
        await daemon.stack.aclose()
        with (self._folder / f"daemon-{daemon.number}.log").open("w") as log:
            for line in daemon.process.log.lines:
                log.write(f"{line.level} {line.event} {line.values}\n")
                if line.event == "owner changed" or line.level in ("warning", "error"):
                    reported = datetime.fromisoformat(line.values["timestamp"])
                    self.amiss.append(reported.timestamp())
            log.write("\n".join(daemon.process.other))
