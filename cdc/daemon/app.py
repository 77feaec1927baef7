"""The composition root: builds the daemon, starts it, stops it in order."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from cdc import __version__, stop_signals
from cdc.backoff import Backoff
from cdc.daemon import preflight
from cdc.daemon.backfills import Backfills
from cdc.daemon.consequences import Consequences
from cdc.daemon.dispatch import Dispatcher
from cdc.daemon.lease import Lease
from cdc.daemon.maintenance import Maintenance
from cdc.daemon.pipeline import Pipeline
from cdc.daemon.store.session import open_session, open_sessions
from cdc.daemon.store.settle import Settler
from cdc.daemon.trials import Trials
from cdc.daemon.watcher import Watcher
from cdc.deliver import Client
from cdc.deliver.trust import Trust
from cdc.mapping import load_mapping
from cdc.message.payload import Translator
from cdc.postgres import sqlfiles
from cdc.settings import Settings, redact_dsn
from cdc.settings.kinds import DAY
from cdc.telemetry import (
    Observer,
    Pulse,
    State,
    Systemd,
    check_traces,
    open_traces,
    watch_for_stillness,
)
from cdc.telemetry.metrics import UNREADY_AFTER_S
from cdc.webhooks.vault import Vault

if TYPE_CHECKING:
    from cdc.daemon.mail import Mailer, MailServer
    from cdc.telemetry.http import HealthServer

CONNECT_FIRST_S, CONNECT_LONGEST_S = 0.05, 2.0  # pauses between two tries
CONNECTED_WELL_S = 5.0  # a connection that lasts longer does not count as a failed try
FLUSH_WITHIN_S = 5.0
CHECK_WITHIN_S = 1.0


class App:
    """The daemon. ``run`` returns when it was asked to stop.

    trust:     where it was read before; else it is read from the settings' files.
    of_parent: a parent asks for health and metrics (``take``), so the settings' port is not served.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer | None = None,
        trust: Trust | None = None,
        *,
        of_parent: bool = False,
    ) -> None:
        self.settings = settings
        self._of_parent = of_parent
        self._trust = trust
        self.observer = observer or Observer()
        self._health: HealthServer | None = None
        self._mapping = load_mapping(settings.mapping)
        self._resources = {event: r.name for event, r in self._mapping.events.items()}
        self._translator = Translator(self._mapping, settings.base_url)
        self._watcher: Watcher | None = None
        self._settler: Settler | None = None
        self._client: Client | None = None
        self._systemd = Systemd()
        self._stop = asyncio.Event()
        self._reason = ""
        self._lease = Lease()
        self._mail_server: MailServer | None = None

    def stop(self, reason: str) -> None:
        """Asks the daemon to stop; what is in flight may end within ``stop_grace``."""
        self._reason = self._reason or reason
        self._stop.set()

    async def take(self, conn: socket.socket) -> None:
        """A connection on which the parent asks for health and metrics."""
        if self._health is None:
            conn.close()
        else:
            await self._health.take(conn)

    async def run(self) -> None:
        """Runs until ``stop()``. Survives the database going away and coming back.

        Raises DatabaseError at the start when the database cannot be used as it is.
        """
        settings = self.settings
        sqlfiles.read_queries()
        if settings.traces:
            check_traces()
        if settings.smtp_url is not None:
            from cdc.daemon.mail import MailServer

            self._mail_server = MailServer.of(settings)
        metrics = self.observer.metrics
        metrics.watch(self._state)
        metrics.pulse = Pulse(self._steps)
        metrics.ready_lag = settings.ready_lag
        beside: list[asyncio.Task[None]] = []
        # Monitoring is answered from the first moment on: a database that is down, for
        # which we wait, must not look like a daemon that stands still.
        try:
            await self._serve()
            beside = [
                asyncio.create_task(self._systemd.watch(metrics.alive, self._standing)),
                asyncio.create_task(watch_for_stillness(self.observer.stood_still)),
            ]
            use_bell = await self._checked(settings.database_url)
            if use_bell is None:
                self.observer.stopping(self._reason, 0)
                self.observer.stopped(0)
                return
            await self._deliver(use_bell)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            if self._health is not None:
                await self._health.stop()

    async def _serve(self) -> None:
        settings = self.settings
        if not self._of_parent and settings.http_port is None:
            return
        # Here, because aiohttp is a fifth of the time that a daemon takes to start.
        from cdc.telemetry.http import HealthServer

        self._health = HealthServer(self.observer.metrics)
        if settings.http_port is None or self._of_parent:
            await self._health.open()
        else:
            port = await self._health.start(settings.http_host, settings.http_port)
            self.observer.serving(settings.http_host, port)

    async def _deliver(self, use_bell: bool) -> None:
        settings = self.settings
        url = settings.database_url
        self.observer.started(__version__, redact_dsn(url))
        self._systemd.ready("delivering")
        self._client = client = Client.of(settings, self._lease, self._trust)
        self._settler = settler = Settler(
            url, self.observer, self._lease, settings.unrecorded_limit
        )
        pipeline = Pipeline(
            self._translator,
            client,
            settler,
            self.observer,
            self._lease,
            Consequences(client, settler, self.observer, settings.suspend_after_days * DAY),
        )
        if settings.traces:
            self.observer.traces = open_traces(self.observer.traces_failed)
        settling = asyncio.create_task(settler.run())
        watching = asyncio.create_task(self._watch(url, pipeline, use_bell))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({settling, watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await self._wind_down(settler)
        finally:
            tasks = (stopped, watching, settling)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await settler.close()
            await client.close()
            if self.observer.traces is not None:
                await self.observer.traces.close()
        _raise_first(results)

    async def _checked(self, url: str) -> bool | None:
        """Refuses a database that cannot be used. Returns whether the doorbell can be; None when it
        was asked to stop before a database could be found."""
        backoff = Backoff(CONNECT_FIRST_S, CONNECT_LONGEST_S)
        while True:
            checking = asyncio.create_task(self._check(url))
            try:
                if not await self._unless_stopped(checking, CHECK_WITHIN_S):
                    return None
                return await checking
            except psycopg.OperationalError as error:
                if self._stop.is_set():
                    return None
                await preflight.refuse_if_hopeless(error, url)
                self.observer.connection_lost(error, backoff.pause)
                # What is up to us has been done; what waits for us need not wait for a database.
                self._systemd.ready("waiting for the database")
                with suppress(TimeoutError):
                    async with asyncio.timeout(backoff.pause):
                        await self._stop.wait()
                if self._stop.is_set():
                    return None
                backoff.double()
            finally:
                checking.cancel()

    async def _unless_stopped(self, task: asyncio.Task[bool], grace: float) -> bool:
        """Waits for a task, with a limit once it was asked to stop. Returns whether it is done."""
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        await asyncio.wait({task}, timeout=grace)
        return task.done()

    async def _check(self, url: str, after: psycopg.ProgrammingError | None = None) -> bool:
        """after: what ended the daemon's work; raises why, as a restart would say it."""
        conn = await open_session(url, "start")
        try:
            use_bell = await preflight.run(conn, self._mapping, self.settings.doorbell)
            if isinstance(after, pg.InsufficientPrivilege):
                raise await preflight.lacking(conn, after) from None
            return use_bell
        finally:
            await conn.close()

    async def _watch(self, url: str, pipeline: Pipeline, use_bell: bool) -> None:
        """One watcher after the other: the database may go away and come back."""
        backoff = Backoff(CONNECT_FIRST_S, CONNECT_LONGEST_S)
        came_back = False
        while not self._stop.is_set():
            began = asyncio.get_running_loop().time()
            try:
                if came_back:
                    # It may be another one: a copy, or migrated meanwhile.
                    use_bell = await self._check(url)
                self._watcher = watcher = self._new_watcher(url, pipeline, use_bell)
                try:
                    await watcher.run()
                except psycopg.ProgrammingError as error:
                    await self._check(url, error)
                    raise
            except psycopg.OperationalError as error:
                if asyncio.get_running_loop().time() - began > CONNECTED_WELL_S:
                    backoff.reset()
                self.observer.connection_lost(error, backoff.pause)
            came_back = True
            await asyncio.sleep(backoff.pause)
            backoff.double()

    def _new_watcher(self, url: str, pipeline: Pipeline, use_bell: bool) -> Watcher:
        settings, observer = self.settings, self.observer
        return Watcher(
            url,
            observer,
            pipeline,
            self._lease,
            Dispatcher(settings, pipeline, observer, self._lease),
            Maintenance(
                *(url, observer, settings.log_days, settings.held_days, settings.dead_days),
                settings.suspend_after_days,
                self._mailer(url),
            ),
            Backfills(url, observer, self._lease, self._resources, settings.window),
            Trials(
                *(url, observer, self._lease, pipeline.client, self._mapping, self._translator),
                Vault(settings.secret_keys),
            ),
            use_bell=use_bell,
        )

    def _mailer(self, url: str) -> Mailer | None:
        server, sender = self._mail_server, self.settings.smtp_sender
        if server is None or sender is None:
            return None
        from cdc.daemon.mail import Mailer

        return Mailer(url, self.observer, server, sender, self.settings.serve_url)

    async def _wind_down(self, settler: Settler) -> None:
        self._systemd.stopping()
        watcher = self._watcher
        if watcher is None:
            return
        dispatcher = watcher.dispatcher
        self.observer.stopping(self._reason or "a part of it has ended", dispatcher.in_flight)
        abandoned = await dispatcher.let_go(None, self.settings.stop_grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await settler.flushed()
        self.observer.stopped(abandoned)

    def _standing(self) -> str:
        """For systemd: how it stands, in a line."""
        if not self._lease.may_send():
            return "waiting for the database"
        if self.observer.metrics.unrecorded > UNREADY_AFTER_S:
            return "what is sent cannot be recorded"
        return "delivering"

    def _steps(self) -> int:
        """What was done: looks answered, connections tried."""
        return self.observer.counts.looks + self.observer.counts.losses

    def _state(self) -> State:
        watcher = self._watcher
        if watcher is None:
            return State(0, 0, 0, Counter(), "none", False)
        workers = watcher.dispatcher.workers.values()
        return State(
            shards=len(self._lease.shards),
            in_flight=sum(len(c.tasks) for c in workers),
            in_memory=sum(c.lane.size for c in workers),
            lanes=Counter("held" if c.lane.paused else c.lane.breaker.value for c in workers),
            bell=watcher.bell_mode,
            ready=self._lease.may_send() and not self._stop.is_set(),
            sessions=open_sessions(),
            connections=self._client.open if self._client is not None else 0,
            unrecorded=self._settler.unrecorded if self._settler is not None else 0,
            set_aside=self._settler.set_aside if self._settler is not None else 0,
            log_lines_lost=file.lost_ever if (file := self.observer.log_file) is not None else 0,
        )


def _raise_first(results: Iterable[Any]) -> None:
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def run_until_signalled(app: App) -> None:
    """Runs the daemon; SIGTERM, SIGINT and SIGHUP stop it."""
    stop_signals.call(app.stop)
    await app.run()
