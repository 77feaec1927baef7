"""`cdc mapping init`: a first mapping, drafted from tables and foreign keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from cdc.mapping import Mapping, default_mapping, parse_mapping
from cdc.sandbox.suite import tables_sql
from tests.cli.command import Command

SCHEMAS = Path(__file__).parents[1] / "schemas"
Run = Callable[[str], object]
BASE = "https://suite.example/api/"


@pytest.fixture
def cdc(empty_database: str) -> Command:
    made = Command({"CDC_DATABASE_URL": empty_database, "CDC_BASE_URL": BASE})
    made.good("migrate")
    return made


@pytest.fixture
def run(empty_database: str) -> Iterator[Run]:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        yield lambda sql: conn.execute(sql.encode())


def drafted(cdc: Command, *options: object) -> tuple[Mapping, str]:
    text = cdc.good("mapping", "init", *options).out
    return parse_mapping(text, "the draft"), text


def test_of_the_sample_suite_it_finds_the_default_mapping(
    cdc: Command, run: Run, tmp_path: Path
) -> None:
    wanted = default_mapping()
    run(tables_sql(wanted))
    found, text = drafted(cdc)
    assert found.company.table == wanted.company.table
    assert found.company.name == "name"
    assert found.resources.keys() == wanted.resources.keys()
    for name, resource in wanted.resources.items():
        assert found.resources[name].table == resource.table
        assert found.resources[name].parents == resource.parents
        assert found.resources[name].event == f"{name}_changed"
        if resource.event:
            assert set(found.resources[name].data) >= set(resource.data)
    assert "# guessed" in text
    planned(cdc, text, tmp_path)


def planned(cdc: Command, text: str, folder: Path) -> None:
    (folder / "draft.toml").write_text(text, encoding="utf-8")
    cdc.env["CDC_MAPPING"] = str(folder / "draft.toml")
    assert cdc.json("triggers", "plan")["steps"]


@pytest.mark.parametrize(
    ("name", "company", "resources"),
    [
        ("django", "accounts_company", ["project", "candidate", "rating"]),
        ("rails", "accounts", ["job", "person", "application"]),
        ("prisma", "Company", ["job_posting", "candidate", "candidate_note"]),
        ("tenants", "tenant", ["job", "application", "message"]),
    ],
)
def test_schemas_of_other_kinds_can_be_planned(
    cdc: Command,
    run: Run,
    tmp_path: Path,
    name: str,
    company: str,
    resources: list[str],
) -> None:
    sql = (SCHEMAS / f"{name}.sql").read_text("utf-8")
    # Roles belong to the server, and another test may be at work with it.
    run("\n".join(line for line in sql.splitlines() if "tenants_app" not in line))
    found, text = drafted(cdc)
    assert found.company.table.name == company
    assert list(found.resources) == resources
    if name == "tenants":  # what the plan says that it lacks
        for table in ("job", "application"):
            run(f"create policy cdc_capture on ats.{table} for select to cdc_capture using (true)")
        run("create unique index on ats.job (id)")
    planned(cdc, text, tmp_path)


def test_several_keys_to_one_table_and_circles_are_named(cdc: Command, run: Run) -> None:
    run(
        "create table company (id bigint primary key);"
        "create table person (id bigint primary key, company_id bigint not null references company,"
        "  boss bigint references person);"
        "create table job (id bigint primary key, owner_id bigint not null references person,"
        "  deputy_id bigint references person);"
        "alter table person add job_id bigint references job"
    )
    found, text = drafted(cdc)
    assert found.resources["person"].parents == {"company": "company_id"}
    assert found.resources["job"].parents == {"person": "owner_id"}
    assert "# not used: deputy_id leads to person, too" in text
    assert "# not used: boss leads to person: that would be a circle" in text
    assert "# not used: job_id leads to job: that would be a circle" in text


def test_what_does_not_lead_to_the_company_is_listed(cdc: Command, run: Run) -> None:
    run(
        "create table company (id bigint primary key);"
        "create table job (id bigint primary key, company_id bigint references company);"
        "create table price (id numeric primary key, company_id bigint references company);"
        "create table log (line text)"
    )
    found, text = drafted(cdc)
    assert list(found.resources) == ["job"]
    assert "#   log\n#   price\n" in text
    assert "# optional = true" in text


def test_the_table_of_companies_can_be_named(cdc: Command, run: Run) -> None:
    run(
        "create table account (id bigint primary key);"
        "create table firm (id bigint primary key, account_id bigint references account);"
        "create table job (id bigint primary key, firm_id bigint references firm)"
    )
    assert list(drafted(cdc)[0].resources) == ["firm", "job"]
    found, text = drafted(cdc, "--company", "firm")
    assert list(found.resources) == ["job"]
    assert "guessed" not in text.partition("[company]")[2]
    said = cdc.refused("mapping", "init", "--company", "frim", code=2)
    assert "unknown table 'frim'" in said
    assert "account, firm, job" in said


def test_a_database_without_foreign_keys_is_refused(cdc: Command, run: Run) -> None:
    run("create table company (id bigint primary key)")
    assert "cdc mapping default" in cdc.refused("mapping", "init", code=2)


def test_names_cannot_break_out_of_the_file(cdc: Command, run: Run, tmp_path: Path) -> None:
    """Tables belong to others: a line break in a name would write lines of the mapping."""
    run(
        'create table company (id bigint primary key, "na""me" text);'
        'create table "a\nevent = ""x""" (id bigint primary key, c bigint references company);'
        'create table "{b}" (id bigint primary key, "c\'d""" bigint not null references company,'
        '  "e\n[f]" bigint references company);'
        'create table "lost\n[x]" (n int)'
    )
    found, text = drafted(cdc)
    tables = {one.table.name for one in found.resources.values()}
    assert tables == {"{b}"}
    assert '#   "a event = ""x""' in text
    planned(cdc, text, tmp_path)
