"""A daemon under test: in this process, or as one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from cdc.daemon.app import App
from cdc.sandbox.process import bare_environment
from cdc.settings import Settings
from cdc.telemetry import Observer
from cdc.telemetry.repeats import Repeats
from tests.support.forked import Forked

# Nothing here takes long, but a machine with other things to do needs some time only to start a
# process: beside six busy processes on two cores, 15 s were not enough to start one and share.
LIMIT = 60.0


class Line(NamedTuple):
    """One thing the daemon has logged."""

    level: str
    event: str
    values: dict[str, Any]


class Log:
    """Takes the place of the daemon's log: keeps the lines, and lets a test wait for one."""

    def __init__(self, *, attempts: bool = False) -> None:
        self.lines: list[Line] = []
        self._attempts = attempts
        self._news = asyncio.Event()

    def is_enabled_for(self, level: int) -> bool:
        return self._attempts

    def _write(self, level: str, event: str, values: dict[str, Any]) -> None:
        self.lines.append(Line(level, event, values))
        self._news.set()

    def debug(self, event: str, **values: Any) -> None:
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._write("error", event, values)

    def all(self, event: str, **values: Any) -> list[Line]:
        return [
            line
            for line in self.lines
            if line.event == event and values.items() <= line.values.items()
        ]

    async def seen(
        self, event: str, *, times: int = 1, limit: float = LIMIT, **values: Any
    ) -> Line:
        """Waits until this was logged N times; returns the last of them."""
        try:
            async with asyncio.timeout(limit):
                while len(found := self.all(event, **values)) < times:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            logged = "\n".join(f"{x.level} {x.event} {x.values}" for x in self.lines[-30:])
            raise TimeoutError(
                f"not logged within {limit:g} s: {event} {values}\n{logged}"
            ) from None
        return found[-1]


def settings(url: str, **values: Any) -> Settings:
    """Settings of a daemon that may POST to this machine."""
    return Settings(
        **{
            "database_url": url,
            "allow_http": True,
            "allowed_networks": ["127.0.0.0/8"],
            "stop_grace": 2,
            **values,
        }
    )


class Running:
    """The daemon on the test's own loop: ``async with Running(url) as daemon``.

    Ends with the block, and raises what the daemon has raised.
    """

    def __init__(self, url: str, *, attempts: bool = False, **values: Any) -> None:
        self.log = Log(attempts=attempts)
        # Tests wait for the second and third of equal lines, too.
        self.observer = Observer(log=self.log, repeats=Repeats(first=0.0))
        self.app = App(settings(url, **values), self.observer)
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.begin()
        await self.until("started")
        return self

    def begin(self) -> None:
        """Starts it without waiting for anything."""
        self.task = asyncio.create_task(self.app.run())

    async def until(self, event: str, **values: Any) -> Line:
        """Waits until the daemon logs something, or ends."""
        assert self.task is not None
        logged = asyncio.create_task(self.log.seen(event, **values))
        await asyncio.wait({logged, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if not logged.done():
            logged.cancel()
            await self.task
            raise AssertionError(f"the daemon ended before it logged: {event}")
        return await logged

    async def stop(self, limit: float = LIMIT) -> None:
        """Asks it to stop and waits for its end."""
        self.app.stop("the test")
        await self.end(limit)

    async def end(self, limit: float = LIMIT) -> None:
        """Waits for its end; raises what it raised."""
        assert self.task is not None
        async with asyncio.timeout(limit):
            await asyncio.shield(self.task)

    @property
    def owned(self) -> int:
        """Shards it owns just now."""
        return len(self.app._lease.shards)

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        watcher = self.app._watcher
        return 0 if watcher is None else watcher.dispatcher.in_flight

    @property
    def handing_over(self) -> bool:
        watcher = self.app._watcher
        return watcher is not None and watcher._handing

    def knows(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        """Whether the webhook's lane has the delivery in memory, or is going to fetch it."""
        watcher = self.app._watcher
        return watcher is not None and not watcher.dispatcher.missing(webhook_id, delivery_id, uid)

    def holds(self, webhook_id: int, delivery_id: int, uid: str) -> bool:
        """Whether the webhook's lane has the delivery in memory."""
        watcher = self.app._watcher
        assert watcher is not None
        worker = watcher.dispatcher.workers.get(webhook_id)
        return worker is not None and (delivery_id, uid) in worker.lane._order.held

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        assert self.task is not None
        if not self.task.done():
            await self.stop()
        elif error is None:
            await self.task


class Process:
    """The daemon as a process of its own (``cdc run``), for signals.

    options: of `cdc run`. release: the folder of another release than this one. log_to: where its
    log goes instead of here. fresh: it imports all that it needs (its memory is its own, it can be
    stopped meanwhile); otherwise it is forked from a process that has.
    """

    def __init__(
        self,
        url: str,
        *,
        options: Sequence[str] = (),
        release: Path | None = None,
        log_to: Path | None = None,
        fresh: bool = False,
        **values: Any,
    ) -> None:
        self._log_to = log_to
        self._fresh = fresh or release is not None
        self._options = options
        self._folder = release
        self._env = {
            **bare_environment(),
            "CDC_DATABASE_URL": url,
            "CDC_ALLOW_HTTP": "true",
            "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CDC_LOG_FORMAT": "json",
            **{f"CDC_{name.upper()}": str(value) for name, value in values.items()},
        }
        if release:
            self._env["PYTHONPATH"] = str(release)
        self.log = Log()
        self.other: list[str] = []
        self._process: asyncio.subprocess.Process | Forked | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        reading, log_to = (None, os.open(self._log_to, os.O_WRONLY)) if self._log_to else os.pipe()
        try:
            self._process = await self._start(log_to)
        finally:
            os.close(log_to)
        self._reading = asyncio.create_task(self._read(reading))
        return self

    async def _start(self, log_to: int) -> asyncio.subprocess.Process | Forked:
        arguments = ("run", *self._options)
        if not self._fresh:
            return Forked(arguments, self._env, log_to)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cdc", *arguments),
            env=self._env,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log_to,
        )

    async def _read(self, reading: int | None) -> None:
        if reading is None:
            return
        lines = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb")
        )
        async for line in lines:
            try:
                values = orjson.loads(line)
            except orjson.JSONDecodeError:
                self.other.append(line.decode().rstrip())
                continue
            self.log._write(values.pop("level", ""), values.pop("event", ""), values)
        transport.close()

    async def until(self, event: str, *, limit: float = LIMIT, **values: Any) -> Line:
        try:
            return await self.log.seen(event, limit=limit, **values)
        except TimeoutError as error:
            error.add_note("\n".join(self.other))
            raise

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        assert self._process is not None
        if isinstance(self._process, Forked):
            return self._process.poll()
        return self._process.returncode

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, limit: float = LIMIT) -> int:
        """Waits for its end and returns the exit code."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(limit):
            if isinstance(self._process, Forked):
                code = await self._process.ended()
            else:
                code = await self._process.wait()
            await self._reading
        return code

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self.code is None:
            self._process.kill()
        await self.ended()
        if isinstance(self._process, Forked):
            self._process.close()


async def eventually(
    holds: Callable[[], bool], what: str, limit: float = LIMIT, pause: float = 0.005
) -> None:
    """Waits until a condition holds that is not signalled."""
    try:
        async with asyncio.timeout(limit):
            while not holds():  # noqa: ASYNC110 - it is not signalled
                await asyncio.sleep(pause)
    except TimeoutError:
        raise TimeoutError(f"within {limit:g} s not: {what}") from None
