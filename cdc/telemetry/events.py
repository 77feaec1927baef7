"""The one list of things worth observing. Each has a method; each method is one line of log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdc.causes import cause_of
from cdc.errors import words
from cdc.model import Delivery, Outcome
from cdc.telemetry.logfile import LogFile
from cdc.telemetry.metrics import Backlog, Metrics
from cdc.telemetry.plain import structlog
from cdc.telemetry.repeats import Repeats

if TYPE_CHECKING:
    from cdc.telemetry.otel import Traces


@dataclass(slots=True)
class Counts:
    """Running totals of one daemon."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    looks: int = 0
    losses: int = 0
    swept: int = 0


@dataclass(slots=True)
class Observer:
    """Observes everything that happens: writes the log and keeps the totals.

    traces: get each attempt, where tracing is on.
    lost:   when the database was lost, monotonic; None while it is there.
    log_file: where the lines go, if some may be left out there.
    """

    # Bound: a lazy one is assembled for each call, two microseconds an attempt.
    log: Any = field(default_factory=lambda: structlog.get_logger("cdc").bind())
    counts: Counts = field(default_factory=Counts)
    metrics: Metrics = field(default_factory=Metrics)
    repeats: Repeats = field(default_factory=Repeats)
    traces: Traces | None = None
    lost: float | None = None
    log_file: LogFile | None = None

    # -- the daemon -------------------------------------------------------------------------------

    def started(self, version: str, database: str) -> None:
        self.log.info("started", version=version, database=database)

    def cannot_run(self, message: str, hint: str) -> None:
        """The last line of a daemon that refuses to start, or cannot go on."""
        self.log.error("cannot run", error=message, hint=hint)

    def exposed(self, file: str, message: str, hint: str) -> None:
        """A file that holds something secret, and that others may read."""
        self.log.warning("secrets may be read by others", file=file, detail=message, hint=hint)

    def left_out(self, message: str, hint: str) -> None:
        """Of the environment: variables that look like settings and are not."""
        self.log.warning("environment variables ignored", detail=message, hint=hint)

    def no_authorities(self, message: str, hint: str) -> None:
        self.log.warning("no CA certificates", detail=message, hint=hint)

    def serving(self, host: str, port: int) -> None:
        self.log.info("serving health and metrics", host=host, port=port)

    def processes_started(self, processes: int) -> None:
        self.log.info("started", processes=processes)

    def process_ended(self, number: int, how: str, again_in: float) -> None:
        self.log.error("process ended", process=number, how=how, again_in=round(again_in, 2))

    def process_stuck(self, number: int) -> None:
        self.log.error("process does not respond, starting another", process=number)

    def connected(self, shards: int, waiting: int) -> None:
        self.repeats.forget()
        after = {} if self.lost is None else {"after": round(time.monotonic() - self.lost, 1)}
        self.lost = None
        self.log.info("connected", shards=shards, webhooks_with_waiting_rows=waiting, **after)

    def connection_lost(self, error: Exception, pause: float) -> None:
        self.counts.losses += 1
        if self.lost is None:
            self.lost = time.monotonic()
        self._repeated("connection lost", error=words(error), again_in=round(pause, 2))

    def stood_still(self, seconds: float) -> None:
        """The process was stopped, its host suspended, or it got no CPU: it explains what is lost
        and taken over at the same time."""
        self.log.warning("this process was stalled", seconds=round(seconds, 1))

    def clock(self, offset: float, *, off: bool) -> None:
        """Seconds by which this host's clock is ahead of the database's; off: that is too much."""
        was_off, self.metrics.clock_off = self.metrics.clock_off, off
        self.metrics.clock_offset = offset
        if off:
            self._repeated(
                "clocks of this host and the database differ",
                error="receivers refuse signatures whose time is off by more than 5 minutes",
                ahead=round(offset),
                hint="run NTP on both hosts",
            )
        elif was_off:
            self.log.info("clocks of this host and the database agree again")

    def idle(self, why: str, hint: str) -> None:
        """This daemon owns no shard."""
        self._repeated("owns no shard, sends nothing", error=why, hint=hint)

    def stopping(self, reason: str, in_flight: int) -> None:
        self.log.info("stopping", reason=reason, in_flight=in_flight)

    def stopped(self, abandoned: int) -> None:
        self.log.info(
            "stopped",
            delivered=self.counts.delivered,
            failed=self.counts.failed,
            abandoned=abandoned,
        )

    def looked(self, seconds: float) -> None:
        """A look was answered, seconds after it was due. Not logged: there are many a second."""
        self.counts.looks += 1
        self.metrics.attempts.looks.add(seconds)

    def shards_denied(self, count: int) -> None:
        """Shards that no daemon owns cannot be taken: another session holds their locks."""
        if count:
            self.log.warning(
                "shards cannot be taken over",
                count=count,
                error="sessions that are not daemons hold their locks",
                hint="`cdc doctor` names them. A daemon's account is a member of cdc_daemon.",
            )

    def bell(self, mode: str) -> None:
        self.log.debug("doorbell", mode=mode)

    def shards(self, taken: int, handed_over: int, owned: int) -> None:
        self.log.info("owner changed", taken=taken, handed_over=handed_over, owned=owned)

    # -- deliveries -------------------------------------------------------------------------------

    def attempted(self, delivery: Delivery, outcome: Outcome, fate: str) -> None:
        if outcome.error is None:
            self.counts.delivered += 1
            self.metrics.attempts.delivered(time.time() - delivery.time.timestamp())
        else:
            self.counts.failed += 1
            self.metrics.attempts.outcomes[outcome.error] += 1
        if fate == "Dead":
            self.counts.dead += 1
        if self.traces is not None:
            self.traces.attempted(delivery, outcome, fate.lower())
        if not self.log.is_enabled_for(10):
            return
        self.log.debug(
            "attempt",
            webhook=delivery.webhook_id,
            delivery=delivery.id,
            webhook_id=delivery.uid,
            event_name=delivery.layout.event,
            action=delivery.action,
            try_=delivery.tries,
            status=outcome.status,
            error=outcome.error,
            detail=outcome.detail,
            ms=round(outcome.duration * 1000, 1),
            fate=fate.lower(),
        )

    def untranslatable(self, delivery: Delivery, error: Exception) -> None:
        self.log.error("no payload can be made", delivery=delivery.id, error=words(error))

    def failing(self, webhook_id: int, outcome: Outcome) -> None:
        """The first failure after a success; what follows is logged at debug."""
        self.log.warning("deliveries fail", webhook=webhook_id, **_why(webhook_id, outcome))

    def crowded(self, sockets: int) -> None:
        self._repeated(
            "all sockets are in use, deliveries wait for one",
            error="raise the limit of open files, or lower CDC_ATTEMPT_TIMEOUT",
            sockets=sockets,
        )

    def unable(self, lacking: str, sockets: int) -> None:
        self._repeated(
            "this machine cannot connect, deliveries wait", error=lacking, sockets=sockets
        )

    def busy(self, webhook_id: int, outcome: Outcome, seconds: float) -> None:
        """Its receiver has asked for a pause; there was no other failure."""
        self.log.warning(
            "receiver is busy",
            webhook=webhook_id,
            **_why(webhook_id, outcome),
            seconds=round(seconds),
        )

    def busy_no_more(self, webhook_id: int) -> None:
        self.log.info("receiver accepts requests again", webhook=webhook_id)

    def breaker(self, webhook_id: int, opened: bool, reason: str) -> None:
        log = self.log.warning if opened else self.log.info
        change = "opened" if opened else "closed"
        log(f"circuit breaker {change}", webhook=webhook_id, reason=reason)

    def suspended(self, webhook_id: int, reason: str) -> None:
        self.log.warning("webhook suspended", webhook=webhook_id, reason=reason)

    def noticed(self, kind: str, webhook_id: int, sentence: str) -> None:
        """A notice was written: a webhook needs attention, or no longer does."""
        self.metrics.notices.labels(kind).inc()
        log = self.log.info if kind == "recovered" else self.log.warning
        log("notice", kind=kind, webhook=webhook_id, sentence=sentence)

    def mailed(self, contact: int, notices: int) -> None:
        """notices: 0 where a contact was asked to confirm its address."""
        self.metrics.mails.labels("sent").inc()
        self.log.info("mail sent", contact=contact, notices=notices)

    def mail_failed(self, contact: int, error: str) -> None:
        """It is tried again."""
        self.metrics.mails.labels("failed").inc()
        self._repeated("mail cannot be sent", error=error, contact=contact)

    def registration(self, webhook_id: int, state: str, version: int) -> None:
        self.log.info("registration changed", webhook=webhook_id, state=state, version=version)

    def unusable(self, webhook_id: int, error: Exception) -> None:
        self.log.error("registration cannot be used", webhook=webhook_id, error=words(error))

    # -- settling and maintenance ------------------------------------------------------------------

    def settled(self, records: int) -> None:
        """One transaction has recorded these; 0: there was nothing left to record. Logged only
        after failures: under load it happens all the time."""
        if records:
            self.metrics.attempts.batches.add(records)
        if self.metrics.unrecorded_since is not None:
            self.log.info("settling works again", after=round(self.metrics.unrecorded, 1))
            self.metrics.unrecorded_since = None

    def settling_failed(self, error: Exception, waiting: int) -> None:
        if self.metrics.unrecorded_since is None:
            self.metrics.unrecorded_since = time.monotonic()
        self._repeated("settling failed", error=words(error), waiting=waiting)

    def set_aside(self, webhook_id: int, error: str, records: int) -> None:
        """Outcomes cannot be recorded just now, mostly because of a lock."""
        self._repeated(
            "cannot be recorded, set aside",
            error=" ".join(error.split()),
            webhook=webhook_id,
            records=records,
        )

    def unrecordable(self, delivery: Delivery, error: Exception) -> None:
        """Its outcome can never be recorded: the delivery is dead."""
        self.counts.dead += 1
        self.log.error(
            "cannot be recorded, dead",
            webhook=delivery.webhook_id,
            delivery=delivery.id,
            webhook_id=delivery.uid,
            error=words(error),
        )

    def settlement_refused(self, records: int) -> None:
        self.log.warning("settlement refused, the shard has another owner", records=records)

    def expired(self, was: str, count: int) -> None:
        """was: what they were before, ``held`` or ``dead``."""
        if count:
            self.metrics.expired.labels(was).inc(count)
            self.log.warning("deliveries expired", was=was, count=count)

    def traces_failed(self, what: str) -> None:
        self._repeated("traces cannot be sent", error=what)

    def maintenance(self, what: str, count: int) -> None:
        self.log.info(what, count=count)

    def backfilling(self, running: int, backlogged: int) -> None:
        """No line of log: it comes in every turn."""
        self.metrics.backfills = {"running": running, "backlogged": backlogged}

    def backfill_ended(self, number: int, state: str, reason: str) -> None:
        self.metrics.backfills_ended.labels(state).inc()
        log = self.log.warning if state == "failed" else self.log.info
        log(f"backfill {state}", backfill=number, reason=reason)

    def care_failed(self, what: str, error: Exception) -> None:
        self._repeated("maintenance failed", error=words(error), what=what)

    def _repeated(self, event: str, *, error: str, **values: Any) -> None:
        """A warning that comes again and again for as long as something is down."""
        left_out = self.repeats.worth(event, error)
        if left_out is not None:
            more = {"left_out": left_out} if left_out else {}
            self.log.warning(event, error=error, **values, **more)

    def measured(self, backlog: Backlog) -> None:
        """No line of log: it comes every 15 seconds."""
        self.metrics.backlog = backlog

    def swept(self, webhook_id: int, lowest: int) -> None:
        self.counts.swept += 1
        self.metrics.swept.inc()
        self.log.warning("sweep found a row that no lane held", webhook=webhook_id, delivery=lowest)


def _why(webhook_id: int, outcome: Outcome) -> dict[str, Any]:
    """What a line of log says of a failed attempt."""
    cause = cause_of(outcome.error or "", outcome.status, outcome.detail)
    return {
        "status": outcome.status,
        "error": outcome.error,
        "detail": outcome.detail,
        "hint": cause.todo_for(webhook_id),
    }
