"""Facts into plain sentences: what is so, why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdc.causes import cause_unresolved, usable_again
from cdc.diagnosis.doctor.recording import BlockingSession
from cdc.diagnosis.explain.model import (
    AHEAD,
    Attempt,
    DeliveryFacts,
    Facts,
    Sentence,
    UnresolvedFacts,
    WebhookFacts,
    delivered_before,
)
from cdc.diagnosis.explain.suite import FoundRow
from cdc.diagnosis.health import LATE
from cdc.mapping import Resource
from cdc.wording import age, counted, when

_CAPTURE_TODO = {
    "off": "`cdc triggers on` switches it on again. Changes made meanwhile are not sent.",
    "disabled": "Find out who disabled it; `cdc triggers install` enables it.",
}


def of_capture(facts: Facts, resource: Resource) -> Iterator[Sentence]:
    """Whether changes of this kind are seen at all, now."""
    wrong = [row for row in facts.capture if row.resource == resource.name]
    for row in wrong:
        if row.state == "installed":
            continue
        if row.state == "off":
            since = [f" since {when(g.since)}, by {g.who}" for g in facts.gaps if not g.until]
            detail = since[-1] if since else ""
        else:
            detail = f" ({row.detail})" if row.detail else ""
        yield Sentence(
            "bad",
            f"capture {row.state}",
            f"Capture of {row.table} is {row.state}{detail}: changes made now may not be seen.",
            _CAPTURE_TODO.get(row.state, "`cdc triggers plan` shows what would correct it."),
        )


def of_gaps(facts: Facts, resource: Resource) -> Iterator[Sentence]:
    """Times during which changes were not captured."""
    off = any(row.state == "off" for row in facts.capture if row.resource == resource.name)
    for gap in facts.gaps:
        if gap.until is None and off:
            continue  # reported already: it is off now
        end = when(gap.until) if gap.until else "it was installed again"
        yield Sentence(
            "wait",
            "capture was off",
            f"Capture of {resource.table} was off from {when(gap.since)} until {end} "
            f"(switched by {gap.who}): changes made then are not sent, and it is unknown whether "
            "this row was changed.",
            "Its receiver must read the row from the suite's API.",
        )


def of_row(row: FoundRow, resource: Resource, key: str) -> Iterator[Sentence]:
    """What the suite's table says."""
    if row.exists is False:
        wanted = (
            "Webhooks can ask for deleted rows." if resource.deleted else "Deletions send nothing."
        )
        yield Sentence("wait", "no row", f"{resource.table} has no row {key} now. {wanted}")
    elif row.exists and row.company is None:
        what = f"No column of row {key} of {resource.table} leads to a company"
        where = f"resources.{resource.name}"
        if resource.optional:
            text = f"{what}. The mapping allows that ({where}.optional): its changes are not sent."
            yield Sentence("ok", "company not needed", text)
            return
        yield Sentence(
            "bad",
            "no company",
            f"{what}, so no webhook gets its changes.",
            "docs/capture.md, 'What could not be resolved', says how they are captured late; "
            f"`optional = true` in {where} of the mapping allows rows without a company.",
        )


def of_unresolved(one: UnresolvedFacts) -> Sentence:
    cause = cause_unresolved(one.reason)
    kept = "has found no company" if cause.code == "unresolved" else "is not captured yet"
    return Sentence(
        "bad",
        "unresolved",
        f"The change of {one.resource} {one.key} at {when(one.time)} {kept}: {cause.text}. "
        f"It was tried again {counted(one.tries, 'time')}.",
        cause.todo,
    )


def of_another_company(
    row: FoundRow, asked: str, resource: Resource, key: str
) -> Iterator[Sentence]:
    """The company that was asked about does not own this row."""
    if row.company is not None and row.company != asked:
        yield Sentence(
            "wait",
            "another company",
            f"Row {key} of {resource.table} belongs to company {row.company}, so webhooks of "
            f"company {asked} do not get its changes.",
            f"`cdc explain {resource.name} {key}` shows the webhooks that do.",
        )


def of_hook(hook: WebhookFacts, event: str, facts: Facts) -> Iterator[Sentence]:
    """Of a webhook of the company that has no delivery of this row."""
    name = f"Webhook {hook.id} of company {hook.company}"
    if hook.state == "removed":
        yield Sentence("wait", "removed", f"{name} was removed ({when(hook.since)}).")
    elif event not in hook.events:
        named = ", ".join(hook.events) or "nothing"
        yield Sentence(
            "wait",
            "not registered",
            f"{name} is not registered for {event}, only for {named}.",
            f"`cdc webhook update {hook.id} --add-event {event}` adds it, for future changes.",
        )
    else:
        yield Sentence(
            "wait",
            "no change",
            f"{name} is registered for {event}{hook.only}{hook.gets} (since "
            f"{when(hook.created_at)}), and no change of this row is queued for it or in the part "
            "of its log that was searched. It gets the changes of transactions that begin after "
            f"its registration, and after capture was installed{_since(facts)}."
            f"{' Others than it is registered for are not queued.' if hook.only else ''}",
            "Search further back with --since 14d. The log is kept for CDC_LOG_DAYS.",
        )


def _since(facts: Facts) -> str:
    return f" (in its present form: {when(facts.mapped_at)})" if facts.mapped_at else ""


def of_nobody(company: str | None, event: str) -> Sentence:
    """Neither a delivery nor a webhook was found."""
    if company is None:
        return Sentence(
            "wait",
            "nobody",
            f"No change of it is queued or logged, and its company cannot be seen here, which may "
            f"have no webhook for {event}.",
            "Check the key. Give --company, or use an account that may read the suite's keys.",
        )
    return Sentence(
        "bad",
        "nobody",
        f"Company {company} has no webhook, so its changes are not captured.",
        "`cdc webhook add` registers one, for future changes.",
    )


def of_delivery(one: DeliveryFacts, facts: Facts) -> Iterator[Sentence]:
    """Did the receiver get it, when, what did it answer; or else why not."""
    hook = facts.hooks.get(one.webhook)
    log = [a for a in facts.attempts if (a.webhook, a.id, a.uid) == (one.webhook, one.id, one.uid)]
    if not one.place:
        yield from _ended(one, log)
    elif one.place == "dead":
        yield Sentence(
            "bad",
            "dead",
            f"It is dead: {one.failed(log)}, the last: {one.answer(log)}. "
            f"{delivered_before(log) or 'The receiver never got it.'}",
            f"{one.cause(log).todo_for(one.webhook)} When that is fixed: `cdc delivery replay "
            f"{one.id}` (same webhook-id).",
        )
    elif hook is None or hook.state == "removed":
        yield Sentence(
            "wait", "removed", "Its webhook was removed; it will be logged as dropped, not sent."
        )
    elif hook.state in ("paused", "suspended"):
        yield Sentence(
            "wait" if hook.state == "paused" else "bad",
            f"held {hook.state}",
            f"It is held: its webhook is {hook.state} since {when(hook.since)}"
            f"{': ' + hook.reason if hook.reason else ''}. It expires when "
            f"it has been held for {facts.held_days:g} days (CDC_HELD_DAYS).",
            hook.resumed,
        )
    else:
        yield from _waiting(one, facts, hook, log)


def _waiting(
    one: DeliveryFacts, facts: Facts, hook: WebhookFacts, log: Sequence[Attempt]
) -> Iterator[Sentence]:
    if one.place == "parked":
        behind = f"delivery {one.behind}" if one.behind is not None else "an earlier one"
        yield Sentence(
            "wait",
            "parked",
            f"It is parked behind {behind} of the same row, which is being retried: the changes of "
            "a row arrive in order.",
            f"`cdc explain {one.behind}`" if one.behind is not None else "",
        )
    elif one.place == "retrying":
        due = "is due now" if (one.due_in or 0) <= 0 else f"comes in {age(one.due_in)}"
        resume = f"`cdc webhook resume {hook.id}`"
        how = f"It was replayed, and {due}."
        todo = f"It is sent within the webhook's limits (cap, rate); {resume} hurries it."
        if one.error or one.status:
            how = f"{one.failed(log)}, the last: {one.answer(log)}. The next {due}."
            cause = one.cause(log).todo_for(hook.id)
            todo = f"{cause} When that is fixed: {resume} tries at once."
        yield Sentence("wait", "retrying", f"{how} {delivered_before(log)}".rstrip(), todo)
    before = list(in_the_way(hook, facts))
    yield from before
    if facts.blocking is not None and hook.owner is not None:
        before.append(_of_recording(facts.blocking))
        yield before[-1]
    if one.place != "queued":
        return
    if one.ahead:
        many = f"{one.ahead}{' or more' if one.ahead >= AHEAD else ''}"
        yield Sentence(
            "wait", "queued", f"It is queued, with {many} deliveries of its webhook before it."
        )
    elif not before and one.age > LATE:
        yield Sentence(
            "bad",
            "stuck",
            f"It has been first in its webhook's queue for {age(one.age)}, for no reason that this "
            "command can see.",
            f"Read the log of {hook.owner}, and run `cdc doctor`.",
        )
    elif not before:
        yield Sentence("ok", "queued", "It is next in its webhook's queue and about to be sent.")


def _of_recording(blocking: BlockingSession) -> Sentence:
    return Sentence(
        "bad" if blocking.whole else "wait",
        "not recorded",
        f"The receiver may have it: {blocking}, so what is sent cannot be recorded. Once it can, "
        "that is done; a daemon that is restarted before sends it again, with the same webhook-id.",
        blocking.end,
    )


def in_the_way(hook: WebhookFacts, facts: Facts) -> Iterator[Sentence]:
    """What stops an active webhook."""
    if facts.copy:
        yield Sentence(
            "bad",
            "copy",
            "This database is a copy of the one that capture was installed in: daemons refuse to "
            "run here, so that a copy sends nothing.",
            "If this is the real one now: `cdc adopt`, then `cdc run`.",
        )
    elif hook.owner is None:
        running = counted(facts.daemons, "daemon runs", "daemons run")
        yield Sentence(
            "bad",
            "no daemon",
            f"No daemon owns the webhook ({running}): nothing is sent.",
            "Start `cdc run`; if it runs, read its log.",
        )
    if hook.signable is False:
        yield Sentence(
            "bad",
            "no secret",
            "The webhook has no valid secret: nothing can be signed, so nothing is sent.",
            f"`cdc webhook rotate-secret {hook.id}` makes one.",
        )
    elif why := hook.unusable:
        yield Sentence(
            "bad",
            "unusable",
            f"The daemon cannot use the registration: {why}. Its changes are held until then.",
            usable_again(why, str(hook.id)),
        )
        return  # whatever else was noted of its lane is from before
    if hook.breaker != "closed" and hook.last_error == "mapping":
        yield Sentence(
            "bad",
            "untranslatable",
            "Only one delivery of its webhook is tried at a time: no payload could be made with "
            "the mapping for the last ones, so there was nothing to send.",
            f"`cdc delivery list --webhook {hook.id}` says why. If an event is missing from the "
            "mapping, add it and run `cdc triggers install`. A key that does not fit into a URL "
            "makes the delivery dead.",
        )
    since = f" since {when(hook.failing_since)}" if hook.failing_since else ""
    if hook.breaker != "closed" and hook.last_error != "mapping":
        last, cause = facts.last_failure(hook)
        yield Sentence(
            "bad",
            "lane open",
            f"The endpoint fails{since} ({hook.failures} failures in a row"
            f"{', the last: ' + last if last else ''}): its circuit breaker "
            f"is {hook.breaker}, and only one delivery at a time probes the endpoint.",
            f"{cause.todo_for(hook.id)} Probes continue automatically, at least once a minute.",
        )
    if hook.slow_for is not None and hook.slow_for > 0:
        yield Sentence(
            "wait",
            "slowed",
            f"The receiver asked for a pause, which lasts another {age(hook.slow_for)}"
            f"{'; it has accepted nothing' + since if since else ''}.",
            "It is tried again automatically then. If that lasts, ask the receiver's operator.",
        )


def _ended(one: DeliveryFacts, log: list[Attempt]) -> Iterator[Sentence]:
    last = log[-1]
    at = when(last.at)
    if last.outcome == "delivered":
        failures = sum(a.outcome in ("failed", "dead") for a in log)
        failed = f", after {counted(failures, 'attempt')} that failed" if failures else ""
        yield Sentence(
            "ok",
            "delivered",
            f"The receiver got it: it answered {last.status} at {at}, "
            f"{age((last.at - one.time).total_seconds())} after the change{failed}; the request "
            f"took {age(last.duration_ms / 1000)}. {delivered_before(log[:-1])}".rstrip(),
        )
    elif last.outcome == "expired":
        yield Sentence(
            "bad",
            "expired",
            f"It expired at {at}: it was held for longer than CDC_HELD_DAYS, or dead for "
            f"longer than CDC_DEAD_DAYS. "
            f"{delivered_before(log) or 'The receiver did not get it.'}",
            f"`cdc delivery replay {one.uid}` sends it now.",
        )
    elif last.outcome == "dropped":
        yield Sentence(
            "wait", "dropped", f"It was dropped at {at}, not sent: its webhook had been removed."
        )
    else:
        yield Sentence(
            "bad",
            "lost track",
            f"Its last attempt failed at {at} ({one.answer(log)}), and it is in no table of "
            "waiting deliveries: it was deleted by hand.",
            "Its receiver must read the row from the suite's API.",
        )
