"""One request, from its head to its answer: key, scope, body, transaction."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cdc.errors import CdcError
from cdc.web import idempotency, keys, routes
from cdc.web.access import Access
from cdc.web.call import ApiAnswer, Call, Route, Service
from cdc.web.idempotency import Stored
from cdc.web.problems import Problem, problem_of
from cdc.webhooks.audit import Actor
from cdc.wording import expected

_OBJECTS = frozenset({"model_type", "model_attributes_type", "dict_type"})  # pydantic's kinds
_BEARER = re.compile(r"Bearer +([\x21-\x7e]+) *", re.IGNORECASE)
_VERSION = re.compile(r'"([1-9][0-9]{0,17})"')
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """An HTTP request whose body has arrived. Names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    source: str
    id: str


@dataclass(frozen=True, slots=True)
class ApiReply:
    status: int
    headers: Mapping[str, str]
    body: bytes


def sent_key(headers: Mapping[str, str]) -> str:
    """The key in the head. Raises Problem without one."""
    found = _BEARER.fullmatch(headers.get("authorization", ""))
    if found is None:
        raise unauthorized()
    return found[1]


def unauthorized() -> Problem:
    return Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="cdc"'})


def with_key(
    service: Service,
    sent: str,
    work: Callable[[sa.Connection, keys.Key], T],
    webhook: int | None = None,
    *,
    one_read: bool = False,
) -> T:
    """The work, in the transaction in which the key was found to be valid. Raises Problem.

    webhook:  that the request is about.
    one_read: the work is one statement that reads; it comes after the one that reads the key.
    """
    begin = service.pool.statements if one_read else service.pool.transaction
    try:
        with begin() as conn:
            key = _known(conn, sent, webhook)
            if not key.rested:
                return work(conn, key)
        # A transaction of its own: it stays where the work fails, and a long one does not hold
        # the key's row.
        with service.pool.transaction() as conn:
            keys.used(conn, key)
        with begin() as conn:
            return work(conn, _known(conn, sent, webhook))
    except CdcError as error:
        raise problem_of(error) from error


def _known(conn: sa.Connection, sent: str, webhook: int | None) -> keys.Key:
    key = keys.valid(conn, sent, webhook)
    if key is None:
        raise unauthorized()
    return key


def carry_out(
    service: Service,
    route: Route,
    params: Mapping[str, str],
    request: ApiRequest,
    conn: sa.Connection,
    key: keys.Key,
) -> ApiReply:
    """All of the request, in this transaction. Raises Problem, CdcError."""
    access = Access(key, conn)
    access.admit(route.who)
    query = _query(route, request)
    body = _body(route, request)
    version = _version(route, request)
    name = request.headers.get("idempotency-key")
    if route.method != "POST" or name is None:
        return _reply(_handle(service, route, params, request, access, query, body, version))
    idempotency.check(name)
    digest = hashlib.sha256(request.path.encode() + b"\0" + request.body).digest()
    before = idempotency.begin(conn, key, name, route.name, digest)
    if before is not None:
        return _unpacked(before)
    made = _reply(_handle(service, route, params, request, access, query, body, version))
    idempotency.end(conn, key, name, route.name, _packed(made))
    return made


def _handle(
    service: Service,
    route: Route,
    params: Mapping[str, str],
    request: ApiRequest,
    access: Access,
    query: Any,
    body: Any,
    version: int | None,
) -> ApiAnswer:
    actor = Actor(f"key:{access.key.id}", request.source, request.id)
    bound = service.registry.within(access.conn, actor)
    return route.handler(
        Call(service, params, query, body, access.conn, access, actor, bound, version)
    )


def _query(route: Route, request: ApiRequest) -> BaseModel | None:
    if route.query is None:
        if request.query:
            raise Problem("invalid", errors=dict.fromkeys(request.query, "unknown parameter"))
        return None
    return _checked(route.query, dict(request.query))


def _body(route: Route, request: ApiRequest) -> BaseModel | None:
    if route.body is None:
        if request.body:
            raise Problem("invalid", "this request must not have a body")
        return None
    if not request.body and not any(f.is_required() for f in route.body.model_fields.values()):
        return route.body()
    if not request.body:
        raise Problem("invalid", errors={"body": "this request needs one: a JSON object"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON and not (route.patch and kind == MERGE_PATCH):
        accepted = f"{MERGE_PATCH} or {JSON}" if route.patch else JSON
        raise Problem("unsupported_media_type", f"expected Content-Type: {accepted}")
    return _checked(route.body, request.body)


def _checked(model: type[BaseModel], given: bytes | dict[str, str]) -> BaseModel:
    try:
        if isinstance(given, bytes):
            checked = model.model_validate_json(given)
            json.loads(given, object_pairs_hook=_named_once)
            return checked
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if any(one["type"] == "json_invalid" for one in found):
            text = found[0]["msg"].removeprefix("Invalid JSON: ")
            raise Problem("bad_request", f"invalid JSON: {text}") from None
        whole = "body" if isinstance(given, bytes) else "query"
        errors = {".".join(map(str, one["loc"])) or whole: _expected(one) for one in found[:50]}
        for one in found[:50]:
            if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                errors[str(one["loc"][0]) or whole] += f". {_possible(model, str(one['loc'][0]))}"
        raise Problem("invalid", errors=errors) from None


def _expected(error: ErrorDetails) -> str:
    """Of a body or a query; elsewhere what JSON calls an object may be a table of a file."""
    return "expected a JSON object" if error["type"] in _OBJECTS else expected(error)


def _possible(model: type[BaseModel], name: str) -> str:
    known = sorted(model.model_fields)
    close = get_close_matches(name, known, 1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


def _named_once(pairs: list[tuple[str, Any]]) -> None:
    """Raises Problem for a name that an object has twice: other programs take the first."""
    if len(dict(pairs)) < len(pairs):
        times = Counter(name for name, _ in pairs)
        twice = [name for name, many in times.items() if many > 1]
        raise Problem("invalid", errors=dict.fromkeys(twice, "given more than once"))


def _version(route: Route, request: ApiRequest) -> int | None:
    """What If-Match asks for; None: nothing, or ``*``."""
    given = request.headers.get("if-match")
    if not route.if_match or given is None or given.strip() == "*":
        return None
    found = _VERSION.fullmatch(given.strip())
    if found is None:
        raise Problem("version_changed", "If-Match is the ETag of an answer: the version in quotes")
    return int(found[1])


def _reply(answer: ApiAnswer) -> ApiReply:
    body = answer.body
    if body is None:
        return ApiReply(answer.status, answer.headers, b"")
    written = body if isinstance(body, bytes) else body.model_dump_json().encode()
    return ApiReply(answer.status, {"Content-Type": JSON, **answer.headers}, written)


def _packed(reply: ApiReply) -> Stored:
    return Stored(reply.status, orjson.dumps([dict(reply.headers), reply.body.decode()]))


def _unpacked(stored: Stored) -> ApiReply:
    headers, body = orjson.loads(stored.packed)
    return ApiReply(stored.status, {**headers, "Idempotency-Replayed": "true"}, body.encode())


def route_of(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Raises Problem."""
    route, params, possible = routes.find(method, path)
    if route is not None:
        return route, params
    if possible:
        allow = ", ".join(sorted(possible))
        raise Problem("method_not_allowed", headers={"Allow": allow})
    raise Problem("not_found")
