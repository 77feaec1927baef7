"""What Prometheus sees of the canaries (cdc/canary.py). Only there where they are switched on."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc.observe.metrics import BUCKETS, Distribution

STAGES = ("owned", "written", "received", "recorded")


class CanaryFigures(Collector):
    """Figures of one daemon's canaries.

    interval: seconds between two of them.
    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._through = clock()
        self._lost: Tally[str] = Tally()
        self._received = Distribution(BUCKETS)
        self._recorded = Distribution(BUCKETS)

    def came(self, received: float, recorded: float) -> None:
        """One went all the way; seconds since it was about to be written."""
        self._through = self._clock()
        self._received.add(received)
        self._recorded.add(recorded)

    def lost(self, before: str) -> None:
        """One did not. before: the stage that it did not reach, of ``STAGES``."""
        self._lost[before] += 1

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "cdc_canary_interval_seconds", "Between two canaries.", self._interval
        )
        yield GaugeMetricFamily(
            "cdc_canary_age_seconds",
            "Since the last canary came through, or the daemon began.",
            self._clock() - self._through,
        )
        lost = CounterMetricFamily(
            "cdc_canary_lost", "Canaries that did not come through.", labels=["before"]
        )
        for stage in STAGES:
            lost.add_metric([stage], self._lost[stage])
        yield lost
        yield self._received.family(
            "cdc_canary_receipt_seconds", "From writing a canary to its receipt."
        )
        yield self._recorded.family(
            "cdc_canary_recorded_seconds", "From writing a canary to the record of its receipt."
        )
