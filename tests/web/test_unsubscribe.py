"""The page on which a contact stops its mails, and the one click of a mail program (RFC 8058)."""

from __future__ import annotations

import psycopg
import pytest

from cdc.web.limits import FAILURES
from tests.web.kit import Client, Served, account, problem, serving

CODE = "c" * 24
PATH = f"/unsubscribe/{CODE}"
FORM = "application/x-www-form-urlencoded"
PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
)


@pytest.fixture(autouse=True)
def _two(served: Served) -> None:
    """A contact with the code, and another."""
    served.run("delete from cdc.contact")
    for code in (CODE, "d" * 24):
        served.run(
            "insert into cdc.contact (company, email, code, confirmed_at)"
            " values ('7', %s, %s, now())",
            *(f"{code[0]}@b.example", code),
        )


def left(served: Served) -> list[str]:
    return [email for (email,) in served.rows("select email from cdc.contact order by 1")]


def test_the_button_stops_the_mails_and_opening_the_link_does_not(served: Served) -> None:
    client = Client(served.url)
    page = client("GET", PATH)
    assert page.status == 200
    assert b'<form method="post"><button>Stop these mails' in page.body
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client("HEAD", PATH).status == 200
    assert left(served) == ["c@b.example", "d@b.example"]
    done = client("POST", PATH)
    assert (done.status, b"No more notices are mailed" in done.body) == (200, True)
    assert left(served) == ["d@b.example"]
    # Pressed again, it says the same, and there is nothing to do.
    again = client("POST", PATH)
    assert (again.status, again.body) == (200, done.body)
    noted = served.rows(
        "select action, actor, company, after ->> 'email', source from cdc.audit"
        " where request = any (%s)",
        [one.headers["x-request-id"] for one in (page, done, again)],
    )
    assert noted == [("contact.remove", "contact", "7", "c@b.example", "127.0.0.1")]
    assert CODE not in str(served.lines)


@pytest.mark.parametrize(
    ("kind", "body"),
    [(FORM, b"List-Unsubscribe=One-Click"), ("multipart/form-data; boundary=x", PARTS)],
)
def test_one_click_needs_neither_cookie_nor_page(served: Served, kind: str, body: bytes) -> None:
    done = Client(served.url)("POST", PATH, body, {"Content-Type": kind})
    assert done.status == 200
    assert "set-cookie" not in done.headers
    assert left(served) == ["d@b.example"]


def test_the_code_is_good_for_nothing_else(served: Served) -> None:
    client = Client(served.url)
    assert client("POST", f"/confirm/{CODE}").status == 404
    assert client("GET", "/v1/webhooks", None, {"Authorization": f"Bearer {CODE}"}).status == 401
    assert left(served) == ["c@b.example", "d@b.example"]
    # One that was never confirmed may be removed, and cannot be confirmed then.
    served.run("update cdc.contact set confirmed_at = null")
    assert client("POST", PATH).status == 200
    assert client("POST", f"/confirm/{CODE}").status == 404


@pytest.mark.parametrize("code", ["", "x", "c" * 23, "c" * 24 + "/x", "%63" * 24])
def test_what_is_no_code_stops_nothing(served: Served, code: str) -> None:
    answer = Client(served.url)("POST", f"/unsubscribe/{code}")
    assert (answer.status, b"is not complete" in answer.body) == (404, True)
    assert left(served) == ["c@b.example", "d@b.example"]


def test_other_methods(served: Served) -> None:
    answer = Client(served.url)("DELETE", PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("kind", ["confirm", "unsubscribe"])
def test_guessing_is_slow(served: Served, admin: psycopg.Connection, kind: str) -> None:
    """As with keys of the API. In a process of its own: it remembers the address."""
    served.run("update cdc.contact set confirmed_at = null")
    with account(admin, served.database) as url, serving(url, served.database) as fresh:
        client = Client(fresh.url)
        for number in range(FAILURES):
            assert client("POST", f"/{kind}/{number:024}").status in (200, 404)
        answer = client("POST", f"/{kind}/{CODE}")
        assert (answer.status, problem(answer)["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 0
    assert served.rows("select confirmed_at from cdc.contact") == [(None,), (None,)]


def test_what_cannot_be_audited_is_not_done(served: Served) -> None:
    served.run("alter table cdc.audit add constraint refused check (actor <> 'contact') not valid")
    try:
        assert Client(served.url)("POST", PATH).status >= 500
        assert left(served) == ["c@b.example", "d@b.example"]
    finally:
        served.run("alter table cdc.audit drop constraint refused")
    assert Client(served.url)("POST", PATH).status == 200
    assert left(served) == ["d@b.example"]
