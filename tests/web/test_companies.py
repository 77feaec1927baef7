"""Companies are found by key and by name, which a function reads: `cdc serve` has no right to."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc.capture import plan
from cdc.capture.check import check
from cdc.capture.install import carry_out
from cdc.capture.script import offline
from cdc.mapping import default_mapping, load_mapping
from cdc.postgres.connections import connect
from cdc.sandbox.suite import capture
from tests.web.browser import person
from tests.web.kit import Client, Served, account, serving
from tests.web.test_portal import new_link


@pytest.fixture(scope="module")
def served(
    shared_database: str, admin: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """With a mapping that says where names are."""
    file = tmp_path_factory.mktemp("mapping") / "suite.toml"
    file.write_text(default_mapping().source.replace('# name = "name"', 'name = "name"'))
    with connect(shared_database) as conn:
        conn.execute(
            "insert into public.company (id, name) values (101, 'Acme'), (102, 'acme two')"
        )
        conn.execute("insert into public.company (id, name) values (103, 'Beta'), (104, '%')")
    capture(shared_database, load_mapping(file))
    with (
        account(admin, shared_database) as url,
        serving(url, shared_database, CDC_MAPPING=str(file)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def found(client: Client, prefix: str) -> list[tuple[str, str | None, int]]:
    items = client.good("GET", f"/v1/companies?prefix={prefix}")["items"]
    return [(one["company"], one["name"], one["webhooks"]) for one in items]


async def test_by_the_beginning_of_key_or_name(served: Served, operator: Client) -> None:
    hook = {"events": ["candidate_changed"], "endpoint": "http://127.0.0.1:9/1"}
    operator.good("POST", "/v1/companies/101/webhooks", hook)
    operator.good("POST", "/v1/companies/gone/webhooks", hook)
    # Another test may have registered one of the second.
    assert [one[:2] for one in found(operator, "ACME")] == [("101", "Acme"), ("102", "acme two")]
    assert found(operator, "101") == [("101", "Acme", 1)]
    assert found(operator, "Bet") == [("103", "Beta", 0)]
    assert [one[:2] for one in found(operator, "102")] == [("102", "acme two")]
    # One that the suite does not have, and characters that mean something elsewhere.
    assert found(operator, "gon") == [("gone", None, 1)]
    assert found(operator, "%25") == [("104", "%", 0)]
    assert found(operator, "_") == []
    # Without a prefix, those that have webhooks.
    assert found(operator, "") == [("101", "Acme", 1), ("gone", None, 1)]
    async with person(served.url) as one:
        page = await one.sign_in(operator.key or "")
        page = await one.get("/companies?prefix=acme")
        assert "acme two" in page.text
        assert "Company 101: Acme" in (await one.get("/company?name=101")).text
        # A key that was mistyped is accepted: the suite may have it tomorrow.
        chosen = [("events", "candidate_changed"), ("actions", "created"), ("changed", "any")]
        for company, doubted in (("101", False), ("999", True)):
            sent = [*chosen, ("company", company), ("endpoint", f"http://127.0.0.1:9/{company}")]
            made = await one.post("/register", [*sent, ("signature", "v1")])
            assert f"of company {company} is registered" in made.text
            for page in (made, await one.get(f"/company?name={company}")):
                assert (f"no name of a company {company}." in page.text) is doubted
    async with person(served.url, root="") as one:
        page = await one.post(new_link(served, "101"), {})
        for path in ("/portal/", "/portal/deliveries", "/portal/webhooks/4711"):
            assert "Acme Sign out" in (await one.get(path)).text  # on each page, also if refused


async def test_a_table_that_is_locked_costs_the_names_alone(
    served: Served, operator: Client
) -> None:
    hook = {"events": ["candidate_changed"], "endpoint": "http://127.0.0.1:9/2"}
    operator.good("POST", "/v1/companies/102/webhooks", hook)
    with psycopg.connect(served.database) as conn:
        conn.execute("lock table company in access exclusive mode")
        assert found(operator, "102") == [("102", None, 1)]
        async with person(served.url) as one:
            await one.sign_in(operator.key or "")
            page = await one.get("/company?name=102")
    assert "no name of a company" not in page.text, "that is not known"


def test_the_account_reads_no_table_of_the_suite(served: Served) -> None:
    rights = served.rows(
        "select has_table_privilege(%s, 'company', 'select'),"
        " has_any_column_privilege(%s, 'company', 'select'),"
        " has_function_privilege(%s, 'cdc_capture.company_names(text[], text, int)', 'execute')",
        *(served.user,) * 3,
    )
    assert rights == [(False, False, False)]
    for role in ("cdc_reader", "cdc_daemon", "cdc_admin"):
        with psycopg.connect(served.database, autocommit=True) as conn:
            conn.execute(f"set role {role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("select * from cdc.company_names(null, '', 50)")


def test_no_more_than_fifty(served: Served) -> None:
    served.run("insert into company (id, name) select g, 'Many' from generate_series(1001, 1099) g")
    with psycopg.connect(served.database, autocommit=True) as conn:
        conn.execute("set role cdc_serve")
        rows = conn.execute("select * from cdc.company_names(null, 'many', 1000)").fetchall()
    assert len(rows) == 50


def test_names_are_read_by_index_where_there_is_one(served: Served) -> None:
    """Counted by PostgreSQL, whatever the plan was: rows read one by one, and by index."""
    served.run(
        "insert into company (id, name) select g, 'Firm ' || g from generate_series(10001, 30000) g"
    )

    def read(*asked: object) -> tuple[int, int, int]:
        with psycopg.connect(served.database) as conn:
            found = conn.execute("select * from cdc.company_names(%s, %s, 50)", asked).fetchall()
            scanned, fetched = conn.execute(
                "select seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables"
                " where relid = 'public.company'::regclass"
            ).fetchone() or (0, 0)
        return len(found), scanned, fetched

    keys = [str(key) for key in range(10_001, 10_041)]
    assert read([*keys, "010050", "x", "9" * 40, ""], "") == (40, 0, 41)  # 010050 is read, too
    found, scanned, _ = read(None, "firm")
    assert (found, scanned > 20_000) == (50, True)
    # As docs/mapping.md has them.
    served.run("create index on company (lower(name) text_pattern_ops)")
    served.run("create index on company ((id::text) text_pattern_ops)")
    served.run("analyze company")
    for prefix, there in (("FIRM", 50), ("firm 2999", 10), ("2999", 10), ("1", 50), ("none", 0)):
        found, scanned, fetched = read(None, prefix)
        assert (found, scanned, fetched <= 2 * 50) == (there, 0, True), (prefix, fetched)


def test_installed_once_and_removed_with_the_rest(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Last: it takes capture away."""
    file = tmp_path_factory.mktemp("mapping") / "suite.toml"
    file.write_text(default_mapping().source.replace('# name = "name"', 'name = "name"'))
    mapping = load_mapping(file)
    assert "company_names" in offline(mapping)
    with connect(served.database) as conn:
        assert plan.plan(conn, mapping, check(conn, mapping)) == []
        # A mapping without names takes the function away, and the right.
        without = [step.why for step in plan.plan(conn, default_mapping(), check(conn, mapping))]
        assert "drop function cdc_capture.company_names" in without
        assert any("public.company" in why for why in without), without
        carry_out(conn, plan.removal(conn), lambda _: None)
    left = "select count(*) from pg_proc where pronamespace = 'cdc_capture'::regnamespace"
    assert served.rows(left) == [(0,)]
