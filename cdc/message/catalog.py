"""The catalog: what each event's payload looks like, for the developers of receivers. Pure.

Schemas are JSON Schema 2020-12, the whole is OpenAPI 3.1 (its ``webhooks``); examples are the bytes
that the product sends.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cdc.mapping import Mapping, Resource, plan_joins, row_keys
from cdc.mapping.joins import leaf
from cdc.mapping.model import COMPANY
from cdc.message.payload import Translator
from cdc.message.signing import USER_AGENT
from cdc.model import Delivery

VERSION = 1
"""Of the payloads' form. It rises when a receiver that was right before could be wrong after."""

ENDPOINT = "https://receiver.example/webhook"
TIME = datetime(2015, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)
DIALECT = "https://json-schema.org/draft/2020-12/schema"

ACTIONS = {
    "created": "the row was inserted",
    "modified": "the row was updated, whether or not a value differs",
    "deleted": "the row was deleted: its address answers 404; for webhooks that ask for it",
    "test": "a person tests the webhook: the addresses name rows that do not exist",
}


def actions_of(*resources: Resource) -> dict[str, str]:
    """What ``action`` can be of these resources, and what it means."""
    deleted = any(resource.deleted for resource in resources)
    return {name: text for name, text in ACTIONS.items() if deleted or name != "deleted"}


def _happens(resource: Resource) -> str:
    done = "created, modified or deleted" if resource.deleted else "created or modified"
    return f"A row of {resource.table.name} was {done}."


def example(
    mapping: Mapping,
    resource: Resource,
    base_url: str | None = None,
    included: dict[str, Any] | None = None,
) -> bytes:
    """The body that is sent for a change of a row of this resource, byte for byte.

    included: what a webhook gets of its values.
    """
    layout = plan_joins(mapping, resource).layout
    # Numbers that distinguish the resources; the company's is 1.
    keys = {COMPANY: "1"} | {name: str(n) for n, name in enumerate(mapping.resources, 17)}
    delivery = Delivery(
        id=1,
        webhook_id=1,
        xid=1,
        uid="",
        layout=layout,
        action="modified",
        time=TIME,
        refs=tuple(
            None
            if field == "base"
            else row_keys.sample(field, keys[leaf(row_keys.of_layout(field)[0])])
            for field in layout.fields
        ),
        included=json.dumps(included) if included else None,
    )
    return Translator(mapping, base_url).body(delivery, ENDPOINT)


def _with_values(resource: Resource) -> dict[str, Any] | None:
    """What ``data`` has in addition for a webhook that includes the first of the fields."""
    first = (resource.fields or ())[:1]
    return {"changed": list(first), "fields": dict.fromkeys(first)} if first else None


def _members_of_values(resource: Resource) -> dict[str, Any]:
    """Their schemas. What a value can be, the table's columns say."""
    if not resource.fields:
        return {}
    names = {"type": "array", "items": {"enum": list(resource.fields)}, "uniqueItems": True}
    return {
        "changed": {
            "description": "Included fields that the change may have altered; of a created or "
            "deleted row all of them. Only for webhooks that include fields.",
            **names,
        },
        "fields": {
            "description": "Values of the included fields: after the change, of a deleted row "
            "before it.",
            "type": "object",
            "properties": {name: {} for name in resource.fields},
            "additionalProperties": False,
        },
        "omitted": {
            "description": "Included fields whose values are left out: they are too long, or not "
            "known any more.",
            "minItems": 1,
            **names,
        },
    }


def schema(mapping: Mapping, resource: Resource, base_url: str | None = None) -> dict[str, Any]:
    """JSON Schema of one event's payload.

    Members that are not named are allowed: a later version may add some, and a receiver has to
    ignore what it does not know.
    """
    values = _members_of_values(resource)
    together = (
        {"dependentRequired": {"changed": ["fields"], "fields": ["changed"], "omitted": ["fields"]}}
        if values
        else {}
    )
    examples = [None, *([_with_values(resource)] if values else [])]
    members = {
        name: {
            "description": f"Address of the {name} in the suite's API.",
            "type": "string" if name == resource.name else ["string", "null"],
            "format": "uri",
        }
        for name in resource.data
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:interview-suite:webhook:{resource.event}:{VERSION}",
        "title": resource.event,
        "description": _happens(resource),
        "type": "object",
        "required": ["endpoint", "time", "event", "data"],
        "properties": {
            "endpoint": {
                "description": "The URL that was called, without user and password.",
                "type": "string",
                "format": "uri",
            },
            "time": {
                "description": "When the change was made, by the database's clock.",
                "type": "string",
                "format": "date-time",
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$",
            },
            "event": {"const": resource.event},
            "data": {
                "type": "object",
                "required": ["action", *members],
                "properties": {
                    "action": {
                        "oneOf": [
                            {"const": name, "description": meaning}
                            for name, meaning in actions_of(resource).items()
                        ]
                    },
                    **members,
                    **values,
                },
                **together,
            },
        },
        "examples": [json.loads(example(mapping, resource, base_url, one)) for one in examples],
    }


def jsonschema(mapping: Mapping, base_url: str | None = None) -> dict[str, Any]:
    """One schema for the payloads of all events."""
    made = {event: schema(mapping, one, base_url) for event, one in mapping.events.items()}
    return {
        "$schema": DIALECT,
        "$id": f"urn:interview-suite:webhook:{VERSION}",
        "title": "Payloads of the interview suite's webhooks",
        "oneOf": [{"$ref": one["$id"]} for one in made.values()],
        "$defs": made,
    }


_HEADERS = (
    ("webhook-id", "UUID of the delivery, the same for every attempt: drop what you know.", "uuid"),
    ("webhook-timestamp", "Unix seconds of this attempt.", ""),
    ("webhook-signature", "Standard Webhooks 1.0.0: `v1,` and a base64, or several.", ""),
)
_ANSWERS = {
    "2XX": "Accepted: the delivery has ended. Answer first, work afterwards.",
    "410": "Gone: the webhook is suspended, nothing more is sent.",
    "429": "Too many requests: sending waits, as long as Retry-After says if it is there.",
    "default": "Not accepted: the delivery is tried again, for some three days by default.",
}


def openapi(mapping: Mapping, base_url: str | None = None) -> dict[str, Any]:
    """OpenAPI 3.1 that describes the requests which a receiver gets."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Webhooks of the interview suite",
            "version": str(VERSION),
            "description": f"Each is a POST of `User-Agent: {USER_AGENT}`, signed by the "
            "webhook's secret.",
        },
        "jsonSchemaDialect": DIALECT,
        "webhooks": {event: {"post": _operation(one)} for event, one in mapping.events.items()},
        "components": {
            "schemas": {
                event: schema(mapping, one, base_url) for event, one in mapping.events.items()
            },
            "parameters": {
                name: {
                    "name": name,
                    "in": "header",
                    "required": True,
                    "description": text,
                    "schema": {"type": "string"} | ({"format": form} if form else {}),
                }
                for name, text, form in _HEADERS
            },
        },
    }


def _operation(resource: Resource) -> dict[str, Any]:
    return {
        "operationId": resource.event,
        "summary": _happens(resource),
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name, *_ in _HEADERS],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{resource.event}"},
                }
            },
        },
        "responses": {status: {"description": text} for status, text in _ANSWERS.items()},
    }


def rows(mapping: Mapping) -> list[tuple[str, ...]]:
    """The events as a table in Markdown has them, its head first."""
    head = "event", "fires when a row of this table is inserted or updated", "`data`, in this order"
    data = {
        event: ", ".join(f"`{name}`" for name in ("action", *one.data))
        for event, one in mapping.events.items()
    }
    return [
        head,
        *(
            (f"`{event}`", f"`{one.table.name}`{' (or deleted)' * one.deleted}", data[event])
            for event, one in mapping.events.items()
        ),
    ]


def markdown(mapping: Mapping, base_url: str | None = None) -> str:
    """The catalog for people: the table, and an example of each event."""
    head, *found = (f"| {' | '.join(row)} |" for row in rows(mapping))
    parts = ["# Events", "", head, "|---|---|---|", *found, ""]
    for event, one in mapping.events.items():
        body = example(mapping, one, base_url).decode("ascii")
        parts += [f"## {event}", "", "```json", body, "```", ""]
        if values := _with_values(one):
            names = ", ".join(f"`{name}`" for name in one.fields or ())
            body = example(mapping, one, base_url, values).decode("ascii")
            parts += [f"Its fields: {names}. For a webhook that includes the first:", ""]
            parts += ["```json", body, "```", ""]
    actions = [f"- `{name}`: {meaning}" for name, meaning in actions_of(*mapping.captured).items()]
    return "\n".join([*parts, "`action` is one of:", "", *actions, ""])
