"""A webhook, as it stands now, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from cdc.diagnosis.explain.model import Facts, Sentence, WebhookFacts
from cdc.diagnosis.explain.story import in_the_way
from cdc.wording import when


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
            "after CDC_HELD_DAYS.",
            f"`cdc webhook resume {hook.id}` sends everything that is held, in order.",
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
        if not wrong:
            yield Sentence("ok", "active", "It is active, and nothing keeps it from being sent to.")
