"""docs/mapping.md: every key is documented, and the example works."""

from __future__ import annotations

import json
import tomllib

import psycopg
import pytest
from pydantic import BaseModel

from cdc.capture.check import check
from cdc.mapping import Mapping, default_mapping, parse_mapping
from cdc.mapping.load import _Company, _MappingFile, _Resource
from tests.docs.pages import blocks, codes, page, tables
from tests.docs.test_protocol import made, on_the_wire
from tests.support.installation import prepare

GUIDE = page("docs/mapping.md")
KEYS = {"company": "t1", "department": "d1", "job": "j1", "application": "a1", "interview": "i1"}


@pytest.fixture(scope="module")
def example() -> Mapping:
    (block,) = blocks(GUIDE, "toml mapping")
    return parse_mapping(block.text, "docs/mapping.md")


def test_every_key_is_documented() -> None:
    top, company, resource = tables(GUIDE)[:3]
    kinds: tuple[type[BaseModel], ...] = (_MappingFile, _Company, _Resource)
    for rows, kind in zip((top, company, resource), kinds, strict=True):
        documented = {
            codes(row["key"])[0].strip("[]").removesuffix(".<name>"): row["required"]
            for row in rows
        }
        fields = kind.model_fields
        assert documented == {key: "yes" if fields[key].is_required() else "no" for key in fields}


def test_the_example_differs_in_every_name(example: Mapping) -> None:
    ours = default_mapping()
    assert not {r.table for r in example.resources.values()} & {
        r.table for r in ours.resources.values()
    }
    assert not set(example.events) & set(ours.events)


def test_the_example_can_be_installed(example: Mapping, empty_database: str) -> None:
    prepare(empty_database, example, "uuid")
    with psycopg.connect(empty_database, autocommit=True) as conn:
        assert check(conn, example)


def test_the_payload_is_the_examples(example: Mapping) -> None:
    (block,) = blocks(GUIDE, "json mapping")
    body = on_the_wire(block)
    assert made(example, KEYS, json.loads(body), "acme.hiring.example") == body


def test_the_keys_shown_are_valid(example: Mapping) -> None:
    (block,) = blocks(GUIDE, "toml keys")
    head, _, _ = example.source.partition("[resources")
    either = block.text.replace('"{job}applications/{id}/"', '"applications/{tenant_id}/{id}/"')
    for text in (block.text, either):
        shown = parse_mapping(f"{head}{text}", "the guide").resources
        assert shown["application"].parents == {"job": ("tenant_id", "job_id")}
    assert either != block.text


def test_the_templates_shown_are_valid() -> None:
    (block,) = blocks(GUIDE, "text")
    source = tomllib.loads(page("cdc/mapping/interview_suite.toml"))
    for line in block.text.splitlines():
        url = line.split('"')[1]
        changed = page("cdc/mapping/interview_suite.toml").replace(
            f'"{source["resources"]["candidate"]["url"]}"', f'"{url}"'
        )
        assert parse_mapping(changed, "changed").resources["candidate"].urls[0].text == url
