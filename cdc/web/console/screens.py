"""The screens of the console, all of them. Signing in and out: site.py."""

from __future__ import annotations

from cdc.web.access import ADMINS, AUDITORS, READERS
from cdc.web.console import (
    changes,
    companies,
    deliveries,
    installation,
    overview,
    people,
    records,
    registering,
    webhooks,
)
from cdc.web.console.visit import Screen

ROOT = "/console"
ONE = "/console/webhooks/{webhook_id}"
DELIVERY = "/console/deliveries/{uid}"
KEY = "/console/keys/{key_id}"
SESSION = "/console/sessions/{session_id}"

SCREENS: tuple[Screen, ...] = (
    Screen("GET", "/console/", overview.show, READERS),
    Screen("GET", "/console/companies", companies.find, READERS),
    Screen("GET", "/console/company", companies.show, READERS),
    Screen("GET", "/console/register", registering.new, AUDITORS),
    Screen("POST", "/console/register", registering.add, AUDITORS),
    Screen("GET", ONE, webhooks.show, READERS),
    Screen("GET", f"{ONE}/edit", registering.edit, AUDITORS),
    Screen("POST", f"{ONE}/edit", registering.change, AUDITORS),
    Screen("GET", f"{ONE}/pause", changes.ask_pause, AUDITORS),
    Screen("POST", f"{ONE}/pause", changes.pause, AUDITORS),
    Screen("GET", f"{ONE}/resume", changes.ask_resume, AUDITORS),
    Screen("POST", f"{ONE}/resume", changes.resume, AUDITORS),
    Screen("GET", f"{ONE}/rotate", changes.ask_rotate, AUDITORS),
    Screen("POST", f"{ONE}/rotate", changes.rotate, AUDITORS),
    Screen("GET", f"{ONE}/remove", changes.ask_remove, AUDITORS),
    Screen("POST", f"{ONE}/remove", changes.remove, AUDITORS),
    Screen("GET", DELIVERY, deliveries.show, READERS),
    Screen("GET", f"{DELIVERY}/retry", deliveries.ask_retry, AUDITORS),
    Screen("POST", f"{DELIVERY}/retry", deliveries.retry, AUDITORS),
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
