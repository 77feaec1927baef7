"""The console: looking for deliveries, tests, sending again, and forms that are sent twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from tests.web.browser import Page, Person, person
from tests.web.kit import Served, until
from tests.web.test_console import register
from tests.web.test_deliveries import DEAD


@pytest.fixture
async def helpdesk(served: Served) -> AsyncIterator[Person]:
    async with person(served.url) as one:
        await one.sign_in(served.client("admin").key or "")
        yield one


async def with_dead(served: Served, one: Person, company: str, dead: int) -> tuple[int, list[str]]:
    """A webhook with dead deliveries: its number; their ids, the newest change first."""
    number, _ = await register(one, company, f"http://127.0.0.1:9/again/{company}")
    served.run(DEAD, number, number * 1_000_000, dead)
    found = served.rows(
        "select uid::text from cdc.dead where webhook_id = %s order by time desc", number
    )
    return number, [uid for (uid,) in found]


async def ended(one: Person, page: Page) -> Page:
    """The page of a task once the task has ended."""
    path = page.path.removeprefix("/console")
    for _ in range(600):
        page = await one.get(path)
        if " data-live=" not in page.html:
            return page
        await asyncio.sleep(0.05)
    raise AssertionError(page.text)


async def test_webhooks_and_deliveries_are_found_by_number_and_id(
    served: Served, helpdesk: Person
) -> None:
    number, (uid,) = await with_dead(served, helpdesk, "2", 1)
    assert "/console/companies" in (await helpdesk.get("/")).actions
    page = await helpdesk.get(f"/companies?prefix={number}")
    assert f"Webhook {number} has this number: of company 2, http://" in page.text
    assert "has this number" not in (await helpdesk.get("/companies?prefix=99999999")).text
    page = await helpdesk.get(f"/companies?prefix=%20{uid.upper()}")
    assert page.path == f"/console/deliveries/{uid}"


async def test_all_that_are_dead_are_counted_and_sent_again(
    served: Served, helpdesk: Person
) -> None:
    number, _ = await with_dead(served, helpdesk, "3", 40)
    one = f"/webhooks/{number}"
    assert f"/console{one}/replay" in (await helpdesk.get(one)).links
    page = await helpdesk.get(f"{one}/replay")
    assert "Send 40 deliveries again?" in page.text
    assert "will be sent to http://127.0.0.1:9/again/3 again" in page.text
    since = served.rows(
        "select to_char(time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') from cdc.dead"
        " where webhook_id = %s order by time desc offset 11 limit 1", number,
    )[0][0]  # fmt: skip
    page = await helpdesk.get(f"{one}/replay?since={since}&event=candidate_changed")
    assert "Send 12 deliveries again?" in page.text
    none = await helpdesk.get(f"{one}/replay?outcome=expired")
    assert "There is none to send again." in none.text
    page = await helpdesk.send(f"{one}/replay", page.hidden.items())
    assert page.path.startswith("/console/tasks/")
    page = await ended(helpdesk, page)
    assert "12 deliveries queued to be sent again." in page.text
    waits = served.rows("select count(*) from cdc.retry where webhook_id = %s", number)
    assert waits == [(12,)]
    await helpdesk.post(f"{one}/pause", {"reason": "x"})
    page = await helpdesk.get(f"{one}/replay")
    assert "The webhook is paused: they are sent when it is resumed." in page.text


async def test_ticked_deliveries_are_sent_again(served: Served, helpdesk: Person) -> None:
    number, uids = await with_dead(served, helpdesk, "8", 5)
    _, others = await with_dead(served, helpdesk, "9", 1)
    one = f"/webhooks/{number}"
    page = await helpdesk.get(one)
    assert all(f'type="checkbox" name="{uid}"' in page.html for uid in uids)
    asked = "&".join(f"{uid}=1" for uid in (uids[0], uids[3], others[0]))
    page = await helpdesk.get(f"{one}/replay?{asked}")
    assert "Send 2 deliveries again?" in page.text
    assert "1 delivery of those selected was not found." in page.text
    sent = [*page.hidden.items(), *(("uid", uid) for uid in (uids[0], uids[3], others[0]))]
    page = await ended(helpdesk, await helpdesk.send(f"{one}/replay", sent))
    assert "2 deliveries queued to be sent again." in page.text
    again = served.rows("select uid::text from cdc.retry where webhook_id = %s", number)
    assert {uid for (uid,) in again} == {uids[0], uids[3]}
    assert served.rows("select from cdc.dead where uid::text = %s", others[0])
    page = await helpdesk.get(f"{one}/replay?{uids[0]}=1")
    assert "1 of those selected already waits to be sent, and stays as it is." in page.text


async def test_times_that_are_none_are_marked(served: Served, helpdesk: Person) -> None:
    number, _ = await with_dead(served, helpdesk, "6", 1)
    for asked in ("since=yesterday", "until=2026-13-01T00:00"):
        page = await helpdesk.get(f"/webhooks/{number}/replay?{asked}")
        assert page.status == 422
        assert f'id="{asked.partition("=")[0]}-error"' in page.html
    assert (await helpdesk.get(f"/webhooks/{number}/replay?outcome=lost")).status == 422
    # Of what was delivered there may be very many: without a time, those of a day.
    page = await helpdesk.get(f"/webhooks/{number}/replay?outcome=delivered")
    assert re.search(r'name="since" type="datetime-local" value="20\d\d-\d\d-\d\dT', page.html)


async def test_a_test_is_sent_by_a_daemon_and_shown(served: Served, helpdesk: Person) -> None:
    number, _ = await register(helpdesk, "7", "http://127.0.0.1:9/test")
    one = f"/webhooks/{number}"
    asked = await helpdesk.get(f"{one}/test")
    assert "A signed request with the action “test” is sent to http://127.0.0.1:9/" in asked.text
    page = await helpdesk.post(f"{one}/test", {"event": "candidate_changed"})
    assert "A daemon sends it now." in page.text
    assert " data-live=" in page.html
    task = page.path.rpartition("/")[2]
    served.run(
        "update cdc.task set state = 'done', ended_at = now(), result = jsonb_build_object("
        " 'ok', false, 'uid', gen_random_uuid(), 'event', 'candidate_changed', 'status', null,"
        " 'error', 'tls', 'detail', 'x', 'cause', 'tls', 'sentence', 'the `certificate` <b>',"
        " 'todo', 'renew it', 'duration_ms', 3, 'excerpt', '') where id::text = %s", task,
    )  # fmt: skip
    page = await helpdesk.get(f"/tasks/{task}")
    assert "The receiver has not accepted it: the certificate <b>." in page.text
    assert "renew it" in page.text
    assert " data-live=" not in page.html
    assert f"/console{one}/test" in page.links
    for _ in range(4):
        page = await helpdesk.post(f"{one}/test", {})
        assert "A daemon sends it now." in page.text
    page = await helpdesk.post(f"{one}/test", {})
    assert page.status == 429
    assert "was tested 5 times within a minute" in page.text


async def test_a_page_is_below_100_kb_however_long_its_list_is(
    served: Served, helpdesk: Person
) -> None:
    """browser.py holds the size of each page that any test opens; here the lists are full."""
    made = served.rows(
        "insert into cdc.webhook (company, endpoint, description) select 'full', 'https://hooks."
        "example.com/services/T024BE7LD/' || n || '/' || gen_random_uuid(), 'For the ATS, ' || n"
        " from generate_series(1, 2100) n returning id"
    )
    served.run(
        "insert into cdc.subscription (webhook_id, company, event) select w.id, company, l.event"
        " from cdc.webhook w, (select distinct event from cdc.layout where id < 100) l"
        " where company = 'full'"
    )
    number = made[0][0]
    for webhook in [one for (one,) in made[:80]]:
        served.run(DEAD, webhook, webhook * 1_000_000, 40)
    served.run(
        "insert into cdc.api_key (id, digest, scope, description, created_by) select"
        " translate(lpad(to_hex(n), 12, '0'), '0189', 'wxyz'), sha256(n::text::bytea),"
        " 'company:full', 'The key number ' || n || ' of the company', 'key:aaaaaaaaaaaa'"
        " from generate_series(1, 1200) n"
    )
    served.run(
        "insert into cdc.session (id, digest, key_id, expires_at) select id, digest, id,"
        " now() + interval '1 h' from cdc.api_key where scope = 'company:full'"
    )
    served.run(
        "insert into cdc.audit (actor, action, company, webhook_id, before, after) select"
        " 'session:aaaaaaaaaaaa', 'webhook.update', 'full', %s, to_jsonb(w), to_jsonb(w)"
        " from cdc.registration w limit 300", number,
    )  # fmt: skip
    served.run(
        "insert into cdc.unresolved (resource, source, key, action, time, reason) select 'rating',"
        " 'public.rating', n::text, 'm', now(), 'row ' || n || ' has no company'"
        " from generate_series(1, 300) n"
    )
    await helpdesk.see("/", "more. cdc status lists all of them.")
    for path in ("/", "/companies?prefix=f", "/company?name=full", f"/webhooks/{number}", "/keys",
                 "/sessions", "/audit", "/unresolved", "/doctor"):  # fmt: skip
        page = await helpdesk.get(path)
        assert page.status == 200, path
    for table in ("audit", "unresolved", "dead", "session"):
        served.run(f"delete from cdc.{table} where true")


async def test_a_form_that_is_sent_twice_is_carried_out_once(
    served: Served, helpdesk: Person
) -> None:
    """And what it shows once is shown again: a double click gets the second answer."""
    form = await helpdesk.get("/keys")
    fields = {**form.hidden, "kind": "read", "description": "twice", "days": "30"}
    pages = await asyncio.gather(*(helpdesk.send("/keys", fields.items()) for _ in range(3)))
    keys = {re.search(r"cdc_[a-z2-7]{12}_[\w-]{43}", page.html) for page in pages}
    assert len({key and key[0] for key in keys}) == 1
    assert None not in keys
    made = "select count(*) from cdc.api_key where description = 'twice'"
    assert served.rows(made) == [(1,)]
    ((kept,),) = served.rows("select answer from cdc.idempotency where route like %s", "%/keys")
    assert b"cdc_" not in bytes(kept)
    other = await helpdesk.send("/keys", {**fields, "days": "31"}.items())
    assert other.status == 409
    assert "This form was sent before, with other values." in other.text
    # What was refused is corrected on the same page.
    form = await helpdesk.get("/keys")
    fields = {**form.hidden, "kind": "company", "value": "", "description": "corrected"}
    assert (await helpdesk.send("/keys", fields.items())).status == 422
    assert (await helpdesk.send("/keys", {**fields, "value": "7"}.items())).status == 201
    async with person(served.url) as another:  # another session's form of the same name
        await another.sign_in(served.client("admin").key or "")
        token = (await another.get("/keys")).hidden["token"]
        page = await another.send("/keys", {**fields, "token": token, "value": "8"}.items())
        assert page.status == 201


async def test_a_webhook_that_is_registered_twice_shows_its_secret(
    served: Served, helpdesk: Person
) -> None:
    form = await helpdesk.get("/register")
    fields = [*form.hidden.items(), ("company", "4"), ("endpoint", "http://127.0.0.1:9/twice"),
              ("events", "project_changed"), ("actions", "created")]  # fmt: skip
    first, second = [await helpdesk.send("/register", fields) for _ in range(2)]
    assert (first.status, second.status) == (201, 201)
    assert first.html.count("whsec_") == 1
    assert first.html == second.html
    rows = "select count(*) from cdc.webhook where endpoint like %s"
    assert until(lambda: served.rows(rows, "%/twice")) == [(1,)]
