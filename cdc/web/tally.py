"""What was attempted in each hour of the last day, counted in memory, for the console's charts.

The log has no index by which a webhook's hours could be counted, and one would cost each delivery.
So a process of `cdc serve` reads each part of the log once, in steps of minutes by the index on the
attempt's time: first what is newest, then back to a day ago, then what comes. A page reads nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from threading import Event
from time import monotonic

from cdc.model import LOG_RING
from cdc.web.pool import LIMITS, RequestPool

HOURS = 24
BUCKET = timedelta(minutes=15)
"""Of the log that a statement reads; divides an hour."""
RECORDED = timedelta(seconds=5)
"""After this time an attempt is in the log, as a rule: it is read no earlier."""

_HOUR = timedelta(hours=1)
_LEAST_S, _MOST_S, _BUCKETS = 0.001, 1e6, 120

_COUNTED = f"""
select webhook_id, bucket, count(*) filter (where outcome = 'delivered') as delivered,
       count(*) filter (where outcome in ('failed', 'dead')) as failed
  from (select a.webhook_id, a.outcome,
               case when a.outcome = 'delivered' and a.try = 1 and isfinite(a."time")
                    then width_bucket(ln(least({_MOST_S}, greatest({_LEAST_S},
                           extract(epoch from a.at - a."time")::float8))),
                         ln({_LEAST_S}::float8), ln({_MOST_S}::float8), {_BUCKETS}) end as bucket
          from cdc.attempt a
         where a.slot = %s and a.at >= %s and a.at < %s) a
 group by grouping sets ((webhook_id), (bucket))
"""  # noqa: S608 - numbers of ours


@dataclass(frozen=True, slots=True)
class Hour:
    """Attempts that ended in this hour. slow: seconds from the change within which 95 of 100 were
    delivered, of those delivered at once; None: of all webhooks only, and where there were some."""

    begin: datetime
    delivered: int = 0
    failed: int = 0
    slow: float | None = None


@dataclass(slots=True)
class _Counts:
    """Of an hour. webhooks: delivered and failed of each; 0: of all."""

    webhooks: dict[int, tuple[int, int]] = field(default_factory=dict)
    waits: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, webhook: int | None, bucket: int | None, delivered: int, failed: int) -> None:
        if webhook is None:
            if bucket is not None:
                self.waits[bucket] += delivered
            return
        for one in (webhook, 0):
            before = self.webhooks.get(one, (0, 0))
            self.webhooks[one] = (before[0] + delivered, before[1] + failed)

    @property
    def slow(self) -> float | None:
        waits = self.waits.copy()  # another thread counts on
        if not waits:
            return None
        buckets = sorted(waits)
        upto = list(accumulate(waits[one] for one in buckets))
        bucket = buckets[bisect_left(upto, 0.95 * upto[-1])]
        return float(_LEAST_S * (_MOST_S / _LEAST_S) ** (bucket / _BUCKETS))


class Tally:
    """Counts go on in one thread; any thread reads them.

    now: the database's clock.
    """

    def __init__(self, pool: RequestPool, now: Callable[[], datetime] | None = None) -> None:
        self._pool = pool
        self._now = now or self._clock
        self._hours: dict[datetime, _Counts] = {}
        self._since = self._until = datetime.min.replace(tzinfo=UTC)
        self._stop = Event()

    def stop(self) -> None:
        self._stop.set()

    @property
    def since(self) -> datetime | None:
        """From when on it has counted; None: it has not begun."""
        return self._since if self._hours else None

    @property
    def whole(self) -> bool:
        """The whole day is counted."""
        return bool(self._hours) and self._since <= _first(self._until)

    def hours(self, webhook: int = 0) -> list[Hour]:
        """The last ones, the current one too; of all webhooks without a number."""
        found = []
        begin = _first(self._until) if self._hours else None
        for number in range(HOURS if begin is not None else 0):
            assert begin is not None
            hour = begin + number * _HOUR
            counts = self._hours.get(hour, _Counts())
            slow = counts.slow if webhook == 0 else None
            found.append(Hour(hour, *counts.webhooks.get(webhook, (0, 0)), slow))
        return found

    def run_once(self) -> int:
        """Counts what is not yet counted. Between steps it leaves the database as long as a step
        took. Returns 0, as tasks that are carried out are counted."""
        end = self._now() - RECORDED
        if not self._hours or end - self._until > HOURS * _HOUR:
            self._hours = {}
            self._since = self._until = end
            self._hours[_hour(end)] = _Counts()
        while self._until < end and not self._stop.is_set():
            upto = min(end, _floor(self._until) + BUCKET)
            self._count(self._until, upto)
            self._until = upto
        for old in [one for one in self._hours if one < _first(self._until)]:
            del self._hours[old]
        while self._since > _first(self._until):
            begun = monotonic()
            back = max(_first(self._until), _floor(self._since - timedelta(microseconds=1)))
            self._count(back, self._since)
            self._since = back
            if self._stop.wait(monotonic() - begun):
                break
        return 0

    def _count(self, since: datetime, until: datetime) -> None:
        """since, until: within one hour."""
        slot = int(since.timestamp() // 86_400) % LOG_RING
        with self._pool.autocommit() as conn, conn.transaction():
            conn.execute(LIMITS)
            conn.execute("set local enable_seqscan = off")  # filters in the log are priced too high
            rows = conn.execute(_COUNTED, [slot, since, until]).fetchall()
        counts = self._hours.setdefault(_hour(since), _Counts())
        for row in rows:
            counts.add(*row)

    def _clock(self) -> datetime:
        with self._pool.autocommit() as conn:
            row = conn.execute("select clock_timestamp()").fetchone()
        assert row is not None
        now: datetime = row[0]
        return now.astimezone(UTC)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _floor(moment: datetime) -> datetime:
    """The beginning of its step."""
    return moment - (moment - _hour(moment)) % BUCKET


def _first(until: datetime) -> datetime:
    """The first hour that is shown."""
    return _hour(until) - (HOURS - 1) * _HOUR
