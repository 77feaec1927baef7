"""The document of the API, OpenAPI 3.1, made of the routes and their models."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cdc import __version__
from cdc.web.call import Route
from cdc.web.models import ProblemOut
from cdc.web.problems import CODES, MEDIA_TYPE
from cdc.web.routes import COUNTED_ANSWERS, FORMS, ROUTES

_REF = "#/components/schemas/{model}"
_NUMBERS = {"webhook_id", "contact_id"}
_UUIDS = {"uid", "task_id"}


def document(url: str | None = None) -> dict[str, Any]:
    """url: under which it is reached."""
    wanted: list[type[BaseModel]] = [ProblemOut]
    for route in ROUTES:
        wanted += [model for model in (route.body, route.answer) if model is not None]
    wanted += COUNTED_ANSWERS.values()
    made = {}
    for mode in ("validation", "serialization"):
        used = [(model, mode) for model in dict.fromkeys(wanted)]
        _, schemas = models_json_schema(used, ref_template=_REF)  # type: ignore[arg-type]  # mode is one of its two
        made[mode] = schemas["$defs"]
    bodies = {route.body.__name__ for route in ROUTES if route.body is not None}
    both = {**made["serialization"], **{n: made["validation"][n] for n in bodies}}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cdc: webhooks of the interview suite", "version": __version__},
        "servers": [{"url": (url or "/").rstrip("/") or "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(both.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": route.summary,
        "description": f"Scopes: {', '.join(sorted(route.who))}.",
        "parameters": [*map(_in_path, re.findall(r"\{(\w+)\}", route.path)), *_in_query(route)],
        "responses": {
            str(route.status): _content(route.answer) if route.answer else {"description": "Done."},
            "default": {
                "description": "Refused or failed; `code` is one of "
                + ", ".join(f"`{code}`" for code in CODES)
                + ".",
                "content": {MEDIA_TYPE: {"schema": _ref(ProblemOut)}},
            },
        },
    }
    if (counted := COUNTED_ANSWERS.get(route.name)) is not None:
        made["responses"]["200"] = _content(counted)
    if route.method == "POST":
        made["parameters"].append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A repeat with the same one gets the same answer, for 24 hours.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    if route.if_match:
        made["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "ETag of the version that the change is meant for.",
                "schema": {"type": "string"},
            }
        )
    if route.body is not None:
        kinds = ["application/merge-patch+json"] if route.patch else []
        made["requestBody"] = {
            "required": any(f.is_required() for f in route.body.model_fields.values()),
            "content": {
                kind: {"schema": _ref(route.body)} for kind in [*kinds, "application/json"]
            },
        }
    return made


def _identifier(route: Route) -> str:
    """What a generated client's function is called: the thing, and what is done with it."""
    module = route.handler.__module__.rpartition(".")[2]
    named = {"installation": "", "tasks": "", "status": "", "owed": "deliveries_"}
    thing = named.get(module, f"{module}_")
    return f"{thing}{route.handler.__name__}"


def _in_path(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{FORMS[name]}$"}
    if name in _NUMBERS:
        schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
    elif name in _UUIDS:
        schema = {"type": "string", "format": "uuid"}
    elif name == "company":
        schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=_REF)
    found = []
    for name, own in schema["properties"].items():
        kept = {key: value for key, value in own.items() if key != "title"}
        entry = {"name": name, "in": "query", "required": name in schema.get("required", [])}
        if "description" in kept:
            entry["description"] = kept.pop("description")
        found.append({**entry, "schema": _not_null(kept)})
    return found


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In a query a parameter is left out; there is no null."""
    options = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(options) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**rest, **options[0]}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "description": "Done.",
        "content": {"application/json": {"schema": _ref(model)}},
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
