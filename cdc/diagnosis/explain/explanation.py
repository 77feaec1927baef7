"""What became of a row or a delivery, from the trigger to the receiver, in sentences."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from cdc.diagnosis.deliveries import UnknownDelivery
from cdc.diagnosis.explain import facts as known_facts
from cdc.diagnosis.explain import story, suite, webhook
from cdc.diagnosis.explain.model import (
    Attempt,
    CommonFacts,
    DeliveryFacts,
    Facts,
    Sentence,
    Subject,
)
from cdc.diagnosis.explain.suite import FoundRow
from cdc.errors import UsageError
from cdc.guides import located
from cdc.mapping import Mapping, Resource
from cdc.webhooks.model import UnknownWebhook


@dataclass(frozen=True, slots=True)
class Explanation:
    """general: sentences about the row, capture and webhooks. deliveries: each with its own."""

    subject: Subject
    facts: Facts
    general: list[Sentence]
    deliveries: list[tuple[DeliveryFacts, list[Sentence]]]

    def attempts(self, one: DeliveryFacts) -> list[Attempt]:
        """The attempts of a delivery, as the log has them."""
        delivery = (one.webhook, one.id, one.uid)
        return [a for a in self.facts.attempts if (a.webhook, a.id, a.uid) == delivery]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        every = [*self.general, *(one for _, said in self.deliveries for one in said)]
        hooks = self.facts.hooks
        return {
            "ok": all(sentence.verdict == "ok" for sentence in every),
            "resource": self.subject.resource.name if self.subject.resource else None,
            "key": self.subject.key,
            "said": [asdict(sentence) for sentence in self.general],
            "deliveries": [
                {
                    **asdict(one),
                    "company": hook.company if (hook := hooks.get(one.webhook)) else None,
                    "said": [asdict(sentence) for sentence in said],
                    "log": [asdict(attempt) for attempt in self.attempts(one)],
                }
                for one, said in self.deliveries
            ],
            "webhooks": [asdict(hook) for hook in hooks.values()],
        }


def explain(
    conn: psycopg.Connection[Any], mapping: Mapping, subject: Subject, shared: CommonFacts
) -> Explanation:
    """shared: what is the same for all, read a moment ago.

    Raises UsageError for a key that cannot be one, CdcError for what is unknown.
    """
    if subject.webhook is not None:
        return _of_webhook(conn, subject, subject.webhook, shared)
    row = None
    if subject.resource is not None and subject.key is not None:
        suite.refuse_impossible(conn, subject.resource, subject.key)
        row = suite.find(conn, mapping, subject.resource, subject.key)
    known = known_facts.gather(conn, subject, row.company if row else None, shared)
    if subject.resource is None and not known.deliveries and not known.unresolved:
        raise UnknownDelivery(subject.number or subject.uid)
    general = _located(_general(subject, known, row, mapping))
    stories = [(one, _located(story.of_delivery(one, known))) for one in known.deliveries]
    return Explanation(subject, known, general, stories)


def explain_webhook(
    conn: psycopg.Connection[Any], number: int, shared: CommonFacts
) -> list[Sentence]:
    """How a webhook stands, and why. Raises CdcError for an unknown one."""
    return _of_webhook(conn, Subject(webhook=number), number, shared).general


def _of_webhook(
    conn: psycopg.Connection[Any], subject: Subject, number: int, shared: CommonFacts
) -> Explanation:
    known = known_facts.of_webhook(conn, number, shared)
    hook = known.hooks.get(number)
    if hook is None or subject.company not in (None, hook.company):
        whose = f" of company {subject.company}" if subject.company is not None else ""
        raise UnknownWebhook(
            f"unknown webhook {number}{whose}", "`cdc webhook list` shows the numbers."
        )
    return Explanation(subject, known, _located(webhook.of_webhook(hook, known)), [])


def subject_of(
    mapping: Mapping, what: str, key: str | None, company: str | None, since: datetime | None
) -> Subject:
    """Raises UsageError for what can be neither row nor delivery."""
    named = {word for resource in mapping.captured for word in _names(resource)}
    if what == "webhook" and what not in named and key is not None:
        if not (key.isascii() and key.isdecimal() and int(key) < 2**63):
            raise UsageError(
                f"invalid number of a webhook: {key!r}", "`cdc webhook list` shows the numbers."
            )
        return Subject(webhook=int(key), company=company)
    if key is not None:
        return Subject(resource=_resource_of(mapping, what), key=key, since=since, company=company)
    if what.isdecimal() and what.isascii() and int(what) < 2**63:
        return Subject(number=int(what), company=company)
    try:
        return Subject(uid=str(uuid.UUID(what)), company=company)
    except ValueError:
        pass
    if what != "webhook" or what in named:
        _resource_of(mapping, what)
    missing = "key of the row" if what in named else "number of the webhook"
    raise UsageError(f"the {missing} is missing", f"For example: cdc explain {what} 17")


def _resource_of(mapping: Mapping, word: str) -> Resource:
    for resource in mapping.captured:
        if word in _names(resource):
            return resource
    known = ", ".join(resource.name for resource in mapping.captured)
    raise UsageError(
        f"{word!r} is neither a resource nor a delivery",
        f"Resources: {known}; each with the key of a row. Or `webhook` with the number of one, a "
        "delivery's number, or a webhook-id.",
    )


def _names(resource: Resource) -> tuple[str | None, ...]:
    return resource.name, resource.event, resource.table.name, str(resource.table)


def _general(
    subject: Subject, known: Facts, row: FoundRow | None, mapping: Mapping
) -> list[Sentence]:
    """Sentences that are not about a delivery."""
    said = [story.of_unresolved(one) for one in known.unresolved]
    resource = subject.resource
    if resource is None:
        events = {one.event for one in known.deliveries}
        for event in events & mapping.events.keys():
            said += story.of_capture(known, mapping.events[event or ""])
        return said
    assert subject.key is not None
    assert resource.event is not None
    said += story.of_capture(known, resource)
    said += story.of_gaps(known, resource)
    if row is not None and not known.unresolved:
        said += story.of_row(row, resource, subject.key)
    if row is not None and subject.company is not None:
        said += story.of_another_company(row, subject.company, resource, subject.key)
    listed = {one.webhook for one in known.deliveries}
    for hook in known.hooks.values():
        if hook.id not in listed or hook.state == "removed":
            said += story.of_hook(hook, resource.event, known)
    alive = [hook for hook in known.hooks.values() if hook.state != "removed"]
    company = subject.company or (row.company if row else None)
    orphan = row is not None and row.exists and row.company is None
    if not alive and not known.unresolved and not orphan and not listed:
        said.append(story.of_nobody(company, resource.event))
    return said


def _located(sentences: Iterable[Sentence]) -> list[Sentence]:
    """With the files that they name where they are."""
    return [replace(sentence, todo=located(sentence.todo)) for sentence in sentences]
