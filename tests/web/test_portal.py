"""The portal: a link works once, and leads to one company's webhooks alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cdc.web.console.screens import PORTAL_SCREENS
from cdc.web.console.visit import Screen
from tests.web.browser import Person, person
from tests.web.kit import Served

LINK = re.compile(r"http://[^/]+(/p/[a-z2-7]{12}\.[A-Za-z0-9_-]{43})")
UID = "00000000-0000-0000-0000-000000000001"
HOOK = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/portal"}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def new_link(served: Served, company: str = "7", *may: str) -> str:
    path = f"/v1/companies/{company}/portal-links"
    made = served.client("operator").good("POST", path, {"may": list(may)})
    found = LINK.fullmatch(made["url"])
    assert found is not None, made
    return found[1]


async def visitor(stack: AsyncExitStack, served: Served) -> Person:
    return await stack.enter_async_context(person(served.url, root=""))


async def signed_in(stack: AsyncExitStack, served: Served, *may: str) -> Person:
    one = await visitor(stack, served)
    page = await one.post(new_link(served, "7", *may), {})
    assert (page.status, page.path) == (200, "/portal/"), page.text
    return one


@pytest.fixture(scope="module")
def own(served: Served) -> int:
    made = served.client("operator").good("POST", "/v1/companies/7/webhooks", HOOK)
    return int(made["id"])


@pytest.fixture(scope="module")
def foreign(served: Served) -> int:
    made = served.client("operator").good("POST", "/v1/companies/8/webhooks", HOOK)
    return int(made["id"])


async def test_a_link_is_opened_by_its_button_once(
    stack: AsyncExitStack, served: Served, own: int
) -> None:
    link = new_link(served)
    scanner, first, second = [await visitor(stack, served) for _ in range(3)]
    for _ in range(2):  # a program that reads a mail, before its reader
        page = await scanner.get(link)
        assert (page.status, page.actions) == (200, [link])
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
    page = await first.post(link, {}, follow=False)
    assert (page.status, page.headers["Location"]) == (303, "/portal/")
    page = await first.get("/portal/")
    assert "Your webhooks" in page.text
    assert f"/portal/webhooks/{own}" in page.links
    page = await second.post(link, {})
    assert page.status == 404
    assert "A link to this page works once" in page.text
    # What the link held is not the session's secret, nor a key.
    assert first.cookie != link.removeprefix("/p/")
    other = await visitor(stack, served)
    other.http.cookie_jar.update_cookies({"cdc_portal": link.removeprefix("/p/")})
    assert (await other.get("/portal/", follow=False)).status == 303
    assert link not in str(served.lines)
    assert link.partition(".")[2] not in str(served.lines)
    (kept,) = served.rows("select digest, s::text from cdc.session s where person is not null"
                          " and not is_link and not s::text like %s", "%oidc%")[:1]  # fmt: skip
    assert link.partition(".")[2] not in kept[1]


async def test_a_link_ends_after_five_minutes(stack: AsyncExitStack, served: Served) -> None:
    link = new_link(served)
    number = link.removeprefix("/p/").partition(".")[0]
    minutes = "select round(extract(epoch from expires_at - created_at) / 60)::int from cdc.session"
    assert served.rows(f"{minutes} where id = %s", number) == [(5,)]
    one = await visitor(stack, served)
    # It is no session while it waits.
    one.http.cookie_jar.update_cookies({"cdc_portal": link.removeprefix("/p/")})
    assert (await one.get("/portal/", follow=False)).status == 303
    one.http.cookie_jar.clear()
    served.run("update cdc.session set expires_at = now() where id = %s", number)
    assert (await one.post(link, {})).status == 404
    assert (await one.get("/portal/")).path.startswith("/portal/sign-in")


async def test_two_at_once_and_only_one_is_let_in(stack: AsyncExitStack, served: Served) -> None:
    link = new_link(served)
    people = [await visitor(stack, served) for _ in range(2)]
    forms = [(await one.get(link)).hidden for one in people]
    pages = [
        await one.send(link, form.items(), follow=False)
        for one, form in zip(people, forms, strict=True)
    ]
    assert sorted(page.status for page in pages) == [303, 404]


async def test_the_button_needs_the_page(stack: AsyncExitStack, served: Served) -> None:
    """Another site cannot sign a browser in to a company of its choice."""
    link, one = new_link(served), await visitor(stack, served)
    assert (await one.send(link, {}.items())).status == 403
    assert (await one.send(link, {"token": "x"}.items())).status == 403
    assert (await one.post(link, {})).status == 200


def _path(screen: Screen, webhook: int) -> str:
    return screen.path.format(webhook_id=webhook, uid=UID, task_id=UID, backfill_id=4711)


async def test_another_company_is_not_there(
    stack: AsyncExitStack, served: Served, own: int, foreign: int
) -> None:
    one = await signed_in(stack, served, "manage", "replay")
    uid = served.rows(
        "insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        " attempts, tries) select %s, 1, gen_random_uuid(), '1', id, 'm', now(),"
        " array[null, '8', '1'], event, '1',"
        " 1, 1 from cdc.layout where event = 'project_changed' returning uid::text",
        foreign,
    )[0][0]
    test = served.client("operator").good("POST", f"/v1/webhooks/{foreign}/test", {})
    ((backfill,),) = served.rows(
        "insert into cdc.backfill (webhook_id, event, action, actor)"
        " values (%s, 'project_changed', 'c', 'x') returning id", foreign,
    )  # fmt: skip
    rows = "select w::text, b::text from cdc.webhook w, cdc.backfill b where w.id = %s"
    before = served.rows(rows, foreign)
    for screen in PORTAL_SCREENS:
        if "{" not in screen.path:
            continue
        path = screen.path.format(
            webhook_id=foreign, uid=uid, task_id=test["id"], backfill_id=backfill
        )
        if screen.method == "GET":
            page = await one.get(path)
        else:
            token = (await one.get("/portal/register")).hidden["token"]
            sent = {"token": token, "version": "1", "grace": "0", "endpoint": HOOK["endpoint"],
                    "events": "project_changed", "event": "project_changed",
                    "action": "created"}  # fmt: skip
            page = await one.send(path, sent.items())
        assert page.status == 404, screen
    assert served.rows(rows, foreign) == before
    assert served.rows("select count(*) from cdc.dead where uid = %s", uid) == [(1,)]
    for path in ("/console/", "/console/companies", "/console/keys", "/v1/webhooks/1"):
        assert (await one.get(path, follow=False)).status in (303, 401)


@pytest.mark.parametrize("may", [(), ("test",), ("replay",), ("manage", "test")])
async def test_a_link_allows_what_it_says(
    stack: AsyncExitStack, served: Served, own: int, may: tuple[str, ...]
) -> None:
    one = await signed_in(stack, served, *may[:1])
    for screen in PORTAL_SCREENS:
        path = _path(screen, own)
        if screen.method == "GET":
            page = await one.get(path)
            allowed = screen.needs is None or screen.needs in may
            assert (page.status == 403) is not allowed, (screen, page.status)
        elif screen.needs not in may:
            token = (await one.get("/portal/")).hidden["token"]
            page = await one.send(path, {"token": token, "version": "1"}.items())
            assert page.status == 403, screen
    page = await one.get(f"/portal/webhooks/{own}")
    assert (f"/portal/webhooks/{own}/pause" in page.links) is ("manage" in may)
    assert (f"/portal/webhooks/{own}/test" in page.links) is ("test" in may)
    assert not [link for link in page.links if "/audit" in link or "/company" in link]


async def test_a_company_manages_its_own(
    stack: AsyncExitStack, served: Served, foreign: int
) -> None:
    one = await signed_in(stack, served, "manage")
    form = {"endpoint": "http://127.0.0.1:9/own", "events": "project_changed", "actions": "created"}
    page = await one.post("/portal/register", {**form, "company": "8", "max_concurrency": "500"})
    assert page.status == 201, page.text
    ((number, company, cap),) = served.rows(
        "select id, company, max_concurrency from cdc.webhook where endpoint = %s", form["endpoint"]
    )
    assert (company, cap) == ("7", 10)
    assert "whsec_" in page.text
    here = f"/portal/webhooks/{number}"
    page = await one.post(f"{here}/edit", {**form, "description": "of the ATS"})
    assert "of the ATS" in page.text
    assert "Paused" in (await one.post(f"{here}/pause", {"reason": "a move"})).text
    page = await one.post(f"{here}/resume", {})
    assert (page.status, "its endpoint is not yet verified" in page.text) == (409, True)
    asked = {"unverified": True}
    served.client("operator").good("POST", f"/v1/webhooks/{number}/resume", asked)
    assert "Paused" in (await one.post(f"{here}/pause", {"reason": "a move"})).text
    assert "Resumed" in (await one.post(f"{here}/resume", {})).text
    assert "whsec_" in (await one.post(f"{here}/rotate", {"grace": "3600"})).text
    assert "Removed" in (await one.post(f"{here}/remove", {})).text
    done = "select distinct actor from cdc.audit where webhook_id = %s and actor ~ '^session:'"
    ((session,),) = served.rows(done, number)
    begun = served.rows(
        "select company, after from cdc.audit where action = 'session.begin' and actor = %s",
        session,
    )
    assert begun[0][1]["scope"] == "company:7"


async def test_a_session_of_the_portal_is_ended_by_an_administrator(
    stack: AsyncExitStack, served: Served
) -> None:
    one = await signed_in(stack, served)
    number = one.cookie.partition(".")[0]
    admin = await stack.enter_async_context(person(served.url))
    await admin.sign_in(served.client("admin").key or "")
    assert number in (await admin.get("/sessions")).text
    await admin.post(f"/sessions/{number}/end", {})
    assert (await one.get("/portal/", follow=False)).status == 303


async def test_the_helpdesk_makes_a_link(stack: AsyncExitStack, served: Served) -> None:
    desk = await stack.enter_async_context(person(served.url))
    await desk.sign_in(served.client("operator").key or "")
    page = await desk.send(
        "/link",
        [*(await desk.get("/link?company=7")).hidden.items(), ("may", "replay")],
    )
    assert page.status == 201
    found = LINK.search(page.text)
    assert found is not None
    one = await visitor(stack, served)
    page = await one.post(found[1], {})
    assert page.path == "/portal/"
    assert "/portal/register" not in page.links
    reader = await stack.enter_async_context(person(served.url))
    await reader.sign_in(served.client("read").key or "")
    assert (await reader.get("/link?company=7")).status == 403


async def test_a_company_sends_what_was_there_before(stack: AsyncExitStack, served: Served) -> None:
    made = served.client("operator").good("POST", "/v1/companies/9/webhooks", HOOK)
    served.run("insert into project (company_id) values (9), (9)")
    one = await visitor(stack, served)
    await one.post(new_link(served, "9", "manage"), {})
    hook = f"/portal/webhooks/{made['id']}"
    assert f"{hook}/backfills" in (await one.get(hook)).links
    assert "There is none." in (await one.get(f"{hook}/backfills")).text
    page = await one.get(f"{hook}/backfill?event=project_changed&action=created")
    assert "Send 2 deliveries?" in page.text
    page = await one.send(f"{hook}/backfill", page.hidden.items())
    assert (page.status, page.path.rpartition("/")[0]) == (200, "/portal/backfills"), page.text
    shown = page.path
    assert "session:" not in page.text
    assert not [link for link in page.links if "/company" in link]
    served.run("update cdc.backfill set state = 'failed', reason = 'of table suite.inside'"
               " where webhook_id = %s", made["id"])  # fmt: skip
    page = await one.get(shown)
    assert "This is not your server's fault; please contact us." in page.text
    assert "suite.inside" not in page.html
    page = await one.post(f"{shown}/cancel", {})
    assert "cancelled" in page.text
    assert served.rows("select state, actor like 'session:%%' from cdc.backfill"
                       " where webhook_id = %s", made["id"]) == [("cancelled", True)]  # fmt: skip
    looks = await visitor(stack, served)
    await looks.post(new_link(served, "9"), {})
    assert f"{hook}/backfills" not in (await looks.get(hook)).links


async def test_a_zone_is_chosen_without_javascript(stack: AsyncExitStack, served: Served) -> None:
    one = await signed_in(stack, served)
    page = await one.get("/portal/")
    assert ("Times are in UTC" in page.text, "/portal/zone" in page.links) == (True, True)
    page = await one.get("/portal/zone")
    assert ">Pacific/Chatham<" in page.html
    page = await one.get("/portal/zone?zone=Pacific/Chatham", follow=False)
    assert page.headers["Set-Cookie"] == (
        "cdc_zone=Pacific/Chatham; Path=/; Max-Age=31536000; SameSite=Lax"
    )
    assert "Times are in Pacific/Chatham" in (await one.get("/portal/")).text
    for bad in ("Mars/Base", "x%0d%0aSet-Cookie:y", "../../etc/passwd", ""):
        page = await one.get(f"/portal/zone?zone={bad}", follow=False)
        assert (page.status, "Set-Cookie" in page.headers) == (200, False)
