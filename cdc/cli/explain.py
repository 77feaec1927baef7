"""`cdc explain`: did they get it, when, what did they answer, and why not.

model.py  what is asked, and what can be known
suite.py  whose row it is
facts.py  where its deliveries are, and how their webhooks do
story.py  the facts in plain sentences
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, moment, print_json
from cdc.errors import CdcError, UsageError
from cdc.guides import located

if TYPE_CHECKING:
    from cdc.diagnosis.explain.model import DeliveryFacts, Facts, Subject
    from cdc.diagnosis.explain.story import Sentence
    from cdc.diagnosis.explain.suite import SuiteRow
    from cdc.mapping import Mapping, Resource

_STYLE = {"ok": common.GOOD, "wait": common.SO_SO, "bad": common.BAD}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("explain")(explain)


def explain(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="A resource (or its event), a delivery's number, or a webhook-id."
        ),
    ],
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Key of the row, for a resource.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="Only this company's webhooks.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="How far back to search the log for a row: 30m, 14d, or a time. [1d]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether a change has arrived, when, what was answered, and why not.

    Follows a row, or one delivery, from the trigger to the receiver, and says in plain sentences
    where it is and what to do. The newest twenty deliveries are listed. Changes nothing.
    """
    from cdc.cli import known as known_names
    from cdc.diagnosis.explain import facts, story, suite
    from cdc.postgres.connections import explained

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    company = common.company_key(settings, company)
    asked = _question(mapping, what, key, company, since)
    if asked.resource is None:
        known_names.refuse_unknown_company(settings, company)
    with explained(), common.connect(settings) as conn:
        row = None
        if asked.resource is not None and asked.key is not None:
            suite.refuse_impossible(conn, asked.resource, asked.key)
            row = suite.find(conn, mapping, asked.resource, asked.key)
        known = facts.gather(conn, mapping, asked, row.company if row else None)
    if asked.resource is None and not known.deliveries and not known.unresolved:
        raise CdcError(
            f"no delivery {what} is known",
            "The log keeps what has ended for as long as CDC_LOG_DAYS says.",
        )
    general = _located(_general(asked, known, row, mapping))
    stories = [(one, _located(story.of_delivery(one, known))) for one in known.deliveries]
    if as_json:
        print_json(_as_json(asked, known, general, stories))
        return
    for sentence in general:
        _say(sentence)
    for one, sentences in stories:
        _headline(one, known)
        for sentence in sentences:
            _say(sentence)
        _attempts(one, known)


def _question(
    mapping: Mapping, what: str, key: str | None, company: str | None, since: str | None
) -> Subject:
    """Raises UsageError for what can be neither row nor delivery."""
    from cdc.diagnosis.explain.model import Subject

    after = moment(since) if since else None
    if key is not None:
        return Subject(resource=_resource(mapping, what), key=key, since=after, company=company)
    if what.isdecimal() and what.isascii() and int(what) < 2**63:
        return Subject(number=int(what), company=company)
    try:
        return Subject(uid=str(uuid.UUID(what)), company=company)
    except ValueError:
        pass
    _resource(mapping, what)
    raise UsageError(f"{what} is a resource: which row?", f"Add its key: cdc explain {what} 17")


def _resource(mapping: Mapping, word: str) -> Resource:
    for resource in mapping.captured:
        if word in (resource.name, resource.event, resource.table.name, str(resource.table)):
            return resource
    known = ", ".join(resource.name for resource in mapping.captured)
    raise UsageError(
        f"{word!r} is neither a resource nor a delivery",
        f"Resources: {known}; each with the key of a row. Or a delivery's number, or a webhook-id.",
    )


def _general(
    asked: Subject, known: Facts, row: SuiteRow | None, mapping: Mapping
) -> list[Sentence]:
    """What is to be said beside the deliveries."""
    from cdc.diagnosis.explain import story

    said = [story.of_unresolved(one) for one in known.unresolved]
    resource = asked.resource
    if resource is None:
        events = {one.event for one in known.deliveries}
        for event in events & mapping.events.keys():
            said += story.of_capture(known, mapping.events[event or ""])
        return said
    assert asked.key is not None
    assert resource.event is not None
    said += story.of_capture(known, resource)
    said += story.of_gaps(known, resource)
    if row is not None and not known.unresolved:
        said += story.of_row(row, resource, asked.key)
    if row is not None and asked.company is not None:
        said += story.of_another_company(row, asked.company, resource, asked.key)
    listed = {one.webhook for one in known.deliveries}
    for hook in known.hooks.values():
        if hook.id not in listed or hook.state == "removed":
            said += story.of_hook(hook, resource.event, known)
    alive = [hook for hook in known.hooks.values() if hook.state != "removed"]
    company = asked.company or (row.company if row else None)
    orphan = row is not None and row.exists and row.company is None
    if not alive and not known.unresolved and not orphan and not listed:
        said.append(story.of_nobody(company, resource.event))
    return said


def _located(sentences: Iterable[Sentence]) -> list[Sentence]:
    """With the files that they name where they are."""
    return [replace(sentence, todo=located(sentence.todo)) for sentence in sentences]


def _as_json(
    asked: Subject, known: Facts, general: list[Sentence], stories: list[tuple[DeliveryFacts, Any]]
) -> dict[str, Any]:
    fields = common.fields_of
    every = [*general, *(sentence for _, sentences in stories for sentence in sentences)]
    return {
        "ok": all(sentence.verdict == "ok" for sentence in every),
        "resource": asked.resource.name if asked.resource else None,
        "key": asked.key,
        "said": [fields(sentence) for sentence in general],
        "deliveries": [
            {
                **fields(one),
                "company": hook.company if (hook := known.hooks.get(one.webhook)) else None,
                "said": [fields(sentence) for sentence in sentences],
                "log": [fields(a) for a in known.attempts if _same(a, one)],
            }
            for one, sentences in stories
        ],
        "webhooks": [fields(hook) for hook in known.hooks.values()],
    }


def _headline(one: DeliveryFacts, known: Facts) -> None:
    hook = known.hooks.get(one.webhook)
    whose = f" of company {hook.company}" if hook else ""
    action = "created" if one.action == "c" else "modified"
    typer.echo()
    common.print_text(
        common.styled(
            f"Delivery {one.id} to webhook {one.webhook}{whose}: {one.event} of row {one.key}, "
            f"{action} at {wording.when(one.time)}",
            "bold",
        )
    )
    common.print_text(common.styled(f"webhook-id {one.uid}", common.FAINT))


def _say(sentence: Sentence) -> None:
    common.print_text(common.styled(sentence.text, _STYLE[sentence.verdict]))
    if sentence.todo:
        common.print_text(common.styled(f"  -> {sentence.todo}"))


def _attempts(one: DeliveryFacts, known: Facts) -> None:
    log = [a for a in known.attempts if _same(a, one)]
    if log:
        common.print_table(
            ["try", "at", "outcome", "status", "error", "took", "detail", "answer"],
            [
                (
                    *(
                        a.number,
                        a.at,
                        a.outcome,
                        a.status,
                        a.error,
                        wording.age(a.duration_ms / 1000),
                    ),
                    *(a.detail, wording.one_line(a.excerpt or "", 60)),
                )
                for a in log
            ],
            right="try status",
        )


def _same(a: Any, one: DeliveryFacts) -> bool:
    return (a.webhook, a.id, a.uid) == (one.webhook, one.id, one.uid)
