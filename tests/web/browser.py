"""A person at the console, without a browser: keeps cookies, follows redirects, sends forms."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import aiohttp

WITHIN = aiohttp.ClientTimeout(20)
KINDS = frozenset({"iframe", "object", "embed", "style", "base", "math", "marquee"})
"""Elements that the console has none of."""
SCRIPT = re.compile(r"/(console|portal)/static/live\.[0-9a-f]{16}\.js")
"""Its only script."""


@dataclass(slots=True)
class Page:
    """status and address after redirects. text: as it is read. marks: elements, attributes."""

    status: int
    path: str
    html: str
    headers: dict[str, str]
    text: str = ""
    hidden: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag in KINDS or any(name.startswith("on") or name == "style" for name in found):
            self._page.active.append(tag)
        if tag == "script" and not SCRIPT.fullmatch(found.get("src", "")):
            self._page.active.append(tag)
        if tag == "input" and found.get("type") == "hidden":
            self._page.hidden[found["name"]] = found["value"]
        if tag in ("input", "textarea", "option"):
            self._page.text += f" {found.get('value', '')} "
        if tag == "a":
            self._page.links.append(found["href"])
        if tag == "form":
            self._page.actions.append(found.get("action", ""))

    def handle_data(self, data: str) -> None:
        self._page.text += data


@dataclass(slots=True)
class Person:
    """root: what stands before all paths."""

    url: str
    http: aiohttp.ClientSession
    root: str = "/console"

    async def get(self, path: str, *, follow: bool = True) -> Page:
        async with self.http.get(f"{self.url}{self.root}{path}", allow_redirects=follow) as got:
            return await _read(got)

    async def see(self, path: str, text: str) -> Page:
        """Opens the page until it has this text: the overview is kept for a moment."""
        deadline = time.monotonic() + (WITHIN.total or 0)
        while text not in (page := await self.get(path)).text:
            assert time.monotonic() < deadline, page.text
        return page

    async def post(self, path: str, fields: Any, *, follow: bool = True) -> Page:
        """Opens the page of the form, fills it in, sends it."""
        form = await self.get(path)
        items = list(fields.items() if isinstance(fields, dict) else fields)
        names = {name for name, _ in items}
        sent = [(n, v) for n, v in form.hidden.items() if n not in names] + items
        return await self.send(path, sent, follow=follow)

    async def send(self, path: str, fields: Any, *, follow: bool = True) -> Page:
        """Sends a form as it stands."""
        data = aiohttp.FormData(list(fields))
        address = f"{self.url}{self.root}{path}"
        async with self.http.post(address, data=data, allow_redirects=follow) as got:
            return await _read(got)

    async def sign_in(self, key: str, *, follow: bool = True) -> Page:
        fields = {"key": key, "next": "/console/companies"}
        return await self.post("/sign-in", fields, follow=follow)

    @property
    def cookie(self) -> str:
        return next((one.value for one in self.http.cookie_jar), "")


async def _read(got: aiohttp.ClientResponse) -> Page:
    page = Page(got.status, got.url.raw_path_qs, await got.text(), dict(got.headers))
    _Reader(page).feed(page.html)
    page.text = " ".join(page.text.split())
    if got.content_type == "text/html":
        assert len(page.html) < 100_000, (page.path, len(page.html))
        assert not page.active, page.active
    return page


@asynccontextmanager
async def person(url: str, root: str = "/console") -> AsyncIterator[Person]:
    jar = aiohttp.CookieJar(unsafe=True)  # of an address
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=WITHIN) as http:
        yield Person(url.rstrip("/"), http, root)
