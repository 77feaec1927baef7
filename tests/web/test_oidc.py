"""Signing in by OpenID Connect, at a provider of another project's."""

from __future__ import annotations

import hmac
import json
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import orjson
import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from cdc.errors import ConfigError
from cdc.settings import Settings
from cdc.web import sessions
from cdc.web.oidc import Provider, Refused
from tests.web.browser import Page, Person, person
from tests.web.kit import WITHIN, Served, account, serving, until

PEOPLE = {
    "kim": {"groups": ["helpdesk", "others"], "email": "kim@example.com"},
    "ada": {"groups": ["staff", "platform"]},
    "eve": {"groups": ["others"]},
    "bob": {"email": "bob@example.com"},
    "x'><b>": {"groups": "staff"},
}
ROLES = "platform=admin,helpdesk=operator,staff=read"
_SERVER = """
import sys, json
from oidc_provider_mock import User, run_server_in_thread
people = [User(sub=sub, claims=claims) for sub, claims in json.loads(sys.argv[1]).items()]
with run_server_in_thread(user_claims=people) as server:
    print(server.server_port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def provider() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its issuer, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER, json.dumps(PEOPLE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://localhost:{int(process.stdout.readline())}", process
    finally:
        process.stdin.close()
        try:
            process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(WITHIN)
        process.stdout.close()


@dataclass(frozen=True, slots=True)
class Installation:
    served: Served
    issuer: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def installed(shared_database: str, admin: psycopg.Connection) -> Iterator[Installation]:
    with (
        provider() as (issuer, process),
        account(admin, shared_database) as url,
        serving(
            url,
            shared_database,
            CDC_SERVE_URL="http://127.0.0.1/",
            CDC_OIDC_ISSUER=issuer,
            CDC_OIDC_CLIENT_ID="cdc",
            CDC_OIDC_CLIENT_SECRET="of-the-client",
            CDC_OIDC_ROLES=ROLES,
        ) as served,
    ):
        yield Installation(served, issuer, process)


@pytest.fixture
async def here(installed: Installation) -> AsyncIterator[Person]:
    async with person(installed.served.url) as one:
        yield one


async def leave(one: Person, wanted: str = "") -> str:
    """Where the provider is asked for a sign-in."""
    page = await one.get(f"/sign-in/provider{wanted}", follow=False)
    assert page.status == 303, page.text
    return page.headers["Location"]


async def approve(address: str, sub: str, action: str = "authorize") -> str:
    """Where the provider leads back to, as path and query."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(address, data={"sub": sub, "action": action}, allow_redirects=False) as got,
    ):
        assert got.status == 302, await got.text()
        back = urlsplit(got.headers["Location"])
    assert (back.hostname, back.path) == ("127.0.0.1", "/console/sign-in/back")
    return f"{back.path}?{back.query}".removeprefix("/console")


async def sign_in(one: Person, sub: str, wanted: str = "") -> Page:
    return await one.get(await approve(await leave(one, wanted), sub), follow=False)


async def test_a_person_signs_in_with_the_role_of_a_group(
    installed: Installation, here: Person
) -> None:
    form = await here.get("/sign-in?next=/console/audit")
    assert "Sign in with localhost" in form.text
    assert "/console/sign-in/provider?next=%2Fconsole%2Faudit" in form.links
    before = here.cookie
    page = await sign_in(here, "kim", "?next=/console/audit")
    assert (page.status, page.headers["Location"]) == (303, "/console/audit")
    assert here.cookie != before
    page = await here.get("/audit?action=session.begin")
    assert "kim@example.com (kim)" in page.text
    assert 'title="kim@example.com (kim)">operator' in page.html
    assert (await here.get("/keys")).status == 403
    row = installed.served.rows(
        "select key_id, person, scope from cdc.session where id = %s", here.cookie.partition(".")[0]
    )
    assert row == [(None, "kim@example.com (kim)", "operator")]
    async with person(here.url) as other:
        assert (await sign_in(other, "ada")).headers["Location"] == "/console/"
        page = await other.get("/sessions")
        assert "kim@example.com (kim)" in page.text
        number = here.cookie.partition(".")[0]
        asked = await other.get(f"/sessions/{number}/end")
        assert "It is of kim@example.com (kim)." in asked.text
        await other.post(f"/sessions/{number}/end", {})
    assert (await here.get("/companies", follow=False)).status == 303
    audited = "select before->>'person' from cdc.audit where action = 'session.end'"
    assert ("kim@example.com (kim)",) in installed.served.rows(audited)


async def test_the_widest_role_counts_and_one_is_needed(here: Person) -> None:
    for sub in ("eve", "bob", "not known before"):
        page = await sign_in(here, sub)
        assert page.status == 403
        assert "Your account at localhost has none of the roles for this console." in page.text
        assert (await here.get("/companies", follow=False)).status == 303
    assert (await sign_in(here, "x'><b>")).status == 303
    assert 'title="x&#39;&gt;&lt;b&gt;">read' in (await here.get("/companies")).html


async def test_the_question_has_state_nonce_and_challenge(here: Person) -> None:
    asked = parse_qs(urlsplit(await leave(here)).query)
    verifier = sessions.derived(here.cookie, "oidc verifier")
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
    assert asked["code_challenge"] == [challenge]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://127.0.0.1/console/sign-in/back"]
    assert asked["scope"] == ["openid profile email"]
    again = parse_qs(urlsplit(await leave(here)).query)
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name][0]) > 40
        assert asked[name] != again[name]


async def test_an_answer_for_another_browser_is_refused(
    installed: Installation, here: Person
) -> None:
    """A link that signs in as another user; a code that was overheard; a second use."""
    await leave(here)
    async with person(here.url) as other:
        foreign = await approve(await leave(other), "ada")
        page = await here.get(foreign, follow=False)
        assert (page.status, "This sign-in was not accepted." in page.text) == (401, True)
        # The code of one with the state of the other: the nonce is another one.
        own = await approve(await leave(here), "eve")
        code = re.search(r"code=[^&]+", foreign)
        assert code is not None
        page = await here.get(re.sub(r"code=[^&]+", code[0], own), follow=False)
        assert page.status == 401
        own = await approve(await leave(other), "ada")
        assert (await other.get(own, follow=False)).status == 303
        stolen = other.cookie
        other.http.cookie_jar.clear()
        assert (await other.get(own, follow=False)).status == 401
        assert stolen
    for query in ("", "?code=x", "?state=x&code=x", "?state=.&code=x", "?state=%00&code=x"):
        assert (await here.get(f"/sign-in/back{query}", follow=False)).status == 401
    asked = await leave(here)
    state = parse_qs(urlsplit(asked).query)["state"][0]  # which this provider leaves out
    page = await here.get(f"{await approve(asked, 'kim', 'deny')}&state={state}", follow=False)
    assert page.status == 401
    lines = installed.served.lines  # which a thread reads: the last one may come after the answer
    until(lambda: any("access_denied" in line.get("error", "") for line in lines))
    refused = [line["error"] for line in lines if "sign-in was not" in line["event"]]
    assert "nonce" in " ".join(refused)
    assert "access_denied" in refused[-1]
    assert not any("of-the-client" in str(line) for line in installed.served.lines)


async def test_only_pages_of_ours_follow(here: Person) -> None:
    for wanted in ("https://evil.example/", "//evil.example", "/console/%0d%0aX:y", "/v1/keys"):
        page = await sign_in(here, "ada", f"?next={wanted}")
        assert page.headers["Location"] == "/console/", wanted
        here.http.cookie_jar.clear()
    await sign_in(here, "ada")
    signed_in = here.cookie
    page = await here.get(
        "/sign-in/provider", follow=False
    )  # another site's link signs no user out
    assert (page.headers["Location"], here.cookie) == ("/console/", signed_in)


# -- ID tokens ------------------------------------------------------------------------------------

KEY, OTHER = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "1"})
COOKIE = sessions.without_key()
ISSUER = "https://login.example/realm"


def settings(**given: Any) -> Settings:
    base = {
        "database_url": "postgresql:///x",
        "serve_url": "https://hooks.example/",
        "oidc_issuer": ISSUER,
        "oidc_client_id": "cdc",
        "oidc_roles": ROLES,
    }
    return Settings(**{**base, **given})


def claims(**given: Any) -> dict[str, Any]:
    """Numbers are seconds from now."""
    now = int(time.time())
    base = {
        "iss": ISSUER, "aud": "cdc", "sub": "kim", "iat": now, "exp": now + 60,
        "nonce": sessions.derived(COOKIE, "oidc nonce"), "groups": ["staff"],
    }  # fmt: skip
    relative = {name: now + value for name, value in given.items() if isinstance(value, int)}
    made = {**base, **given, **relative}
    return {name: value for name, value in made.items() if value is not None}


def verified(token: str, *keys: Any) -> dict[str, Any]:
    jwks = {"keys": [key.as_dict(private=False) for key in keys or (KEY,)]}
    return Provider(settings(), "https://hooks.example/back")._verified(token, jwks, COOKIE)


@pytest.mark.parametrize("changed", [
    {}, {"aud": ["cdc"]}, {"aud": ["cdc", "other"], "azp": "cdc"}, {"iss": f"{ISSUER}/"},
    {"exp": -10},
])  # fmt: skip
def test_id_tokens_that_are_accepted(changed: dict[str, Any]) -> None:
    token = jwt.encode({"alg": "RS256", "kid": "1"}, claims(**changed), KEY)
    assert verified(token)["sub"] == "kim"


def test_other_kinds_of_keys() -> None:
    key = ECKey.generate_key("P-256", {"kid": "2"})
    token = jwt.encode({"alg": "ES256", "kid": "2"}, claims(), key)
    assert verified(token, KEY, key)["sub"] == "kim"


@pytest.mark.parametrize("changed", [
    {"iss": "https://evil.example"}, {"aud": "other"}, {"aud": ["other"]}, {"aud": None},
    {"aud": ["cdc", "other"]}, {"azp": "other"}, {"nonce": "other"}, {"nonce": None},
    {"exp": -3600}, {"exp": None}, {"iat": 3600},
    {"iat": None}, {"sub": None}, {"iss": None},
])  # fmt: skip
def test_id_tokens_that_are_refused(changed: dict[str, Any]) -> None:
    token = jwt.encode({"alg": "RS256", "kid": "1"}, claims(**changed), KEY)
    with pytest.raises(Refused):
        verified(token)


def test_forged_id_tokens_are_refused() -> None:
    """By another key; without a signature; with the public key as if it were a shared secret."""

    def plain(algorithm: str) -> str:
        parts = {"alg": algorithm, "kid": "1"}, claims()
        return ".".join(urlsafe_b64encode(orjson.dumps(p)).decode().rstrip("=") for p in parts)

    public = KEY.as_pem(private=False)
    shared = urlsafe_b64encode(hmac.digest(public, plain("HS256").encode(), sha256))
    for token in (
        jwt.encode({"alg": "RS256", "kid": "1"}, claims(), OTHER),
        f"{plain('HS256')}.{shared.decode().rstrip('=')}",
        f"{plain('none')}.",
        *("", "x", "a.b.c"),
    ):
        with pytest.raises(Refused):
            verified(token)


def test_a_claim_within_a_claim() -> None:
    made = Provider(settings(oidc_claim="realm_access.roles"), "https://hooks.example/back")
    assert str(made._scope({"realm_access": {"roles": ["x", "helpdesk", "staff"]}})) == "operator"


# -- settings, and a provider that is away ---------------------------------------------------------


@pytest.mark.parametrize("given", [
    {"oidc_issuer": "http://login.example"}, {"oidc_issuer": "login.example"},
    {"oidc_client_id": ""}, {"oidc_roles": ()}, {"serve_url": None},
    {"oidc_roles": "helpdesk=root"}, {"oidc_roles": "helpdesk"},
])  # fmt: skip
def test_settings_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"oidc|serve_url"):
        settings(**given)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ConfigError, match="joserfc is not installed") as refused:
        Provider(settings(), "https://hooks.example/back")
    assert "cdc-webhooks[oidc]" in refused.value.hint


async def test_a_provider_that_is_away(installed: Installation, here: Person) -> None:
    """Last: it does not come back. Keys are good still."""
    back = await approve(await leave(here), "kim")
    installed.process.kill()
    installed.process.wait(WITHIN)
    page = await here.get(back, follow=False)
    assert (page.status, "The identity provider cannot be used now" in page.text) == (503, True)
    assert (await here.sign_in(installed.served.client("read").key or "")).status == 200
