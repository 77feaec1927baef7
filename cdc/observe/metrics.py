"""What Prometheus sees of a daemon. Fed by the Observer, and by a look at the lanes when asked."""

from __future__ import annotations

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

# Seconds from change to receipt: finer where it usually is, up to an hour for what was retried.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60, 600, 3600)


@dataclass(frozen=True, slots=True)
class State:
    """A moment of the daemon.

    lanes: by breaker state; ``held`` for paused, suspended or unusable ones.
    """

    shards: int
    in_flight: int
    in_memory: int
    lanes: Tally[str]
    bell: str
    ready: bool


class Attempts(Collector):
    """What is counted for each attempt. Plain numbers: the library's own counters, which lock, cost
    as much as signing does.

    outcomes: attempts by outcome.
    """

    def __init__(self) -> None:
        self.outcomes: Tally[str] = Tally()
        self._latencies = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def delivered(self, seconds: float) -> None:
        """seconds: from the change to receipt."""
        self.outcomes["delivered"] += 1
        self._latencies[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "cdc_attempts", "HTTP attempts by outcome.", labels=["outcome"]
        )
        for outcome, count in self.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        limits = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "cdc_change_to_receipt_seconds",
            "From the change to the end of its successful attempt.",
            buckets=list(zip(limits, accumulate(self._latencies), strict=True)),
            sum_value=self._seconds,
        )


@dataclass(slots=True)
class Metrics:
    """Counters and the histogram; ``page()`` writes them with the state of the moment."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    attempts: Attempts = field(default_factory=Attempts)
    swept: Counter = field(init=False)
    expired: Counter = field(init=False)
    _state: Callable[[], State] | None = None

    def __post_init__(self) -> None:
        self.registry.register(self.attempts)
        self.expired = Counter(
            "cdc_expired_deliveries",
            "Deliveries that were held or dead for too long.",
            ["was"],
            registry=self.registry,
        )
        self.swept = Counter(
            "cdc_swept_rows", "Rows that only the slow sweep found.", registry=self.registry
        )

    def watch(self, state: Callable[[], State]) -> None:
        """Adds the state of the moment to every page."""
        self._state = state
        self.registry.register(_States(state))

    async def ready(self) -> bool:
        """Connected, and looks are answered."""
        return self._state is not None and self._state().ready

    async def page(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


class _States(Collector):
    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def describe(self) -> Iterator[Metric]:
        """Nothing before the daemon runs: what is registered twice shows when it is asked."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield GaugeMetricFamily("cdc_shards_owned", "Shards of this daemon.", state.shards)
        yield GaugeMetricFamily("cdc_in_flight", "Requests under way.", state.in_flight)
        yield GaugeMetricFamily("cdc_in_memory", "Deliveries held in memory.", state.in_memory)
        lanes = GaugeMetricFamily("cdc_lanes", "Lanes by state.", labels=["state"])
        for name in ("closed", "open", "probing", "held"):
            lanes.add_metric([name], state.lanes[name])
        yield lanes
        bell = GaugeMetricFamily("cdc_doorbell", "1 for what the daemon does now.", labels=["mode"])
        bell.add_metric([state.bell], 1)
        yield bell
        yield GaugeMetricFamily("cdc_ready", "Connected, and looks are answered.", int(state.ready))
