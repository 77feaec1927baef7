"""A real browser at the console: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# The package has no types.
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]

# Nor has this part of it.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, sync_playwright

from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER
from cdc.sandbox.process import bare_environment
from tests.support.forked import Forked
from tests.web.kit import LOCAL, WITHIN, Served, until

CHROMIUM = os.environ.get("CDC_TEST_CHROMIUM") or shutil.which("chromium")
PICTURES = os.environ.get("CDC_TEST_PICTURES")
"""Folder that pictures are written to; none are without."""
WIDTHS = (390, 820, 1280)
HEIGHT = 900

# Of no element that is cut off or scrolls in a box of its own, the right edge of the window.
_TOO_WIDE = """() => {
  const edge = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll('body *')].filter(
    one => one.getBoundingClientRect().right > edge + 1 && !one.closest('.scroll, .hidden, pre'));
  const cut = [...document.querySelectorAll('button, .button, .badge, .number dd')].filter(
    one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline');
  return [...wide, ...cut].map(one => one.outerHTML.slice(0, 300));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass(slots=True)
class Window:
    """A browser window of its own, with the complaints that its pages made.

    root: what stands before all paths.
    """

    page: Page
    url: str
    root: str = "/console"
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, status: int = 200) -> Page:
        answer = self.page.goto(f"{self.url}{self.root}{path}")
        assert answer is not None
        assert answer.status == status, (path, self.page.inner_text("body"))
        return self.page

    def sign_in(self, key: str) -> Page:
        self.open("/sign-in").get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Overview").wait_for()
        return self.page

    def click(self, name: str, role: Any = "link") -> None:
        self.page.get_by_role(role, name=name, exact=True).click()

    def see(self, text: str, within: str = "main") -> None:
        """Waits until the page has this text."""
        self.page.locator(within).get_by_text(text).first.wait_for()

    def picture(self, name: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        if PICTURES:
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.emulate_media(color_scheme="dark" if dark else "light")
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", animations="disabled")
            self.page.emulate_media(color_scheme="light")

    def check_looks(self) -> None:
        """Nothing is too wide for a phone, a tablet or a desktop; axe finds nothing."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            assert not (wide := self.page.evaluate(_TOO_WIDE)), (self.page.url, width, wide)
        self.page.emulate_media(color_scheme="light")
        _no_findings(self.page, {"resultTypes": ["violations"]})
        self.page.emulate_media(color_scheme="dark")
        _no_findings(self.page, {"runOnly": ["color-contrast"], "resultTypes": ["violations"]})
        self.page.emulate_media(color_scheme="light")


def _no_findings(page: Page, options: dict[str, object]) -> None:
    # Half a megabyte: once for each page.
    script = "" if page.evaluate("'axe' in window") else AXE_SCRIPT
    found = Axe(script).run(page, options=options)
    assert found.violations_count == 0, f"{page.url}: {found.generate_report()}"


@contextmanager
def window(browser: Browser, url: str, root: str = "/console", **options: Any) -> Iterator[Window]:
    """Complaints: errors of scripts, refusals by the content security policy, and the like."""
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, **options)
    context.set_default_timeout(WITHIN * 1000)
    page = context.new_page()
    made = Window(page, url.rstrip("/"), root)

    def heard(kind: str, text: str) -> None:
        if kind in ("error", "warning") and "the server responded with a status of" not in text:
            made.complaints.append(text)

    page.on("console", lambda one: heard(one.type, one.text))
    page.on("pageerror", lambda one: heard("error", str(one)))
    page.on("dialog", lambda one: heard("error", f"dialog: {one.message}"))
    try:
        yield made
        assert made.complaints == []
    finally:
        context.close()


@dataclass(slots=True)
class Server:
    """A receiver, whose answer can be changed at any time. got: headers and body of each POST.

    proves: it answers challenges."""

    url: str
    status: int = 200
    proves: bool = True
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            asked = json.loads(body)["data"].get("challenge", "").encode()
            answer = asked if made.proves else b""
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def get_request(self) -> Any:
            taken, peer = super().get_request()
            if tls is None:
                return taken, peer
            taken.settimeout(WITHIN)
            try:
                return tls.wrap_socket(taken, server_side=True), peer
            except OSError:  # the daemon refuses our certificate
                taken.close()
                raise

    with Quiet(("127.0.0.1", 0), Handler) as server:
        made = Server(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/hooks")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(WITHIN)


@contextmanager
def daemon(served: Served) -> Iterator[None]:
    """A daemon for the same database, once it is there. Its second attempt comes after minutes."""
    given = {"CDC_DATABASE_URL": served.database, "CDC_RETRY_SCHEDULE": "300,600", **LOCAL}
    with Path(os.devnull).open("w") as nowhere:
        process = Forked(["run"], {**bare_environment(), **given}, nowhere.fileno())
    held = (
        "select from pg_locks l join pg_database d on d.oid = l.database where l.classid = %s"
        " and l.objid = %s and l.granted and d.datname = current_database()"
    )
    owned = "select from cdc.shard where owner is null"
    try:
        until(
            lambda: served.rows(held, LOCK_CLASS, MEMBER) and not served.rows(owned),
            within=3 * WITHIN,
        )
        yield
    finally:
        process.stop(WITHIN)
