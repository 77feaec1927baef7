"""Every route with every kind of key: what it may, what it may not, what is not there for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from cdc.web.call import Route
from cdc.web.routes import ROUTES
from tests.web.kit import Client, Served, problem

HOOK = {"events": ["candidate_changed"], "endpoint": "http://127.0.0.1:9/hook"}
BODIES: dict[str, Any] = {
    "POST /v1/companies/{company}/webhooks": HOOK,
    "PATCH /v1/webhooks/{webhook_id}": {"description": "taken"},
    "POST /v1/replays": {"dry_run": True},
    "POST /v1/keys": {"scope": "read"},
    "POST /v1/companies/{company}/contacts": {"email": "more@example.com"},
}
SCOPES = ("admin", "operator", "read", "company", "webhook")


@dataclass(frozen=True, slots=True)
class Owned:
    """What belongs to a company: for each name in a path, the one to put there."""

    company: str
    webhook_id: int
    uid: str
    task_id: str
    backfill_id: int
    contact_id: int
    key_id: str = "aaaaaaaaaaaa"

    def path(self, route: Route) -> str:
        return route.path.format(
            company=self.company,
            webhook_id=self.webhook_id,
            uid=self.uid,
            task_id=self.task_id,
            backfill_id=self.backfill_id,
            contact_id=self.contact_id,
            key_id=self.key_id,
        )


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


@pytest.fixture(scope="module")
def seven(served: Served, operator: Client) -> Owned:
    return owned(served, operator, "7")


@pytest.fixture(scope="module")
def eight(served: Served, operator: Client) -> Owned:
    return owned(served, operator, "8")


def owned(served: Served, operator: Client, company: str) -> Owned:
    """A webhook with a dead delivery, and a task that has ended."""
    made = operator.good(
        "POST",
        f"/v1/companies/{company}/webhooks",
        {**HOOK, "endpoint": f"http://127.0.0.1:9/{company}", "description": f"of {company}"},
    )
    ((uid,),) = served.rows(
        "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries) select %s, %s, gen_random_uuid(), '1', id, 'm', now(), '{1,2,3}', event,"
        " '3', 1, 1 from cdc.layout where event = 'candidate_changed' limit 1 returning uid::text",
        made["id"],
        1000 + made["id"],
    )
    ((task,),) = served.rows(
        "insert into cdc.task (kind, state, actor, company, webhook_id, request)"
        " values ('replay', 'done', 'test', %s, %s, '{}') returning id::text",
        *(company, made["id"]),
    )
    served.run(
        "insert into cdc.notice (kind, webhook_id, company, since, cause, sentence)"
        " values ('suspended', %s, %s, now(), '', %s)",
        *(made["id"], company, f"a notice of {company}"),
    )
    ((backfill,),) = served.rows(
        "insert into cdc.backfill (webhook_id, event, action, actor)"
        " values (%s, 'candidate_changed', 'c', %s) returning id",
        *(made["id"], f"of {company}"),
    )
    [contact] = served.rows(
        "insert into cdc.contact (company, email, code) values (%s, %s, %s) returning id",
        *(company, f"it.of.{company}@example.com", f"code of {company}"),
    )
    return Owned(company, made["id"], uid, task, backfill, *contact)


def call(client: Client, route: Route, thing: Owned) -> Any:
    body = BODIES.get(route.name, {} if route.body is not None else None)
    if route.path == "/v1/explain":
        return client(route.method, f"/v1/explain?what={thing.uid}")
    if route.path == "/v1/deliveries":
        return client(route.method, f"/v1/deliveries?webhook={thing.webhook_id}")
    if route.name == "POST /v1/replays":
        body = {"dry_run": True, "webhook": thing.webhook_id}
    if route.name == "POST /v1/backfills":
        body = {"webhook": thing.webhook_id, "event": "note_changed", "action": "created"}
    return client(route.method, thing.path(route), body)


def named(part: str | Route) -> str:
    return part if isinstance(part, str) else part.name


PARTS = ("company", "webhook_id", "uid", "task_id", "backfill_id", "contact_id")
NAMED_ELSEWHERE = ("POST /v1/replays", "POST /v1/backfills", "GET /v1/deliveries")


def names(route: Route) -> bool:
    """Whether the route leads to a thing of a company."""
    return any(f"{{{part}}}" in route.path for part in PARTS)


@pytest.mark.parametrize(
    ("scope", "route"), [(s, r) for s in SCOPES for r in ROUTES if s not in r.who], ids=named
)
def test_a_kind_that_may_not_is_forbidden(
    served: Served, seven: Owned, scope: str, route: Route
) -> None:
    """A key that only reads writes nothing, and only admin sees keys."""
    client = served.client(full(scope, seven))
    before = state(served)
    answer = call(client, route, seven)
    assert (answer.status, problem(answer)["code"]) == (403, "forbidden")
    assert state(served) == before


@pytest.mark.parametrize(
    ("scope", "route"),
    [(s, r) for s in ("company", "webhook") for r in ROUTES if s in r.who],
    ids=named,
)
def test_what_belongs_to_another_company_is_not_there(
    served: Served, seven: Owned, eight: Owned, scope: str, route: Route
) -> None:
    client = served.client(full(scope, seven))
    before = state(served)
    answer = call(client, route, eight)
    if not names(route) and route.name not in NAMED_ELSEWHERE:
        assert f"of {eight.company}" not in answer.body.decode()
        return
    assert (answer.status, problem(answer)["code"]) == (404, "not_found")
    assert state(served) == before
    # The same as for what does not exist at all.
    nothing = Owned("no-such", 4711, "00000000-0000-4000-8000-000000000000",
                    "00000000-0000-4000-8000-000000000000", 4711, 4711)  # fmt: skip
    other = call(client, route, nothing)
    assert {**other.json, "request_id": ""} == {**answer.json, "request_id": ""}


@pytest.mark.parametrize(
    ("scope", "route"),
    [(s, r) for s in SCOPES for r in ROUTES if s in r.who and r.method == "GET"],
    ids=named,
)
def test_who_may_read_reads_its_own(served: Served, seven: Owned, scope: str, route: Route) -> None:
    answer = call(served.client(full(scope, seven)), route, seven)
    assert answer.status == 200, answer.body


def test_webhooks_are_those_of_the_key(served: Served, seven: Owned, eight: Owned) -> None:
    wide = served.client("read")
    every = [one["id"] for one in wide.good("GET", "/v1/webhooks")["items"]]
    assert every == sorted({seven.webhook_id, eight.webhook_id} | set(every))
    [other] = wide.good("GET", "/v1/webhooks?company=8")["items"]
    assert other == wide.good("GET", f"/v1/webhooks/{eight.webhook_id}")
    more = served.client("operator").good(
        "POST", "/v1/companies/7/webhooks", {**HOOK, "endpoint": "http://127.0.0.1:9/more"}
    )
    of_company = served.client("company:7")
    own = of_company.good("GET", "/v1/webhooks")
    assert own == of_company.good("GET", "/v1/webhooks?company=7")
    assert own == of_company.good("GET", "/v1/companies/7/webhooks")
    assert [one["id"] for one in own["items"]] == [seven.webhook_id, more["id"]]
    of_webhook = served.client(f"webhook:{seven.webhook_id}")
    assert of_webhook.good("GET", "/v1/webhooks") == {"items": own["items"][:1], "next": None}
    assert of_webhook.good("GET", "/v1/webhooks?state=paused")["items"] == []
    for client in (of_company, of_webhook):
        assert client.refused("GET", "/v1/webhooks?company=8") == (404, "not_found")
    # Nor is there a way around by a cursor of another's.
    after = wide.good("GET", f"/v1/webhooks?limit={len(every) - 1}")["next"]
    assert of_webhook.good("GET", f"/v1/webhooks?after={after}")["items"] == []
    seen = of_company.good("GET", f"/v1/webhooks?after={after}")["items"]
    assert {one["company"] for one in seen} <= {"7"}


def test_notices_are_those_of_the_key(served: Served, seven: Owned, eight: Owned) -> None:
    everything = served.client("read").good("GET", "/v1/notices")["items"]
    assert {one["company"] for one in everything} >= {"7", "8"}
    for scope in ("company:7", f"webhook:{seven.webhook_id}"):
        client = served.client(scope)
        [own] = client.good("GET", "/v1/notices")["items"]
        assert (own["webhook_id"], own["sentence"]) == (seven.webhook_id, "a notice of 7")
        assert client.good("GET", f"/v1/notices?webhook={seven.webhook_id}")["items"] == [own]
        for query in ("company=8", f"webhook={eight.webhook_id}"):
            assert client.refused("GET", f"/v1/notices?{query}") == (404, "not_found")
    page = served.client("read").good("GET", "/v1/notices?limit=1")
    following = served.client("read").good("GET", f"/v1/notices?limit=1&after={page['next']}")
    assert following["items"][0]["id"] < page["items"][0]["id"]


def test_replays_of_a_company_stay_in_it(served: Served, seven: Owned, eight: Owned) -> None:
    client = served.client("company:7")
    for body in ({"company": "8"}, {"webhook": eight.webhook_id}):
        assert client.refused("POST", "/v1/replays", body) == (404, "not_found")
    found = client.good("POST", "/v1/replays", {"uids": [seven.uid, eight.uid], "dry_run": True})
    assert [group["company"] for group in found["groups"]] == ["7"]
    made = client("POST", "/v1/replays", {"uids": [eight.uid]})
    assert made.status == 202
    assert made.json["company"] == "7"


def test_a_companys_key_sets_neither_certificates_nor_capacity(
    served: Served, seven: Owned
) -> None:
    client = served.client("company:7")
    for field, value in (("tls_profile", "inside"), ("max_concurrency", 1000)):
        answer = client("PATCH", f"/v1/webhooks/{seven.webhook_id}", {field: value})
        assert (answer.status, problem(answer)["errors"][0]["field"]) == (403, field)


def test_keys_that_are_not_valid(served: Served) -> None:
    revoked = served.key("admin")
    Client(served.url, served.key("admin")).good("DELETE", f"/v1/keys/{revoked.split('_')[1]}")
    expired = served.key("admin", expires=timedelta(microseconds=1))
    good = served.key("admin")
    number, secret = good.split("_", 2)[1:]
    other = served.key("admin").split("_", 2)[2]
    for sent in (
        revoked, expired, f"cdc_{number}_{other}", f"cdc_{'a' * 12}_{secret}", good[:-1],
        good + "x", good.upper(), "", "' or ''='", "cdc__", "\xe9" * 20,
    ):  # fmt: skip
        answer = Client(served.url)(
            "GET", "/v1/events", None, {"Authorization": f"Bearer {sent}",
                                        "X-Forwarded-For": "198.51.100.7"},
        )  # fmt: skip
        assert (answer.status, problem(answer)["code"]) == (401, "unauthorized"), sent
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert secret not in answer.body.decode()
    for scheme in ("Basic", "bearer2", ""):
        head = {"Authorization": f"{scheme} {good}".strip()}
        assert Client(served.url)("GET", "/v1/events", None, head).status == 401
    assert Client(served.url)("GET", f"/v1/events?key={good}").status == 401


def test_the_last_use_is_written_once_a_minute(served: Served) -> None:
    client = Client(served.url, served.key("read"))
    number = (client.key or "").split("_")[1]
    asked = "select last_used_at, xmin::text from cdc.api_key where id = %s"
    assert served.rows(asked, number)[0][0] is None
    client.good("GET", "/v1/events")
    first = served.rows(asked, number)
    assert first[0][0] is not None
    client.good("GET", "/v1/events")
    assert served.rows(asked, number) == first
    # What is refused is a use, too.
    other = Client(served.url, served.key("read"))
    assert other.refused("POST", "/v1/keys", {"scope": "read"}) == (403, "forbidden")
    assert served.rows(asked, (other.key or "").split("_")[1])[0][0] is not None


def test_without_a_valid_key_nothing_else_is_said(served: Served) -> None:
    stranger = Client(served.url, f"cdc_{'a' * 12}_{'b' * 43}")
    for path, body, head in (
        ("/v1/keys?a=1&a=2", None, {}), ("/v1/keys", b"x" * 70_000, {}), ("/v1/keys", b"{", {}),
        ("/v1/keys", b"{}", {"Content-Encoding": "gzip"}), ("/v1/keys?a=%ff", {}, {}),
    ):  # fmt: skip
        answer = stranger("POST", path, body, {"X-Forwarded-For": "198.51.100.9", **head})
        assert problem(answer)["code"] == "unauthorized", (path, head)


def full(scope: str, thing: Owned) -> str:
    value = {"company": thing.company, "webhook": str(thing.webhook_id)}.get(scope)
    return f"{scope}:{value}" if value else scope


def state(served: Served) -> list[tuple[Any, ...]]:
    """All that a request could change."""
    tables = (
        "webhook",
        "webhook_secret",
        "subscription",
        "retry",
        "dead",
        "task",
        "contact",
        "audit",
    )
    counts = [f"select '{t}', count(*), max(xmin::text::bigint) from cdc.{t}" for t in tables]
    return served.rows(
        " union all ".join([*counts, "select 'key', count(*), count(revoked_at) from cdc.api_key"])
    )
