"""One request to the console: session, form token, screen, page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from aiohttp import web

from cdc.errors import CdcError
from cdc.telemetry.requests import RequestObserver
from cdc.web import keys, routes, sessions
from cdc.web.access import READERS, Access
from cdc.web.call import Service
from cdc.web.console.forms import Form
from cdc.web.console.render import HEADERS, Renderer
from cdc.web.console.screens import ROOT, SCREENS
from cdc.web.console.visit import Page, Redirect, Screen, Visit
from cdc.web.keys import Key
from cdc.web.limits import FailedKeys
from cdc.web.oidc import Provider, Refused
from cdc.web.problems import CODES, Problem, problem_of
from cdc.web.server import query_of, read_body, response
from cdc.web.sessions import Session

SIGN_IN, SIGN_OUT = f"{ROOT}/sign-in", f"{ROOT}/sign-out"
TO_PROVIDER, BACK = f"{SIGN_IN}/provider", f"{SIGN_IN}/back"
_STATIC = f"{ROOT}/static/"
_NEXT = re.compile(r"/console/[A-Za-z0-9/_?=&%.+-]{0,500}")
"""Where a sign-in may lead: a page of ours, never another host."""


@dataclass(slots=True)
class ConsoleRequest:
    """A request as far as it has been read. target: path and query. session: once it is known."""

    method: str
    path: str
    target: str
    cookie: str
    source: str
    number: str
    query: dict[str, str] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    session: Session | None = None

    def check_token(self) -> None:
        """Raises Problem for a form that is not of this session's pages."""
        if not sessions.is_token(self.cookie, self.form.one("token")):
            raise Problem(
                "forbidden",
                "This form is not of your current session: you signed in or out since it was "
                "opened, or it came from another site. Open the page again.",
            )


class Site:
    """prefix: what a proxy puts before all paths. secure: people reach this by https."""

    def __init__(
        self,
        service: Service,
        failed: FailedKeys,
        observer: RequestObserver,
        prefix: str,
        *,
        secure: bool,
        provider: Provider | None,
    ) -> None:
        self._service = service
        self._failed = failed
        self._observer = observer
        self._prefix = prefix
        self._provider = provider
        self._secure = secure
        self._cookie = "__Host-cdc_console" if secure else "cdc_console"
        self._renderer = Renderer(prefix)

    def serves(self, path: str) -> bool:
        return path in ("/", ROOT) or path.startswith(f"{ROOT}/")

    async def answer(
        self, request: web.BaseRequest, path: str, number: str, source: str, seen: dict[str, str]
    ) -> web.Response:
        if path in ("/", ROOT):
            seen["route"] = "GET /"
            return self._redirect(Redirect("/"))
        method = "GET" if request.method == "HEAD" else request.method
        if path.startswith(_STATIC) and method == "GET":
            seen["route"] = f"GET {_STATIC}"
            found = self._renderer.static.get(path[len(_STATIC) :])
            if found is not None:
                return response(200, *found)
        query = request.rel_url.raw_query_string
        target = f"{path}?{query}" if query else path
        cookie = request.cookies.get(self._cookie, "")
        asked = ConsoleRequest(method, path, target, cookie, source, number)
        try:
            return await self._answer(request, asked, seen)
        except (Problem, CdcError) as error:
            problem = problem_of(error) if isinstance(error, CdcError) else error
            if problem.code == "unavailable":
                self._observer.unavailable(number, str(problem.__cause__ or error))
            return self._refused(problem, asked)
        except Exception as error:
            self._observer.failed(number, error)
            return self._refused(Problem("internal"), asked)
        finally:
            seen["key"] = asked.session.key.id if asked.session else ""

    async def _answer(
        self, request: web.BaseRequest, asked: ConsoleRequest, seen: dict[str, str]
    ) -> web.Response:
        work: Callable[[], web.Response]
        by_provider = self._provider is not None and asked.path in (TO_PROVIDER, BACK)
        if by_provider or asked.path in (SIGN_IN, SIGN_OUT):
            methods = {SIGN_IN: ["GET", "POST"], SIGN_OUT: ["POST"]}
            screen, possible = None, methods.get(asked.path, ["GET"])
            seen["route"] = f"{asked.method} {asked.path}"
        else:
            screen, params, possible = routes.among(SCREENS, asked.method, asked.path)
            seen["route"] = f"{asked.method} {screen.path}" if screen else "unknown"
        if screen is None and not possible:
            raise Problem("not_found")
        if screen is None and asked.method not in possible:
            seen["route"] = "unknown"
            allow = ", ".join(sorted(possible))
            raise Problem("method_not_allowed", headers={"Allow": allow})
        asked.query = query_of(request)
        if asked.method == "POST":
            kind = request.headers.get("Content-Type", "")
            asked.form = Form.parse(kind, await read_body(request))
        pool = self._service.pool
        if by_provider:
            return await (self._to_provider if asked.path == TO_PROVIDER else self._from_provider)(
                asked
            )
        if screen is not None:
            work = lambda: self._visited(screen, params, asked)  # noqa: E731 - one of four
        elif asked.path == SIGN_OUT:
            work = lambda: self._sign_out(asked)  # noqa: E731 - one of four
        elif asked.method == "GET":
            work = lambda: self._ask_key(asked)  # noqa: E731 - one of four
        else:
            return await self._sign_in(asked)
        return await pool.run(work)

    # -- screens ----------------------------------------------------------------------------------

    def _visited(
        self, screen: Screen, params: dict[str, str], asked: ConsoleRequest
    ) -> web.Response:
        service = self._service
        with service.pool.transaction() as conn:
            asked.session = session = sessions.find(conn, asked.cookie)
            if session is None:
                back = asked.target if asked.method == "GET" else f"{ROOT}/"
                return self._redirect(Redirect(f"/sign-in?next={quote(back, safe='/')}"))
            if asked.method == "POST":
                asked.check_token()
            access = Access(session.key, conn)
            access.admit(screen.who)
            actor = session.actor(asked.source, asked.number)
            bound = service.registry.within(conn, actor)
            made = screen.handler(
                Visit(
                    service, conn, access, actor, bound, params, asked.query, asked.form, session.id
                )
            )
        if isinstance(made, Redirect):
            return self._redirect(made)
        return self._page(made, asked)

    # -- signing in and out -----------------------------------------------------------------------

    def _ask_key(self, asked: ConsoleRequest, problem: Problem | None = None) -> web.Response:
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
        if (wait := self._failed.wait(asked.source, sent)) > 0:
            self._observer.key_refused()
            raise Problem("too_many_requests", headers={"Retry-After": str(int(wait) + 1)})
        try:
            made = await signed_in()
            if sent:
                self._failed.worked(sent)
            return made
        except Problem as problem:
            if problem.code == "unauthorized":
                self._observer.key_refused()
                self._failed.failed(asked.source)
            if problem.code not in ("unauthorized", "forbidden"):
                raise
            refused = problem
        return await self._service.pool.run(lambda: self._ask_key(asked, refused))

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

    def _found(self, asked: ConsoleRequest) -> Session | None:
        with self._service.pool.transaction() as conn:
            return sessions.find(conn, asked.cookie)

    def _sign_out(self, asked: ConsoleRequest) -> web.Response:
        with self._service.pool.transaction() as conn:
            asked.session = sessions.find(conn, asked.cookie)
            if asked.session is not None:
                asked.check_token()
                sessions.end(conn, asked.session, asked.source, asked.number)
        made = self._redirect(Redirect("/sign-in"))
        self._keep(made, "")
        return made

    # -- answers ----------------------------------------------------------------------------------

    def _page(self, page: Page, asked: ConsoleRequest) -> web.Response:
        scope = asked.session.key.scope.kind if asked.session else ""
        shared: dict[str, Any] = {
            "token": sessions.form_token(asked.cookie),
            "scope": scope,
            "owner": _owner(asked.session) if asked.session else "",
            "changes": scope in ("admin", "operator"),
            "request_id": asked.number,
            "path": asked.path,
        }
        body = self._renderer.page(page.template, {**shared, **page.values})
        return response(page.status, HEADERS, body, asked.number)

    def _refused(self, problem: Problem, asked: ConsoleRequest) -> web.Response:
        values = {"kind": CODES[problem.code], "detail": problem.detail}
        made = self._page(Page("error.html", values, problem.status), asked)
        made.headers.update(problem.headers)
        return made

    def _redirect(self, to: Redirect) -> web.Response:
        return response(303, {"Location": f"{self._prefix}{ROOT}{to.to}"}, b"")

    def _keep(self, made: web.Response, cookie: str) -> None:
        """The session's cookie; an empty one takes it away."""
        made.set_cookie(
            self._cookie,
            cookie,
            path="/",
            max_age=None if cookie else 0,
            httponly=True,
            secure=self._secure,
            samesite="Lax",
        )


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
    return key


def _owner(session: Session) -> str:
    return session.person or f"Key {session.key.id}"
