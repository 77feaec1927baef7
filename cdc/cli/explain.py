"""`cdc explain`: did they get it, when, what did they answer, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.common import AsJson, load_mapping, load_settings, moment, print_json
from cdc.model import ACTION_NAMES

if TYPE_CHECKING:
    from cdc.diagnosis.explain.model import Attempt, DeliveryFacts, Facts, Sentence

_STYLE = {"ok": common.GOOD, "wait": common.SO_SO, "bad": common.BAD}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("explain")(explain)


def explain(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A resource (or its event), `webhook`, a delivery's number, or a webhook-id.",
        ),
    ],
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="Key of the row, or the webhook's number.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="Only this company's webhooks.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="How far back to search the log for a row: 30m, 14d, or a time; 1d if left out."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show whether a change has arrived, when, with which answer, or why not.

    Follows a row, or one delivery, from the trigger to the receiver, and says in plain sentences
    where it is and what to do. The newest twenty deliveries are listed. Of a webhook it says
    whether it is sent to and, if not, why. Changes nothing.
    """
    from cdc.cli import known as known_names
    from cdc.diagnosis import explain as diagnosis
    from cdc.postgres.connections import explained

    settings = load_settings(ctx)
    mapping = load_mapping(settings)
    company = common.company_key(settings, company)
    subject = diagnosis.subject_of(mapping, what, key, company, moment(since) if since else None)
    if subject.resource is None:
        known_names.refuse_unknown_company(settings, company)
    with explained(), common.connect(settings) as conn:
        shared = diagnosis.common(conn, mapping, settings.held_days)
        found = diagnosis.explain(conn, mapping, subject, shared)
    if as_json:
        print_json(found.as_json())
        return
    for sentence in found.general:
        _say(sentence)
    for one, sentences in found.deliveries:
        _headline(one, found.facts)
        for sentence in sentences:
            _say(sentence)
        _attempts(found.attempts(one))


def _headline(one: DeliveryFacts, known: Facts) -> None:
    hook = known.hooks.get(one.webhook)
    whose = f" of company {hook.company}" if hook else ""
    action = ACTION_NAMES.get(one.action, "unknown")
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


def _attempts(log: list[Attempt]) -> None:
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
