"""The page on which a contact confirms its address."""

from __future__ import annotations

import pytest

from tests.web.kit import Client, Served


@pytest.fixture
def code(served: Served) -> str:
    served.run("delete from cdc.contact")
    served.run("insert into cdc.contact (company, email, code) values ('7', 'a@b.example', %s)",
               "c" * 24)  # fmt: skip
    return "c" * 24


def confirmed(served: Served) -> bool:
    [(at,)] = served.rows("select confirmed_at from cdc.contact")
    return at is not None


def test_the_button_confirms_and_opening_the_link_does_not(served: Served, code: str) -> None:
    client = Client(served.url)
    page = client("GET", f"/confirm/{code}")
    assert page.status == 200
    assert b'<form method="post"><button>' in page.body
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client("HEAD", f"/confirm/{code}").status == 200
    assert not confirmed(served)
    done = client("POST", f"/confirm/{code}")
    assert (done.status, b"is confirmed" in done.body) == (200, True)
    assert confirmed(served)
    assert client("POST", f"/confirm/{code}").status == 404
    [(actor, company)] = served.rows(
        "select actor, company from cdc.audit where action = 'contact.confirm'"
        " order by id desc limit 1"
    )
    assert (actor, company) == ("contact", "7")
    # Not in the log either.
    assert not [line for line in served.lines if code in str(line)]


@pytest.mark.parametrize("path", ["x", "", "d" * 24, "c" * 23, "c" * 24 + "/x", "%63" * 24])
def test_what_is_no_code_confirms_nothing(served: Served, code: str, path: str) -> None:
    answer = Client(served.url)("POST", f"/confirm/{path}")
    assert answer.status == 404
    assert not confirmed(served)


def test_other_methods(served: Served, code: str) -> None:
    answer = Client(served.url)("DELETE", f"/confirm/{code}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
