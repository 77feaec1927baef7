"""The console against those who are not signed in, may less, or send forms of their own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from cdc.web.console.screens import SCREENS
from cdc.web.console.visit import Screen
from tests.web.browser import Person, person
from tests.web.kit import Served

UID = "00000000-0000-0000-0000-000000000001"
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
async def stranger(served: Served) -> AsyncIterator[Person]:
    async with person(served.url) as one:
        yield one


@pytest.fixture(scope="module")
def number(served: Served) -> int:
    """A webhook of company 1."""
    hook = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/safe"}
    made = served.client("operator").good("POST", "/v1/companies/1/webhooks", hook)
    return int(made["id"])


def path(screen: Screen, number: int) -> str:
    found = screen.path.format(
        webhook_id=number, backfill_id=1, uid=UID, task_id=UID, key_id="a" * 12, session_id="b" * 12
    )
    return found.removeprefix("/console")


def audited(served: Served) -> int:
    return int(served.rows("select count(*) from cdc.audit")[0][0])


async def test_no_screen_without_a_session(served: Served, stranger: Person, number: int) -> None:
    before = audited(served)
    for screen in SCREENS:
        where = path(screen, number)
        for cookie in ("", "x", f"{'a' * 12}.{'A' * 43}", f".{'A' * 43}"):
            stranger.http.cookie_jar.clear()
            if cookie:
                stranger.http.cookie_jar.update_cookies({"cdc_console": cookie})
            if screen.method == "GET":
                page = await stranger.get(where, follow=False)
            else:
                page = await stranger.send(where, {"token": "x"}.items(), follow=False)
            assert page.status == 303, (screen.path, page.text)
            assert page.headers["Location"].startswith("/console/sign-in?next=/console/")
            assert page.html == ""
    assert audited(served) == before


async def test_a_sign_in_leads_on_to_pages_of_ours_alone(served: Served, stranger: Person) -> None:
    key = served.client("read").key or ""
    for wanted in ("https://evil.example/", "//evil.example", "/console/\r\nX: y", "javascript:x",
                   "/console/\\evil", "/v1/keys"):  # fmt: skip
        page = await stranger.post("/sign-in", {"key": key, "next": wanted}, follow=False)
        assert (page.status, page.headers["Location"]) == (303, "/console/"), wanted
        stranger.http.cookie_jar.clear()
    page = await stranger.post(
        "/sign-in", {"key": key, "next": "/console/company?name=7"}, follow=False
    )
    assert page.headers["Location"] == "/console/company?name=7"


async def test_a_form_needs_its_sessions_token(
    served: Served, stranger: Person, number: int
) -> None:
    await stranger.sign_in(served.client("admin").key or "")
    async with person(served.url) as other:
        await other.sign_in(served.client("admin").key or "")
        foreign = (await other.get("/keys")).hidden["token"]
    own = (await stranger.get("/keys")).hidden["token"]
    before = audited(served)
    for screen in (one for one in SCREENS if one.method == "POST"):
        for token in ("", foreign, own[:-1]):
            fields = {"token": token, "company": "1", "kind": "read", "version": "1"}
            page = await stranger.send(path(screen, number), fields.items())
            assert page.status == 403, (screen.path, token)
            assert "This form is not of your current session" in page.text
    assert (await stranger.send("/sign-out", {"token": foreign}.items())).status == 403
    assert audited(served) == before
    assert (await stranger.get("/companies")).status == 200  # still signed in
    # The form to sign in has one, too: another site signs no user in as another.
    async with person(served.url) as third:
        sent = {"key": served.client("admin").key, "token": own}
        assert (await third.send("/sign-in", sent.items())).status == 403


async def test_a_read_key_changes_nothing(served: Served, stranger: Person, number: int) -> None:
    await stranger.sign_in(served.client("read").key or "")
    before = audited(served)
    token = (await stranger.get("/companies")).hidden["token"]
    for screen in SCREENS:
        where = path(screen, number)
        if "read" in screen.who:
            assert screen.method == "GET"
            assert (await stranger.get(where)).status in (200, 404)
        elif screen.method == "GET":
            assert (await stranger.get(where)).status == 403
        else:
            page = await stranger.send(where, {"token": token, "version": "1"}.items())
            assert page.status == 403, screen.path
    assert audited(served) == before
    page = await stranger.get(f"/webhooks/{number}")
    assert not [link for link in page.links if link.endswith(("/pause", "/edit", "/remove"))]


async def test_an_operators_session_sees_no_keys(served: Served, stranger: Person) -> None:
    await stranger.sign_in(served.client("operator").key or "")
    assert (await stranger.get("/keys")).status == 403
    assert "/console/keys" not in (await stranger.get("/companies")).links
    assert (await stranger.get("/audit")).status == 200


async def test_signing_out_ends_the_session(served: Served, stranger: Person) -> None:
    await stranger.sign_in(served.client("read").key or "")
    stolen = stranger.cookie
    token = (await stranger.get("/companies")).hidden["token"]
    page = await stranger.send("/sign-out", {"token": token}.items())
    assert page.path == "/console/sign-in"
    stranger.http.cookie_jar.update_cookies({"cdc_console": stolen})
    assert (await stranger.get("/companies", follow=False)).status == 303
    actions = served.rows("select action, actor from cdc.audit where actor = %s order by id",
                          f"session:{stolen.partition('.')[0]}")  # fmt: skip
    assert [action for action, _ in actions] == ["session.begin", "session.end"]


async def test_a_session_ends_with_its_time_and_with_its_key(
    served: Served, stranger: Person
) -> None:
    key = served.key("operator")
    await stranger.sign_in(key)
    session = stranger.cookie.partition(".")[0]
    ((hours,),) = served.rows(
        "select extract(epoch from expires_at - created_at)::int / 3600 from cdc.session"
        " where id = %s", session,
    )  # fmt: skip
    assert hours == 8
    revoked = "update cdc.api_key set revoked_at = {} where id = %s"
    served.run(revoked.format("now()"), key.split("_")[1])
    assert (await stranger.get("/companies", follow=False)).status == 303
    served.run(revoked.format("null"), key.split("_")[1])
    assert (await stranger.get("/companies", follow=False)).status == 200
    served.run("update cdc.session set expires_at = now() where id = %s", session)
    assert (await stranger.get("/companies", follow=False)).status == 303


async def test_signing_in_makes_a_new_session(served: Served, stranger: Person) -> None:
    await stranger.get("/sign-in")
    fixed = stranger.cookie
    page = await stranger.sign_in(served.client("read").key or "", follow=False)
    first = stranger.cookie
    assert first != fixed
    cookie = page.headers["Set-Cookie"]
    assert re.search(r"HttpOnly.*Path=/.*SameSite=Lax", cookie), cookie
    assert "Secure" not in cookie  # plain http on loopback
    # Of what is in the cookie the database has a digest alone.
    number, secret = first.split(".")
    ((digest, row),) = served.rows(
        "select digest, s::text from cdc.session s where id = %s", number
    )
    assert digest == hashlib.sha256(secret.encode()).digest()
    assert secret not in row
    form = {
        "key": served.client("operator").key,
        "token": (await stranger.get("/companies")).hidden["token"],
    }
    await stranger.send("/sign-in", form.items())
    assert stranger.cookie != first
    assert served.rows("select from cdc.session where id = %s", number) == []


@pytest.mark.parametrize("scope", ["company:7", "webhook:1"])
async def test_keys_of_programs_are_refused_with_a_sentence(
    served: Served, stranger: Person, scope: str
) -> None:
    page = await stranger.sign_in(served.key(scope))
    assert page.status == 403
    assert "is for programs. The console needs one of scope admin, operator or read." in page.text
    assert (await stranger.get("/companies", follow=False)).status == 303


async def test_expired_and_unknown_keys_are_refused(served: Served, stranger: Person) -> None:
    for key in (served.key("admin", expires=timedelta(0)), "x", "", f"cdc_{'a' * 12}_{'b' * 43}"):
        page = await stranger.sign_in(key)
        assert page.status == 401
        assert "This key is unknown, expired or revoked." in page.text
        assert len(key) < 2 or key not in page.html


async def test_pages_forbid_what_they_do_not_need(served: Served, stranger: Person) -> None:
    await stranger.sign_in(served.client("admin").key or "")
    for where in ("/", "/nothing-here", "/keys", "/webhooks/999999"):
        page = await stranger.get(where)
        assert page.headers["Content-Security-Policy"] == CSP
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
    style = re.search(r'href="/console(/static/console\.[0-9a-f]{16}\.css)"', page.html)
    assert style is not None
    found = await stranger.get(style[1])
    assert found.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for bad in ("/static/console.css", "/static/../site.py", "/static/%2e%2e/site.py", "/static/"):
        assert (await stranger.get(bad)).status == 404


async def test_what_is_no_form_is_refused(served: Served, stranger: Person) -> None:
    await stranger.sign_in(served.client("admin").key or "")
    url = f"{stranger.url}/console/register"
    for body, kind, status in (
        (b"{}", "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        ("\u00e4".encode(), "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(300)), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
    ):
        async with stranger.http.post(url, data=body, headers={"Content-Type": kind}) as got:
            assert got.status == status
            assert got.content_type == "text/html"
    async with stranger.http.put(url) as got:
        assert (got.status, got.headers["Allow"]) == (405, "GET, POST")


async def test_guessing_is_slowed_down(served: Served, stranger: Person) -> None:
    """Last: this address may sign in no more for a minute."""
    statuses = [(await stranger.sign_in(f"cdc_{'a' * 12}_{'b' * 43}")).status for _ in range(21)]
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    page = await stranger.sign_in(served.key("admin"))
    assert page.status == 429
    assert int(page.headers["Retry-After"]) <= 60
