"""Odd values in every place of every route: each refusal names its field, in words of ours."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest

from cdc.web.call import Route
from cdc.web.routes import ROUTES
from tests.web.kit import Client, Served, problem, until
from tests.web.test_attacks import raw, still_well  # noqa: F401 - autouse: no mistakes in the log

UID = "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"
PATH = {"company": "7", "backfill_id": "1", "contact_id": "1", "uid": UID, "task_id": UID,
        "key_id": "a" * 12}  # fmt: skip
TEXTS = [
    "", "0", "-1", "1e3", "99999999999999999999", "NaN", "' or 1=1 --", "\0", "\r\nX-A: b", "🕱",
    "a" * 3000, "2026-12-31T23:59:60Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z", "2026-01-31T10:00:00", "W251bGxd",
]  # fmt: skip
VALUES: list[Any] = [
    None, [], {}, 0, 2**63, 10**30, 1.5, 1e-320, float("nan"), float("inf"), True, [None], [[]],
    ["a"] * 3000, {"a": None}, {"a": []}, {"A\r\nB": "c"}, {"A": "c\r\nd: e"}, {"Host": "x"},
    {"A": "\ud800"}, "\ud800", "\0", "", "a" * 60_000, "0001-01-01T00:00:00Z",
    "http://127.0.0.1:99999/", "http://[::1", "http://u:p\0@127.0.0.1/", "a." * 600,
]  # fmt: skip
RAW = [
    b"", b"null", b"[]", b"1", b"{", b"\xef\xbb\xbf{}", b"\xff", b"[" * 60_000, b'{"a":' * 10_000,
    b'{"\\ud800": 1}', b'{"\\u0000": 1}', b"{" + b'"a":1,' * 8000 + b'"b":1}', b" " * 65_537,
    b'{"a": ' + b"9" * 60_000 + b"}", "{}".encode("utf-16"), b'{"a": 1, "a": 2}',
]  # fmt: skip
GOOD = {
    "events": ["project_changed"], "email": "a@example.com",
    "scope": "read", "event": "project_changed", "action": "created", "dry_run": True,
}  # fmt: skip
BACKFILL = {"event": "project_changed", "action": "created"}
_numbers = count(1)
OF_PYDANTIC = ("should ", "Input", "Value error", "unable to", "permitted", "required")


@pytest.fixture(scope="module")
def admin_client(served: Served) -> Client:
    return served.client("admin")


@pytest.fixture(scope="module")
def hook(admin_client: Client) -> int:
    asked = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/odd"}
    return int(admin_client.good("POST", "/v1/companies/7/webhooks", asked)["id"])


def path_of(route: Route, hook: int, **parts: str) -> str:
    path = route.path
    for name, value in {"webhook_id": str(hook), **PATH, **parts}.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def fields_of(client: Client, *request: Any) -> set[str]:
    """The fields that a refusal names; none where the value was accepted."""
    answer = client(*request)
    if answer.status < 400:
        return set()
    assert answer.status < 500, (request, answer.body)
    found = problem(answer)
    for text in (found["detail"], *(error["message"] for error in found["errors"])):
        assert not any(word in text for word in OF_PYDANTIC), (request, text)
    if found["code"] == "invalid":
        assert found["errors"] or found["detail"], (request, found)
    return {error["field"].partition(".")[0] for error in found["errors"]}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_in_path_and_query(admin_client: Client, hook: int, route: Route) -> None:
    if route.method == "DELETE":
        hook = 2**62  # is needed by the others
    for name in {"webhook_id", *PATH}:
        if f"{{{name}}}" in route.path:
            for value in TEXTS:
                fields_of(admin_client, route.method, path_of(route, hook, **{name: value}))
    for name in (*(route.query.model_fields if route.query else ()), "unknown"):
        for value in TEXTS:
            query = f"?{quote(name)}={quote(value)}"
            if route.method == "GET":
                named = fields_of(admin_client, "GET", path_of(route, hook) + query)
                assert named <= {name, "after", "what", "company", "event"}, query


@pytest.mark.parametrize("route", [r for r in ROUTES if r.body], ids=lambda route: route.name)
def test_in_bodies(admin_client: Client, hook: int, route: Route) -> None:
    assert route.body is not None
    path, good = path_of(route, hook), {**GOOD, "webhook": hook}
    if route.patch:
        good = {}
    for body in RAW:
        fields_of(admin_client, route.method, path, body)
    known = route.body.model_fields
    for name in known:
        for value in VALUES:
            good["endpoint"] = f"http://127.0.0.1:9/{next(_numbers)}"
            asked = {one: given for one, given in good.items() if one in known} | {name: value}
            named = fields_of(admin_client, route.method, path, json.dumps(asked).encode())
            assert named <= {name, "company", "event"}, (asked, named)


def test_an_object_has_each_name_once(admin_client: Client, hook: int) -> None:
    """Of two, a proxy that looks into bodies may have seen the other."""
    for body in (
        b'{"description": "a", "description": "b"}',
        b'{"filter": {"x": ["a"], "x": ["b"]}}',
    ):
        answer = admin_client("PATCH", f"/v1/webhooks/{hook}", body)
        assert (answer.status, problem(answer)["code"]) == (422, "invalid")
    assert "given more than once" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [("PATCH", "/v1/webhooks/{}", {"actions": ["deleted"]}, 422, "actions"),
     ("POST", "/v1/keys", {"scope": "webhook:999"}, 422, "scope"),
     ("POST", "/v1/replays", {"webhook": 999}, 404, "webhook"),
     ("POST", "/v1/backfills", {**BACKFILL, "webhook": 999}, 404, "webhook"),
     ("GET", "/v1/backfills?webhook=999", None, 404, "webhook"),
     ("GET", "/v1/notices?webhook=999", None, 404, "webhook"),
     ("GET", "/v1/deliveries?webhook=999", None, 404, "webhook"),
     ("GET", "/v1/webhooks/999", None, 404, None)],
)  # fmt: skip
def test_what_is_not_there_is_named(
    admin_client: Client,
    hook: int,
    method: str,
    path: str,
    body: Any,
    status: int,
    field: str | None,
) -> None:
    answer = admin_client(method, path.format(hook), body)
    assert answer.status == status
    assert [one["field"] for one in problem(answer)["errors"]] == ([field] if field else [])


def logged(served: Served, line: list[Any]) -> bool:
    names = ("route", "status", "request", "source", "key")
    return any(line == [one.get(name) for name in names] for one in served.lines)


def test_what_is_malformed_gets_a_problem_document(served: Served) -> None:
    """Its id is in the log, too, and nothing else of it."""
    for sent in (b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n"):
        head, _, body = raw(served, sent).partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0], head
        assert b"application/problem+json" in head
        found = json.loads(body)
        assert found["code"] == "bad_request"
        number = str(found["request_id"])
        assert f"X-Request-Id: {number}".encode() in head.splitlines()
        until(partial(logged, served, ["unknown", 400, number, "127.0.0.1", None]))
