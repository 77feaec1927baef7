"""The portal in a frame of another site's page, with a theme; in a real browser where there is one.

The page is at http://localhost, the portal at http://127.0.0.1: two sites for a browser.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from markupsafe import escape
from playwright.sync_api import Browser, Frame, Page, expect

from cdc import settings
from cdc.errors import ConfigError
from cdc.web.console import theme
from cdc.web.console.render import HERE
from tests.web.chromium import CHROMIUM, Window, chromium, window
from tests.web.kit import WITHIN, Client, Served, account, serving
from tests.web.test_portal import new_link

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser: apt install chromium, or CDC_TEST_CHROMIUM=/path/to/it"
)
ACCENTS = ("#000000", "#ffffff", "#ffd400", "#2450b8", "#ff0000", "#808080")
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8"/></svg>'
)
NAMED = "Suite <b>&amp; Co</b>"


@contextmanager
def site() -> Iterator[str]:
    """The suite's: its page shows the address that stands behind `?` in a frame."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            framed = unquote(self.path.partition("?")[2])
            body = (
                f'<!doctype html><title>suite</title><iframe src="{framed}" width=900 height=700>'
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(WITHIN)


@pytest.fixture(scope="module")
def suite() -> Iterator[str]:
    with site() as url:
        yield url


@pytest.fixture(scope="module")
def embedded(
    shared_database: str,
    admin: psycopg.Connection,
    suite: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("theme")
    (folder / "logo.svg").write_text(LOGO)
    file = folder / "theme.toml"
    file.write_text(f"name = '{NAMED}'\nlogo = 'logo.svg'\naccent = '#ffd400'\n")
    given = {"CDC_SERVE_FRAME_ANCESTORS": suite, "CDC_SERVE_THEME": str(file)}
    given["CDC_SERVE_ZONE"] = "Asia/Kathmandu"
    with (
        account(admin, shared_database) as url,
        serving(url, shared_database, **given) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def here(browser: Browser, embedded: Served) -> Iterator[Window]:
    with window(browser, embedded.url, "", timezone_id="America/Bogota") as made:
        yield made


def framed(page: Page, suite: str, address: str) -> Frame:
    page.goto(f"{suite}/?{address}")
    (frame,) = page.main_frame.child_frames
    return frame


@in_browser
def test_a_company_uses_the_portal_in_a_frame(here: Window, embedded: Served, suite: str) -> None:
    frame = framed(here.page, suite, embedded.url[:-1] + new_link(embedded, "7", "manage"))
    frame.get_by_role("button", name="Open").click()
    frame.get_by_role("heading", name="Your webhooks").wait_for()
    frame.get_by_text("Times are in America/Bogota.").wait_for()
    frame.get_by_role("link", name="Register a webhook").click()
    frame.get_by_label("Endpoint").fill("http://127.0.0.1:9/framed")
    frame.get_by_label("project_changed").check()
    frame.get_by_role("button", name="Register").click()
    frame.get_by_text("This is the signing secret. It is shown only now").wait_for()
    (cookie,) = [one for one in here.page.context.cookies() if one["name"] == "cdc_portal"]
    assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)
    assert cookie.get("partitionKey") == "http://localhost"


@in_browser
def test_a_frame_without_cookies_offers_a_window(
    here: Window, embedded: Served, suite: str
) -> None:
    frame = framed(here.page, suite, embedded.url[:-1] + new_link(embedded, "7"))
    button = frame.get_by_role("button", name="Open")
    button.wait_for()
    here.page.context.clear_cookies()  # as a browser that has kept none
    button.click()
    with here.page.context.expect_page() as opened:
        frame.get_by_role("link", name="Open in a window").click()
    own = opened.value
    own.get_by_role("button", name="Open").click()
    own.get_by_role("heading", name="Your webhooks").wait_for()
    frame = framed(here.page, suite, f"{embedded.url}portal/")
    frame.get_by_role("heading", name="A link is needed").wait_for()
    expect(frame.get_by_role("link", name="Open in a window")).to_have_attribute("href", "/portal/")


@in_browser
def test_no_other_site_shows_it_and_none_the_console(
    here: Window, embedded: Served, suite: str
) -> None:
    with site() as other:
        for page, address in (
            (other, embedded.url[:-1] + new_link(embedded)),
            (other, f"{embedded.url}portal/"),
            (suite, f"{embedded.url}console/"),
            (suite, f"{embedded.url}console/sign-in"),
        ):
            with here.page.expect_console_message(lambda one: "frame-ancestors" in one.text):
                here.page.goto(f"{page}/?{address}")
    assert all("frame-ancestors" in one for one in here.complaints), here.complaints
    here.complaints.clear()


@in_browser
def test_any_accent_can_be_read(here: Window, embedded: Served) -> None:
    page = here.open(new_link(embedded, "7", "manage"))
    here.check_looks()
    here.click("Open", "button")
    for path in ("/portal/", "/portal/register"):
        page = here.open(path)
        assert NAMED in page.title()
        assert NAMED in page.inner_text(".brand")
        assert page.evaluate("document.querySelector('.brand img').naturalWidth") > 0
        here.check_looks()
    used = page.eval_on_selector("button:not(.quiet)", "one => getComputedStyle(one).background")
    assert "rgb(36, 80, 184)" not in used  # the accent of console.css


def test_headers_and_cookie_of_portal_and_console(embedded: Served, suite: str) -> None:
    ask = Client(embedded.url)
    page = ask("GET", new_link(embedded))
    assert f"frame-ancestors {suite};" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    kept = page.headers["set-cookie"]
    assert kept.endswith("; HttpOnly; Path=/; SameSite=None; Secure; Partitioned"), kept
    (sheet,) = re.findall(r'"(/portal/static/theme\.[0-9a-f]{16}\.css)"', page.body.decode())
    assert b":root { --accent: #" in ask("GET", sheet).body
    assert b"Times are in Asia/Kathmandu." in page.body  # no script has said another
    page = ask("GET", "/console/sign-in", headers={"Cookie": "cdc_zone=Asia/Tokyo"})
    assert b"Times are in Asia/Tokyo." in page.body
    page = ask("GET", "/console/sign-in")
    assert "frame-ancestors 'none';" in page.headers["content-security-policy"]
    assert "SameSite=Lax" in page.headers["set-cookie"]
    assert "Secure" not in page.headers["set-cookie"]
    assert escape(NAMED) in page.body.decode()


@pytest.mark.parametrize("accent", ACCENTS)
def test_an_accent_is_changed_as_little_as_needed(accent: str) -> None:
    for background, towards in ((theme.LIGHT, "#000000"), (theme.DARK, "#ffffff")):
        found = theme.readable(accent, background, towards)
        assert theme.contrast(found, background) >= theme.CONTRAST
        if theme.contrast(accent, background) >= theme.CONTRAST:
            assert found == accent


def test_the_backgrounds_are_those_of_the_stylesheet() -> None:
    css = (HERE / "static" / "console.css").read_text().partition("@media print")[0]
    assert re.findall(r"--plain-back: (#\w+)", css) == [theme.LIGHT, theme.DARK]
    worst = {theme.LIGHT: "#000000", theme.DARK: "#ffffff"}
    for name in ("page", "surface", "plain-back"):
        pairs = zip(re.findall(rf"--{name}: (#\w+)", css), worst.items(), strict=True)
        for back, (mark, text) in pairs:
            assert theme.contrast(back, text) >= theme.contrast(mark, text), (name, back)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("accent = 'red'", "accent 'red': expected a colour such as #2450b8"),
        ("accent = 3", "accent must be a text"),
        ("name = ' '", "name must be a text"),
        ("colour = '#123456'", "unknown key colour: expected name, logo, accent"),
        ("logo = 'logo.gif'", "logo logo.gif: expected a file that ends with .svg or .png"),
        ("logo = 'none.svg'", "No such file or directory"),
        ("logo = 'large.svg'", "logo large.svg: it exceeds 100000 bytes"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_theme_that_cannot_be_used_says_why(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "theme.toml"
    file.write_text(text)
    (tmp_path / "large.svg").write_bytes(b" " * 100_001)
    with pytest.raises(ConfigError, match=re.escape(why)) as refused:
        theme.load_theme(file)
    assert str(file) in refused.value.message


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"FRAME_ANCESTORS": "suite.example.com"}, "'suite.example.com' is not an origin"),
        ({"FRAME_ANCESTORS": "https://suite.example.com/x"}, "is not an origin"),
        ({"FRAME_ANCESTORS": "https://a.example; script-src *"}, "is not an origin"),
        ({"FRAME_ANCESTORS": "*"}, "is not an origin"),
        ({"FRAME_ANCESTORS": "http://suite.example.com"}, "must begin with https://"),
        ({"ZONE": "Mars/Base"}, "'Mars/Base' is not a time zone that this host knows"),
        (
            {"FRAME_ANCESTORS": "https://*.example.com", "URL": "http://hooks.example.com/"},
            "serve_frame_ancestors is set, and serve_url begins with http://",
        ),
    ],
)
def test_ancestors_are_origins(
    given: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"CDC_SERVE_{name}", value)
    with pytest.raises(ConfigError) as refused:
        settings.load(need_database=False)
    assert why in f"{refused.value.message}{refused.value.hint}"
