"""The API's document is current, and a change that breaks clients is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.house.api_document import DOCUMENT, PAGE, breaking, current, page

Document = dict[str, Any]


def test_the_document_is_current_and_breaks_no_client() -> None:
    old, new = DOCUMENT.read_text("utf-8"), current()
    assert breaking(json.loads(old), json.loads(new)) == []
    assert old == new, "run: make docs"


def test_the_tables_of_the_guide_are_current() -> None:
    text = PAGE.read_text("utf-8")
    assert text == page(text), "run: make docs"


def schema(document: Document, name: str) -> Any:
    return document["components"]["schemas"][name]


def no_path(document: Document) -> None:
    del document["paths"]["/v1/events"]


def no_property(document: Document) -> None:
    del schema(document, "WebhookOut")["properties"]["ref"]


def other_answer(document: Document) -> None:
    schema(document, "WebhookOut")["properties"]["version"] = {"type": "string"}


def more_is_null(document: Document) -> None:
    schema(document, "WebhookOut")["properties"]["state"] = {"anyOf": [{"type": "null"}]}


def more_required(document: Document) -> None:
    schema(document, "WebhookIn")["required"].append("ref")


def less_accepted(document: Document) -> None:
    del schema(document, "WebhookIn")["properties"]["headers"]


def fewer_values(document: Document) -> None:
    schema(document, "WebhookIn")["properties"]["signature"]["enum"] = ["v1"]


def no_parameter(document: Document) -> None:
    found = document["paths"]["/v1/audit"]["get"]["parameters"]
    found[:] = [one for one in found if one["name"] != "since"]


def required_parameter(document: Document) -> None:
    found = document["paths"]["/v1/audit"]["get"]["parameters"]
    found.append({"name": "x", "in": "query", "required": True, "schema": {"type": "string"}})


BREAKS: list[Callable[[Document], None]] = [
    no_path, no_property, other_answer, more_is_null, more_required, less_accepted, fewer_values,
    no_parameter, required_parameter,
]  # fmt: skip


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.__name__)
def test_what_breaks_clients_is_found(change: Callable[[Document], None]) -> None:
    old, new = json.loads(current()), json.loads(current())
    change(new)
    assert len(breaking(old, new)) >= 1


def test_what_is_added_breaks_nothing() -> None:
    old, new = json.loads(current()), json.loads(current())
    new["paths"]["/v1/more"] = {"get": {}}
    schema(new, "WebhookOut")["properties"]["more"] = {"type": "string"}
    schema(new, "WebhookIn")["properties"]["more"] = {"type": "string"}
    schema(new, "WebhookIn")["properties"]["signature"]["enum"].append("v2")
    assert breaking(old, new) == []
