"""One request to the console or the portal: session, form token, screen, page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa
from aiohttp import web

from cdc.errors import CdcError
from cdc.telemetry.serve import RequestObserver
from cdc.web import idempotency, keys, routes, sessions
from cdc.web.access import Access
from cdc.web.call import Service
from cdc.web.console import times
from cdc.web.console.forms import Form
from cdc.web.console.render import Renderer, headers
from cdc.web.console.theme import Theme
from cdc.web.console.visit import Page, Redirect, Screen, Visit
from cdc.web.idempotency import Stored
from cdc.web.keys import Key
from cdc.web.limits import SentKeys
from cdc.web.problems import CODES, Problem, problem_of
from cdc.web.server import query_of, read_body, response
from cdc.web.sessions import Session


@dataclass(slots=True)
class ConsoleRequest:
    """A request as far as it has been read. target: path and query. session: once it is known.

    in_frame: another page shows this one. zone: of the reader. company: its name, in the portal."""

    method: str
    path: str
    target: str
    cookie: str
    source: str
    number: str
    query: dict[str, str] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    session: Session | None = None
    in_frame: bool = False
    company: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    def check_token(self) -> None:
        """Raises Problem for a form that is not of this session's pages."""
        if not sessions.is_token(self.cookie, self.form.one("token")):
            raise Problem(
                "forbidden",
                "This form is not of your current session: you signed in or out since it was "
                "opened, or it came from another site. Open the page again.",
            )


Door = Callable[[ConsoleRequest], Awaitable[web.Response]]
"""Answers what needs no session."""


class Site:
    """Pages for people who are signed in: the console (signing_in.py) or the portal (portal.py).

    root, screens, name: of its addresses, its pages, its cookie.
    prefix: what a proxy puts before all paths. secure: people reach this by https.
    ancestors: origins whose pages may show it in a frame."""

    root: ClassVar[str]
    screens: ClassVar[tuple[Screen, ...]]
    name: ClassVar[str]

    def __init__(
        self,
        service: Service,
        sent_keys: SentKeys,
        observer: RequestObserver,
        prefix: str,
        *,
        secure: bool,
        theme: Theme,
        ancestors: tuple[str, ...] = (),
    ) -> None:
        self._service = service
        self._sent_keys = sent_keys
        self._observer = observer
        self._prefix = prefix
        self._secure = secure
        self._cookie = f"__Host-{self.name}" if secure else self.name
        self._renderer = Renderer(prefix, self.root, theme)
        self._framed = bool(ancestors)
        self._headers = headers(ancestors)

    def serves(self, path: str) -> bool:
        return path == self.root or path.startswith(f"{self.root}/")

    async def answer(
        self, request: web.BaseRequest, path: str, number: str, source: str, seen: dict[str, str]
    ) -> web.Response:
        if path in ("/", self.root):
            seen["route"] = "GET /"
            return self._redirect(Redirect("/"))
        method = "GET" if request.method == "HEAD" else request.method
        static = f"{self.root}/static/"
        if path.startswith(static) and method == "GET":
            seen["route"] = f"GET {static}"
            found = self._renderer.static.get(path[len(static) :])
            if found is not None:
                return response(200, *found)
        query = request.rel_url.raw_query_string
        target = f"{path}?{query}" if query else path
        cookie = request.cookies.get(self._cookie, "")
        asked = ConsoleRequest(method, path, target, cookie, source, number)
        default = self._service.settings.serve_zone
        asked.zone = times.zone_of(request.cookies.get(times.COOKIE, ""), default)
        asked.in_frame = request.headers.get("Sec-Fetch-Dest", "") in ("iframe", "frame")
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
        door, possible = self._door(asked.method, asked.path)
        if possible:
            screen, params = None, dict[str, str]()
            seen["route"] = f"{asked.method} {self.shown(asked.path)}"
        else:
            screen, params, possible = routes.among(self.screens, asked.method, asked.path)
            seen["route"] = f"{asked.method} {screen.path}" if screen else "unknown"
        if not possible and screen is None:
            raise Problem("not_found")
        if screen is None and door is None:
            seen["route"] = "unknown"
            allow = ", ".join(sorted(possible))
            raise Problem("method_not_allowed", headers={"Allow": allow})
        asked.query = query_of(request)
        if asked.method == "POST":
            kind = request.headers.get("Content-Type", "")
            asked.form = Form.parse(kind, await read_body(request))
        if screen is not None:
            whose = self._sent_keys.whose(asked.cookie) or await self._whose(asked.cookie)
            return await self._service.pool.run(lambda: self._visited(screen, params, asked), whose)
        assert door is not None
        return await door(asked)

    async def _whose(self, cookie: str) -> str:
        """Whose the session is; empty: there is none."""

        def read() -> str:
            with self._service.pool.transaction() as conn:
                found = sessions.find(conn, cookie)
                if found is None:
                    return ""
                return self._sent_keys.worked(cookie, keys.company_of(conn, found.key.scope))

        return await self._service.pool.run(read) if cookie else ""

    def shown(self, path: str) -> str:
        """A path for the log."""
        return path

    def _door(self, method: str, path: str) -> tuple[Door | None, list[str]]:
        """What needs no session: signing in and out. The methods that are possible there."""
        doors = {name: door for (name, place), door in self.doors().items() if place == path}
        return doors.get(method), list(doors)

    def doors(self) -> dict[tuple[str, str], Door]:
        """By method and path."""
        return {("POST", f"{self.root}/sign-out"): self._sign_out}

    # -- screens ----------------------------------------------------------------------------------

    def _visited(
        self, screen: Screen, params: dict[str, str], asked: ConsoleRequest
    ) -> web.Response:
        service = self._service
        with service.pool.transaction() as conn:
            asked.session = session = sessions.find(conn, asked.cookie)
            if session is None:
                back = asked.target if asked.method == "GET" else f"{self.root}/"
                return self._redirect(Redirect(f"/sign-in?next={quote(back, safe='/')}"))
            if asked.method == "POST":
                asked.check_token()
            access = Access(session.key, conn)
            access.admit(screen.who)
            if access.company_only is not None:
                asked.company = service.company_name(access.company_only)
            if session.may is not None and screen.needs not in (None, *session.may):
                raise Problem("forbidden", "Your link does not allow this. Ask for another one.")
            actor = session.actor(asked.source, asked.number)
            bound = service.registry.within(conn, actor)
            visit = Visit(
                service, conn, access, actor, bound, params, asked.query, asked.form, session.id
            )

            def carried_out() -> web.Response:
                with times.reading_in(asked.zone):
                    made = screen.handler(visit)
                if isinstance(made, Redirect):
                    return self._redirect(made)
                return self._page(made, asked)

            if asked.method == "POST":
                return _once(conn, screen, asked, session, carried_out)
            return carried_out()

    # -- sessions ---------------------------------------------------------------------------------

    def _found(self, asked: ConsoleRequest) -> Session | None:
        with self._service.pool.transaction() as conn:
            return sessions.find(conn, asked.cookie)

    async def _sign_out(self, asked: ConsoleRequest) -> web.Response:
        return await self._service.pool.run(lambda: self._signed_out(asked))

    def _signed_out(self, asked: ConsoleRequest) -> web.Response:
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
        may: Collection[str] = (asked.session.may if asked.session else None) or ()
        shared: dict[str, Any] = {
            "token": sessions.form_token(asked.cookie),
            "scope": scope,
            "owner": _owner(asked.session) if asked.session else "",
            "company_name": asked.company,
            "changes": scope in ("admin", "operator") or "manage" in may,
            "tests": scope in ("admin", "operator") or "test" in may,
            "resends": scope in ("admin", "operator") or "replay" in may,
            "portal": scope == "company",
            "request_id": asked.number,
            "here": asked.path.removeprefix(self.root),
            "in_frame": asked.in_frame,
        }
        body = self._renderer.page(page.template, {**shared, **page.values}, asked.zone)
        return response(page.status, self._headers, body, asked.number)

    def _refused(self, problem: Problem, asked: ConsoleRequest) -> web.Response:
        values = {"kind": CODES[problem.code], "detail": problem.detail}
        made = self._page(Page("error.html", values, problem.status), asked)
        made.headers.update(problem.headers)
        return made

    def _redirect(self, to: Redirect) -> web.Response:
        made = response(303, {"Location": f"{self._prefix}{self.root}{to.to}"}, b"")
        if to.zone:
            kept = f"{times.COOKIE}={to.zone}; Path=/; Max-Age={times.KEPT_S}; {self._same_site}"
            made.headers["Set-Cookie"] = kept
        return made

    def _keep(self, made: web.Response, cookie: str) -> None:
        """The session's cookie; an empty one takes it away."""
        parts = [f"{self._cookie}={cookie}", "HttpOnly", "Path=/"]
        if not cookie:
            parts.append("Max-Age=0")
        made.headers["Set-Cookie"] = "; ".join([*parts, self._same_site])

    @property
    def _same_site(self) -> str:
        # Written by hand: http.cookies of Python 3.11 has no Partitioned. In a frame, a cookie is
        # of the site around it alone.
        if self._framed:
            return "SameSite=None; Secure; Partitioned"
        return "SameSite=Lax; Secure" if self._secure else "SameSite=Lax"


def _once(
    conn: sa.Connection,
    screen: Screen,
    asked: ConsoleRequest,
    session: Session,
    carried_out: Callable[[], web.Response],
) -> web.Response:
    """A form that is sent again, by a double click or a reload, gets the answer of the first time:
    with the secret in it that is shown once. What was refused is corrected, and sent again."""
    name = asked.form.one("once")
    if idempotency.FORM.fullmatch(name) is None:
        return carried_out()
    secret = sessions.derived(asked.cookie, "cdc console answer")
    holder = Key(f"session:{session.id}", session.key.scope, secret)
    route, digest = f"POST {screen.path}", asked.form.digest(asked.path)
    try:
        before = idempotency.begin(conn, holder, name, route, digest)
    except Problem as reused:
        text = "This form was sent before, with other values. Open the page again."
        raise Problem("conflict", text) from reused
    if before is not None:
        headers, body = orjson.loads(before.packed)
        return response(before.status, headers, body.encode(), asked.number)
    made = carried_out()
    if made.status >= 400:
        idempotency.undo(conn, holder, name, route)
        return made
    assert isinstance(made.body, bytes)
    headers = {str(name): value for name, value in made.headers.items()}
    packed = orjson.dumps([headers, made.body.decode()])
    idempotency.end(conn, holder, name, route, Stored(made.status, packed))
    return made


def _owner(session: Session) -> str:
    return session.person or f"Key {session.key.id}"
