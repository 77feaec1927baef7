"""The sample suite: for the default mapping, and for one whose every name is another."""

from __future__ import annotations

import psycopg
import pytest

from cdc.mapping import Mapping, default_mapping, parse_mapping
from cdc.sandbox.suite import KEYS, KeyType, declaring, tables_sql
from tests.support.installation import prepare

OTHER = '''
base_url = "https://example.com/"

[company]
table = '"Recruiting"."Mandant 1"'
key = "kennung"
url = "m/{company}/"
base_url_column = "Host"

[resources.posting]
table = '"Recruiting"."Job ""Posting"""'
key = "name"
parents = { company = '"Mandant"' }
url = "{company}p/{posting}/"
event = "posting_written"
data = ["posting"]

[resources.application]
table = "bewerbung"
key = "nr"
parents = { posting = "stelle", company = "mandant" }
url = "{posting}a/{application}/"
event = "application_written"
data = ["posting", "application"]
'''


@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("mapping", [default_mapping(), parse_mapping(OTHER, "other.toml")])
def test_capture_can_be_installed_on_it(
    empty_database: str, mapping: Mapping, key_type: KeyType
) -> None:
    prepare(empty_database, mapping, key_type)
    with psycopg.connect(empty_database) as conn:
        for resource in mapping.resources.values():
            conn.execute(f"insert into {resource.table.sql} default values")
            conn.execute(f"insert into {mapping.company.table.sql} default values")


def test_lines_are_declared_of_one_event() -> None:
    declared = declaring("note_changed", "deleted = true", 'fields = ["text"]')
    assert [r.event for r in declared.captured if r.deleted] == ["note_changed"]
    assert declared.events["note_changed"].fields == ("text",)
    with pytest.raises(ValueError, match="substring"):
        declaring("note_written", "deleted = true")


def test_a_child_may_come_before_its_parent(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
        conn.execute("set constraints all deferred")
        conn.execute("insert into project (company_id) values (1)")
        conn.execute("insert into company default values")


def test_payload_makes_way_for_the_mappings_columns(empty_database: str) -> None:
    text = tables_sql(parse_mapping(OTHER, "other.toml"))
    assert text.count('"name"') == 4  # a key of that name once, payload in the other two tables
