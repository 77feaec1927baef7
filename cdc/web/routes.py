"""The routes of the API, all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Protocol, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel

from cdc.web.access import ADMINS, AUDITORS, CHANGERS, COMPANY, EVERY, READERS, SENDERS
from cdc.web.api import (
    backfills,
    contacts,
    deliveries,
    installation,
    owed,
    search,
    status,
    tasks,
    webhooks,
)
from cdc.web.call import Route
from cdc.web.delivery_models import (
    BackfillCountOut,
    BackfillIn,
    BackfillOut,
    BackfillPage,
    BackfillQuery,
    CancelOut,
    DeliveryFound,
    DeliveryPage,
    DeliveryQuery,
    DeliverySearchPage,
    DeliverySearchQuery,
    PlaceQuery,
    ReplayCount,
    ReplayIn,
    RetryOut,
    TaskOut,
    TrialIn,
)
from cdc.web.models import (
    AllWebhooksQuery,
    AuditPage,
    AuditQuery,
    Companies,
    CompanyQuery,
    Document,
    Empty,
    Events,
    ExplainQuery,
    KeyIn,
    KeyMade,
    KeyPage,
    Paged,
    PortalLinkIn,
    PortalLinkMade,
    Reason,
    ResumeIn,
    RotateIn,
    RotateOut,
    StatusQuery,
    WebhookIn,
    WebhookMade,
    WebhookOut,
    WebhookPage,
    WebhookPatch,
    WebhookQuery,
)
from cdc.web.notice_models import ContactIn, ContactOut, Contacts, NoticePage, NoticeQuery

OWN = "/v1/companies/{company}/webhooks"
ONE = "/v1/webhooks/{webhook_id}"
DELIVERY = "/v1/deliveries/{uid}"
TASK = "/v1/tasks/{task_id}"
BACKFILL = "/v1/backfills/{backfill_id}"
CONTACTS = "/v1/companies/{company}/contacts"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/webhooks", "List the webhooks of all companies that the key may see.",
          webhooks.listed_all, EVERY, WebhookPage, query=AllWebhooksQuery),
    Route("GET", OWN, "List the webhooks of a company.", webhooks.listed, COMPANY, WebhookPage,
          query=WebhookQuery),
    Route("POST", OWN, "Register a webhook.", webhooks.add, CHANGERS, WebhookMade,
          body=WebhookIn, status=201),
    Route("GET", ONE, "Show a webhook.", webhooks.show, EVERY, WebhookOut),
    Route("PATCH", ONE, "Change a webhook.", webhooks.change, CHANGERS, WebhookOut,
          body=WebhookPatch, patch=True, if_match=True),
    Route("DELETE", ONE, "Remove a webhook for good; what waits is dropped.", webhooks.remove,
          CHANGERS, None, status=204, if_match=True),
    Route("POST", f"{ONE}/pause", "Send nothing until resumed; changes are collected.",
          webhooks.pause, CHANGERS, WebhookOut, body=Reason),
    Route("POST", f"{ONE}/resume", "End a pause or suspension; what waits is sent at once.",
          webhooks.resume, CHANGERS, WebhookOut, body=ResumeIn),
    Route("POST", f"{ONE}/rotate-secret", "Give a webhook a new signing secret.",
          webhooks.rotate, CHANGERS, RotateOut, body=RotateIn),
    Route("POST", f"{ONE}/test", "Have a daemon send a signed test: a task; its result says more.",
          tasks.test_webhook, SENDERS, TaskOut, body=TrialIn, status=202),
    Route("POST", f"{ONE}/verify", "Have a daemon send a challenge, which proves the endpoint.",
          tasks.verify_webhook, CHANGERS, TaskOut, body=Empty, status=202),
    Route("GET", f"{ONE}/deliveries", "List all that was owed to a webhook, each delivery once.",
          owed.listed, EVERY, DeliveryPage, query=DeliveryQuery, one_read=True),
    Route("GET", "/v1/deliveries", "Search deliveries, the newest changes first.",
          search.search, EVERY, DeliverySearchPage, query=DeliverySearchQuery),
    Route("GET", DELIVERY, "Show a delivery with its attempts.", deliveries.show, EVERY,
          DeliveryFound, query=PlaceQuery),
    Route("POST", f"{DELIVERY}/retry", "Send a delivery again, with a new retry budget.",
          deliveries.retry, SENDERS, RetryOut, body=Empty),
    Route("POST", f"{DELIVERY}/cancel", "Give up a delivery that waits or is dead.",
          deliveries.cancel, CHANGERS, CancelOut, body=Empty),
    Route("POST", "/v1/replays", "Send many deliveries again: a task; `dry_run` only counts.",
          deliveries.replay, CHANGERS, TaskOut, body=ReplayIn, status=202),
    Route("POST", "/v1/backfills", "Send all rows of a company; `dry_run` only counts.",
          backfills.start, CHANGERS, BackfillOut, body=BackfillIn, status=201),
    Route("GET", "/v1/backfills", "List backfills and their progress, the newest first.",
          backfills.listed, EVERY, BackfillPage, query=BackfillQuery),
    Route("GET", BACKFILL, "Show how far a backfill is.", backfills.show, EVERY, BackfillOut),
    Route("POST", f"{BACKFILL}/pause", "Read no more rows until resumed; what is queued is sent.",
          backfills.pause, CHANGERS, BackfillOut, body=Empty),
    Route("POST", f"{BACKFILL}/resume", "Continue after a pause or a failure.", backfills.resume,
          CHANGERS, BackfillOut, body=Empty),
    Route("POST", f"{BACKFILL}/cancel", "End a backfill for good; what is queued is sent.",
          backfills.cancel, CHANGERS, BackfillOut, body=Empty),
    Route("GET", TASK, "Show the progress and result of a task.", tasks.show_task, EVERY,
          TaskOut),
    Route("POST", f"{TASK}/cancel", "Stop a task; what it has done stays.", tasks.cancel_task,
          CHANGERS, TaskOut, body=Empty),
    Route("GET", "/v1/events", "List the events that a webhook can register for.",
          installation.events, EVERY, Events),
    Route("GET", "/v1/status",
          "Show what is late, failing or held, as `cdc status --json`: of `at`, 10 s ago at most.",
          status.show_status, READERS, Document, query=StatusQuery),
    Route("GET", "/v1/explain", "Show whether a change has arrived, as `cdc explain --json`.",
          status.explain_change, READERS, Document, query=ExplainQuery),
    Route("GET", "/v1/companies", "Find companies by the beginning of their key or name.",
          installation.companies, READERS, Companies, query=CompanyQuery),
    Route("POST", "/v1/companies/{company}/portal-links", "Make a link to the portal.",
          installation.create_link, AUDITORS, PortalLinkMade, body=PortalLinkIn, status=201),
    Route("GET", "/v1/keys", "List keys of the API.", installation.list_keys, ADMINS, KeyPage,
          query=Paged),
    Route("POST", "/v1/keys", "Make a key.", installation.create_key, ADMINS, KeyMade, body=KeyIn,
          status=201),
    Route("DELETE", "/v1/keys/{key_id}", "Revoke a key for good.", installation.revoke_key, ADMINS,
          None, status=204),
    Route("GET", "/v1/audit", "List who changed what, the newest first.", installation.list_audit,
          AUDITORS, AuditPage, query=AuditQuery),
    Route("GET", "/v1/notices", "List webhooks that need attention, the newest notices first.",
          installation.list_notices, EVERY, NoticePage, query=NoticeQuery),
    Route("GET", CONTACTS, "List addresses that get the company's notices by mail.",
          contacts.listed, COMPANY, Contacts),
    Route("POST", CONTACTS, "Add an address: it is asked to confirm, and gets notices then.",
          contacts.add, CHANGERS, ContactOut, body=ContactIn, status=201),
    Route("DELETE", f"{CONTACTS}/{{contact_id}}", "Remove an address; it gets no more mail.",
          contacts.remove, CHANGERS, None, status=204),
)  # fmt: skip

COUNTED_ANSWERS: dict[str, type[BaseModel]] = {
    "POST /v1/replays": ReplayCount,
    "POST /v1/backfills": BackfillCountOut,
}
"""Routes with another answer of status 200."""

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
FORMS = {
    "company": r"[^/]{1,600}",
    "webhook_id": r"[1-9][0-9]{0,17}",
    "backfill_id": r"[1-9][0-9]{0,17}",
    "contact_id": r"[1-9][0-9]{0,17}",
    "uid": _UUID,
    "task_id": _UUID,
    "key_id": r"[a-z2-7]{12}",
    "session_id": r"[a-z2-7]{12}",
}
"""What stands for a name in a path; anything else is not found."""


@cache
def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(
        f"(?P<{part}>{FORMS[part]})" if number % 2 else re.escape(part)
        for number, part in enumerate(parts)
    )
    return re.compile(text)


class Addressed(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


R = TypeVar("R", bound=Addressed)


def find(method: str, path: str) -> tuple[Route | None, dict[str, str], list[str]]:
    """The route of a request and the parts of its path; the methods that are possible there."""
    return among(ROUTES, method, path)


def among(
    routes: Sequence[R], method: str, path: str
) -> tuple[R | None, dict[str, str], list[str]]:
    """path: as it was sent, percent-encoded."""
    possible = []
    for route in routes:
        if (found := _pattern(route.path).fullmatch(path)) is not None:
            if route.method == method:
                try:
                    parts = {n: unquote(v, errors="strict") for n, v in found.groupdict().items()}
                except UnicodeDecodeError:
                    return None, {}, []
                return route, parts, []
            possible.append(route.method)
    return None, {}, possible
