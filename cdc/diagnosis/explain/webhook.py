"""A webhook, as it stands now, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from cdc.diagnosis.explain.model import Facts, Failing, Sentence, WebhookFacts
from cdc.diagnosis.explain.story import in_the_way
from cdc.diagnosis.health import LATE
from cdc.wording import age, when


def of_webhook(hook: WebhookFacts, facts: Facts) -> Iterator[Sentence]:
    """Does it send; or else why not."""
    why = f": {hook.reason}" if hook.reason else ""
    if hook.state == "removed":
        yield Sentence("wait", "removed", f"It was removed at {when(hook.since)}{why}.")
    elif hook.state in ("paused", "suspended"):
        yield Sentence(
            "wait" if hook.state == "paused" else "bad",
            hook.state,
            f"It is {hook.state} since {when(hook.since)}{why}. Changes are collected, and expire "
            f"when they have been held for {facts.held_days:g} days (CDC_HELD_DAYS).",
            hook.resumed,
        )
    else:
        wrong = list(in_the_way(hook, facts))
        yield from wrong
        if facts.blocking is not None and hook.owner is not None:
            wrong.append(
                Sentence(
                    "bad" if facts.blocking.whole else "wait",
                    "not recorded",
                    f"What is sent cannot be recorded: {facts.blocking}.",
                    facts.blocking.end,
                )
            )
            yield wrong[-1]
        if hook.breaker == "closed" and (failing := facts.failing.get(hook.id)) is not None:
            wrong.append(_of_failing(hook, failing))
            yield wrong[-1]
        if not wrong:
            yield Sentence("ok", "active", "It is active: deliveries are sent to it.")


def _of_failing(hook: WebhookFacts, failing: Failing) -> Sentence:
    """What a receiver that is sent to did with the delivery that failed last."""
    one, todo = failing.delivery, failing.cause.todo_for(hook.id)
    if one.place == "dead":
        return Sentence(
            "bad",
            "dead",
            f"Delivery {one.id} is dead, and not tried again: {one.failed(failing.log)}, the last: "
            f"{failing.answer}.",
            f"{todo} When that is fixed: `cdc delivery replay --webhook {hook.id}`.",
        )
    due = "is due now" if (one.due_in or 0) <= 0 else f"comes in {age(one.due_in)}"
    return Sentence(
        "bad" if one.age > LATE else "wait",
        "retrying",
        f"Delivery {one.id} is being retried: {one.failed(failing.log)}, the last: "
        f"{failing.answer}. The next {due}.",
        f"{todo} When that is fixed: `cdc webhook resume {hook.id}` tries at once.",
    )
