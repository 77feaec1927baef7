"""The payloads in the guides are those that are sent."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from cdc.mapping import Mapping, default_mapping, plan_joins
from cdc.message.payload import Translator
from cdc.message.signing import USER_AGENT, Signer
from cdc.model import Delivery
from tests.docs.pages import Block, blocks, codes, page, table

KEYS = {
    "company": "1",
    "customer": "1",
    "project": "17",
    "question": "123",
    "candidate": "19",
    "answervideo": "7",
    "rating": "9",
    "note": "4",
}


def on_the_wire(block: Block) -> bytes:
    """A body as it is sent, of one that was broken into lines for reading."""
    return " ".join(line.strip() for line in block.text.splitlines()).encode()


def made(
    mapping: Mapping, keys: dict[str, str], payload: dict[str, Any], base: str | None
) -> bytes:
    """What the program sends for the row of the payload."""
    layout = plan_joins(mapping, mapping.events[payload["event"]]).layout
    missing = {name for name, url in payload["data"].items() if url is None}

    values = ("changed", "fields", "omitted")
    included = {name: payload["data"][name] for name in values if name in payload["data"]}

    def reference(field: str) -> str | None:
        if field == "base":
            return base
        path = field.split(".")
        return None if missing.intersection(path) else keys[path[-1]]

    delivery = Delivery(
        id=1,
        webhook_id=1,
        xid=1,
        uid="",
        layout=layout,
        action=payload["data"]["action"],
        time=datetime.fromisoformat(payload["time"]),
        refs=tuple(reference(field) for field in layout.fields),
        included=json.dumps(included) if included else None,
    )
    return Translator(mapping).body(delivery, payload["endpoint"])


BODIES = blocks(page("docs/protocol.md"), "json")


@pytest.mark.parametrize("block", [*BODIES, *blocks(page("README.md"), "json")])
def test_bodies_are_what_is_sent(block: Block) -> None:
    body = on_the_wire(block)
    assert made(default_mapping(), KEYS, json.loads(body), None) == body


def test_all_events_are_shown() -> None:
    shown = [json.loads(on_the_wire(block))["event"] for block in BODIES]
    assert list(dict.fromkeys(shown)) == list(default_mapping().events)


def test_the_table_of_events_is_the_mapping() -> None:
    rows = table(page("docs/protocol.md"), "event", "`data`, in this order")
    documented = [tuple(codes(" ".join(row.values()))) for row in rows]
    assert documented == [
        (event, resource.table.name, "action", *resource.data)
        for event, resource in default_mapping().events.items()
    ]


def test_the_readme_names_all_events() -> None:
    (named,) = re.findall(r"The events are ([^.]+),", page("README.md"))
    assert codes(named) == list(default_mapping().events)


@pytest.mark.parametrize("name", ["README.md", "docs/protocol.md"])
def test_the_request_shown_is_signed_rightly(name: str) -> None:
    """With the secret of docs/receiver.md, over the first body of the page."""
    (shown,) = blocks(page(name), "http")
    headers = dict(line.split(": ", 1) for line in shown.text.splitlines()[1:])
    body = on_the_wire(blocks(page(name), "json")[0])
    rows = table(page("docs/receiver.md"), "what", "value")
    vector = {row["what"].strip("`"): row["value"].strip("`") for row in rows}
    uid, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    signed = Signer([vector["secret"]]).headers(uid, int(stamp), body)
    assert {name: headers[name] for name, _ in signed} == dict(signed)
    assert {name: vector[name] for name, _ in signed} == dict(signed)
    assert headers["User-Agent"] == USER_AGENT
    assert headers.get("Content-Length", "217") == str(len(body))
    assert f"{len(body)} bytes" in vector["body"]
