"""Signing in by OpenID Connect: the authorization code flow with PKCE.

`cdc serve` calls nothing but the provider that the operator has configured. Nothing is kept of a
sign-in in progress: state, nonce and code verifier follow from the secret in the browser's
cookie, which is a new one for each.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import orjson

from cdc.errors import ConfigError
from cdc.settings import Settings
from cdc.web import sessions
from cdc.web.keys import Scope
from cdc.web.problems import Problem

WITHIN = aiohttp.ClientTimeout(10)
METADATA_KEPT_S = 600.0
LEEWAY_S = 60
# Signed with the provider's private key: never `none`, nor with a secret that is shared.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_SCOPES = ("admin", "operator", "read")


@dataclass(frozen=True, slots=True)
class Person:
    """Signed in by the provider. name: for people, with the provider's own id of the account."""

    name: str
    scope: Scope


class Refused(Exception):
    """A sign-in that is not accepted; why: for the log."""


class Provider:
    """address: of the page that the provider leads back to."""

    def __init__(self, settings: Settings, address: str) -> None:
        assert settings.oidc_issuer is not None
        try:
            import joserfc  # noqa: F401 - an extra; this is the earliest moment to say so
        except ImportError:
            raise ConfigError(
                "CDC_OIDC_ISSUER is set, and the package joserfc is not installed",
                "Install the extra: pip install 'cdc-webhooks[oidc]'.",
            ) from None
        self._settings = settings
        self._address = address
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._roles = dict(one.rsplit("=", 1) for one in settings.oidc_roles)
        self._metadata: dict[str, Any] = {}
        self._until = 0.0
        self.host = urlsplit(self._issuer).hostname or ""

    async def begin(self, cookie: str, wanted: str) -> str:
        """Where the browser goes. wanted: where it is to be afterwards. Raises Problem."""
        metadata = await self._read_metadata()
        supported = metadata.get("scopes_supported", ())
        claim = self._settings.oidc_claim.partition(".")[0]
        scopes = [one for one in ("profile", "email", claim) if one in supported]
        verifier = sessions.derived(cookie, "oidc verifier")
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._address,
            "scope": " ".join(["openid", *scopes]),
            "state": _state(cookie, wanted),
            "nonce": sessions.derived(cookie, "oidc nonce"),
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def end(self, cookie: str, query: Mapping[str, str]) -> tuple[Person, str]:
        """Who has come back from there, and where they wanted to. Raises Refused, Problem."""
        state = query.get("state", "")
        wanted = state.partition(".")[2]
        if not sessions.form_token(cookie) or not hmac.compare_digest(
            _state(cookie, wanted).encode(), state.encode()
        ):
            raise Refused("the state is not of this browser's sign-in")
        if query.get("iss", self._issuer).rstrip("/") != self._issuer:
            raise Refused("the answer is of another issuer")
        if "code" not in query:
            raise Refused(f"the provider answered {query.get('error', 'without a code')!r}")
        metadata = await self._read_metadata()
        answer = await self._exchange(metadata, query["code"], cookie)
        keys = await self._call("GET", str(metadata["jwks_uri"]))
        claims = self._verified(str(answer.get("id_token", "")), keys, cookie)
        return Person(_name(claims), self._scope(claims)), wanted

    def _verified(self, token: str, keys: Any, cookie: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        client = self._settings.oidc_client_id
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "values": [self._issuer, f"{self._issuer}/"]},
            aud={"essential": True, "value": client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": sessions.derived(cookie, "oidc nonce")},
        )
        try:
            found = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)
            registry.validate(found.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Refused(f"invalid ID token: {type(error).__name__}: {error}") from None
        claims: dict[str, Any] = found.claims
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", "" if several else client) != client:
            raise Refused("the ID token is for another client")
        return claims

    def _scope(self, claims: dict[str, Any]) -> Scope:
        """The widest of the scopes that the claim's values stand for."""
        found: Any = claims
        for part in self._settings.oidc_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        values = found if isinstance(found, list) else [found]
        scopes = {self._roles.get(str(one)) for one in values}
        for scope in _SCOPES:
            if scope in scopes:
                return Scope.parse(scope)
        raise Problem(
            "forbidden",
            f"Your account at {self.host} has none of the roles for this console. The operator "
            "maps them (CDC_OIDC_ROLES).",
        )

    async def _exchange(self, metadata: dict[str, Any], code: str, cookie: str) -> dict[str, Any]:
        client, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._address,
            "code_verifier": sessions.derived(cookie, "oidc verifier"),
        }
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        auth = None
        if secret and "client_secret_basic" in methods:
            auth = aiohttp.BasicAuth(quote_plus(client), quote_plus(secret))
        else:
            form |= {"client_id": client, **({"client_secret": secret} if secret else {})}
        return await self._call("POST", str(metadata["token_endpoint"]), data=form, auth=auth)

    async def _read_metadata(self) -> dict[str, Any]:
        if monotonic() >= self._until:
            found = await self._call("GET", f"{self._issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self._issuer:
                raise _unavailable(f"{self._issuer} describes itself as {found.get('issuer')!r}")
            needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if missing := [one for one in needed if one not in found]:
                raise _unavailable(f"{self._issuer} names no {missing[0]}")
            self._metadata, self._until = found, monotonic() + METADATA_KEPT_S
        return self._metadata

    async def _call(self, method: str, url: str, **given: Any) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=WITHIN) as http,
                http.request(method, url, allow_redirects=False, **given) as got,
            ):
                body = await got.read()
                if method == "POST" and got.status in (400, 401):
                    raise Refused(f"{url} answered {got.status}: {body[:200]!r}")
                found = orjson.loads(body) if got.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unavailable(f"{url}: {type(error).__name__}: {error}") from None
        if not isinstance(found, dict):
            raise _unavailable(f"{url} answered {got.status}")
        return found


def _unavailable(why: str) -> Problem:
    problem = Problem("unavailable", "The identity provider cannot be used now. Try again later.")
    problem.__cause__ = ConnectionError(why)  # for the log
    return problem


def _state(cookie: str, wanted: str) -> str:
    return f"{sessions.derived(cookie, f'oidc state {wanted}')}.{wanted}"


def _name(claims: dict[str, Any]) -> str:
    """As people know them, with what stays when the name changes."""
    name = claims.get("preferred_username") or claims.get("email")
    return (f"{name} ({claims['sub']})" if name else str(claims["sub"]))[:300].replace("\0", "")
