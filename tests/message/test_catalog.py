"""The catalog: valid by independent validators, and true of what is sent."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from cdc.mapping import default_mapping, load_mapping
from cdc.message import catalog
from cdc.sandbox.suite import declaring
from tests.docs.pages import blocks, page
from tests.docs.test_protocol import on_the_wire
from tests.mapping.test_other_suite import HERE

MAPPINGS = [default_mapping(), load_mapping(HERE / "other_suite.toml")]
BODIES = [on_the_wire(block) for block in blocks(page("docs/protocol.md"), "json")]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


@pytest.mark.parametrize("mapping", MAPPINGS, ids=["default", "other"])
class TestValid:
    def test_openapi(self, mapping: Any) -> None:
        OpenAPIV31SpecValidator(catalog.openapi(mapping)).validate()

    def test_json_schema_of_all_events_takes_the_examples(self, mapping: Any) -> None:
        every = validator(catalog.jsonschema(mapping))
        for one in mapping.captured:
            every.validate(json.loads(catalog.example(mapping, one)))

    def test_markdown_shows_each_event(self, mapping: Any) -> None:
        text = catalog.markdown(mapping)
        for event, one in mapping.events.items():
            assert f"## {event}\n" in text
            assert catalog.example(mapping, one).decode() in text


def test_deleted_is_an_action_where_the_mapping_declares_it() -> None:
    mapping = declaring("note_changed", "deleted = true")
    OpenAPIV31SpecValidator(catalog.openapi(mapping)).validate()
    assert "- `deleted`: " in catalog.markdown(mapping)
    assert "`deleted`" not in catalog.markdown(default_mapping())
    for resource in mapping.captured:
        payload = json.loads(catalog.example(mapping, resource))
        payload["data"]["action"] = "deleted"
        assert validator(catalog.schema(mapping, resource)).is_valid(payload) == resource.deleted


def test_values_are_in_the_schema_where_the_mapping_declares_fields() -> None:
    mapping = declaring("note_changed", 'fields = ["state", "text"]')
    OpenAPIV31SpecValidator(catalog.openapi(mapping)).validate()
    one = mapping.events["note_changed"]
    included = {"changed": ["state"], "fields": {"state": None}}
    body = catalog.example(mapping, one, None, included)
    assert body.endswith(b'/notes/23/", "changed": ["state"], "fields": {"state": null}}}'), body
    assert body.decode() in catalog.markdown(mapping)
    assert '"changed"' not in catalog.markdown(default_mapping())
    schema = validator(catalog.schema(mapping, one))
    for more, valid in {
        '"changed": [], "fields": {}': True,
        '"changed": ["text"], "fields": {"state": [1, {}]}, "omitted": ["text"]': True,
        '"changed": []': False,
        '"fields": {}': False,
        '"changed": ["other"], "fields": {}': False,
        '"changed": [], "fields": {"other": 1}': False,
        '"changed": [], "fields": {}, "omitted": []': False,
    }.items():
        payload = json.loads(body)
        del payload["data"]["changed"], payload["data"]["fields"]
        payload["data"].update(json.loads(f"{{{more}}}"))
        assert schema.is_valid(payload) is valid, more
    plain = default_mapping().events["note_changed"]
    assert (
        "fields" not in catalog.schema(default_mapping(), plain)["properties"]["data"]["properties"]
    )


@pytest.mark.parametrize("body", BODIES, ids=lambda body: json.loads(body)["event"])
def test_the_protocols_own_payloads_are_valid(body: bytes) -> None:
    validator(catalog.jsonschema(default_mapping())).validate(json.loads(body))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["time"], "2015-03-16T15:32:34Z"),
        (["event"], "candidate_changed"),
        (["data", "action"], "deleted"),
        (["data", "project"], None),
        (["endpoint"], 7),
    ],
)
def test_another_payload_is_refused(where: list[str], value: object) -> None:
    mapping = default_mapping()
    one = mapping.events["project_changed"]
    schema = validator(catalog.schema(mapping, one))
    payload = json.loads(catalog.example(mapping, one))
    schema.validate(payload)
    wrong = deepcopy(payload)
    *path, last = where
    inner = wrong
    for name in path:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(ValidationError):
        schema.validate(wrong)
    del inner[last]
    with pytest.raises(ValidationError):
        schema.validate(wrong)


def test_an_own_base_url_is_that_of_the_examples() -> None:
    mapping = default_mapping()
    body = catalog.example(mapping, mapping.captured[0], "https://acme.example/api/")
    assert b"https://acme.example/api/companies/1/projects/" in body
