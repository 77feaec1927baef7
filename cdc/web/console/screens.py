"""The screens of the console and of the portal, all of them."""

from __future__ import annotations

from cdc.web.access import ADMINS, AUDITORS, OWNERS, READERS
from cdc.web.console import (
    backfills,
    changes,
    companies,
    deliveries,
    installation,
    links,
    overview,
    people,
    proving,
    records,
    registering,
    searching,
    sending,
    webhooks,
    zones,
)
from cdc.web.console.visit import Screen
from cdc.web.keys import ScopeKind
from cdc.web.sessions import Ability

ROOT, PORTAL = "/console", "/portal"
KEY = "/console/keys/{key_id}"
SESSION = "/console/sessions/{session_id}"

Who = frozenset[ScopeKind]


def _webhooks(root: str, see: Who, change: Who) -> tuple[Screen, ...]:
    """What there is of a webhook and its deliveries, in the console and in the portal."""
    one, delivery = f"{root}/webhooks/{{webhook_id}}", f"{root}/deliveries/{{uid}}"
    task, backfill = f"{root}/tasks/{{task_id}}", f"{root}/backfills/{{backfill_id}}"
    manage: Ability = "manage"
    return (
        Screen("GET", f"{root}/register", registering.new, change, manage),
        Screen("POST", f"{root}/register", registering.add, change, manage),
        Screen("GET", one, webhooks.show, see),
        Screen("GET", f"{one}/edit", registering.edit, change, manage),
        Screen("POST", f"{one}/edit", registering.change, change, manage),
        Screen("GET", f"{one}/pause", changes.ask_pause, change, manage),
        Screen("POST", f"{one}/pause", changes.pause, change, manage),
        Screen("GET", f"{one}/resume", changes.ask_resume, change, manage),
        Screen("POST", f"{one}/resume", changes.resume, change, manage),
        Screen("GET", f"{one}/verify", proving.ask_verify, change, manage),
        Screen("POST", f"{one}/verify", proving.verify, change, manage),
        Screen("GET", f"{one}/rotate", changes.ask_rotate, change, manage),
        Screen("POST", f"{one}/rotate", changes.rotate, change, manage),
        Screen("GET", f"{one}/remove", changes.ask_remove, change, manage),
        Screen("POST", f"{one}/remove", changes.remove, change, manage),
        Screen("GET", f"{one}/test", sending.ask_test, change, "test"),
        Screen("POST", f"{one}/test", sending.test, change, "test"),
        Screen("GET", f"{one}/replay", sending.ask_replay, change, "replay"),
        Screen("POST", f"{one}/replay", sending.replay, change, "replay"),
        Screen("GET", f"{one}/backfills", backfills.listed, see, manage),
        Screen("GET", f"{one}/backfill", backfills.ask_start, change, manage),
        Screen("POST", f"{one}/backfill", backfills.start, change, manage),
        Screen("GET", backfill, backfills.show, see, manage),
        Screen("GET", f"{backfill}/pause", backfills.ask_pause, change, manage),
        Screen("POST", f"{backfill}/pause", backfills.pause, change, manage),
        Screen("GET", f"{backfill}/resume", backfills.ask_resume, change, manage),
        Screen("POST", f"{backfill}/resume", backfills.resume, change, manage),
        Screen("GET", f"{backfill}/cancel", backfills.ask_cancel, change, manage),
        Screen("POST", f"{backfill}/cancel", backfills.cancel, change, manage),
        Screen("GET", task, sending.task, see),
        Screen("POST", f"{task}/cancel", sending.cancel, change, "replay"),
        Screen("GET", f"{root}/zone", zones.choose, see),
        Screen("GET", f"{root}/deliveries", searching.show, see),
        Screen("GET", delivery, deliveries.show, see),
        Screen("GET", f"{delivery}/retry", deliveries.ask_retry, change, "replay"),
        Screen("POST", f"{delivery}/retry", deliveries.retry, change, "replay"),
    )


SCREENS: tuple[Screen, ...] = (
    Screen("GET", "/console/", overview.show, READERS),
    Screen("GET", "/console/companies", companies.find, READERS),
    Screen("GET", "/console/company", companies.show, READERS),
    *_webhooks(ROOT, READERS, AUDITORS),
    Screen("GET", "/console/webhooks/{webhook_id}/accept", proving.ask_accept, AUDITORS),
    Screen("POST", "/console/webhooks/{webhook_id}/accept", proving.accept, AUDITORS),
    Screen("GET", "/console/link", links.ask, AUDITORS),
    Screen("POST", "/console/link", links.make, AUDITORS),
    Screen("GET", "/console/doctor", installation.doctor, AUDITORS),
    Screen("GET", "/console/unresolved", installation.unresolved_changes, READERS),
    Screen("GET", "/console/audit", records.audit, AUDITORS),
    Screen("GET", "/console/keys", records.list_keys, ADMINS),
    Screen("POST", "/console/keys", records.make_key, ADMINS),
    Screen("GET", f"{KEY}/revoke", records.ask_revoke, ADMINS),
    Screen("POST", f"{KEY}/revoke", records.revoke, ADMINS),
    Screen("GET", "/console/sessions", people.sessions, ADMINS),
    Screen("GET", f"{SESSION}/end", people.ask_end, ADMINS),
    Screen("POST", f"{SESSION}/end", people.end, ADMINS),
)

PORTAL_SCREENS: tuple[Screen, ...] = (
    Screen("GET", "/portal/", companies.own, OWNERS),
    *_webhooks(PORTAL, OWNERS, OWNERS),
)
