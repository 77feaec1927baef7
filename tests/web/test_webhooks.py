"""Webhooks over the API: registered, shown, changed, stopped, removed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cdc.sandbox.suite import declaring
from tests.web.browser import person
from tests.web.kit import Answer, Client, Served, account, problem, serving

HOOK = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/hook"}


@pytest.fixture(scope="module")
def served(
    shared_database: str, admin: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """With a mapping that declares fields of candidates."""
    file = tmp_path_factory.mktemp("mapping") / "suite.toml"
    file.write_text(declaring("candidate_changed", 'fields = ["status", "score"]').source)
    with (
        account(admin, shared_database) as url,
        serving(url, shared_database, CDC_MAPPING=str(file)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def add(client: Client, company: str = "1", **fields: Any) -> Any:
    fields.setdefault("endpoint", f"http://127.0.0.1:9/{len(fields)}/{add.count}")  # type: ignore[attr-defined]  # counts below
    add.count += 1  # type: ignore[attr-defined]  # counts below
    return client.good("POST", f"/v1/companies/{company}/webhooks", {**HOOK, **fields})


add.count = 0  # type: ignore[attr-defined]  # every endpoint is another one


def test_registering_shows_the_secret_once(served: Served, operator: Client) -> None:
    answer = operator("POST", "/v1/companies/7/webhooks", {**HOOK, "ref": "ats-1"})
    assert answer.status == 201
    made = answer.json
    assert made["secret"].startswith("whsec_")
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    shown = operator.good("GET", answer.headers["location"])
    assert "secret" not in shown
    assert shown == {k: v for k, v in made.items() if k in shown}
    (kept,) = served.rows("select secret from cdc.webhook_secret where webhook_id = %s", made["id"])
    assert kept == (made["secret"],)
    (company, event) = served.rows(
        "select company, event from cdc.subscription where webhook_id = %s", made["id"]
    )[0]
    assert (company, event) == ("7", "project_changed")


def test_a_key_pair_shows_its_public_key(operator: Client) -> None:
    made = add(operator, signature="v1a")
    assert made["secret"] is None
    assert made["public_key"].startswith("whpk_")
    rotated = operator.good("POST", f"/v1/webhooks/{made['id']}/rotate-secret", {})
    assert rotated["signature"] == "v1a"


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"events": ["nothing_changed"]}, 422, "invalid", "events"),
        ({"events": []}, 422, "invalid", "events"),
        ({"endpoint": "ftp://x/"}, 422, "invalid", "endpoint"),
        ({"endpoint": "http://10.1.2.3/"}, 422, "address_refused", "endpoint"),
        ({"endpoint": "http://169.254.169.254/latest/"}, 422, "address_refused", "endpoint"),
        ({"endpoint": "https://[::ffff:10.0.0.1]/"}, 422, "address_refused", "endpoint"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, 422, "invalid", "headers"),
        ({"headers": {"Content-Length": "1"}}, 422, "invalid", "headers"),
        ({"tls_profile": "../etc"}, 422, "invalid", "tls_profile"),
        ({"rate_limit": 0}, 422, "invalid", "rate_limit"),
        ({"max_concurrency": "4"}, 422, "invalid", "max_concurrency"),
        ({"ref": "a\u0000"}, 422, "invalid", "ref"),
        ({"unknown": 1}, 422, "invalid", "unknown"),
        ({"actions": ["deleted"]}, 422, "invalid", "actions"),
        ({"filter": {"status": ["new"]}}, 422, "invalid", "filter"),
        ({"filter": {"status": []}}, 422, "invalid", "filter"),
        ({"changed": ["status"]}, 422, "invalid", "changed"),
        ({"changed": []}, 422, "invalid", "changed"),
        ({"include": ["status"]}, 422, "invalid", "include"),
        ({"include": "status"}, 422, "invalid", "include"),
    ],
)
def test_bad_input_names_the_field(
    operator: Client, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = operator("POST", "/v1/companies/1/webhooks", {**HOOK, **change})
    found = problem(answer)
    assert (answer.status, found["code"]) == (status, code), found
    assert field in {error["field"].partition(".")[0] for error in found["errors"]}
    assert "`cdc " not in answer.body.decode()


def test_a_duplicate_and_a_ref_that_is_taken_are_conflicts(operator: Client) -> None:
    made = add(operator, "2", ref="mine")
    again = {**HOOK, "endpoint": made["endpoint"]}
    assert operator.refused("POST", "/v1/companies/2/webhooks", again) == (409, "duplicate")
    other = {**HOOK, "endpoint": "http://127.0.0.1:9/other", "ref": "mine"}
    assert operator.refused("POST", "/v1/companies/2/webhooks", other) == (409, "duplicate")
    found = operator.good("GET", "/v1/companies/2/webhooks?ref=mine")
    assert [one["id"] for one in found["items"]] == [made["id"]]


def test_a_change_names_only_what_changes(operator: Client) -> None:
    made = add(operator, rate_limit=5.0, headers={"X-Key": "of-the-header"})
    path = f"/v1/webhooks/{made['id']}"
    answer = operator(
        "PATCH",
        path,
        {"rate_limit": None, "description": "new"},
        {"If-Match": f'"{made["version"]}"', "Content-Type": "application/merge-patch+json"},
    )
    assert answer.status == 200, answer.body
    changed = answer.json
    assert (changed["rate_limit"], changed["description"]) == (None, "new")
    assert changed["headers"] == {"X-Key": "***"}
    assert answer.headers["etag"] == f'"{changed["version"]}"'
    stale = {"If-Match": f'"{made["version"]}"'}
    refused = operator("PATCH", path, {"description": "late"}, stale)
    assert problem(refused)["code"] == "version_changed"
    assert operator("DELETE", path, None, stale).status == 412
    assert operator.good("GET", path)["description"] == "new"
    assert problem(operator("PATCH", path, {"endpoint": None}))["errors"][0]["field"] == "endpoint"


def test_what_a_webhook_wants_of_its_events(served: Served, operator: Client) -> None:
    """Actions, values of fields, and what an update must have changed."""
    found = {one["name"]: one["fields"] for one in operator.good("GET", "/v1/events")["items"]}
    assert (found["candidate_changed"], found["note_changed"]) == (["status", "score"], None)
    made = add(
        operator,
        events=["candidate_changed"],
        actions=["modified"],
        filter={"status": ["done", ""]},
        changed=["score", "status", "score"],
        include=["score", "score"],
    )
    path = f"/v1/webhooks/{made['id']}"
    wants = {name: made[name] for name in ("actions", "filter", "changed", "include")}
    assert wants == {
        "actions": ["modified"],
        "filter": {"status": ["done", ""]},
        "changed": ["score", "status"],
        "include": ["score"],
    }
    stored = "select actions, filter, changed from cdc.subscription where webhook_id = %s"
    assert served.rows(stored, made["id"]) == [("m", {"status": ["done", ""]}, ["score", "status"])]
    changed = operator.good("PATCH", path, {"changed": [], "filter": None})
    assert (changed["actions"], changed["filter"], changed["changed"]) == (["modified"], {}, [])
    assert changed["include"] == ["score"]
    assert operator.good("PATCH", path, {"include": ["status", "score"]})["changed"] == []
    included = "select include from cdc.subscription where webhook_id = %s"
    assert served.rows(included, made["id"]) == [(["status", "score"],)]
    assert operator.good("PATCH", path, {"include": None})["include"] == []
    assert served.rows(included, made["id"]) == [(None,)]
    refused = problem(operator("PATCH", path, {"include": ["stat"]}))
    assert refused["errors"][0]["field"] == "include"
    changed = operator.good("PATCH", path, {"changed": None, "actions": None})
    assert (changed["actions"], changed["changed"]) == (["created", "modified"], None)
    assert served.rows(stored, made["id"]) == [(None, None, None)]
    refused = problem(operator("PATCH", path, {"changed": ["stat"]}))
    assert refused["errors"][0]["field"] == "changed"
    assert "Its fields: status, score." in refused["detail"]
    operator.good("PATCH", path, {"changed": ["status"]})
    refused = problem(operator("PATCH", path, {"events": ["note_changed"]}))
    assert "event note_changed has no field 'status'" in refused["detail"]


async def test_the_same_on_the_console(served: Served, operator: Client) -> None:
    stored = "select actions, filter, changed from cdc.subscription where webhook_id = %s"
    form = [
        *(("company", "1"), ("endpoint", "http://127.0.0.1:9/wants")),
        *(("events", "candidate_changed"), ("actions", "modified"), ("actions", "created")),
        *(("filter", "status = done,\r\n\r\nscore=1,2"), ("changed", "fields")),
        *(("fields", "score, status"), ("include", " score ,status,")),
    ]
    included = "select include from cdc.subscription where webhook_id = %s"
    async with person(served.url) as one:
        await one.sign_in(operator.key or "")
        page = await one.post("/register", form)
        assert page.status == 201, page.text
        number = int(next(link for link in page.links if "/webhooks/" in link).rpartition("/")[2])
        wanted = {"status": ["done", ""], "score": ["1", "2"]}
        assert served.rows(stored, number) == [(None, wanted, ["score", "status"])]
        page = await one.get(f"/webhooks/{number}/edit")
        assert "its fields: status, score" in page.text
        assert "score=1,2\nstatus=done,</textarea>" in page.html
        assert 'name="changed" value="fields" checked' in page.html
        assert 'name="include" type="text" value="score, status"' in page.html
        assert served.rows(included, number) == [(["score", "status"],)]
        assert "score, status" in (await one.get(f"/webhooks/{number}")).text
        served.run("update cdc.subscription set filter = %s", '{"status": ["a,b"]}')
        edited = dict(form) | {"filter": "status=a,b", "changed": "row", "fields": "score"}
        await one.post(f"/webhooks/{number}/edit", edited)  # the filter stays as it is
        assert served.rows(stored, number) == [("c", {"status": ["a,b"]}, [])]
        assert served.rows(included, number) == [(["score", "status"],)]
        edited["include"] = ""
        edited |= {"filter": "", "changed": "any", "actions": "modified"}
        await one.post(f"/webhooks/{number}/edit", edited)
        assert served.rows(stored, number) == [("m", None, None)]
        assert served.rows(included, number) == [(None,)]
        del edited["actions"]
        page = await one.post(f"/webhooks/{number}/edit", edited)
        assert (page.status, "choose at least one" in page.text) == (422, True)


def test_pause_resume_remove(operator: Client) -> None:
    path = f"/v1/webhooks/{add(operator)['id']}"
    paused = operator.good("POST", f"{path}/pause", {"reason": "they move"})
    assert (paused["state"], paused["reason"]) == ("paused", "they move")
    assert operator.good("POST", f"{path}/resume")["state"] == "active"
    assert operator("DELETE", path).status == 204
    assert operator.good("GET", path)["state"] == "removed"
    for what in ("pause", "test", "rotate-secret"):
        answer = operator("POST", f"{path}/{what}", {})
        assert (answer.status, problem(answer)["errors"]) == (404, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [("GET", f"/v1/events?{'a=1&' * 40}", None, "at most 30 parameters"),
     ("GET", "/v1/audit?=1", None, "query: unknown name. Known: action, actor, after,"),
     ("GET", "/v1/audit?compny=1", None, "compny: unknown name. Did you mean company?"),
     ("POST", "/v1/backfills", b'{"as": "", "event": ""}', "event: expected 1 or more character"),
     ("POST", "/v1/companies/1/webhooks", None, "body: this request needs one"),
     ("POST", "/v1/companies/1/webhooks", b"{", "invalid JSON: EOF"),
     ("POST", "/v1/companies/1/webhooks", b"[]", "body: expected a JSON object"),
     ("PUT", "/v1/openapi.json", None, "`Allow`")],
)  # fmt: skip
def test_a_refusal_says_what_was_expected(
    operator: Client, method: str, path: str, body: bytes | None, detail: str
) -> None:
    found = problem(operator(method, path, body))
    fields = [f"{one['field']}: {one['message']}" for one in found["errors"]]
    assert detail in "\n".join([found["detail"], *fields])


def test_a_repeat_gets_the_same_answer_with_its_secret(served: Served, operator: Client) -> None:
    body = {**HOOK, "endpoint": "http://127.0.0.1:9/once"}
    path = "/v1/companies/6/webhooks"
    first = operator("POST", path, body, {"Idempotency-Key": "a-1"})
    again = operator("POST", path, body, {"Idempotency-Key": "a-1"})
    assert (first.status, again.status) == (201, 201)
    assert first.json == again.json
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    other = operator("POST", path, {**body, "description": "x"}, {"Idempotency-Key": "a-1"})
    assert problem(other)["code"] == "idempotency_key_reused"
    # Of another key it is another request.
    stranger = served.client("company:6")
    assert stranger.refused("POST", path, body, Idempotency_Key="a-1") == (409, "duplicate")
    # What is stored cannot be read without the key.
    (answer,) = served.rows("select answer from cdc.idempotency where name = 'a-1'")[0]
    assert first.json["secret"].encode() not in bytes(answer)


def test_repeats_at_the_same_time_change_once(served: Served, operator: Client) -> None:
    body = {**HOOK, "endpoint": "http://127.0.0.1:9/together"}
    answers: list[Answer] = []

    def send() -> None:
        answers.append(
            operator("POST", "/v1/companies/8/webhooks", body, {"Idempotency-Key": "b-1"})
        )

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer.status for answer in answers] == [201] * 4
    assert len({answer.body for answer in answers}) == 1
    assert served.rows("select count(*) from cdc.webhook where company = '8'") == [(1,)]


def test_what_is_refused_is_not_stored(operator: Client) -> None:
    path = "/v1/companies/9/webhooks"
    bad = {**HOOK, "events": ["nothing_changed"]}
    assert operator.refused("POST", path, bad, Idempotency_Key="c-1") == (422, "invalid")
    made = operator("POST", path, HOOK, {"Idempotency-Key": "c-1"})
    assert made.status == 201
    for name in ("", "a b", "x" * 256):
        assert operator.refused("POST", path, HOOK, Idempotency_Key=name)[0] == 422


def test_each_change_has_one_entry_without_secrets(served: Served, operator: Client) -> None:
    made = operator.good(
        "POST",
        "/v1/companies/3/webhooks",
        {**HOOK, "endpoint": "http://user:of-the-login@127.0.0.1:9/x",
         "headers": {"X-Key": "of-the-header"}},
    )  # fmt: skip
    path = f"/v1/webhooks/{made['id']}"
    operator.good("PATCH", path, {"description": "d"})
    operator.good("POST", f"{path}/pause", {})
    operator.good("POST", f"{path}/pause", {})  # nothing changes
    operator.good("POST", f"{path}/resume", {})
    rotated = operator.good("POST", f"{path}/rotate-secret", {"grace": 0})
    operator("DELETE", path)
    page = operator.good("GET", f"/v1/audit?webhook={made['id']}")
    assert [one["action"].partition(".")[2] for one in page["items"]] == [
        "remove", "rotate_secret", "resume", "pause", "update", "add",
    ]  # fmt: skip
    update = page["items"][-2]
    assert (update["before"], update["after"]) == ({"description": ""}, {"description": "d"})
    assert update["actor"].startswith("key:")
    assert update["source"] == "127.0.0.1"
    audit = str(served.rows("select * from cdc.audit"))
    for secret in (made["secret"], rotated["secret"], "of-the-login", "of-the-header"):
        assert secret not in audit


def test_what_cannot_be_written_into_the_audit_is_not_done(
    served: Served, operator: Client
) -> None:
    number = add(operator, "4")["id"]
    served.run(
        "alter table cdc.audit add constraint none check (action <> 'webhook.pause') not valid"
    )
    try:
        assert operator.refused("POST", f"/v1/webhooks/{number}/pause", {})[0] >= 500
    finally:
        served.run("alter table cdc.audit drop constraint none")
    assert operator.good("GET", f"/v1/webhooks/{number}")["state"] == "active"
