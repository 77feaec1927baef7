"""Statuses, Retry-After, excerpts and exceptions become outcomes: the pure part."""

from __future__ import annotations

import html
import secrets
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cdc.deliver.outcome import excerpt, explain, retry_after
from tests.deliver.kit import request_to

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 5 ", 5),
        ("0", None),
        ("-5", None),
        ("+5", None),
        ("7.5", 7.5),
        ("0.0", None),
        ("1.5.2", None),
        (".5", None),
        ("1e5", None),
        ("9" * 20 + ".5", 86_400),
        ("soon", None),
        ("", None),
        ("99999", 86_400),
        ("9" * 5000, 86_400),
        ("\u0665", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30),
        ("Sun Mar  1 12:00:30 2026", 30),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Fri, 99 Dec 9999 99:99:99 GMT", None),
        ("Sun, 01 Mar 2026 12:00:30 +99999999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW.timestamp()) == seconds


def test_retry_after_is_capped() -> None:
    assert retry_after("500", 0, cap=60) == 60


def test_an_excerpt_is_one_short_printable_line() -> None:
    request = request_to("https://a.com/")
    assert excerpt(b"", request) == ""
    shown = excerpt(b"\x1b[2Jred\x00\r\nalert\t\xff \xe2\x80\xae evil", request)
    assert shown == "[2Jred   alert ?   evil"
    assert shown.isprintable()
    long = excerpt("ä".encode() * 5000, request)
    assert len(long.encode()) == 1024


def test_an_excerpt_hides_credentials_that_are_echoed() -> None:
    request = request_to(
        "https://a.com/",
        Authorization="Basic bWU6aHVudGVyMg==",
        X_Api_Key="key-12345",
        X_Short="yes",
    )
    echo = b"got Basic bWU6aHVudGVyMg== and bWU6aHVudGVyMg== me:hunter2 hunter2 key-12345 yes"
    shown = excerpt(echo, request)
    assert "hunter2" not in shown
    assert "bWU6" not in shown
    assert "key-12345" not in shown
    assert shown.endswith("yes")
    # One that lies across the edge does not leave its first half behind.
    shown = excerpt(b"x" * 1020 + b"key-12345", request)
    assert "key-" not in shown


def test_a_long_credential_is_not_left_half_where_reading_ends() -> None:
    # Twice whole, and the third time cut off; and one that HTML makes longer than what is read.
    long, quoted = secrets.token_hex(2000), '"' * 2000 + secrets.token_hex(1000)
    request = request_to("https://a.com/", X_Long=long, X_Quoted=quoted)
    assert excerpt(f"{long} {long} {long}".encode()[:8192], request) == "[hidden]"
    assert excerpt(html.escape(quoted).encode()[:8192], request) == "[hidden]"
    # One that begins where showing ends.
    shown = excerpt(b"x" * 1020 + long.encode(), request)
    assert shown == "x" * 1020 + "[hid"


def test_credentials_are_looked_for_in_what_came_and_not_in_what_was_put_in_their_place() -> None:
    # A company that registers headers and answers could have it grow with each of them.
    values = ["token-1", "hidden", "[hidden", "hidden]", "hidd", "dden", "den]"]
    headers = {f"X_{number}": value for number, value in enumerate(values)}
    request = request_to("https://a.com/", **headers)
    assert excerpt(b"a token-1, hidden", request) == "a [hidden], [hidden]"


def test_an_unexpected_error_is_reported_without_its_text() -> None:
    error, detail = explain(LookupError("https://me:pw@a.com/"), "a.com:443")
    assert (error, detail) == ("protocol", "LookupError while talking to a.com:443")
