"""What Prometheus sees of a daemon. Fed by the Observer, and by a look at the lanes when asked."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cdc.telemetry.pulse import Pulse

# Seconds from change to receipt: finer where it usually is, up to an hour for what was retried.
LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60, 600, 3600)
# Seconds that recording may fail before the daemon counts as not ready.
UNREADY_AFTER_S = 30.0
# Seconds of a look: from 2 on nothing is sent, from 3 on other daemons take over.
LOOK_BUCKETS_S = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3)
# Outcomes recorded by one transaction: up to SETTLE_BATCH_RECORDS of daemon/store/settle.py.
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for the webhooks of this daemon, as daemon/maintenance/measure.py found it last.

    Ages are seconds, 0 where nothing waits. Counts have a bound.
    lag:    the oldest delivery that no receiver is in the way of.
    oldest: the oldest of an active webhook, failed ones included.
    held:   of queued, retrying and parked, those of paused and suspended webhooks.
    notification_queue: used share, 0 to 1; this, and unresolved, are the whole database's.
    """

    queued: int
    retrying: int
    parked: int
    held: int
    dead: int
    unresolved: int
    lag: float
    oldest: float
    oldest_held: float
    notification_queue: float


@dataclass(frozen=True, slots=True)
class State:
    """A moment of the daemon.

    lanes: by breaker state; ``held`` for paused, suspended or unusable ones.
    sessions, connections: open, to the database and to receivers.
    unrecorded, set_aside: attempts that have ended and are not recorded: about to be, and waiting
        because of a lock or an odd row.
    """

    shards: int
    in_flight: int
    in_memory: int
    lanes: Tally[str]
    bell: str
    ready: bool
    sessions: int = 0
    connections: int = 0
    unrecorded: int = 0
    set_aside: int = 0
    log_lines_lost: int = 0


class Distribution:
    """A histogram in plain numbers: the library's own, which locks, costs as much as signing does.

    limits: upper ends of the buckets, in order.
    """

    def __init__(self, limits: tuple[float, ...]) -> None:
        self._limits = limits
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._limits, value)] += 1
        self._sum += value

    def family(self, name: str, meaning: str) -> HistogramMetricFamily:
        limits = [*map(str, self._limits), "+Inf"]
        buckets = list(zip(limits, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=self._sum)


class Attempts(Collector):
    """What is counted for each attempt, and for each batch of outcomes.

    outcomes: attempts by outcome.  batches: outcomes and other records settled at once.
    looks: seconds from when a look was due to its answer.
    """

    def __init__(self) -> None:
        self.outcomes: Tally[str] = Tally()
        self.batches = Distribution(BATCH_BUCKETS)
        self.looks = Distribution(LOOK_BUCKETS_S)
        self._latencies = Distribution(LATENCY_BUCKETS_S)

    def delivered(self, seconds: float) -> None:
        """seconds: from the change to receipt."""
        self.outcomes["delivered"] += 1
        self._latencies.add(seconds)

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "cdc_attempts", "HTTP attempts by outcome.", labels=["outcome"]
        )
        for outcome, count in self.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield self._latencies.family(
            "cdc_change_to_receipt_seconds",
            "Time from the change to the end of its successful attempt.",
        )
        yield self.batches.family(
            "cdc_settle_batch_size", "Records settled by one transaction; large under load."
        )
        yield self.looks.family(
            "cdc_look_seconds",
            "Time from when a look at the queue was due to its answer. From 2 on the daemon stops"
            " sending, from 3 on others take over.",
        )


@dataclass(slots=True)
class Metrics:
    """Counters and the histogram; ``page()`` writes them with the state of the moment.

    unrecorded_since: when recording began to fail, monotonic; None: it does not.
    clock_offset: seconds by which this host's clock is ahead of the database's.
    clock_off: that is too much.
    backfills: those of this daemon's webhooks, by what they did in the last turn.
    """

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    attempts: Attempts = field(default_factory=Attempts)
    swept: Counter = field(init=False)
    expired: Counter = field(init=False)
    notices: Counter = field(init=False)
    mails: Counter = field(init=False)
    backfills_ended: Counter = field(init=False)
    backfills: dict[str, int] = field(default_factory=dict)
    backlog: Backlog | None = None
    ready_lag: float | None = None
    unrecorded_since: float | None = None
    clock_offset: float | None = None
    clock_off: bool = False
    pulse: Pulse | None = None
    _state: Callable[[], State] | None = None

    def __post_init__(self) -> None:
        self.registry.register(self.attempts)
        self.expired = Counter(
            "cdc_expired_deliveries",
            "Deliveries given up because they were held, or dead, for too long; was: held or dead.",
            ["was"],
            registry=self.registry,
        )
        self.notices = Counter(
            "cdc_notices",
            "Notices that were written about webhooks.",
            ["kind"],
            registry=self.registry,
        )
        self.mails = Counter(
            "cdc_mails",
            "Mails to contacts: sent, or failed and tried again.",
            ["outcome"],
            registry=self.registry,
        )
        self.backfills_ended = Counter(
            "cdc_backfills_ended",
            "Backfills that ended by themselves; cancelled: their webhook or event was removed.",
            ["state"],
            registry=self.registry,
        )
        for state in ("done", "cancelled", "failed"):
            self.backfills_ended.labels(state)  # so that the first one is an increase
        self.swept = Counter(
            "cdc_swept_rows",
            "Rows that only the slow sweep found; 0 unless cdc has a defect.",
            registry=self.registry,
        )

    def watch(self, state: Callable[[], State]) -> None:
        """Adds the state of the moment to every page."""
        self._state = state
        self.registry.register(_States(state, self))

    @property
    def unrecorded(self) -> float:
        """Seconds since recording began to fail."""
        return 0.0 if self.unrecorded_since is None else time.monotonic() - self.unrecorded_since

    def alive(self) -> bool:
        """It makes progress."""
        return self.pulse is None or self.pulse.alive()

    async def ready(self) -> bool:
        """Connected, looks are answered, what is sent is recorded, and the lag is below
        ``ready_lag``, if that is set."""
        if self._state is None or not self._state().ready or self.unrecorded > UNREADY_AFTER_S:
            return False
        late = self.backlog.lag if self.backlog is not None else 0.0
        return self.ready_lag is None or late <= self.ready_lag

    async def page(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


class _States(Collector):
    def __init__(self, state: Callable[[], State], metrics: Metrics) -> None:
        self._state = state
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """Nothing before the daemon runs: what is registered twice shows when it is asked."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        # A daemon that has lost the database owns nothing, and must not count what others do.
        owned = state.shards if state.ready else 0
        yield GaugeMetricFamily(
            "cdc_shards_owned", "Shards of this daemon; all daemons together own all 64.", owned
        )
        yield GaugeMetricFamily("cdc_in_flight", "Requests in flight.", state.in_flight)
        yield GaugeMetricFamily("cdc_in_memory", "Deliveries held in memory.", state.in_memory)
        lanes = GaugeMetricFamily(
            "cdc_lanes",
            "Webhooks in memory, 5,000 at most, by circuit breaker state; held: paused, suspended"
            " or unusable.",
            labels=["state"],
        )
        for name in ("closed", "open", "probing", "held"):
            lanes.add_metric([name], state.lanes[name])
        yield lanes
        backfills = GaugeMetricFamily(
            "cdc_backfills",
            "Backfills of this daemon's webhooks; backlogged: as many deliveries wait as may, or"
            " the webhook is held.",
            labels=["state"],
        )
        for name in ("running", "backlogged"):
            backfills.add_metric([name], self._metrics.backfills.get(name, 0))
        yield backfills
        bell = GaugeMetricFamily(
            "cdc_doorbell", "1 for the current mode of waiting for changes.", labels=["mode"]
        )
        bell.add_metric([state.bell], 1)
        yield bell
        yield GaugeMetricFamily(
            "cdc_ready", "1 if connected and the database answers.", int(state.ready)
        )
        yield GaugeMetricFamily(
            "cdc_database_sessions", "Open sessions with the database.", state.sessions
        )
        yield GaugeMetricFamily(
            "cdc_http_connections", "Open connections to receivers.", state.connections
        )
        unrecorded = GaugeMetricFamily(
            "cdc_unrecorded",
            "Attempts that have ended and are not recorded yet. waiting: from CDC_UNRECORDED_LIMIT"
            " on no request is started; set_aside: blocked by a lock or an odd row.",
            labels=["state"],
        )
        unrecorded.add_metric(["waiting"], state.unrecorded)
        unrecorded.add_metric(["set_aside"], state.set_aside)
        yield unrecorded
        yield GaugeMetricFamily(
            "cdc_unrecorded_seconds",
            "Seconds since outcomes could last be written; 0 if healthy.",
            self._metrics.unrecorded,
        )
        yield CounterMetricFamily(
            "cdc_log_lines_lost", "Log lines that could not be written.", state.log_lines_lost
        )
        if self._metrics.clock_offset is not None:
            yield GaugeMetricFamily(
                "cdc_clock_offset_seconds",
                "Seconds by which this host's clock is ahead of the database's; compared every"
                " 15 s.",
                self._metrics.clock_offset,
            )
        if state.ready and self._metrics.backlog is not None:
            yield from _measured(self._metrics.backlog)


def _measured(backlog: Backlog) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "cdc_waiting",
        "Deliveries that wait, paused and suspended webhooks included.",
        labels=["state"],
    )
    for name in ("queued", "retrying", "parked"):
        waiting.add_metric([name], getattr(backlog, name))
    yield waiting
    for name, meaning, value in (
        ("cdc_held", "Waiting deliveries of paused and suspended webhooks.", backlog.held),
        ("cdc_dead", "Dead deliveries that are kept.", backlog.dead),
        (
            "cdc_unresolved",
            "Changes without a company, of the whole database: take the maximum.",
            backlog.unresolved,
        ),
        (
            "cdc_lag_seconds",
            "Age of the oldest delivery whose receiver is healthy; 0: none.",
            backlog.lag,
        ),
        (
            "cdc_oldest_seconds",
            "Age of the oldest undelivered change of an active webhook, failed ones included.",
            backlog.oldest,
        ),
        (
            "cdc_oldest_held_seconds",
            "Age of the oldest undelivered change of a paused or suspended webhook.",
            backlog.oldest_held,
        ),
        (
            "cdc_notification_queue_usage",
            "Used share of PostgreSQL's notification queue, of the whole server: take the maximum.",
            backlog.notification_queue,
        ),
    ):
        yield GaugeMetricFamily(name, meaning, value)
