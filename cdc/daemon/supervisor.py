"""Several daemons on one host, each a process of its own, under one parent.

They share the webhooks as daemons on different hosts do, by the database alone. The parent starts
them, starts one again that has crashed, stops them, and answers for all of them over HTTP.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cdc import stop_signals
from cdc.backoff import Backoff
from cdc.errors import CdcError
from cdc.settings import Settings
from cdc.telemetry import Observer, Systemd
from cdc.telemetry.http import HealthServer

REFUSED_EXIT_CODES = (1, 2)  # exit codes of a process that has said in words why it does not run
DEFECT_EXIT_CODE = 70  # ... and of one that has not
RESTART_FIRST_S, RESTART_LONGEST_S = 0.2, 5.0
HEALTHY_AFTER_S = (
    30.0  # seconds after which a process that ends counts as ending for the first time
)
RECORDING_GRACE_S = 10.0  # seconds that a process may take to record, beyond its time of grace
ASK_EVERY_S = 10.0  # seconds between two questions whether a process gets on
STUCK_AFTER_MISSED = 3  # questions in a row without a good answer after which it is started again
PROCESS_ANSWERS_WITHIN_S = 2.0  # seconds that a process may take to answer


class Supervisor:
    """Keeps ``count`` daemons going. ``run`` returns when it was asked to stop.

    arguments: of `cdc`, as far as they are the same for all: what stands before ``run``.
    """

    def __init__(
        self,
        settings: Settings,
        count: int,
        arguments: Sequence[str],
        observer: Observer | None = None,
    ) -> None:
        self._settings = settings
        self._arguments = arguments
        self._numbers = range(1, count + 1)
        self._observer = observer or Observer()
        self._stop = asyncio.Event()
        # To each of them a line, by which it is handed the connections on which it is asked. No
        # path is needed for that, nor a folder that can be written.
        self._lines: dict[int, socket.socket] = {}

    def stop(self, reason: str = "") -> None:
        """Asks all of them to stop."""
        self._stop.set()

    async def run(self) -> None:
        """Raises CdcError when one of them refuses to run; it has logged why."""
        settings = self._settings
        health = HealthServer(self)
        if settings.http_port is not None:
            port = await health.start(settings.http_host, settings.http_port)
            self._observer.serving(settings.http_host, port)
        self._observer.processes_started(len(self._numbers))
        systemd = Systemd()
        status = f"{len(self._numbers)} daemons"
        systemd.ready(status)
        # The parent sees to its processes; systemd sees to the parent.
        beating = asyncio.create_task(systemd.watch(lambda: True, lambda: status))
        try:
            ends = await asyncio.gather(
                *(self._keep(number) for number in self._numbers), return_exceptions=True
            )
        finally:
            beating.cancel()
            await health.stop()
        for end in ends:
            if end is not None:
                raise end

    async def _keep(self, number: int) -> None:
        """One process after the other, until all are to stop."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(RESTART_FIRST_S, RESTART_LONGEST_S)
        while not self._stop.is_set():
            began = loop.time()
            code = await self._one(number)
            if self._stop.is_set():
                return
            if code in REFUSED_EXIT_CODES:
                self.stop()
                raise StartRefused(code)
            if loop.time() - began > HEALTHY_AFTER_S:
                backoff.reset()
            self._observer.process_ended(number, _how(code), backoff.pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.pause):
                    await self._stop.wait()
            backoff.double()

    async def _one(self, number: int) -> int:
        """Starts a process and waits for its end, asked for or not."""
        line, theirs = socket.socketpair()
        line.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                # -P: nothing is imported from the folder that we stand in, where others may write.
                *(sys.executable, "-P", "-m", "cdc", *self._arguments),
                *("run", "--child", str(number)),
                # It ends with us, however we end.
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                # systemd listens to the parent alone.
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
        self._lines[number] = line
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        stuck = asyncio.create_task(self._stuck(number))
        try:
            await asyncio.wait({ended, stopped, stuck}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and not stuck.done():
                with suppress(ProcessLookupError):
                    process.terminate()
                await asyncio.wait({ended}, timeout=self._settings.stop_grace + RECORDING_GRACE_S)
        finally:
            stopped.cancel()
            stuck.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            line.close()
        return await ended

    async def _stuck(self, number: int) -> None:
        """Returns when a process that has answered once does not any more: it stands still."""
        missed: int | None = None
        while missed != STUCK_AFTER_MISSED:
            await asyncio.sleep(ASK_EVERY_S)
            answer = await self._ask(number, "/healthz")
            if answer is not None and answer[0] == 200:
                missed = 0
            elif missed is not None:
                missed += 1
        self._observer.process_stuck(number)

    # -- answering for all ------------------------------------------------------------------------

    def alive(self) -> bool:
        """The parent is; it sees to the others itself."""
        return True

    async def ready(self) -> bool:
        """Whether each of them is."""
        answers = await self._ask_all("/readyz")
        return all(answer is not None and answer[0] == 200 for answer in answers)

    async def page(self) -> bytes:
        """The metrics of all; each labelled with its process. One that does not answer has
        none but ``cdc_process_up 0``."""
        answers = await self._ask_all("/metrics")
        return merged(
            {
                number: answer[1] if answer is not None and answer[0] == 200 else None
                for number, answer in zip(self._numbers, answers, strict=True)
            }
        )

    async def _ask_all(self, path: str) -> list[tuple[int, str] | None]:
        return list(await asyncio.gather(*(self._ask(number, path) for number in self._numbers)))

    async def _ask(self, number: int, path: str) -> tuple[int, str] | None:
        """Status and body of a process's answer, on a connection made for it; None without one."""
        line = self._lines.get(number)
        if line is None:
            return None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(line, [b"?"], [theirs.fileno()])
            async with asyncio.timeout(PROCESS_ANSWERS_WITHIN_S):
                return await _get(ours, path)
        except (OSError, ValueError):
            return None
        finally:
            ours.close()


class StartRefused(CdcError):
    """One of the processes does not run, and has said why: there is nothing to add."""

    def __init__(self, code: int) -> None:
        super().__init__("a process refused to run; see its message above")
        self.exit_code = code


class _Merged(Collector):
    def __init__(self, pages: Mapping[int, str | None]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        up = GaugeMetricFamily("cdc_process_up", "1: the process answers.", labels=["process"])
        for number, page in self._pages.items():
            up.add_metric([str(number)], page is not None)
            for family in text_string_to_metric_families(page or ""):
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                kept.samples += [
                    sample._replace(labels={**sample.labels, "process": str(number)})
                    for sample in family.samples
                ]
        yield up
        yield from families.values()


def merged(pages: Mapping[int, str | None]) -> bytes:
    """One page of several processes' metrics; None for a process that has not answered."""
    registry = CollectorRegistry()
    registry.register(_Merged(pages))
    return generate_latest(registry)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


async def run_until_signalled(processes: Supervisor) -> None:
    """Runs them; SIGTERM, SIGINT and SIGHUP stop them."""
    stop_signals.call(processes.stop)
    await processes.run()


_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")


async def _get(conn: socket.socket, path: str) -> tuple[int, str]:
    """Asks by HTTP. Raises ValueError or OSError unless a whole answer comes."""
    reader, writer = await asyncio.open_unix_connection(sock=conn)
    try:
        ask = f"GET {path} HTTP/1.1\r\nHost: process\r\nConnection: close\r\n\r\n"
        writer.write(ask.encode("ascii"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if length is None or int(length[1]) != len(body):
            raise ValueError("the answer is incomplete")
        return int(head.split(b" ", 2)[1]), body.decode()
    finally:
        writer.close()


async def until_parent_ends(take: Callable[[socket.socket], Awaitable[None]]) -> None:
    """For a process that a parent has started: returns when that one is gone. Standard input is the
    line on which the parent hands over connections, which `take` gets."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    taking: set[asyncio.Task[None]] = set()

    async def given(descriptor: int) -> None:
        with suppress(OSError):
            await take(socket.socket(fileno=descriptor))

    def readable() -> None:
        try:
            mark, descriptors, _, _ = socket.recv_fds(line, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            mark, descriptors = b"", []
        for descriptor in descriptors:
            task = loop.create_task(given(descriptor))
            taking.add(task)
            task.add_done_callback(taking.discard)
        if not mark:
            gone.set()

    with socket.socket(fileno=os.dup(0)) as line:
        line.setblocking(False)
        loop.add_reader(line, readable)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(line)
