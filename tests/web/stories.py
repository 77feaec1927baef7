"""What the stories in the browser share: their data, and what people do in each."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page
from standardwebhooks import Webhook

from tests.web.chromium import Window
from tests.web.kit import Served
from tests.web.test_console import HOSTILE

A_DAY = """
insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time, refs, try,
                         outcome, status, error)
select (extract(epoch from at)::bigint / 86400) % 32, at, n, gen_random_uuid(), 1, l.id, 'm',
       at - (1 + n % 7 + n / 20) * interval '9 ms', array['1', n::text], 1,
       case when failed then 'failed' else 'delivered' end, case when failed then 503 else 200 end,
       case when failed then 'status' end
  from (select id from cdc.layout where event = 'project_changed') l, generate_series(1, 900) n,
       lateral (select n between 400 and 600 and n % 3 > 0 as failed,
                       now() - (20 + n + 70 * sin(n / 120.0)) * interval '90 s' as at) x
"""
"""The log of webhook 1."""

NEWER = """
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key, attempts,
                      tries, last_error)
select webhook_id, id + 1, gen_random_uuid(), xid, layout, 'c', now() + interval '1 s', refs, event,
       'newer', 1, 1, 'tls'
  from cdc.dead where webhook_id = %s and id = 9999
"""
"""Another dead delivery of the hostile webhook, above the one that it has."""


def change(served: Served, company: int) -> None:
    served.run("insert into project (company_id) values (%s)", company)


HIDDEN = """() => {
  window.hide = value => {
    Object.defineProperty(document, 'hidden', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  };
  hide(true);
}"""


def registered(here: Window, endpoint: str, picture: str = "") -> tuple[int, str]:
    """A webhook of company 7, as the helpdesk registers it: its number and its secret."""
    page = here.page
    here.click("Register")
    page.get_by_label("Company").fill("7")
    page.get_by_label("Endpoint").fill(endpoint)
    page.get_by_label("project_changed").check()
    if picture:
        here.picture(picture, height=1420)
    here.click("Register", "button")
    here.see("This is the signing secret. It is shown only now")
    secret = page.locator(".secret").inner_text()
    here.click("I have it: continue")
    page.get_by_role("heading", name="Deliveries").wait_for()
    return int(page.url.rpartition("/")[2]), secret


def verified(secret: str, headers: dict[str, str], body: bytes) -> Any:
    Webhook(secret).verify(body, headers)
    return json.loads(body)


def reach(page: Page, name: str) -> None:
    """Presses Tab until the focus, which can be seen, is on what has this name."""
    shown = """() => {
      const one = document.activeElement, label = one.labels?.[0]?.innerText ?? '';
      const seen = getComputedStyle(one).outlineStyle !== 'none';
      return [label || one.innerText || one.value || '', seen];
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        found, seen = page.evaluate(shown)
        assert seen, f"the focus on {found!r} cannot be seen"
        if found.strip() == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")


def hostile(served: Served) -> dict[str, object]:
    """Of a webhook whose fields are all long and hostile, with a dead delivery and its attempts."""
    long = HOSTILE + "x" * 300
    ((number,),) = served.rows(
        "insert into cdc.webhook (company, endpoint, description, state, reason, ref, headers)"
        " values (%s, %s, %s, 'suspended', %s, %s, jsonb_build_object(%s::text, 'x')) returning id",
        long, "http://127.0.0.1:9/" + long, long, long, long, long,
    )  # fmt: skip
    ((uid,),) = served.rows(
        "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries, last_error, body) select %s, 9999, gen_random_uuid(), '1', id, 'm',"
        " now(), array[%s::text], event, %s, 1, 1, 'tls', %s from cdc.layout limit 1"
        " returning uid::text",
        number, long, long, long.encode(),
    )  # fmt: skip
    served.run(
        "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time, refs,"
        " try, outcome, error, detail, excerpt) select 1, now(), id, uid, webhook_id, layout,"
        " action, time, refs, 1, 'dead', 'tls', %s, %s from cdc.dead where webhook_id = %s",
        long, long, number,
    )  # fmt: skip
    key = served.client("admin").good("POST", "/v1/keys", {"scope": "read", "description": HOSTILE})
    served.run(
        "insert into cdc.unresolved (resource, source, key, action, time, reason)"
        " values ('rating', 'public.rating', %s, 'm', now(), %s)",
        long, long,
    )  # fmt: skip
    ((session,),) = served.rows(
        "insert into cdc.session (id, digest, key_id, expires_at) values (%s,"
        " sha256('x'), %s, now() + interval '1 h') returning id", "b" * 12, key["id"],
    )  # fmt: skip
    ((task,),) = served.rows(
        "insert into cdc.task (kind, state, actor, webhook_id, request, ended_at, result)"
        " values ('test', 'done', %s, %s, '{}', now(), jsonb_build_object('ok', false, 'uid',"
        " gen_random_uuid(), 'event', %s::text, 'status', null, 'error', 'tls', 'detail', %s::text,"
        " 'cause', 'tls', 'sentence', %s::text, 'todo', %s::text, 'duration_ms', 3, 'excerpt',"
        " %s::text)) returning id::text",
        HOSTILE, number, *[long] * 5,
    )  # fmt: skip
    ((backfill,),) = served.rows(
        "insert into cdc.backfill (webhook_id, event, action, actor, state, reason, place)"
        " values (%s, %s, 'c', %s, 'failed', %s, array['1', %s::text]) returning id",
        number, "e" + HOSTILE, HOSTILE, long, HOSTILE,
    )  # fmt: skip
    asked = {"hostile": quote(HOSTILE, safe=""), "long": quote(long, safe="")}
    return {
        "webhook_id": number,
        "uid": uid,
        "key_id": key["id"],
        "session_id": session,
        "task_id": task,
        "backfill_id": backfill,
        **asked,
    }
