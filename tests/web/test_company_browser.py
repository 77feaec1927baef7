"""The portal in a real browser: the story of a company, from a link to a new secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import Browser
from standardwebhooks import WebhookVerificationError

from tests.web.chromium import CHROMIUM, chromium, daemon, receiver, window
from tests.web.kit import Served, until
from tests.web.stories import change, verified

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser: apt install chromium, or CDC_TEST_CHROMIUM=/path/to/it"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def signed(secret: str, got: list[tuple[dict[str, str], bytes]]) -> bool:
    """One of the requests is signed by this secret."""
    for headers, body in got:
        with suppress(WebhookVerificationError):
            verified(secret, headers, body)
            return True
    return False


def test_a_company_sees_why_nothing_arrives_and_sends_again(
    browser: Browser, served: Served
) -> None:
    """By a link that the suite's own server has asked for."""
    asked = {"may": ["replay", "manage"]}
    made = served.client("operator").good("POST", "/v1/companies/5/portal-links", asked)
    link = made["url"][made["url"].index("/p/") :]
    with (
        daemon(served),
        receiver() as good,
        window(browser, served.url, "", java_script_enabled=False) as here,
    ):
        page = here.open(link)
        here.click("Open", "button")
        page.get_by_role("heading", name="Your webhooks").wait_for()
        here.see("There is no webhook yet, so nothing is sent.")
        here.click("Register a webhook")
        page.get_by_label("Endpoint").fill(good.url)
        page.get_by_label("project_changed").check()
        here.click("Register", "button")
        secret = page.locator(".secret").inner_text()
        here.click("I have it: continue")
        number = page.url.rpartition("/")[2]
        here.see("Nothing is sent to this address yet: it is not verified.")
        change(served, 5)
        ended = "select ended_at is not null from cdc.task where webhook_id = %s"
        for proves in (False, True):
            good.proves = proves
            page.get_by_role("link", name="Verify", exact=True).click()
            here.see("One signed request with the event webhook_challenge is sent to")
            here.click("Send the challenge", "button")
            here.see("A challenge is sent now.")
            until(lambda: all(row[0] for row in served.rows(ended, number)))
            page.reload()
            if not proves:
                here.see("Your server's answer did not hold the text of the challenge")
                here.see("1 notification is waiting")
                here.picture("portal-verify", height=700)
        here.see("The address is verified: notifications are sent to it.")
        sent = "select from cdc.attempt where webhook_id = %s and outcome = 'delivered'"
        until(lambda: served.rows(sent, number))
        assert verified(secret, *good.got[-1])["event"] == "project_changed"  # it was kept
        came = len(good.got)
        good.status = 500
        change(served, 5)
        failed = "select from cdc.retry where webhook_id = %s and last_status = 500"
        until(lambda: served.rows(failed, number))
        page.reload()
        here.see("Your server answered 500 to our last request.")
        page.get_by_role("link", name="Try now", exact=True).click()
        here.click("Try now", "button")
        until(lambda: served.rows(failed + " and tries = 2", number))
        here.open(f"/portal/webhooks/{number}")
        here.see(
            "Your server answered 500 to each of the last 2 requests for the same notification."
        )
        assert page.get_by_text("cdc ").count() == 0  # no command of an operator's
        here.picture("portal-webhook", height=900)
        good.status = 200
        page.get_by_role("row", name="retrying").get_by_role("link").click()
        here.click("Send again")
        here.click("Send again", "button")
        until(lambda: len(good.got) > came + 1)
        assert verified(secret, *good.got[-1])["event"] == "project_changed"
        here.open(f"/portal/webhooks/{number}")
        here.click("New secret")
        here.click("Make a new secret", "button")
        fresh = page.locator(".secret").inner_text()
        came = len(good.got)

        # The daemon may sign by the one before until it has seen the new one.
        def arrives() -> bool:
            change(served, 5)
            return signed(fresh, good.got[came:])

        until(arrives)
        here.open(link)
        here.click("Open", "button")
        here.see("A link is needed")
    with window(browser, served.url, "") as here:
        made = served.client("operator").good("POST", "/v1/companies/5/portal-links", asked)
        here.open(made["url"][made["url"].index("/p/") :])
        here.check_looks()
        here.click("Open", "button")
        one = f"/webhooks/{number}"
        for path in (
            "/",
            "/register",
            "/deliveries",
            one,
            f"{one}/edit",
            f"{one}/verify",
            f"{one}/rotate",
        ):
            here.open(f"/portal{path}")
            here.check_looks()
