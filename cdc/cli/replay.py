"""`cdc delivery replay` and `drop`: send again what is selected, or give it up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cdc.cli import common, known
from cdc.cli.common import (
    AsJson,
    DeliveryIds,
    OfCompany,
    OfEvent,
    OfWebhook,
    Since,
    Until,
    Yes,
    load_settings,
    moment,
    print_json,
    say,
)
from cdc.errors import CdcError, UsageError
from cdc.wording import counted

if TYPE_CHECKING:
    from cdc.settings import Settings
    from cdc.webhooks.replay import Replay, ReplayFilter, Selection

_WAIT = "will wait until the webhook is resumed"
_SKIPPED = {
    "removed": "of a removed webhook, to which nothing is sent",
    "waiting": "waiting already: queued, parked, or due now",
}


def replay(
    ctx: typer.Context,
    deliveries: DeliveryIds = None,
    webhook: OfWebhook = None,
    company: OfCompany = None,
    event: OfEvent = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            help="Their outcome: dead, delivered, expired, dropped, or retrying (which become due "
            "at once). Repeatable. If left out: dead, or any where IDs are given."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    ended_before: Annotated[
        str | None,
        typer.Option(
            help="Only what ended before then. Continues an interrupted replay, which prints the "
            "time to give, so that nothing is sent twice."
        ),
    ] = None,
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id",
            help="Under new webhook-ids, for a receiver that drops known ones. What is being "
            "retried keeps its own.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and replay nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send deliveries again, under the same webhook-id unless --new-id is given.

    They are sent before later changes of their rows, with a new retry budget. Deliveries that wait
    already are left alone; those of a paused webhook wait until it is resumed.
    """
    settings = load_settings(ctx)
    wanted = _wanted(
        settings, deliveries, webhook, company, event, outcome, since, until, ended_before
    )
    _work_off(
        settings,
        wanted,
        lambda replays, selection: replays.run(selection, new_id=new_id),
        _Words("Replay", "Replayed", "replaying", "replayed or ended", _WAIT),
        *(dry_run, yes, as_json),
    )


def drop(
    ctx: typer.Context,
    deliveries: DeliveryIds = None,
    webhook: OfWebhook = None,
    company: OfCompany = None,
    event: OfEvent = None,
    since: Since = None,
    until: Until = None,
    ended_before: Annotated[
        str | None, typer.Option(help="Only what died before then: to continue an interrupted run.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the log keeps it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and drop nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up dead deliveries: they are logged as dropped, and no longer reported.

    Only dead ones are selected. As long as the log has them, `cdc delivery replay --outcome
    dropped` still sends them.
    """
    settings = load_settings(ctx)
    wanted = _wanted(
        settings, deliveries, webhook, company, event, None, since, until, ended_before
    )
    detail = "given up" + (f": {reason}" if reason else "")
    _work_off(
        settings,
        replace(wanted, outcomes=("dead",)),
        lambda replays, selection: replays.drop(selection, detail),
        _Words("Drop", "Dropped", "dropping", "replayed or expired"),
        *(dry_run, yes, as_json),
    )


class _Words(NamedTuple):
    """What is done, and what became meanwhile of deliveries that it was not done to.

    held: what those of a webhook do that is not active.
    """

    do: str
    done: str
    doing: str
    gone: str
    held: str = ""


def _work_off(
    settings: Settings,
    wanted: ReplayFilter,
    work: Callable[[Replay, Selection], Iterator[tuple[int, int]]],
    words: _Words,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Shows what is selected, asks, does it, and reports it."""
    from cdc.webhooks.replay import Replay

    with Replay(settings.database_url) as replays:
        selection = replays.find(wanted)
        _refuse_unfound(wanted, selection)
        if not as_json:
            _show(selection, words.held)
        done = 0
        if not dry_run and selection.total:
            common.confirm(f"{words.do} {many(selection.total)}?", yes=yes)
            done = _carried_out(work(replays, selection), selection, words.doing)
    if as_json:
        groups = sorted(selection.groups.items())
        print_json(
            {
                "dry_run": dry_run,
                "selected": [{**group._asdict(), "deliveries": n} for group, n in groups],
                "total": selection.total,
                "skipped": {reason: selection.skipped[reason] for reason in _SKIPPED},
                words.done.lower(): done,
                "ended_before": selection.ended_before,
            }
        )
    elif not dry_run and selection.total:
        rest = selection.total - done
        left = f"; {rest} more were {words.gone} meanwhile" if rest else ""
        say(f"{words.done} {many(done)}{left}.")


def _wanted(
    settings: Settings,
    ids: list[str] | None,
    webhook: int | None,
    company: str | None,
    event: str | None,
    outcomes: list[str] | None,
    since: str | None,
    until: str | None,
    ended_before: str | None,
) -> ReplayFilter:
    from cdc.webhooks.replay import OUTCOMES, ReplayFilter

    company = common.company_key(settings, company)
    conditions = (webhook, company, event, since, until)
    if not ids and not outcomes and all(given is None for given in conditions):
        raise UsageError(
            "refusing to select everything: no deliveries are named",
            "Name deliveries, or select them by --webhook, --company, --event, --since and "
            "--until; --dry-run only counts.",
        )
    for one in outcomes or []:
        if one not in OUTCOMES:
            raise UsageError(f"invalid outcome '{one}': expected {', '.join(OUTCOMES)}")
    parsed = [common.delivery_id(text) for text in ids or []]
    wanted = ReplayFilter(
        numbers=tuple(n for n, _ in parsed if n is not None) or None,
        uids=tuple(uid for _, uid in parsed if uid is not None) or None,
        webhook=webhook,
        company=company,
        event=event,
        outcomes=tuple(outcomes or ()) or (OUTCOMES if ids else ("dead",)),
        since=moment(since) if since else None,
        until=moment(until) if until else None,
        ended_before=moment(ended_before) if ended_before else None,
    )
    known.refuse_unknown(settings, webhook, company, event)
    return wanted


def _refuse_unfound(wanted: ReplayFilter, selection: Selection) -> None:
    unknown = [
        *(str(n) for n in wanted.numbers or () if n not in selection.numbers),
        *(uid for uid in wanted.uids or () if uid not in selection.uids),
    ]
    if unknown:
        shown = ", ".join(unknown[:10]) + (" and others" if len(unknown) > 10 else "")
        raise CdcError(
            f"deliveries not found with these options: {shown}",
            "Nothing was changed. `cdc delivery show ID` shows what is known; the log keeps "
            "deliveries that have ended for CDC_LOG_DAYS.",
        )


def _carried_out(batches: Iterator[tuple[int, int]], selection: Selection, what: str) -> int:
    """Goes through all batches, with a progress bar where stderr is a terminal; how many were
    done."""
    from rich.console import Console
    from rich.progress import Progress

    before = selection.ended_before.isoformat()
    done = 0
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    try:
        with bar:
            task = bar.add_task(what, total=selection.total)
            for looked_at, changed in batches:
                done += changed
                bar.advance(task, looked_at)
    except BaseException:
        say(
            f"Interrupted after {many(done)} of {selection.total}. The same command with "
            f"--ended-before {before} continues, and does nothing twice."
        )
        raise
    return done


def _show(selection: Selection, waits: str) -> None:
    groups = sorted(selection.groups.items())
    if groups:
        from cdc.cli.webhook.base import state

        common.print_table(
            ["webhook", "company", "state", "outcome", "deliveries"],
            [(g.webhook, g.company, state(g.state), g.outcome, count) for g, count in groups],
            right="webhook deliveries",
        )
    else:
        say("No such deliveries.")
    for reason, count in sorted(selection.skipped.items()):
        say(f"Left alone: {many(count)} {_SKIPPED[reason]}.")
    held = sum(count for group, count in groups if group.state != "active")
    if held and waits:
        say(f"{many(held)} {waits}.")


def many(count: int) -> str:
    return counted(count, "delivery", "deliveries")
