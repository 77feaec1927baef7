"""The console: its screens, and how people sign in: with a key, or by OpenID Connect."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from aiohttp import web

from cdc.telemetry.serve import RequestObserver
from cdc.web import keys, sessions
from cdc.web.access import READERS
from cdc.web.call import Service
from cdc.web.console.screens import ROOT, SCREENS
from cdc.web.console.site import ConsoleRequest, Door, Site
from cdc.web.console.theme import Theme
from cdc.web.console.visit import Page, Redirect
from cdc.web.keys import Key
from cdc.web.limits import SentKeys
from cdc.web.oidc import Provider, Refused
from cdc.web.problems import Problem
from cdc.web.server import response

SIGN_IN = f"{ROOT}/sign-in"
TO_PROVIDER, BACK = f"{SIGN_IN}/provider", f"{SIGN_IN}/back"
_NEXT = re.compile(r"/console/[A-Za-z0-9/_?=&%.+-]{0,500}")
"""Where a sign-in may lead: a page of ours, never another host."""


class Console(Site):
    """provider: of OpenID Connect, if there is one."""

    root = ROOT
    screens = SCREENS
    name = "cdc_console"

    def __init__(
        self,
        service: Service,
        sent_keys: SentKeys,
        observer: RequestObserver,
        prefix: str,
        *,
        secure: bool,
        theme: Theme,
        provider: Provider | None,
    ) -> None:
        super().__init__(service, sent_keys, observer, prefix, secure=secure, theme=theme)
        self._provider = provider

    def serves(self, path: str) -> bool:
        return path == "/" or super().serves(path)

    def doors(self) -> dict[tuple[str, str], Door]:
        found = {
            **super().doors(),
            ("GET", SIGN_IN): self._ask_key,
            ("POST", SIGN_IN): self._sign_in,
        }
        if self._provider is not None:
            found |= {("GET", TO_PROVIDER): self._to_provider, ("GET", BACK): self._from_provider}
        return found

    async def _ask_key(self, asked: ConsoleRequest) -> web.Response:
        return await self._service.pool.run(lambda: self._form(asked))

    def _form(self, asked: ConsoleRequest, problem: Problem | None = None) -> web.Response:
        asked.session = self._found(asked)
        if asked.session is not None:
            return self._redirect(Redirect("/"))
        fresh = "" if sessions.form_token(asked.cookie) else sessions.without_key()
        asked.cookie = fresh or asked.cookie
        wanted = asked.form.one("next") or asked.query.get("next", "")
        values = {
            "problem": problem,
            "next": wanted if _NEXT.fullmatch(wanted) else "",
            "provider": self._provider.host if self._provider else "",
        }
        status = 200 if problem is None else problem.status
        made = self._page(Page("sign_in.html", values, status), asked)
        if fresh:
            self._keep(made, fresh)
        return made

    async def _sign_in(self, asked: ConsoleRequest) -> web.Response:
        asked.check_token()
        sent, wanted = asked.form.one("key"), asked.form.one("next")

        async def signed_in() -> web.Response:
            return await self._service.pool.run(
                lambda: self._begun(asked, wanted, lambda conn: (_key(conn, sent), ""))
            )

        return await self._limited(asked, sent, signed_in)

    async def _to_provider(self, asked: ConsoleRequest) -> web.Response:
        assert self._provider is not None
        if await self._service.pool.run(lambda: self._found(asked)):
            return self._redirect(Redirect("/"))
        cookie, wanted = sessions.without_key(), asked.query.get("next", "")
        to = await self._provider.begin(cookie, wanted if _NEXT.fullmatch(wanted) else "")
        made = response(303, {"Location": to}, b"")
        self._keep(made, cookie)
        return made

    async def _from_provider(self, asked: ConsoleRequest) -> web.Response:
        provider = self._provider
        assert provider is not None

        async def signed_in() -> web.Response:
            try:
                person, wanted = await provider.end(asked.cookie, asked.query)
            except Refused as why:
                self._observer.sign_in_refused(asked.number, str(why))
                raise Problem("unauthorized", "This sign-in was not accepted. Try again.") from None
            key = Key("", person.scope, "")
            return await self._service.pool.run(
                lambda: self._begun(asked, wanted, lambda _: (key, person.name))
            )

        return await self._limited(asked, "", signed_in)

    async def _limited(
        self, asked: ConsoleRequest, sent: str, signed_in: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        """What is refused counts, and is shown with the form. sent: the key, if it is by one."""
        if (wait := self._sent_keys.wait(asked.source, sent)) > 0:
            self._observer.key_refused()
            raise Problem("too_many_requests", headers={"Retry-After": str(int(wait) + 1)})
        try:
            made = await signed_in()
            if sent:
                self._sent_keys.worked(sent)
            return made
        except Problem as problem:
            if problem.code == "unauthorized":
                self._observer.key_refused()
                self._sent_keys.failed(asked.source)
            if problem.code not in ("unauthorized", "forbidden"):
                raise
            refused = problem
        return await self._service.pool.run(lambda: self._form(asked, refused))

    def _begun(
        self,
        asked: ConsoleRequest,
        wanted: str,
        owner: Callable[[sa.Connection], tuple[Key, str]],
    ) -> web.Response:
        """A new session of this key or person, in place of the one before."""
        with self._service.pool.transaction() as conn:
            key, person = owner(conn)
            before = sessions.find(conn, asked.cookie)
            if before is not None:
                sessions.end(conn, before, asked.source, asked.number)
            cookie = sessions.begin(conn, key, asked.source, asked.number, person)
        path = wanted[len(ROOT) :] if _NEXT.fullmatch(wanted) else "/"
        made = self._redirect(Redirect(path))
        self._keep(made, cookie)
        return made


def _key(conn: sa.Connection, sent: str) -> Key:
    """The key that was sent. Raises Problem for one that may not sign in."""
    key = keys.valid(conn, sent)
    if key is None:
        raise Problem("unauthorized", "This key is unknown, expired or revoked.")
    if key.scope.kind not in READERS:
        raise Problem(
            "forbidden",
            f"A key of scope {key.scope.kind} is for programs. The console needs one of "
            "scope admin, operator or read.",
        )
    if key.rested:
        keys.used(conn, key)
    return key
