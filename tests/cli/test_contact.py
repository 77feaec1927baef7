"""`cdc contact`."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg

from tests.cli.command import Command


def test_from_adding_to_removing(db: psycopg.Connection, as_role: Callable[[str], Command]) -> None:
    admin = as_role("cdc_admin")
    made = admin.json("contact", "add", "--company", "1", "--email", "it@example.com")
    [(code,)] = db.execute("select code from cdc.contact").fetchall()
    assert re.fullmatch("[0-9a-f]{24}", code), "one in 64 began with -, like an option"
    assert code not in str(made)
    [listed] = admin.json("contact", "list", "--company", "1")
    assert (listed["id"], listed["confirmed_at"]) == (made["id"], None)
    assert "confirms no address" in admin.refused("contact", "confirm", "x" * 24)
    assert admin.json("contact", "confirm", code)["confirmed_at"] is not None
    assert "confirms no address" in admin.refused("contact", "confirm", code)
    assert "it@example.com" in admin.good("contact", "list").out
    admin.good("contact", "remove", made["id"])
    assert "unknown contact" in admin.refused("contact", "remove", made["id"])
    found = admin.json("audit", "--company", "1")
    assert [one["action"] for one in found] == [
        "contact.remove", "contact.confirm", "contact.add",
    ]  # fmt: skip
    assert code not in str(found)


def test_a_code_ends(cdc: Command, db: psycopg.Connection) -> None:
    cdc.good("contact", "add", "--company", "1", "--email", "it@example.com")
    db.execute("update cdc.contact set created_at = created_at - interval '8 days'")
    [(code,)] = db.execute("select code from cdc.contact").fetchall()
    assert "valid once, for 7 days" in cdc.refused("contact", "confirm", code)
