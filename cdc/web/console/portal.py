"""The portal: a company's own webhooks, for a person who was given a link.

A link is good for one use within five minutes. Opening it shows a button and changes nothing, so
that a program which looks at the links of a mail does not use it up; the button begins a session.

Pages of the allowed origins may show it in a frame. A browser that keeps no cookie there gets a
button that opens a window instead; the link is not used up by that.
"""

from __future__ import annotations

from aiohttp import web

from cdc.web import sessions
from cdc.web.console.screens import PORTAL, PORTAL_SCREENS
from cdc.web.console.site import ConsoleRequest, Door, Site
from cdc.web.console.visit import Page, Redirect
from cdc.web.problems import Problem

LINK = "/p/"
"""What the address of a link begins with; its secret follows."""


class Portal(Site):
    root = PORTAL
    screens = PORTAL_SCREENS
    name = "cdc_portal"

    def serves(self, path: str) -> bool:
        return path.startswith(LINK) or super().serves(path)

    def shown(self, path: str) -> str:
        """Without the secret of a link."""
        return LINK if path.startswith(LINK) else path

    def _door(self, method: str, path: str) -> tuple[Door | None, list[str]]:
        if path.startswith(LINK):
            doors = {"GET": self._ask, "POST": self._open}
            return doors.get(method), list(doors)
        return super()._door(method, path)

    def doors(self) -> dict[tuple[str, str], Door]:
        return {**super().doors(), ("GET", f"{PORTAL}/sign-in"): self._without}

    async def _without(self, asked: ConsoleRequest) -> web.Response:
        return self._page(Page("portal_closed.html"), asked)

    async def _ask(self, asked: ConsoleRequest) -> web.Response:
        fresh = "" if sessions.form_token(asked.cookie) else sessions.without_key()
        asked.cookie = fresh or asked.cookie
        made = self._page(
            Page("portal_link.html", {"link": asked.path[len(LINK) :], "kept": True}), asked
        )
        if fresh:
            self._keep(made, fresh)
        return made

    async def _open(self, asked: ConsoleRequest) -> web.Response:
        if asked.in_frame and not sessions.form_token(asked.cookie):
            link = asked.path[len(LINK) :]
            return self._page(Page("portal_link.html", {"link": link, "kept": False}, 403), asked)
        asked.check_token()
        if (wait := self._sent_keys.wait(asked.source, "")) > 0:
            raise Problem("too_many_requests", headers={"Retry-After": str(int(wait) + 1)})
        return await self._service.pool.run(lambda: self._opened(asked))

    def _opened(self, asked: ConsoleRequest) -> web.Response:
        with self._service.pool.transaction() as conn:
            link = asked.path[len(LINK) :]
            cookie = sessions.open_link(conn, link, asked.source, asked.number)
            before = sessions.find(conn, asked.cookie)
            if cookie and before is not None:
                sessions.end(conn, before, asked.source, asked.number)
        if cookie is None:
            self._sent_keys.failed(asked.source)
            return self._page(Page("portal_closed.html", status=404), asked)
        made = self._redirect(Redirect("/"))
        self._keep(made, cookie)
        return made
