"""`cdc catalog`."""

from __future__ import annotations

from cdc.mapping import default_mapping
from tests.cli.command import Command

EVENTS = list(default_mapping().events)


def test_needs_no_database() -> None:
    assert all(f"## {event}" in Command().good("catalog").out for event in EVENTS)


def test_schemas_and_openapi_are_json(unchanged: Command) -> None:
    every = unchanged("catalog", "--format", "jsonschema").json
    assert list(every["$defs"]) == EVENTS
    one = unchanged("catalog", "--format", "jsonschema", "--event", EVENTS[0]).json
    assert one == every["$defs"][EVENTS[0]]
    assert list(unchanged("catalog", "--format", "openapi").json["webhooks"]) == EVENTS


def test_the_configured_base_url_is_used(unchanged: Command) -> None:
    # A command of its own: the fixture's settings are those of all tests.
    cdc = Command({**unchanged.env, "CDC_BASE_URL": "https://suite.example/v9/"})
    assert "https://suite.example/v9/companies/1/" in cdc.good("catalog").out


def test_wrong_events_and_forms_are_refused(unchanged: Command) -> None:
    said = unchanged.refused(
        "catalog", "--format", "jsonschema", "--event", "project_change", code=2
    )
    assert "Did you mean project_changed?" in said
    assert "jsonschema" in unchanged.refused("catalog", "--event", EVENTS[0], code=2)
