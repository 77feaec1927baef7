"""The endpoint that a company has entered: have it proven, or accept it without."""

from __future__ import annotations

from cdc.web.api import tasks
from cdc.web.api import webhooks as api
from cdc.web.console.changes import Confirmation, unchanged
from cdc.web.console.visit import FormAttempt, Page, Redirect, Visit
from cdc.web.console.webhooks import found
from cdc.web.models import Empty, ResumeIn
from cdc.webhooks.model import Registration


def ask_verify(visit: Visit) -> Page:
    return _question(visit, "verify", visit.attempt())


def verify(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        tasks.verify_webhook(visit.call(body=Empty()))
        return Redirect(f"/webhooks/{number}?done=challenged")
    return _question(visit, "verify", attempt)


def ask_accept(visit: Visit) -> Page:
    return _question(visit, "accept", visit.attempt())


def accept(visit: Visit) -> Page | Redirect:
    with visit.attempt() as attempt:
        number = unchanged(visit)
        api.resume(visit.call(body=ResumeIn(unverified=True)))
        return Redirect(f"/webhooks/{number}?done=resumed")
    return _question(visit, "accept", attempt)


def _question(visit: Visit, action: str, attempt: FormAttempt) -> Page:
    webhook = found(visit)
    asked = _accept(webhook) if action == "accept" else _verify(visit, webhook)
    path = f"/webhooks/{webhook.id}"
    return asked.page(f"{path}/{action}", path, webhook.version, attempt.problem)


def _verify(visit: Visit, one: Registration) -> Confirmation:
    echo = visit.service.settings.challenge == "echo"
    answer = (
        "The server has to answer with the text in data.challenge, as the guide for receivers "
        "shows."
        if echo
        else "The server has to accept it with a status of 2xx."
    )
    return Confirmation(
        f"Verify the address of webhook {one.id}",
        [
            f"One signed request with the event webhook_challenge is sent to {one.endpoint}.",
            f"{answer} Before that, it needs the signing secret.",
            "When it has, notifications are sent, those that are waiting first.",
        ],
        "Send the challenge",
    )


def _accept(one: Registration) -> Confirmation:
    return Confirmation(
        f"Accept the address of webhook {one.id}",
        [
            f"Company {one.company} has entered {one.endpoint} itself, and has not verified it.",
            "Deliveries are sent there from now on. Do this if you know that it is the company's.",
        ],
        "Accept without verification",
        danger=True,
    )
