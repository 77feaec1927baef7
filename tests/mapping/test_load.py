"""A wrong mapping file is refused with a message that names the place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.errors import MappingError
from cdc.mapping import Mapping, Table, default_mapping, load_mapping, parse_mapping
from cdc.mapping.load import TAKEN

SMALL = """
base_url = "https://suite.example/v1/"

[company]
table = "company"
key = "id"
url = "companies/{company}/"

[resources.project]
table = "project"
key = "id"
parents = { company = "company_id" }
url = "{company}projects/{project}/"
event = "project_changed"
data = ["project"]

[resources.candidate]
table = "candidate"
key = "id"
parents = { project = "project_id" }
url = "{project}candidates/{candidate}/"
event = "candidate_changed"
data = ["project", "candidate"]
"""


def small(*edits: tuple[str, str]) -> str:
    text = SMALL
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def refused(text: str) -> str:
    with pytest.raises(MappingError) as caught:
        parse_mapping(text, "suite.toml")
    return caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[company]", "[company", "suite.toml: not valid TOML: "),
        ('base_url = "https', 'bas_url = "https', "base_url: is missing"),
        ('key = "id"\nurl = "comp', 'url = "comp', "suite.toml: company.key: is missing"),
        ("[company]", "[firm]", "suite.toml: company: is missing"),
        (
            'event = "project_changed"',
            'evnt = "project_changed"',
            "resources.project.evnt: unknown key, did you mean 'event'?",
        ),
        (
            'event = "project_changed"',
            "color = 3",
            "resources.project.color: unknown key; known are table, key, parents, url, event, data",
        ),
        (
            'base_url = "https://suite.example/v1/"',
            'base_url = "https://suite.example/v1/"\nversion = 2',
            "suite.toml: version: unknown key; known are base_url, company, resources",
        ),
        ('table = "project"', "table = 3", "resources.project.table: "),
        ('data = ["project"]', 'data = "project"', "resources.project.data: "),
        (
            "https://suite.example/v1/",
            "https://suite.example/v1",
            "'https://suite.example/v1' is invalid: expected an http(s) URL that ends with a slash",
        ),
        ("suite.example/v1/", "suite.example/v 1/", "an invalid URL: it holds a space"),
        ("https://suite", "ftp://suite", "base_url: 'ftp://suite.example/v1/' is invalid"),
        (
            'table = "project"',
            'table = "a.b.c"',
            "resources.project.table: invalid table 'a.b.c': expected table or schema.table",
        ),
        (
            'table = "project"',
            'table = "job application"',
            "resources.project.table: invalid SQL name 'job application'",
        ),
        ('table = "project"', 'table = ""', "resources.project.table: invalid SQL name ''"),
        ('table = "project"', 'table = "a."', "resources.project.table: invalid SQL name 'a.'"),
        (
            'table = "project"',
            "table = '\"job\\napplication\"'".replace("'", '"""'),
            "resources.project.table: 'job\\napplication' holds a character that cannot be printed",
        ),
        (
            'table = "project"',
            f'table = "{"x" * 64}"',
            "is longer than PostgreSQL's 63 bytes",
        ),
        (
            'table = "project"',
            'table = "cdc.queue"',
            "resources.project.table: cdc.queue is not a table of the suite",
        ),
        (
            'table = "project"',
            'table = "pg_catalog.pg_class"',
            "resources.project.table: pg_catalog.pg_class is not a table of the suite",
        ),
        (
            'company = "company_id"',
            'company = "a.b"',
            "resources.project.parents.company: invalid column 'a.b': expected one name",
        ),
        (
            'project = "project_id"',
            'projet = "project_id"',
            "resources.candidate.parents.projet: unknown resource 'projet', did you mean"
            " 'project'?",
        ),
        (
            "{project}candidates/{candidate}/",
            "{job}candidates/{candidate}/",
            "resources.candidate.url: unknown resource 'job'",
        ),
        (
            "{project}candidates/{candidate}/",
            "{project}candidates/",
            "resources.candidate.url: '{project}candidates/' does not hold {candidate}",
        ),
        (
            "{project}candidates/{candidate}/",
            "c/{candidate}/{project}",
            "another resource's address must be at the beginning",
        ),
        (
            "{project}candidates/{candidate}/",
            "x/{project}c/{candidate}/",
            "another resource's address must be at the beginning",
        ),
        (
            "{project}candidates/{candidate}/",
            "{project}candidates/{candidate",
            "resources.candidate.url: '{project}candidates/{candidate': ",
        ),
        (
            "{project}candidates/{candidate}/",
            "{project}candidates/{candidate.id}/",
            "expected only the name of a resource between braces",
        ),
        (
            "{project}candidates/{candidate}/",
            "{project}candidates/{candidate!r}/",
            "expected only the name of a resource between braces",
        ),
        ('url = "{company}projects/{project}/"', "url = []", "resources.project.url: is empty"),
        (
            'data = ["project", "candidate"]',
            'data = ["project", "candidat"]',
            "resources.candidate.data: unknown resource 'candidat', did you mean 'candidate'?",
        ),
        (
            'data = ["project", "candidate"]',
            'data = ["project", "candidate", "project"]',
            "resources.candidate.data: names a member twice",
        ),
        (
            'event = "candidate_changed"\n',
            "",
            "resources.candidate.data: is only of use with an event",
        ),
        (
            'event = "candidate_changed"\ndata = ["project", "candidate"]\n',
            "optional = true\n",
            "resources.candidate.optional: is only of use with an event",
        ),
        (
            'event = "candidate_changed"',
            'event = "candidate_changed"\noptional = "yes"',
            "resources.candidate.optional: expected true or false (found 'yes')",
        ),
        (
            'event = "candidate_changed"',
            'event = "project_changed"',
            "resources.candidate.event: 'project_changed' is the event of resources.project",
        ),
        (
            'event = "candidate_changed"',
            'event = "Candidate changed"',
            "resources.candidate.event: 'Candidate changed' is not made of a-z, 0-9 and _ only",
        ),
        (
            'table = "candidate"',
            'table = "PROJECT"',
            "resources.candidate.table: public.project is mapped already, by resources.project",
        ),
        (
            'table = "candidate"',
            'table = "company"',
            "resources.candidate.table: public.company is mapped already, by company",
        ),
        (
            '{ project = "project_id" }',
            '{ candidate = "parent_id", project = "project_id" }',
            "resources.candidate.parents.candidate: a cycle: candidate -> candidate",
        ),
        (
            '{ company = "company_id" }',
            '{ company = "company_id", candidate = "candidate_id" }',
            "a cycle: project -> candidate -> project",
        ),
        (
            '{ company = "company_id" }',
            "{}",
            "resources.project.parents: no path leads from here to the company",
        ),
        (
            'data = ["project"]',
            'data = ["project", "candidate"]',
            "resources.project: 'candidate' is used in data or url, but no path of parents leads",
        ),
        ("[resources.project]", "[resources.Project]", "resources.Project: a resource is named by"),
        (
            "companies/{company}/",
            "{project}c/{company}/",
            "a cycle: company -> project -> company",
        ),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, says: str) -> None:
    assert says in refused(small((old, new)))


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_names_that_the_rendered_sql_uses_itself_are_taken(name: str) -> None:
    text = small(("[resources.project]", f"[resources.{name}]"))
    assert f"resources.{name}: a resource is named by" in refused(text)


def test_without_any_event_nothing_would_be_captured() -> None:
    text = small(('event = "project_changed"\ndata = ["project"]\n', ""))
    text = text.replace('event = "candidate_changed"\ndata = ["project", "candidate"]\n', "")
    assert "resources: none has an event" in refused(text)


def test_names_follow_sql() -> None:
    text = small(
        ('table = "project"', 'table = \'"Job ""Posting"""\''),
        ('table = "candidate"', "table = 'Hr.\"Job Application\"'"),
        ('company = "company_id"', "company = '\"Mandant\"'"),
        ('project = "project_id"', "project = 'Stelle_Ü'"),
    )
    resources = parse_mapping(text, "suite.toml").resources
    assert resources["project"].table == Table("public", 'Job "Posting"')
    assert resources["project"].table.sql == '"public"."Job ""Posting"""'
    assert resources["candidate"].table == Table("hr", "Job Application")
    assert resources["project"].parents == {"company": ("Mandant",)}
    assert resources["candidate"].parents == {"project": ("stelle_Ü",)}


def test_the_fingerprint_is_that_of_the_meaning() -> None:
    mapping = parse_mapping(SMALL, "suite.toml")

    def same(*edits: tuple[str, str]) -> bool:
        return parse_mapping(small(*edits), "x").fingerprint == mapping.fingerprint

    assert same()
    assert same(("[company]", "# a comment\n\n[company]"))
    assert same(('table = "project"', 'table = "PUBLIC.Project"'))
    assert same(('url = "{company}projects', 'url   =   "{company}projects'))
    head, project, candidate = SMALL.partition("[resources.candidate]")
    base, middle, resources = head.partition("[resources.project]")
    swapped = base + project + candidate + middle + resources
    assert parse_mapping(swapped, "x").fingerprint == mapping.fingerprint
    assert not same(('table = "project"', 'table = "job"'))
    assert not same(('table = "project"', "table = '\"Project\"'"))
    assert not same(("projects/{project}", "jobs/{project}"))
    assert not same(('data = ["project", "candidate"]', 'data = ["candidate", "project"]'))
    assert not same(("https://suite.example", "https://other.example"))
    assert not same(('key = "id"\nurl = "c', 'key = "id"\nbase_url_column = "host"\nurl = "c'))
    event = 'event = "candidate_changed"'
    assert not same((event, f"{event}\noptional = true"))


def test_optional_set_to_false_keeps_the_fingerprint_of_the_first_release() -> None:
    event = 'event = "candidate_changed"'
    written = parse_mapping(small((event, f"{event}\noptional = false")), "x")
    assert written == parse_mapping(SMALL, "x")
    assert default_mapping().fingerprint == (
        "c407ad4bb1cfbd528aeba48ed01517d54d08793a9b4ae546c46a6346fa9661f1"
    )


def test_the_order_of_parents_means_something() -> None:
    both = '{ project = "project_id", company = "company_id" }'
    turned = '{ company = "company_id", project = "project_id" }'
    one = parse_mapping(small(('{ project = "project_id" }', both)), "x")
    other = parse_mapping(small(('{ project = "project_id" }', turned)), "x")
    assert one.fingerprint != other.fingerprint


def test_a_file_is_loaded_or_the_default(tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(SMALL)
    assert load_mapping(file) == parse_mapping(SMALL, "x")
    assert load_mapping(None) == default_mapping()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as caught:
        load_mapping(tmp_path / "none.toml")
    assert "none.toml cannot be read" in caught.value.message
    assert caught.value.hint == "CDC_MAPPING names the file."
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(MappingError):
        load_mapping(tmp_path / "latin.toml")


def test_the_default_is_the_suites() -> None:
    mapping: Mapping = default_mapping()
    assert mapping.base_url == "https://interview-suite.com/api/v3/"
    assert {n: {p: c for p, (c,) in r.parents.items()} for n, r in mapping.resources.items()} == {
        "customer": {"company": "company_id"},
        "project": {"company": "company_id"},
        "question": {"project": "project_id"},
        "candidate": {"project": "project_id"},
        "answervideo": {"candidate": "candidate_id", "question": "question_id"},
        "rating": {"candidate": "candidate_id", "customer": "customer_id"},
        "note": {
            "answervideo": "answervideo_id",
            "customer": "customer_id",
            "candidate": "candidate_id",
        },
    }
    assert {event: r.data for event, r in mapping.events.items()} == {
        "project_changed": ("project",),
        "candidate_changed": ("project", "candidate"),
        "answervideo_changed": ("project", "candidate", "question", "answervideo"),
        "rating_changed": ("project", "candidate", "rating"),
        "note_changed": ("project", "customer", "answervideo", "candidate", "note"),
    }
    for name, resource in mapping.resources.items():
        assert resource.table == Table("public", name)
        assert resource.key == ("id",)
