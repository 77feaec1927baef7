"""The status of an installation as data: problems, sums, and the webhooks and companies to list."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import psycopg

from cdc.diagnosis import capture_state, doctor, health
from cdc.diagnosis.doctor.check import Patient
from cdc.diagnosis.health import Health, HealthProblem, LaneState, problems
from cdc.mapping import Mapping
from cdc.postgres.connections import explained
from cdc.settings import Settings

# The worst first.
_ORDER = ("suspended", "late", "failing", "paused", "active", "removed")


@dataclass(frozen=True)
class StatusReport:
    """One look.

    company:  only this one's webhooks are listed.
    database: which one was looked at; with several hosts in its address, the one that was found.
    failed:   what the doctor found wrong, beyond that.
    at:       when it was read.
    """

    health: Health
    schema: str | None
    company: str | None = None
    database: str | None = None
    failed: tuple[HealthProblem, ...] = ()
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def problems(self) -> list[HealthProblem]:
        return problems(self.health, self.failed)

    @cached_property
    def webhooks(self) -> list[LaneState]:
        """Those to report, the worst first."""
        if self.company is None:
            listed = [lane for lane in self.health.lanes if not lane.quiet]
        else:
            listed = [lane for lane in self.health.lanes if lane.company == self.company]
        return sorted(listed, key=_worst_first)

    @cached_property
    def companies(self) -> list[CompanySummary]:
        """The companies of these webhooks, the worst first; counts over all webhooks of each."""
        order = list(dict.fromkeys(lane.company for lane in self.webhooks))
        lanes = defaultdict(list)
        for lane in self.health.lanes:
            lanes[lane.company].append(lane)
        return [CompanySummary(name, summed(lanes[name])) for name in order]

    @cached_property
    def totals(self) -> Totals:
        return summed(self.health.lanes)

    def as_json(self) -> dict[str, Any]:
        seen = self.health
        return {
            "at": self.at,
            "ok": not self.problems,
            "problems": [str(problem) for problem in self.problems],
            "schema": self.schema,
            "database": self.database,
            "mapping": {"installed": seen.installed_mapping, "same": seen.mapping_is_installed},
            "capture": [
                {
                    "table": str(row.table),
                    "event": row.event,
                    "state": row.state,
                    "detail": row.detail,
                }
                for row in seen.capture
            ],
            "fleet": {
                "daemons": seen.members,
                "shards_owned": len(seen.owned),
                "owners": [asdict(daemon) for daemon in seen.daemons],
            },
            "bell": asdict(seen.bell),
            "states": Counter(lane.state for lane in seen.lanes),
            "totals": {**asdict(self.totals), "expired_last_day": seen.expired},
            "companies": [{"company": one.name, **asdict(one.totals)} for one in self.companies],
            "webhooks": [
                {
                    **lane._asdict(),
                    **{"last_error": lane.last_error, "late": lane.late, "more": lane.more},
                }
                for lane in self.webhooks
            ],
            "unresolved": asdict(seen.unresolved),
            "publications": [asdict(one) for one in seen.published],
            "backfills": {"running": 0, "paused": 0, "failed": 0, **seen.backfills},
            "row_security": seen.filtered,
            "companies_gone": seen.gone,
        }


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over webhooks that are not removed.

    lag:         age in seconds of the oldest delivery that no receiver is in the way of; 0: none.
    oldest:      age of the oldest change that an active webhook waits for, failed ones included.
    oldest_held: the same of paused and suspended ones.
    more:        some of what was summed up was not counted to its end.
    """

    webhooks: int
    queued: int
    retrying: int
    parked: int
    held: int
    dead: int
    lag: float
    oldest: float | None
    oldest_held: float | None
    oldest_dead: float | None
    worst: str
    more: bool


@dataclass(frozen=True, slots=True)
class CompanySummary:
    """A company and what its webhooks owe it."""

    name: str
    totals: Totals


def summed(lanes: Iterable[LaneState]) -> Totals:
    alive = [lane for lane in lanes if lane.state != "removed"]
    sending = [lane for lane in alive if lane.state == "active"]
    held = [lane for lane in alive if lane.state != "active"]
    return Totals(
        webhooks=len(alive),
        queued=sum(lane.queued for lane in alive),
        retrying=sum(lane.retrying for lane in alive),
        parked=sum(lane.parked for lane in alive),
        held=sum(lane.waiting for lane in held),
        dead=sum(lane.dead for lane in alive),
        lag=_longest(lane.lag for lane in sending) or 0.0,
        oldest=_longest(lane.oldest for lane in sending),
        oldest_held=_longest(lane.oldest for lane in held),
        oldest_dead=_longest(lane.oldest_dead for lane in alive),
        worst=min((standing(lane) for lane in alive), key=_ORDER.index, default="active"),
        more=any(lane.more for lane in alive),
    )


def standing(lane: LaneState) -> str:
    """The webhook's state in a word: how it is registered, or else how it does."""
    if lane.state != "active":
        return lane.state
    if lane.breaker != "closed":
        return "failing"
    return "late" if lane.late else "active"


def _worst_first(lane: LaneState) -> tuple[int, float, int]:
    return _ORDER.index(standing(lane)), -(lane.oldest or 0.0), lane.webhook_id


def _longest(ages: Iterable[float | None]) -> float | None:
    return max((age for age in ages if age is not None), default=None)


def read(
    conn: psycopg.Connection,
    settings: Settings,
    mapping: Mapping,
    company: str | None,
    failed: Callable[[Patient], list[HealthProblem]] = doctor.failed,
) -> StatusReport:
    """One look at everything. failed: makes the doctor's checks. Raises DatabaseError."""
    with explained(), conn.transaction():
        version = capture_state.version(conn)
        info = conn.info
        database = f"{info.dbname} at {info.host}, port {info.port}"
        seen = health.read(conn, mapping, settings.held_days)
        wrong = failed(Patient(conn, settings, mapping))
        return StatusReport(seen, version, company, database, tuple(wrong))
