"""What can be done with a webhook, each on a page that says what will happen before it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdc.diagnosis.health import LaneState
from cdc.model import WebhookState
from cdc.web.api import webhooks as api
from cdc.web.console.companies import lanes
from cdc.web.console.forms import checked
from cdc.web.console.render import at_least
from cdc.web.console.visit import FormAttempt, Page, Redirect, Visit
from cdc.web.console.webhooks import found
from cdc.web.models import Reason, ResumeIn, RotateIn, RotateOut
from cdc.web.problems import Problem
from cdc.webhooks import statements
from cdc.webhooks.model import Registration

GRACES = {
    "86400": "for 24 hours",
    "604800": "for 7 days",
    "3600": "for one hour",
    "0": "not at all: it ends at once",
}


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A question before a change. what: happens, in sentences. danger: it cannot be undone.

    text, choices: a field of the form, its name and label; of a choice with its options.
    """

    title: str
    what: list[str]
    button: str
    danger: bool = False
    text: tuple[str, str] | None = None
    choices: tuple[str, str, Mapping[str, str]] | None = None

    def page(
        self, action: str, back: str, version: int = 0, problem: Problem | None = None
    ) -> Page:
        """Asks it. action, back: paths of the console, where the answers lead to."""
        where = {"action": action, "back": back, "version": version}
        values = {"asked": self, **where, "problem": problem}
        return Page("confirm.html", values, problem.status if problem else 200)


def _pause(visit: Visit, one: Registration, lane: LaneState) -> Confirmation:
    days = f"{visit.service.settings.held_days:g} days"
    return Confirmation(
        f"Pause webhook {one.id}",
        [
            f"Nothing is sent to {one.endpoint} until the webhook is resumed.",
            f"Changes are collected meanwhile; {at_least(lane.waiting, lane)} wait now.",
            f"What is held for longer than {days} expires, and is not sent.",
        ],
        "Pause",
        text=("reason", "Why? Shown to those who look at it later."),
    )


def _resume(visit: Visit, one: Registration, lane: LaneState) -> Confirmation:
    again = one.state is WebhookState.ACTIVE
    waits = "waits is" if lane.waiting == 1 else "wait are"
    return Confirmation(
        f"Try webhook {one.id} now" if again else f"Resume webhook {one.id}",
        [
            f"{at_least(lane.waiting, lane).capitalize()} that {waits} sent to {one.endpoint} "
            "now, changes of the same row in their order.",
            "What waits for a later attempt is tried at once.",
        ],
        "Try now" if again else "Resume",
    )


def _rotate(visit: Visit, one: Registration, lane: LaneState) -> Confirmation:
    return Confirmation(
        f"Give webhook {one.id} a new secret",
        [
            "A new signing secret is made, and shown once, on the next page.",
            f"All requests from now on have its signature: {at_least(lane.waiting, lane)} that "
            "wait, too. The receiver needs the new secret before the old one ends.",
        ],
        "Make a new secret",
        choices=("grace", "The old secret stays valid", GRACES),
    )


def _remove(visit: Visit, one: Registration, lane: LaneState) -> Confirmation:
    return Confirmation(
        f"Remove webhook {one.id}",
        [
            f"Company {one.company} gets no more changes at {one.endpoint}. This cannot be undone.",
            f"{at_least(lane.waiting, lane).capitalize()} that wait are dropped, and never sent; "
            f"{at_least(lane.dead, lane)} that are dead cannot be sent again.",
            "Its log can be read until it is pruned.",
        ],
        "Remove for good",
        danger=True,
    )


_ASKED = {"pause": _pause, "resume": _resume, "rotate": _rotate, "remove": _remove}


def _question(visit: Visit, action: str, attempt: FormAttempt) -> Page:
    webhook = found(visit)
    lane = lanes(visit, [webhook.id])[webhook.id]
    path = f"/webhooks/{webhook.id}"
    asked = _ASKED[action](visit, webhook, lane)
    return asked.page(f"{path}/{action}", path, webhook.version, attempt.problem)


def unchanged(visit: Visit) -> int:
    """The webhook's number, locked in the version that the form showed. Raises Problem."""
    number = visit.access.webhook(int(visit.params["webhook_id"]))
    if statements.alive(visit.conn, number).version != visit.form.version:
        raise Problem(
            "version_changed", "The webhook was changed meanwhile. Read it again, then decide."
        )
    return number


def ask_pause(visit: Visit) -> Page:
    return _question(visit, "pause", visit.attempt())


def ask_resume(visit: Visit) -> Page:
    return _question(visit, "resume", visit.attempt())


def ask_rotate(visit: Visit) -> Page:
    return _question(visit, "rotate", visit.attempt())


def ask_remove(visit: Visit) -> Page:
    return _question(visit, "remove", visit.attempt())


def pause(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        body = checked(Reason, {"reason": visit.form.one("reason")})
        api.pause(visit.call(body=body))
        return Redirect(f"/webhooks/{number}?done=paused")
    return _question(visit, "pause", attempt)


def resume(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        api.resume(visit.call(body=ResumeIn()))
        return Redirect(f"/webhooks/{number}?done=resumed")
    return _question(visit, "resume", attempt)


def remove(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        api.remove(visit.call(version=visit.form.version))
        return Redirect(f"/webhooks/{number}?done=removed")
    return _question(visit, "remove", attempt)


def rotate(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        if visit.form.one("grace") not in GRACES:
            raise Problem("invalid", errors={"grace": "choose one of the times"})
        known = statements.kept_scheme(visit.conn, number)
        given = {"grace": visit.form.one("grace"), "signature": str(known or "v1")}
        made = api.rotate(visit.call(body=checked(RotateIn, given))).body
        assert isinstance(made, RotateOut)
        values = {
            "title": f"Webhook {number} has a new secret",
            "secret": made.secret,
            "public_key": made.public_key,
            "old_secret_until": made.old_secret_until,
            "back": f"/webhooks/{number}",
        }
        return Page("secret.html", values)
    return _question(visit, "rotate", attempt)
