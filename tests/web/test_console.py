"""The console: its screens and forms, as the helpdesk uses them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.web.browser import Page, Person, person
from tests.web.kit import Served

BOTH = [("actions", "created"), ("actions", "modified")]
HOOK = [("events", "project_changed"), ("events", "candidate_changed"), *BOTH]
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=y>{{7*7}}`x"


@pytest.fixture
async def admin_person(served: Served) -> AsyncIterator[Person]:
    async with person(served.url) as one:
        page = await one.sign_in(served.client("admin").key or "")
        assert (page.status, page.path) == (200, "/console/companies")
        yield one


@dataclass(frozen=True, slots=True)
class Owed:
    """A webhook with a dead delivery."""

    number: int
    dead: str


async def register(one: Person, company: str, endpoint: str, **fields: str) -> tuple[int, Page]:
    page = await one.post(
        "/register", [*HOOK, ("company", company), ("endpoint", endpoint), *fields.items()]
    )
    assert page.status == 201, page.text
    (link,) = (link for link in page.links if "/webhooks/" in link)
    return int(link.rpartition("/")[2]), page


async def owed(served: Served, one: Person, company: str) -> Owed:
    number, _ = await register(one, company, f"http://127.0.0.1:9/owed/{company}")
    ((dead,),) = served.rows(
        "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries, last_status, last_error) select %s, %s, gen_random_uuid(), '1', id, 'm',"
        " now(), '{1,2,3}', event, '3', 1, 1, 500, 'status' from cdc.layout"
        " where event = 'candidate_changed' limit 1 returning uid::text",
        number,
        5000 + number,
    )
    return Owed(number, dead)


async def test_the_overview_says_what_is_wrong_and_what_to_do(
    served: Served, admin_person: Person
) -> None:
    made = await owed(served, admin_person, "4")
    page = await admin_person.see("/", f" {made.number} 4 ")
    assert "no daemon runs" in page.text.lower()
    assert "Start cdc run" in page.text
    assert "1 delivery dead" in page.text
    assert f"/console/webhooks/{made.number}" in page.links
    assert "cannot be read" not in page.text
    served.run(
        "insert into cdc.notice (kind, webhook_id, company, since, cause, sentence) values"
        " ('dead', %s, '4', now(), 'status 500', 'It is `dead` <now>')", made.number,
    )  # fmt: skip
    page = await admin_person.get("/")
    assert f"Webhook {made.number} of 4: It is dead <now>" in page.text
    assert "It is dead <now>" in (await admin_person.get(f"/webhooks/{made.number}")).text
    assert "0 attempts failed" in page.text


async def test_companies_are_found_by_prefix(admin_person: Person) -> None:
    await register(admin_person, "company-x1", "http://127.0.0.1:9/x1")
    page = await admin_person.get("/companies?prefix=company-x")
    assert "/console/company?name=company-x1" in page.links
    page = await admin_person.get("/companies?prefix=nothing-like-it")
    assert "No company that has a webhook begins with nothing-like-it" in page.text
    page = await admin_person.get("/company?name=company-x1")
    assert "http://127.0.0.1:9/x1" in page.text
    assert (await admin_person.get("/company?name=lonely")).text.count("has no webhook") == 1


async def test_a_secret_is_shown_once(served: Served, admin_person: Person) -> None:
    number, page = await register(admin_person, "1", "http://127.0.0.1:9/once")
    kept = "select secret from cdc.webhook_secret where webhook_id = %s order by created_at desc"
    ((secret,),) = served.rows(kept, number)
    assert page.html.count(secret) == 1
    for path in (f"/webhooks/{number}", f"/webhooks/{number}/edit", "/audit", "/company?name=1"):
        assert secret not in (await admin_person.get(path)).html
    page = await admin_person.post(f"/webhooks/{number}/rotate", {"grace": "3600"})
    new, old = served.rows(kept, number)
    assert (page.html.count(new[0]), page.html.count(old[0])) == (1, 0)
    assert "The one before stays valid until" in page.text
    _, page = await register(admin_person, "1", "http://127.0.0.1:9/pair", signature="v1a")
    assert "whpk_" in page.text
    assert "whsk_" not in page.text


async def test_pause_resume_remove_name_what_happens(served: Served, admin_person: Person) -> None:
    made = await owed(served, admin_person, "5")
    one = f"/webhooks/{made.number}"
    asked = await admin_person.get(f"{one}/pause")
    assert "0 deliveries wait now" in asked.text
    assert "14 days" in asked.text
    paused = await admin_person.post(f"{one}/pause", {"reason": "they move"})
    assert paused.path == f"/console{one}?done=paused"
    assert "It is paused since" in paused.text
    assert "they move" in paused.text
    assert "Resume" in paused.text
    resumed = await admin_person.post(f"{one}/resume", {})
    assert "Resumed." in resumed.text
    asked = await admin_person.get(f"{one}/remove")
    assert "0 deliveries that wait are dropped, and never sent; 1 delivery" in asked.text
    removed = await admin_person.post(f"{one}/remove", {})
    assert "Removed for good." in removed.text
    assert "New secret" not in removed.text
    entries = served.rows(
        "select action, actor, source from cdc.audit where webhook_id = %s order by id", made.number
    )
    assert [entry[0].partition(".")[2] for entry in entries] == ["add", "pause", "resume", "remove"]
    assert {entry[1][:8] for entry in entries} == {"session:"}
    assert {entry[2] for entry in entries} == {"127.0.0.1"}


async def test_a_change_meanwhile_is_not_overwritten(served: Served, admin_person: Person) -> None:
    number, _ = await register(admin_person, "2", "http://127.0.0.1:9/meanwhile")
    form = (await admin_person.get(f"/webhooks/{number}/remove")).hidden
    await admin_person.post(f"/webhooks/{number}/pause", {"reason": "first"})
    for action in ("remove", "pause", "rotate", "resume"):
        page = await admin_person.send(f"/webhooks/{number}/{action}", form.items())
        assert page.status == 412, page.text
        assert "was changed meanwhile" in page.text
    rows = served.rows("select state, reason from cdc.webhook where id = %s", number)
    assert rows == [("paused", "first")]


async def test_edit_changes_what_was_changed(served: Served, admin_person: Person) -> None:
    number, _ = await register(
        admin_person, "2", "http://u:of-the-login@127.0.0.1:9/edit", headers="X-Key: of-the-header"
    )
    form = await admin_person.get(f"/webhooks/{number}/edit")
    assert "of-the-login" not in form.html
    assert "of-the-header" not in form.html
    fields = [
        *BOTH, ("events", "project_changed"), ("endpoint", "http://***@127.0.0.1:9/edit"),
        ("description", "new"), ("max_concurrency", "10"), ("rate_limit", "2.5"),
    ]  # fmt: skip
    page = await admin_person.post(f"/webhooks/{number}/edit", fields)
    assert page.path == f"/console/webhooks/{number}?done=changed", page.text
    ((endpoint, description, rate, headers),) = served.rows(
        "select endpoint, description, rate_limit, headers from cdc.webhook where id = %s", number
    )
    assert "of-the-login" in endpoint  # hidden in the form, and not changed by it
    assert (description, rate, list(headers)) == ("new", 2.5, ["X-Key"])
    wants = "update cdc.subscription set changed = %s, filter = %s where webhook_id = %s"
    served.run(wants, [], '{"status": ["new", "done"], "score": ["7"]}', number)
    page = await admin_person.get(f"/webhooks/{number}")
    assert "score is 7 and status is new or done" in page.text
    assert "if the row changed" in page.text
    served.run(wants, ["status", "score"], None, number)
    page = await admin_person.get(f"/webhooks/{number}")
    assert "if status or score changed" in page.text
    bad = [one for one in fields if one[0] != "max_concurrency"] + [("max_concurrency", "x")]
    page = await admin_person.post(f"/webhooks/{number}/edit", bad)
    assert (page.status, 'id="max_concurrency-error"' in page.html) == (422, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", "http://10.1.2.3/"),
        ("endpoint", "ftp://x/"),
        ("endpoint", ""),
        ("events", "nothing_changed"),
        ("company", ""),
        ("company", "a\nb"),
        ("rate_limit", "fast"),
        ("max_concurrency", "0"),
        ("tls_profile", "../etc"),
        ("headers", "X-A"),
        ("headers", "Content-Length: 1"),
        ("ref", "a\0b"),
        ("signature", "none"),
        ("actions", "deleted"),
        ("filter", "status"),
        ("filter", "status=new"),
        ("changed", "row"),
        ("changed", "fields"),
        ("include", "status"),
    ],
)
async def test_a_bad_value_is_marked_and_the_rest_stays(
    served: Served, admin_person: Person, field: str, value: str
) -> None:
    fields = {"events": "project_changed", "company": "3", "endpoint": "http://127.0.0.1:9/bad"}
    given = {**fields, "actions": "modified", "description": "of the form", field: value}
    page = await admin_person.post("/register", given)
    assert page.status == 422, page.text
    assert f'id="{field}-error"' in page.html
    assert "of the form" in page.text
    assert served.rows("select from cdc.webhook where company = '3'") == []


async def test_a_delivery_is_explained_and_sent_again(served: Served, admin_person: Person) -> None:
    made = await owed(served, admin_person, "6")
    page = await admin_person.get(f"/webhooks/{made.number}?state=dead")
    assert any(one.startswith(f"/console/deliveries/{made.dead}?webhook=") for one in page.links)
    page = await admin_person.get(f"/deliveries/{made.dead}")
    assert "POST http://127.0.0.1:9/owed/6" in page.text
    assert "The log of its attempts was pruned." in page.text
    assert "It is dead: 1 attempt failed, the last: answered 500." in page.text
    assert made.dead in (await admin_person.get(f"/deliveries/{made.dead}/retry")).text
    page = await admin_person.post(f"/deliveries/{made.dead}/retry", {})
    assert "sent again, with a new retry budget" in page.text
    assert served.rows("select count(*) from cdc.retry where uid::text = %s", made.dead) == [(1,)]
    page = await admin_person.post(f"/deliveries/{made.dead}/retry", {})
    assert "waits already" in page.text
    served.run("update cdc.retry set due_at = null where uid::text = %s", made.dead)  # parked
    assert "Send again" not in (await admin_person.get(f"/deliveries/{made.dead}")).text
    gone = await admin_person.get("/deliveries/00000000-0000-0000-0000-000000000000")
    assert gone.status == 404


async def test_keys_are_made_and_revoked(served: Served, admin_person: Person) -> None:
    page = await admin_person.post(
        "/keys", {"kind": "company", "value": "7", "description": "of seven", "days": "30"}
    )
    assert page.status == 201
    key = next(word for word in page.text.split() if word.startswith("cdc_"))
    number = key.split("_")[1]
    listed = await admin_person.get("/keys")
    assert key not in listed.html
    assert f"/console/keys/{number}/revoke" in listed.links
    assert "of seven" in (await admin_person.get(f"/keys/{number}/revoke")).text
    page = await admin_person.post(f"/keys/{number}/revoke", {})
    assert "The key is revoked." in page.text
    assert served.rows("select revoked_at is not null from cdc.api_key where id = %s", number) == [
        (True,)
    ]
    for bad in ({"kind": "company"}, {"kind": "read", "value": "7"}, {"kind": "x"},
                {"kind": "read", "days": "-1"}, {"kind": "webhook", "value": "x"}):  # fmt: skip
        assert (await admin_person.post("/keys", bad)).status == 422


async def test_the_audit_is_searched(admin_person: Person) -> None:
    number, _ = await register(admin_person, "audited", "http://127.0.0.1:9/audited")
    page = await admin_person.get(f"/audit?webhook={number}")
    assert "webhook.add" in page.text
    assert (await admin_person.get("/audit?webhook=x")).status == 422
    assert "No change was recorded" in (await admin_person.get("/audit?company=nobody")).text


async def test_the_doctor_says_what_it_could_not_check(admin_person: Person) -> None:
    page = await admin_person.get("/doctor")
    assert "daemons: no daemon runs: changes are collected and not sent" in page.text
    assert "transactions of other accounts cannot be seen by this account" in page.text
    assert re.search(r"\d+ checks not made here", page.text)
    assert "serverPostgreSQL" in page.text
    assert "<dt>endpoints" not in page.html  # no names are looked up here


async def test_unresolved_changes_with_their_causes(served: Served, admin_person: Person) -> None:
    assert "Every change has found its company." in (await admin_person.get("/unresolved")).text
    served.run(
        "insert into cdc.unresolved (id, resource, source, key, action, time, reason)"
        " select n, 'rating', 'public.rating', n::text, 'm', case n when 5 then 'infinity' else"
        " now() end, case n when 55 then 'row 55 has no company' else 'no right (42501)' end"
        " from generate_series(1, 55) n"
    )
    page = await admin_person.get("/unresolved")
    assert "row 55 has no company." in page.text
    assert "Correct the row or the mapping; the daemon then captures it." in page.text
    assert "cdc_capture lacks a right on a table that capture reads: no right" in page.text
    assert "rating 5, modified" not in page.text
    (older,) = (link for link in page.links if "after=" in link)
    page = await admin_person.get(older.removeprefix("/console"))
    assert ">-</th>\n<td>rating 5, modified" in page.html  # of a time that no calendar has
    await admin_person.see("/", "55 changes that capture could not resolve")
    served.run("delete from cdc.unresolved")
    assert (await admin_person.get("/unresolved?after=x")).status == 400


async def test_a_session_is_ended_by_another(served: Served, admin_person: Person) -> None:
    async with person(served.url) as other:
        await other.sign_in(served.key("read", description="of Kim"))
        number = other.cookie.partition(".")[0]
        page = await admin_person.get("/sessions")
        assert (number in page.text, "of Kim" in page.text) == (True, True)
        assert other.cookie.partition(".")[2] not in page.html
        asked = await admin_person.get(f"/sessions/{number}/end")
        assert "is described as: of Kim" in asked.text
        page = await admin_person.post(f"/sessions/{number}/end", {})
        assert "The session has ended." in page.text
        assert number not in page.text
        assert (await other.get("/companies", follow=False)).status == 303
    own = admin_person.cookie.partition(".")[0]
    ended = "select actor, before->>'session' from cdc.audit where action = 'session.end'"
    assert (f"session:{own}", number) in served.rows(ended)
    again = await admin_person.send(f"/sessions/{number}/end", page.hidden.items())
    assert again.status == 404


async def test_hostile_values_come_out_as_text(served: Served, admin_person: Person) -> None:
    """In every field that takes them. browser.py refuses pages with elements of theirs."""
    company = HOSTILE
    page = await admin_person.post(
        "/register",
        [*HOOK, ("company", company), ("endpoint", "http://127.0.0.1:9/hostile?a=<b>'\""),
         ("description", HOSTILE), ("ref", HOSTILE), ("headers", "X-A: " + HOSTILE)],
    )  # fmt: skip
    assert page.status in (201, 422), page.text
    number = served.rows(
        "insert into cdc.webhook (company, endpoint, description, state, reason, ref, headers)"
        " values (%s, %s, %s, 'paused', %s, %s, jsonb_build_object(%s::text, 'x')) returning id",
        company, "http://127.0.0.1:9/" + HOSTILE, HOSTILE, HOSTILE, "r" + HOSTILE, HOSTILE,
    )[0][0]  # fmt: skip
    ((uid,),) = served.rows(
        "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries, last_error, body) select %s, 9999, gen_random_uuid(), '1', id, 'm',"
        " now(), array[%s::text], event, %s, 1, 1, %s, %s from cdc.layout limit 1"
        " returning uid::text",
        number, HOSTILE, HOSTILE, HOSTILE, HOSTILE.encode(),
    )  # fmt: skip
    await admin_person.post("/keys", {"kind": "read", "description": HOSTILE})
    await admin_person.send("/keys", [("kind", HOSTILE), ("value", HOSTILE), ("days", HOSTILE)])
    one = f"/webhooks/{number}"
    pages = [
        "/", "/companies", "/audit", "/keys", one, f"{one}/edit", f"{one}/pause", f"{one}/resume",
        f"{one}/rotate", f"{one}/remove", f"/deliveries/{uid}", f"/deliveries/{uid}/retry",
    ]  # fmt: skip
    for name in ("/companies?prefix=", "/company?name=", "/register?company=", "/audit?actor=",
                 "/audit?webhook=", "/sign-in?next=", f"{one}?state=", f"{one}?done="):  # fmt: skip
        pages.append(name + quote(HOSTILE, safe=""))
    for path in pages:
        page = await admin_person.get(path)
        assert page.status in (200, 404, 422), (path, page.text)
        assert "<script>" not in page.html, path
        assert "<img src=x" not in page.html, path
        assert "onerror=y>" not in page.html, path
    assert HOSTILE in (await admin_person.get(one)).text  # as it stands, {{7*7}} included
    broken = await admin_person.post("/register", [("company", HOSTILE), ("endpoint", HOSTILE)])
    assert broken.status == 422
