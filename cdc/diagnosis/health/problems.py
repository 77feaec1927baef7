"""What of a reading is wrong, the most urgent first. Pure.

What stops many webhooks is one problem, not one for each: they are counted with their cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cdc.capture.plan import TableStatus
from cdc.causes import cause_of, cause_unresolved, usable_again
from cdc.diagnosis.health.model import DaemonState, Health, LaneState, Unresolved
from cdc.guides import located
from cdc.model import SHARDS
from cdc.postgres import publications
from cdc.postgres.advisory_locks import CLOCK_BAD_S
from cdc.webhooks.company import named
from cdc.wording import age, counted

FULL_QUEUE = 0.25
"""Share of the notification queue from which on daemons do not arm the bell: with a full one,
writers' commits fail."""

EXPIRES_SOON = 0.7
"""Share of its time after which what is held is about to expire."""

NAMED = 5
"""Webhooks with one problem that are named."""

DOCTOR = "`cdc doctor` says what to do."
NO_DAEMON = "Start `cdc run`; if it runs, its log says what stops it."


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """text: the cause, without a full stop. todo: the remedy, in whole sentences. stops: webhooks
    that nothing else keeps from sending wait because of it."""

    text: str
    todo: str
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.text}. {self.todo}"


def problems(seen: Health, others: Iterable[HealthProblem] = ()) -> list[HealthProblem]:
    """others: what was found by other means."""
    found = [*_standing(seen), *others, *_minor(seen)]
    found.sort(key=lambda problem: not problem.stops)
    # A webhook that our own settings keep from being called is wrong before anything is late.
    late = [lane for lane in seen.lanes if lane.late or lane.refused_here]
    waiting = {lane.webhook_id for lane in seen.abandoned if lane.late}
    if found and found[0].stops:
        waiting |= {w.webhook_id for w in late if w.error is None and w.breaker == "closed"}
        if waiting:
            they = "1 webhook waits" if len(waiting) == 1 else f"{len(waiting)} webhooks wait"
            found[0] = replace(found[0], text=f"{found[0].text}; {they} because of it")
    lanes = [lane for lane in late if lane.webhook_id not in waiting]
    rest = of_deliveries(seen.lanes, lanes, seen.expired, seen.held_days, seen.details)
    return [replace(one, todo=located(one.todo)) for one in (*found, *rest)]


def _standing(seen: Health) -> Iterator[HealthProblem]:
    """What concerns more than one webhook."""
    if seen.copy:
        yield HealthProblem(
            "this database is a copy, and daemons refuse to send from it",
            "If this is the real one now: `cdc adopt`.",
            stops=True,
        )
    if seen.installed_mapping is None:
        yield HealthProblem("capture is not installed", "Run `cdc triggers install`.", stops=True)
    elif not seen.mapping_is_installed:
        yield HealthProblem(
            "the configured mapping differs from the installed one",
            "Correct CDC_MAPPING, or run `cdc triggers install` (`cdc triggers plan` shows what "
            "would change).",
            stops=True,
        )
    wrong = [row for row in seen.capture if row.state != "installed"]
    if seen.installed_mapping is not None and wrong:
        first = wrong[0]
        others = len(wrong) - 1
        more = f", and {counted(others, 'more table is', 'more tables are')} not in order"
        todo = "`cdc triggers on`" if first.state == "off" else "`cdc triggers install`"
        yield HealthProblem(
            f"capture of {first.table} is {first.state}{more if others else ''}: {fate(wrong)}",
            f"Run {todo}; `cdc triggers status` lists all tables.",
        )
    for one in seen.refused[:1]:
        yield HealthProblem(
            f"publication {one.publication} keeps daemons from changing cdc.{one.table}: what they "
            "send is not recorded, and is sent again",
            DOCTOR,
            stops=True,
        )
    if any(one.secrets for one in seen.published):
        yield HealthProblem(
            publications.stated(seen.published), publications.remedy(seen.published)
        )
    for table, roles in list(seen.filtered.items())[:1]:
        yield HealthProblem(
            f"row-level security of cdc.{table} hides rows from {', '.join(roles)}, or refuses "
            "them: changes are lost, or not sent",
            DOCTOR,
            stops=True,
        )
    yield from of_daemons(
        seen.members,
        seen.daemons,
        seen.strangers,
        # A copy's deliveries wait for something else.
        () if seen.copy else seen.abandoned,
        copy=seen.copy,
    )


def of_daemons(
    members: int,
    daemons: Sequence[DaemonState],
    strangers: Sequence[str],
    waiting: Sequence[LaneState] = (),
    *,
    copy: bool = False,
) -> Iterator[HealthProblem]:
    """Whether each webhook has a daemon that can do its work. waiting: those with none."""
    if strangers:
        yield HealthProblem(
            f"{', '.join(strangers[:3])} holds advisory locks of daemons without being one: "
            "daemons cannot send to some webhooks",
            "If it is a daemon of yours: grant cdc_daemon to its account. Otherwise end it: select "
            "pg_terminate_backend(PROCESS); and revoke CONNECT on the database from its account.",
            stops=True,
        )
    owned = sum(len(daemon.shards) for daemon in daemons)
    count = sum(lane.waiting for lane in waiting)
    least = "at least " if any(lane.more for lane in waiting) else ""
    what = f"{least}{count} deliveries wait for one" if count != 1 else "1 delivery waits for one"
    if copy or strangers:
        pass  # the cause is named already
    elif not members and not owned:
        wait = f": {what}" if count else ": changes are collected and not sent"
        yield HealthProblem(f"no daemon runs{wait}", NO_DAEMON, stops=True)
    elif owned < SHARDS:
        wait = f", and {what}" if count else ""
        yield HealthProblem(
            f"{SHARDS - owned} of {SHARDS} shards have no daemon{wait}",
            "Daemons take them over within seconds; if not, their logs say why.",
            stops=True,
        )
    for daemon in daemons:
        yield from _of_daemon(daemon)


def _of_daemon(daemon: DaemonState) -> Iterator[HealthProblem]:
    if daemon.clock is not None and abs(daemon.clock) > CLOCK_BAD_S:
        side = "ahead of" if daemon.clock > 0 else "behind"
        yield HealthProblem(
            f"the clock of daemon {daemon.owner} is {age(abs(daemon.clock))} {side} the "
            "database's: receivers refuse signatures whose time is off by more than 5 min",
            "Correct the clock that is wrong; run NTP on both hosts.",
        )
    if daemon.log_lost:
        yield HealthProblem(
            f"daemon {daemon.owner} cannot write its log, lines are lost",
            "Its disk is full, or nothing reads its stderr.",
        )


def _minor(seen: Health) -> Iterator[HealthProblem]:
    if seen.bell.queue >= FULL_QUEUE:
        yield HealthProblem(
            f"the server's notification queue is {seen.bell.queue:.0%} full: a session listens "
            "and stays in a transaction",
            "`cdc doctor` names it.",
        )
    if seen.unresolved.count:
        yield of_unresolved(seen.unresolved)
    if seen.gone:
        count = sum(map(len, seen.gone.values()))
        yield HealthProblem(
            f"{counted(count, 'registration')} of a company that is not in the suite: "
            f"{named(seen.gone)}",
            "If its key was changed, register it again under the new one; otherwise `cdc webhook "
            "remove`.",
        )


def fate(wrong: Iterable[TableStatus]) -> str:
    """What becomes of the changes of tables whose capture is not in order."""
    if all(row.state == "blind" for row in wrong):
        return "changes are kept in cdc.unresolved, and captured when that is fixed"
    return "changes are lost"


def of_unresolved(found: Unresolved) -> HealthProblem:
    """Changes that capture has kept for later. Of the oldest one the reason is known."""
    cause = cause_unresolved(found.reason)
    what = "without a company" if cause.code == "unresolved" else "not captured yet"
    return HealthProblem(
        f"{found.changes} {what} (cdc.unresolved), the oldest for {age(found.oldest)}: "
        f"{cause.text}",
        cause.todo,
    )


def of_deliveries(
    lanes: Sequence[LaneState],
    late: Sequence[LaneState],
    expired: int,
    held_days: float,
    details: Mapping[int, str],
) -> Iterator[HealthProblem]:
    """What does not arrive, or not in time: by cause, each with its webhooks."""
    suspended: dict[str, list[LaneState]] = defaultdict(list)
    failing: dict[str, list[LaneState]] = defaultdict(list)
    for lane in lanes:
        if lane.state == "suspended":
            suspended[lane.reason or "no reason"].append(lane)
    for lane in late:
        failing[_code(lane, details)].append(lane)
    for reason, group in suspended.items():
        yield HealthProblem(
            f"{_they(group, 'is', 'are')} suspended: {reason}",
            f"When the receiver works again: `cdc webhook resume {_id(group)}` sends what is held.",
        )
    for group in sorted(failing.values(), key=lambda group: -_longest(group)):
        worst = max(group, key=lambda lane: lane.oldest or 0.0)
        if worst.unusable is not None:
            cannot = f"{_they(group)} {worst.unusable}"
            yield HealthProblem(cannot, usable_again(worst.unusable, _id(group)))
            continue
        whose = "its oldest delivery" if len(group) == 1 else f"one of webhook {worst.webhook_id}"
        why, todo = _why(worst, details.get(worst.webhook_id, ""), alone=len(group) == 1)
        yield HealthProblem(
            f"{_they(group, 'is', 'are')} late, {whose} waits for {age(worst.oldest)}: {why}"
            if worst.late
            else f"{_they(group, 'is', 'are')} not called: {why}",
            todo,
        )
    yield from _ended(lanes, expired)
    yield from _expiring(lanes, held_days)


def _ended(lanes: Sequence[LaneState], expired: int) -> Iterator[HealthProblem]:
    dead = [lane for lane in lanes if lane.dead and lane.state != "removed"]
    if dead:
        count = sum(lane.dead for lane in dead)
        least = "at least " if any(lane.more for lane in dead) else ""
        oldest = max((lane.oldest_dead or 0.0 for lane in dead), default=0.0)
        yield HealthProblem(
            f"{least}{counted(count, 'delivery', 'deliveries')} dead, of {_they(dead)}, the oldest "
            f"change {age(oldest)} old: not received",
            f"`cdc delivery list --webhook {_id(dead)} --state dead` says why; when that is "
            f"fixed: `cdc delivery replay --webhook {_id(dead)}`, or give them up: "
            f"`cdc delivery drop --webhook {_id(dead)}`.",
        )
    if expired:
        yield HealthProblem(
            f"{counted(expired, 'delivery', 'deliveries')} expired within the last day: held or "
            "dead for too long, and not sent",
            "`cdc delivery list --state expired` lists them; `cdc delivery replay` sends them.",
        )


def _expiring(lanes: Sequence[LaneState], held_days: float) -> Iterator[HealthProblem]:
    time = held_days * 86_400
    soon = [lane for lane in lanes if (lane.held_for or 0.0) > time * EXPIRES_SOON]
    if soon:
        left = max(0.0, time - max(lane.held_for or 0.0 for lane in soon))
        yield HealthProblem(
            f"held deliveries of {_they(soon)} are about to expire, the first in {age(left)}",
            f"`cdc webhook resume {_id(soon)}` sends them. CDC_HELD_DAYS is the limit.",
        )


def _code(lane: LaneState, details: Mapping[int, str]) -> str:
    """What webhooks that fail for one cause have in common."""
    if lane.unusable is not None or lane.error is None:
        return lane.error or ""
    return cause_of(lane.error, lane.status, details.get(lane.webhook_id, "")).code


def _why(lane: LaneState, detail: str, *, alone: bool) -> tuple[str, str]:
    """The cause of a late webhook, and what to do."""
    if not lane.last_error:  # replayed ones are retried without having failed
        number = lane.webhook_id if alone else "ID"
        return (
            "nothing has failed",
            "Its receiver is slow, or its limits are low (`cdc webhook show "
            f"{number}`: cap, rate). The daemon's log and `cdc doctor` say more.",
        )
    cause = cause_of(lane.error or "", lane.status, detail)
    todo = cause.todo_for(lane.webhook_id) if alone else cause.todo
    if lane.error == "mapping":  # its receiver was never asked
        return lane.last_error or "", todo
    why = cause.text if lane.error in (None, "status") else f"{cause.text} ({lane.error})"
    if lane.failing_for is not None:
        why += f", for {age(lane.failing_for)}"
    if lane.breaker != "closed":
        return why, f"{todo} It is tried again automatically, at least once a minute."
    if lane.next_try is not None and lane.next_try > 0:
        resume = f"`cdc webhook resume {lane.webhook_id if alone else 'ID'}` tries now."
        return why, f"{todo} Next try in {age(lane.next_try)}; {resume}"
    return why, f"{todo} It is being tried again."


def _they(lanes: Sequence[LaneState], one: str = "", many: str = "") -> str:
    """``webhook 3 is``, ``12 webhooks (3, 4, 5, 6, 7, ...) are``."""
    if len(lanes) == 1:
        return f"webhook {lanes[0].webhook_id} {one}".rstrip()
    more = ", ..." if len(lanes) > NAMED else ""
    numbers = ", ".join(str(lane.webhook_id) for lane in lanes[:NAMED])
    return f"{len(lanes)} webhooks ({numbers}{more}) {many}".rstrip()


def _id(lanes: Sequence[LaneState]) -> str:
    return str(lanes[0].webhook_id) if len(lanes) == 1 else "ID"


def _longest(lanes: Sequence[LaneState]) -> float:
    return max(lane.oldest or 0.0 for lane in lanes)
