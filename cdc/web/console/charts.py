"""Charts of the last day: what their bars are. Drawn by templates/charts.html, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log10

from cdc.web.tally import Hour, Tally
from cdc.wording import age

TALL = 100.0
"""Height of a chart; its bars are as wide as they like."""
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Bar:
    """From the ground up; failed stands on delivered."""

    hour: Hour
    delivered: float
    failed: float
    slow: float


@dataclass(frozen=True, slots=True)
class DayChart:
    """since: from when on it was counted, where that is not yet the whole day."""

    bars: Sequence[Bar]
    delivered: int
    failed: int
    most: int
    slowest: str
    since: datetime | None

    @property
    def begin(self) -> datetime:
        return self.bars[0].hour.begin

    @property
    def middle(self) -> datetime:
        return self.bars[len(self.bars) // 2].hour.begin

    @property
    def waits(self) -> bool:
        """There is something to draw of how long deliveries take."""
        return any(bar.hour.slow is not None for bar in self.bars)


def of_day(tally: Tally, webhook: int = 0) -> DayChart | None:
    """None before the first count."""
    hours = tally.hours(webhook)
    if not hours:
        return None
    most = max(hour.delivered + hour.failed for hour in hours)
    slowest = max((hour.slow for hour in hours if hour.slow is not None), default=0.0)
    return DayChart(
        [_bar(hour, most, slowest) for hour in hours],
        sum(hour.delivered for hour in hours),
        sum(hour.failed for hour in hours),
        most,
        age(slowest),
        None if tally.whole else tally.since,
    )


def _bar(hour: Hour, most: int, slowest: float) -> Bar:
    slow = 0.0 if hour.slow is None else _high(hour.slow, slowest)
    return Bar(hour, _share(hour.delivered, most), _share(hour.failed, most), slow)


def _share(number: int, most: int) -> float:
    """One of many can be seen, too."""
    return round(max(2.0, TALL * number / most), 2) if number else 0.0


def _high(seconds: float, slowest: float) -> float:
    """A millisecond and an hour fit on it: each tenfold is as high as the one before."""
    scale = max(1.0, log10(slowest / _LEAST_S) + 0.5)
    return round(TALL * (log10(max(seconds, _LEAST_S) / _LEAST_S) + 0.5) / scale, 2)
