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
        assert [one.key for one in found.resources.values()] == [
            *(("tenant_id", "id"), ("tenant_id", "id"), ("tenant_id", "id", "channel"))
        ]
        assert found.resources["message"].parents["application"] == ("tenant_id", "application_id")
        assert 'url = "{job}applications/{id}/"' in text
    planned(cdc, text, tmp_path)


def test_keys_of_several_columns(cdc: Command, run: Run, tmp_path: Path) -> None:
    """Whole, unless one of their columns is unique alone, or cannot be a key's."""
    run(
        "create table company (id bigint primary key);"
        "create table job (company_id bigint references company, id bigint,"
        "  primary key (company_id, id));"
        "create table tag (company_id bigint references company, id uuid unique,"
        "  primary key (company_id, id));"
        "create table job_tag (company_id bigint, job_id bigint, tag_id uuid,"
        "  primary key (company_id, job_id, tag_id),"
        "  foreign key (job_id, company_id) references job (id, company_id),"
        "  foreign key (company_id, tag_id) references tag);"
        "create table job_text (company_id bigint, job_id bigint, body text,"
        "  primary key (company_id, job_id),"
        "  foreign key (company_id, job_id) references job);"
        "create table price (company_id bigint, job_id bigint, since date,"
        "  primary key (company_id, job_id, since),"
        "  foreign key (company_id, job_id) references job) partition by range (since);"
        'create table braces (company_id bigint references company, "a:b" bigint,'
        '  primary key (company_id, "a:b"))'
    )
    found, text = drafted(cdc)
    assert {name: one.key for name, one in found.resources.items()} == {
        "job": ("company_id", "id"),
        "tag": ("id",),
        "job_tag": ("company_id", "job_id", "tag_id"),
        "job_text": ("company_id", "job_id"),
        "price": ("company_id", "job_id"),
    }
    tagged = found.resources["job_tag"]
    assert tagged.parents == {"job": ("company_id", "job_id"), "tag": ("tag_id",)}
    assert {name: one.urls[0].text for name, one in found.resources.items()} == {
        "job": "{company}jobs/{id}/",
        "tag": "{company}tags/{tag}/",
        "job_tag": "{job}job-tags/{tag_id}/",
        "job_text": "{job}job-texts/",
        "price": "{job}prices/",
    }
    assert text.count("# guessed: not all of the primary key") == 1
    assert "#   braces" in text
    planned(cdc, text, tmp_path)


def test_a_schema_whose_names_are_all_quoted(cdc: Command, run: Run, tmp_path: Path) -> None:
    """Names of resources and events are plain words, whatever their tables are called."""
    run((SCHEMAS.parent / "mapping" / "other_suite.sql").read_text("utf-8"))
    run(
        'create table "new" (id int primary key, t text references "Talent Core"."Mandant");'
        f'create table {"x" * 60} (id int primary key, t text references "Talent Core"."Mandant")'
    )
    found, text = drafted(cdc, "--company", "Mandant")
    assert set(found.resources) >= {"geschaftsbereich", "job_posting", "topic", "clip", "score"}
    assert {"public_new", "notiz_cdc_many_s_x_d"} <= set(found.resources)
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
    assert found.resources["person"].parents == {"company": ("company_id",)}
    assert found.resources["job"].parents == {"person": ("owner_id",)}
    assert "# not used: deputy_id leads to person, too" in text
    assert "# not used: boss leads to person: that would be a cycle" in text
    assert "# not used: job_id leads to job: that would be a cycle" in text


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
