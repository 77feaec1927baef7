"""docs/openapi.json and the table of codes in docs/api.md, made from the code: `make docs`.

A change that breaks clients is not written: it is named, and belongs under another path (`/v2`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from cdc.web import openapi
from cdc.web.problems import CODES
from cdc.web.routes import ROUTES
from tests.house.files import TOP

DOCUMENT = TOP / "docs" / "openapi.json"
PAGE = TOP / "docs" / "api.md"


def current() -> str:
    return json.dumps(openapi.document(), indent=1, sort_keys=True) + "\n"


def page(text: str) -> str:
    """The guide with its tables as they have to be."""
    codes = ["| code | status | means | what to do |", "|---|---|---|---|"]
    codes += [f"| `{code}` | {k.status} | {k.title} | {k.todo} |" for code, k in CODES.items()]
    routes = ["| request | does | scopes |", "|---|---|---|"]
    for route in ROUTES:
        who = ", ".join(f"`{kind}`" for kind in sorted(route.who))
        routes.append(f"| `{route.name}` | {route.summary} | {who} |")
    for name, lines in (("codes", codes), ("routes", routes)):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        made = "\n".join([begin, "", *lines, "", end])
        text = re.sub(f"{begin}.*?{end}", lambda _, made=made: made, text, flags=re.S)  # type: ignore[misc]  # a default is no argument
    return text


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a client of the old document could stumble over."""
    found = []
    for path, operations in old["paths"].items():
        for method, was in operations.items():
            place = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                found.append(f"{place} is gone")
                continue
            found += [f"{place}: {what}" for what in _parameters(was, now)]
            if gone := was["responses"].keys() - now["responses"].keys():
                found.append(f"{place}: answers {', '.join(sorted(gone))} are gone")
    sent, answered = _used(old, "requestBody"), _used(old, "responses")
    for name, was in old["components"]["schemas"].items():
        now = new["components"]["schemas"].get(name)
        if now is None:
            found.append(f"schema {name} is gone")
            continue
        if name in sent:
            found += [f"schema {name}: {what}" for what in _narrower(was, now)]
        if name in answered:
            found += [f"schema {name}: {what}" for what in _narrower(now, was, answer=True)]
    return found


def _parameters(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    before = {(one["in"], one["name"]): one for one in was["parameters"]}
    after = {(one["in"], one["name"]): one for one in now["parameters"]}
    for (_, name), one in before.items():
        other = after.get((one["in"], name))
        if other is None:
            yield f"parameter {name} is gone"
        elif other["schema"] != one["schema"] and _type(other["schema"]) != _type(one["schema"]):
            yield f"parameter {name} has another type"
    for (kind, name), one in after.items():
        if one.get("required") and (kind, name) not in before:
            yield f"parameter {name} is required now"


def _narrower(
    wide: dict[str, Any], narrow: dict[str, Any], *, answer: bool = False
) -> Iterator[str]:
    """What fits the first and not the second. For an answer the first is the new one."""
    had, has = wide.get("properties", {}), narrow.get("properties", {})
    if answer:
        for name in has.keys() - had.keys():
            yield f"{name} is gone"
        for name in set(narrow.get("required", [])) - set(wide.get("required", [])):
            yield f"{name} may be missing now"
    else:
        for name in had.keys() - has.keys():
            yield f"{name} is not accepted now"
        for name in set(narrow.get("required", [])) - set(wide.get("required", [])):
            yield f"{name} is required now"
    for name in had.keys() & has.keys():
        if not _type(had[name]) <= _type(has[name]):
            yield f"{name} has another type"


def _type(schema: dict[str, Any]) -> frozenset[str]:
    """Types and values that fit; a list with what it holds."""
    if "anyOf" in schema:
        return frozenset().union(*(_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return frozenset(map(str, schema["enum"]))
    if "items" in schema:
        return frozenset(f"array of {one}" for one in _type(schema["items"]))
    return frozenset({schema.get("$ref", schema.get("const", schema.get("type", "any")))})


def _used(document: dict[str, Any], part: str) -> set[str]:
    """Schemas that requests hold, or answers, also within others."""
    text = json.dumps([
        operation.get(part) for one in document["paths"].values() for operation in one.values()
    ])  # fmt: skip
    found: set[str] = set()
    new = set(re.findall(r"#/components/schemas/(\w+)", text))
    while new:
        found |= new
        held = json.dumps([document["components"]["schemas"].get(name) for name in new])
        new = set(re.findall(r"#/components/schemas/(\w+)", held)) - found
    return found


def main() -> None:
    made = current()
    if DOCUMENT.exists():
        old = json.loads(DOCUMENT.read_text("utf-8"))
        if broken := breaking(old, json.loads(made)):
            sys.exit("the API would break its clients:\n  " + "\n  ".join(broken))
    DOCUMENT.write_text(made, "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
