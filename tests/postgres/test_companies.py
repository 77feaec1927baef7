"""Companies that were deleted, or got another key: status and doctor name their registrations."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from tests.cli.command import Command


def test_a_company_that_is_gone_is_named(cdc: Command, db: psycopg.Connection) -> None:
    first, second = cdc.add(company="1")["id"], cdc.add(company="2")["id"]
    assert cdc("status", "--json").json["companies_gone"] == {}
    assert verdict(cdc)[0] == "ok"
    db.execute("update company set id = 17 where id = 1; delete from company where id = 2")
    assert cdc("status", "--json").json["companies_gone"] == {"1": [first], "2": [second]}
    seen = cdc("status").out
    assert f"not in the suite: company 1 (webhook {first}), company 2 (webhook {second})" in seen
    found, text = verdict(cdc)
    assert found == "fail"
    assert "2 registrations of a company that is not in public.company: company 1" in text
    cdc.good("webhook", "remove", second, "--yes")
    assert cdc("status", "--json").json["companies_gone"] == {"1": [first]}


def test_who_may_not_read_the_suite_hears_that_it_is_not_checked(
    cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
) -> None:
    cdc.add(company="1")
    reader = as_role("cdc_reader")
    db.execute("delete from company where id = 1")
    assert reader("status", "--json").json["companies_gone"] is None
    assert "not checked" in reader("status").out
    assert "not checked" in verdict(reader)[1]
    # Nor is a company taken for gone because a policy hides it.
    account = psycopg.conninfo.conninfo_to_dict(reader.env["CDC_DATABASE_URL"])["user"]
    db.execute(f"grant select on company to {account}".encode())
    assert reader("status", "--json").json["companies_gone"] == {"1": [1]}
    db.execute("alter table company enable row level security")
    assert reader("status", "--json").json["companies_gone"] is None
    db.execute(f"drop owned by {account}".encode())


def verdict(cdc: Command) -> tuple[str, str]:
    found = {one["check"]: one for one in cdc("doctor", "--json").json["checks"]}["companies"]
    return found["verdict"], found["message"]
