"""The status for people: fits on a screen, and into 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from cdc import wording
from cdc.cli import common
from cdc.cli.common import styled
from cdc.cli.fit import advice
from cdc.diagnosis.health import Bell, Health, HealthProblem, LaneState
from cdc.diagnosis.status import CompanySummary, StatusReport, standing
from cdc.postgres.publications import Publication
from cdc.webhooks.company import named
from cdc.wording import age, printable

_SHOWN = 40  # lines of the list; --json has all
_FIXED = 17  # lines in addition to the list and the problems
_STYLE = {
    "suspended": common.BAD,
    "late": common.BAD,
    "failing": common.BAD,
    "paused": common.SO_SO,
    "active": common.GOOD,
    "removed": common.FAINT,
}
_NUMBERS = "webhook webhooks waiting failed dead oldest"


def drawn(seen: StatusReport, *, companies: bool = False, height: int | None = None) -> Group:
    """Everything; ``height``: lines there are, which makes it shorter rather than scroll."""
    problems, taken = _problems(seen.problems, height)
    rows_shown = _SHOWN if height is None else max(3, height - _FIXED - taken)
    parts: list[Any] = [common.facts(_facts(seen))]
    if seen.webhooks:
        parts += [
            Text(),
            *(_companies(seen, rows_shown) if companies else _webhooks(seen, rows_shown)),
        ]
    elif seen.company is not None:
        parts += [Text(), Text(f"Company {printable(seen.company)} has no webhook.")]
    parts += [Text(), *problems]
    if not problems:
        parts.append(_well(sum(standing(lane) == "failing" for lane in seen.webhooks)))
    return Group(*parts)


def _problems(found: Sequence[HealthProblem], height: int | None) -> tuple[list[Any], int]:
    """Each with what to do; on a short screen a line each, and not all of them. And how many lines
    they take of a narrow one."""
    mark = styled("!", common.BAD)
    made: list[Any] = [advice(mark, styled(one.text), printable(one.todo)) for one in found]
    lines = sum(2 + (len(one.text) + len(one.todo)) // 70 for one in found)
    most = lines if height is None else max(3, (height - _FIXED) // 2)
    if lines <= most:
        return made, lines
    made = [advice(mark, styled(wording.one_line(one.text, 76))) for one in found[:most]]
    made.append(
        styled(f"`cdc status` says what to do{_and_more(len(found) - most)}.", common.FAINT)
    )
    return made, len(made)


def _and_more(hidden: int) -> str:
    return f", and has {hidden} more" if hidden > 0 else ""


def _well(failing: int) -> Text:
    if failing:
        they = wording.counted(failing, "receiver is", "receivers are")
        return styled(f"Nothing is late yet; {they} failing.", common.SO_SO)
    return styled("All is well.", common.GOOD)


def _facts(seen: StatusReport) -> dict[str, object]:
    health, totals = seen.health, seen.totals
    good = sum(row.state == "installed" for row in health.capture)
    states = Counter(lane.state for lane in health.lanes if lane.state != "removed")
    plus = "+" if totals.more else ""
    held = f", {totals.held:,}{plus} of them held{_for(totals.oldest_held)}" if totals.held else ""
    return {
        "database": seen.database,
        "capture": f"{good} of {len(health.capture)} tables"
        + (f" (schema {seen.schema})" if seen.schema else ""),
        "daemons": _daemons(health),
        "doorbell": _bell(health.bell, heard=health.members > 0),
        "webhooks": ", ".join(f"{n} {state}" for state, n in states.items()) or "none",
        "lag": age(totals.lag) if totals.lag else f"none: {_lag(totals.oldest)}",
        "oldest": age(totals.oldest),
        "waiting": f"{totals.queued:,}{plus} queued, {totals.retrying:,} retrying, "
        f"{totals.parked:,} parked{held}",
        "dead": f"{totals.dead:,}{_for(totals.oldest_dead, 'the oldest change ')}"
        if totals.dead
        else "0",
        "expired": f"{health.expired:,} within the last day" if health.expired else None,
        "unresolved": f"{health.unresolved.count:,}{'+' if health.unresolved.more else ''}"
        f"{_for(health.unresolved.oldest)}"
        if health.unresolved.count
        else None,
        "backfills": ", ".join(f"{n} {state}" for state, n in health.backfills.items()) or None,
        "published": _published(health.published),
        "companies": _gone(health),
    }


def _lag(oldest: float | None) -> str:
    return "nothing waits" if oldest is None else "all that waits is due to its receiver"


def _daemons(health: Health) -> str:
    if not health.members and not health.daemons:
        return "none"
    owners = ", ".join(f"{d.owner} ({len(d.shards)} shards)" for d in health.daemons)
    return f"{health.members}: {owners or 'none owns a shard'}"


def _published(found: Sequence[Publication]) -> str | None:
    if not found:
        return None
    secret = ", signing secrets included" if any(one.secrets for one in found) else ""
    return f"tables of schema cdc, by {', '.join(map(str, found))}{secret}"


def _gone(health: Health) -> str | None:
    if health.gone:
        return f"not in the suite: {named(health.gone)}"
    if health.gone is None and health.lanes:
        return "not checked: this account may not read them"
    return None


def _for(seconds: float | None, what: str = "") -> str:
    return "" if seconds is None else f", {what}for {age(seconds)}"


def _bell(bell: Bell, *, heard: bool) -> str:
    full = f"; notification queue {bell.queue:.0%} full" if bell.queue >= 0.01 else ""
    if bell.armed:
        rings = "a daemon sleeps, and writers wake it" if heard else "no daemon hears it"
        return f"armed: {rings}{full}"
    if bell.prepared:
        return f"off by default: max_prepared_transactions is {bell.prepared}{full}"
    return f"silent: {'daemons are busy' if heard else 'no daemon runs'}{full}"


def _webhooks(seen: StatusReport, rows_shown: int) -> list[Any]:
    heads = ["webhook", "company", "state", "waiting", "failed", "dead", "oldest", "why"]
    rows = [_row(lane) for lane in seen.webhooks[:rows_shown]]
    return _listed(heads, rows, len(seen.webhooks))


def _companies(seen: StatusReport, rows_shown: int) -> list[Any]:
    heads = ["company", "webhooks", "state", "waiting", "failed", "dead", "oldest"]
    rows = [_company(one) for one in seen.companies[:rows_shown]]
    return _listed(heads, rows, len(seen.companies))


def _listed(heads: Sequence[str], rows: Sequence[Sequence[object]], all_: int) -> list[Any]:
    made: list[Any] = [common.table(heads, rows, right=_NUMBERS, whole="state waiting")]
    if all_ > len(rows):
        made.append(styled(f"... and {all_ - len(rows)} more; --json has all.", common.FAINT))
    return made


def _row(lane: LaneState) -> tuple[object, ...]:
    state = standing(lane)
    why = lane.reason if lane.state in ("paused", "suspended") else lane.last_error
    if lane.breaker == "probing":
        why = f"probing; {why or ''}"
    return (
        lane.webhook_id,
        lane.company,
        styled(state, _STYLE[state]),
        f"{lane.waiting}{'+' if lane.more and lane.waiting else ''}",
        lane.retrying,
        lane.dead,
        styled(age(lane.oldest), common.BAD if lane.late else ""),
        wording.one_line(why or "", 60),
    )


def _company(one: CompanySummary) -> tuple[object, ...]:
    totals = one.totals
    waiting = totals.queued + totals.retrying + totals.parked
    return (
        one.name,
        totals.webhooks,
        styled(totals.worst, _STYLE[totals.worst]),
        f"{waiting}{'+' if totals.more else ''}",
        totals.retrying,
        totals.dead,
        age(totals.oldest if totals.oldest is not None else totals.oldest_held),
    )
