"""The console in a real browser: the helpdesk's story, the keyboard, each screen's looks.

`make pictures` writes the pictures of docs/console.md and docs/portal.md meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser

from cdc.web.console.screens import SCREENS
from tests.support.certificates import certificate
from tests.web.chromium import CHROMIUM, Window, chromium, daemon, receiver, window
from tests.web.kit import Served, until
from tests.web.stories import A_DAY, HIDDEN, NEWER, change, hostile, reach, registered, verified
from tests.web.test_console import HOSTILE

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser: apt install chromium, or CDC_TEST_CHROMIUM=/path/to/it"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def shared_database(shared_database: str) -> str:
    """With the log of a day of webhook 1, which the first test registers: charts have bars."""
    with psycopg.connect(shared_database) as conn:
        conn.execute(A_DAY)
    return shared_database


@pytest.fixture
def helpdesk(browser: Browser, served: Served) -> Iterator[Window]:
    """A window that is signed in as an operator."""
    with window(browser, served.url) as made:
        made.sign_in(served.client("operator").key or "")
        yield made


class TestTheHelpdesk:
    def test_from_a_wish_to_what_arrives_and_why_it_did_not(
        self, browser: Browser, served: Served, tmp_path: Path
    ) -> None:
        with (
            daemon(served),
            receiver(certificate(tmp_path, "127.0.0.1")[1]) as untrusted,
            receiver() as good,
            window(browser, served.url) as here,
        ):
            page = here.sign_in(served.client("operator").key or "")
            number, secret = registered(here, untrusted.url, "console-register")
            here.click("Test")
            here.click("Send a test", "button")
            here.see("The receiver has not accepted it")
            here.see("self-signed certificate")
            here.picture("console-test", height=520)
            here.click("Continue")

            change(served, 7)
            failed = "select from cdc.retry where webhook_id = %s and last_error = 'tls'"
            until(lambda: served.rows(failed, number))
            page.reload()
            here.see("is refused: self-signed certificate (tls)")
            here.see("Otherwise the receiver needs a certificate of a public CA.")
            assert page.get_by_text("It is active: deliveries are sent to it").count() == 0
            here.picture("console-webhook", height=1000)

            here.click("Edit")
            page.get_by_label("Endpoint").fill(good.url)
            here.click("Save", "button")
            here.see("Changed.")
            until(lambda: good.got)  # a new endpoint is tried at once
            assert verified(secret, *good.got[0])["event"] == "project_changed"
            gone = "select from cdc.retry where webhook_id = %s"
            until(lambda: not served.rows(gone, number))
            page.reload()
            here.see("It is active: deliveries are sent to it")
            here.see("delivered", "table")
            here.click("Test")
            here.click("Send a test", "button")
            here.see("The receiver has accepted it: it answered 200")
            assert verified(secret, *good.got[-1])["data"]["action"] == "test"
            here.click("Continue")

            good.status = 500
            change(served, 7)
            until(lambda: served.rows(gone + " and last_status = 500", number))
            page.reload()
            here.see("1 attempt failed, the last: answered 500")
            page.get_by_role("row", name="retrying").get_by_role("link").click()
            here.see("Something is wrong at the receiver, or in front of it: ask its operator.")
            here.picture("console-delivery", height=740)
            served.run("update cdc.retry set time = time - interval '10 minutes'")
            here.click("Overview")
            here.see("its oldest delivery waits for 10 min")
            here.picture("console-overview", height=760)
            here.picture("console-phone", width=390, height=844, dark=True)
            page.get_by_role("row", name="answered 500").get_by_role("link").first.click()

            good.status = 200
            here.click("Try now")
            here.see("1 delivery that waits is sent to")
            here.click("Try now", "button")
            here.see("Resumed. What waits is sent now.")
            until(lambda: not served.rows(gone, number))
            accepted = len(good.got)
            here.click("Deliveries")
            here.see("Of all companies, what waits or is dead is listed.")
            page.get_by_label("Company").fill("7")
            page.get_by_label("State").select_option("delivered")
            here.click("Search", "button")
            page.get_by_role("row", name="delivered").first.wait_for()
            here.picture("console-deliveries", height=560)
            page.get_by_role("link", name="1", exact=True).first.click()
            page.get_by_role("row", name="delivered").get_by_role("link").first.click()
            uid = page.url.rpartition("/")[2].partition("?")[0]
            here.click("Send again")
            here.see("A receiver that has it already recognises the repeat by this id.")
            here.click("Send again", "button")
            here.see("It is sent again, with a new retry budget.")
            until(lambda: good.got[-1][0]["webhook-id"] == uid and len(good.got) > accepted)
            verified(secret, *good.got[-1])
            here.click("Webhook 1")
            page.get_by_role("row", name="delivered").get_by_role("checkbox").first.check()
            here.click("Send the ticked ones again", "button")
            here.see("so a receiver that has it already recognises the repeat")
            here.picture("console-replay", height=520)
            accepted = len(good.got)
            here.click("Send 1 delivery again", "button")
            here.see("1 delivery queued to be sent again.")  # without a click: it refreshes
            until(lambda: len(good.got) > accepted)

    def test_a_page_refreshes_and_nothing_jumps(
        self, browser: Browser, served: Served, params: dict[str, object]
    ) -> None:
        """While it is seen: with focus and open parts as they were, and moved rows the same."""
        number = params["webhook_id"]
        with window(browser, served.url) as here:
            page = here.sign_in(served.client("read").key or "")
            here.open(f"/webhooks/{number}")
            page.clock.install()
            page.reload()
            row = page.get_by_role("row", name="dead").first
            row.get_by_role("link").focus()
            row.evaluate("one => { window.before = one }")
            served.run(NEWER, number)
            page.clock.run_for(11_000)
            here.see("newer", "table")
            focused = "document.activeElement.closest('tr') === window.before"
            assert page.evaluate(focused)
            assert page.evaluate("document.querySelector('tbody tr') !== window.before")
            served.run("delete from cdc.dead where key = 'newer'")
            page.evaluate(HIDDEN)
            asked: list[str] = []
            page.on("request", lambda one: asked.append(one.url))
            page.clock.run_for(60_000)
            assert asked == []
            page.evaluate("hide(false)")
            page.clock.run_for(1000)
            page.get_by_text("newer").wait_for(state="detached")
            assert page.evaluate(focused)
            (own,) = (c["value"] for c in page.context.cookies() if c["name"] == "cdc_console")
            served.run("delete from cdc.session where id = split_part(%s, '.', 1)", own)
            page.clock.run_for(11_000)
            here.see("You are signed out.", "body")

    def test_the_keyboard_is_enough(self, browser: Browser, served: Served) -> None:
        with window(browser, served.url) as here:
            page = here.open("/sign-in")
            page.keyboard.type(served.client("operator").key or "")  # the field has the focus
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Overview").wait_for()
            page.keyboard.press("Tab")
            skip = page.get_by_role("link", name="Skip to the content")
            assert skip.evaluate("one => one.getBoundingClientRect().top >= 0")
            reach(page, "Register")
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Register a webhook").wait_for()
            reach(page, "Company")
            page.keyboard.type("8")
            page.keyboard.press("Tab")
            page.keyboard.type("http://127.0.0.1:9/keyboard")
            page.keyboard.press("Tab")
            page.keyboard.press("Space")  # the first event
            page.keyboard.press("Enter")
            here.see("This is the signing secret. It is shown only now")
            reach(page, "I have it: continue")
            page.keyboard.press("Enter")
            here.see("http://127.0.0.1:9/keyboard")
            reach(page, "Sign out")
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Sign in").wait_for()

    def test_a_link_with_a_key_signs_in_by_a_click(self, browser: Browser, served: Served) -> None:
        """As `cdc demo --keep` prints it. The address bar does not keep the key."""
        key = served.client("operator").key or ""
        with window(browser, served.url) as here:
            for _ in range(2):  # also when signed in already
                page = here.open(f"/sign-in#{key}")
                assert key not in page.url
                if page.get_by_label("API key").count():
                    here.click("Sign in", "button")
                page.get_by_role("heading", name="Overview").wait_for()
                assert key not in page.url

    def test_no_script_is_needed(self, browser: Browser, served: Served) -> None:
        with window(browser, served.url, java_script_enabled=False) as here:
            page = here.sign_in(served.client("operator").key or "")
            registered(here, "http://127.0.0.1:9/no-script")
            here.click("Pause")
            page.get_by_label("Why?").fill("they move")
            here.click("Pause", "button")
            here.see("Paused. Changes are collected until it is resumed.")
            page.get_by_label("State").select_option("dead")
            here.click("Show", "button")
            here.see("No delivery is dead.")
            here.click("Search by event, row and time")
            page.get_by_label("Key of the row").fill("no-such-row")
            here.click("Search", "button")
            here.see("Nothing was found.")
            here.click("Choose another zone.")
            page.get_by_label("Times are shown in").select_option("Asia/Tokyo")
            here.click("Choose", "button")
            here.see("Times are in Asia/Tokyo.", "footer")


# -- each screen ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def admin_window(browser: Browser, served: Served) -> Iterator[Window]:
    with window(browser, served.url) as made:
        made.sign_in(served.client("admin").key or "")
        yield made


@pytest.fixture(scope="module")
def params(served: Served) -> dict[str, object]:
    return hostile(served)


ASKED = {"/console/companies": "?prefix={hostile}", "/console/company": "?name={long}",
         "/console/register": "?company={long}",
         "/console/deliveries": "?webhook={webhook_id}&row={long}",
         "/console/link": "?company={long}"}  # fmt: skip


@pytest.mark.parametrize("path", [one.path for one in SCREENS if one.method == "GET"])
def test_a_screen_looks_well_whatever_its_fields_hold(
    admin_window: Window, params: dict[str, object], path: str
) -> None:
    where = (path + ASKED.get(path, "")).format(**params).removeprefix("/console")
    page = admin_window.open(where)
    assert (
        page.evaluate("document.querySelectorAll('script:not([src]), main img, iframe').length")
        == 0
    )
    if path.rpartition("/")[2] not in ("", "audit", "doctor", "rotate", "retry", "zone"):
        values = page.eval_on_selector_all("input", "all => all.map(one => one.value).join()")
        assert HOSTILE in f"{page.text_content('main')} {values}"
    for one in page.locator("summary").all():
        one.click()
    admin_window.check_looks()


def test_a_delivery_is_printed(admin_window: Window, params: dict[str, object]) -> None:
    """Request, answer and attempts; nothing to click on, and all of the body."""
    page = admin_window.open(f"/deliveries/{params['uid']}")
    page.emulate_media(media="print")
    body = page.locator("h3 + pre")
    assert HOSTILE in body.inner_text()
    assert body.evaluate("one => getComputedStyle(one).maxHeight") == "none"
    admin_window.see("POST http://127.0.0.1:9/")
    admin_window.see("webhook-id:")
    assert page.get_by_role("table").is_visible()
    for one in ("navigation", "button"):
        assert not page.get_by_role(one).first.is_visible()
    assert not page.get_by_role("link", name="Send again").is_visible()
    page.emulate_media(media="screen")


def test_the_other_pages_look_well(browser: Browser, served: Served) -> None:
    """Those that no address leads to alone: signing in, mistakes, what is shown once."""
    with window(browser, served.url) as here:
        page = here.open("/sign-in")
        here.check_looks()
        page.get_by_label("API key").fill("wrong")
        here.click("Sign in", "button")
        here.see("This key is unknown, expired or revoked.")
        here.check_looks()
        here.sign_in(served.client("admin").key or "")
        here.open("/nothing-here", status=404)
        here.check_looks()
        here.open("/register?company=9")
        page.get_by_label("Endpoint").fill("http://10.0.0.1/" + "x" * 200)
        page.get_by_label("rating_changed").check()
        here.click("Register", "button")
        here.see("Nothing was changed.")
        here.check_looks()
        here.open("/keys").get_by_label("Description").fill("of a double click")
        page.get_by_role("button", name="Make a key").dblclick()
        here.see("This is the key. It is shown only now.")
        made = "select count(*) from cdc.api_key where description = 'of a double click'"
        assert served.rows(made) == [(1,)]
        here.check_looks()
        registered(here, "http://127.0.0.1:9/looks")
        here.click("New secret")
        here.click("Make a new secret", "button")
        here.see("The one before stays valid until")
        here.check_looks()
