"""`cdc key` and `cdc audit`."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest

from tests.cli.command import Command


def test_a_key_is_shown_once(cdc: Command, db: psycopg.Connection) -> None:
    made = cdc.json("key", "create", "--scope", "company:7", "--expires", "90d")
    assert re.fullmatch(r"cdc_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", made["key"])
    (listed,) = cdc.json("key", "list")
    assert (listed["id"], listed["scope"]) == (made["id"], "company:7")
    assert made["key"].split("_", 2)[2] not in str(db.execute("table cdc.api_key").fetchall())
    revoked = cdc.json("key", "revoke", made["id"])
    assert revoked["revoked_at"] is not None
    assert cdc.json("key", "revoke", made["id"]) == revoked
    output = cdc.good("key", "list").out
    assert made["id"] in output


@pytest.mark.parametrize(
    "scope", ["", "all", "admin:1", "company", "company:", "webhook:0", "webhook:x", "read:"]
)
def test_a_scope_has_one_of_five_forms(unchanged: Command, scope: str) -> None:
    output = unchanged.refused("key", "create", "--scope", scope, code=2)
    assert "invalid scope" in output or "cannot be a company" in output or "company" in output


@pytest.mark.parametrize(
    ("scope", "expires", "why"),
    [("read", "0", "at least 1s"), ("read", "0s", "at least 1s"),
     ("webhook:999", "1d", "no webhook 999")],
)  # fmt: skip
def test_a_key_that_could_never_be_used_is_not_made(
    unchanged: Command, scope: str, expires: str, why: str
) -> None:
    options = ("--scope", scope, "--expires", expires)
    assert why in unchanged.refused("key", "create", *options, code=2)


def test_unknown_keys(unchanged: Command) -> None:
    assert "unknown key" in unchanged.refused("key", "revoke", "nope")


def test_commands_are_in_the_audit(cdc: Command, as_role: Callable[[str], Command]) -> None:
    admin = as_role("cdc_admin")
    number = admin.add("1")["id"]
    admin.good("webhook", "pause", number, "--reason", "they move")
    admin.good("webhook", "update", number, "--description", "d")
    made = admin.json("key", "create", "--scope", f"webhook:{number}")
    admin.good("webhook", "remove", number, "--yes")
    found = admin.json("audit", "--webhook", number)
    assert [one["action"] for one in found] == [
        "webhook.remove", "key.create", "webhook.update", "webhook.pause", "webhook.add",
    ]  # fmt: skip
    assert {one["actor"].partition(":")[0] for one in found} == {"cli"}
    assert all(one["account"].startswith("account_") for one in found)
    assert made["key"].split("_", 2)[2] not in str(found)
    assert "they move" in admin.good("audit", "--action", "webhook.pause").out
    assert admin.json("audit", "--company", "2") == []


def test_the_audit_shows_lists_in_words_and_what_was_cleared(cdc: Command) -> None:
    number = cdc.add("1", "rating_changed")["id"]
    cdc.good("webhook", "update", number, "--add-event", "note_changed")
    assert "events: rating_changed -> rating_changed, note_changed" in " ".join(
        cdc.good("audit", "--limit", 1).out.split()
    )
    cdc.good("webhook", "update", number, "--description", "of the old ATS")
    cdc.good("webhook", "update", number, "--description", "")
    assert "description: of the old ATS -> none" in cdc.good("audit", "--limit", 1).out


def test_what_a_reader_may_not(as_role: Callable[[str], Command]) -> None:
    reader = as_role("cdc_reader")
    assert "permission denied" in reader.refused("key", "list")
    assert "permission denied" in reader.refused("audit")


def test_a_link_to_the_portal(cdc: Command) -> None:
    made = cdc.json("portal-link", "--company", "7", "--may", "replay")
    assert re.fullmatch(r"http://127\.0\.0\.1:8080/p/[a-z2-7]{12}\.[A-Za-z0-9_-]{43}", made["url"])
    (entry,) = cdc.json("audit", "--action", "portal_link.create")
    assert (entry["company"], entry["after"]["may"]) == ("7", ["replay"])
    mistyped = Command({**cdc.env, "CDC_API_KEY": "x"})
    unknown = mistyped("portal-link", "--company", "77")
    assert unknown.err.count("unknown setting") == 1
    assert "public.company has no company 77" in unknown.err
    assert cdc("portal-link", "--company", "007").code != 0
    refused = cdc("portal-link", "--company", "7", "--may", "all")
    assert refused.code != 0
    assert "Expected test, replay or manage" in refused.err
    assert cdc("portal-link", "--company", "").code != 0
