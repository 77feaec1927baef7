"""Signing and verifying, against the published vectors and a verifier that is not ours."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest
from standardwebhooks.webhooks import Webhook as Independent
from standardwebhooks.webhooks import WebhookVerificationError

from cdc.errors import UsageError
from cdc.message.signing import (
    Sealer,
    SignatureProblem,
    Signer,
    check_headers,
    credentials,
    split_endpoint,
    verify,
)
from cdc.message.signing_keys import new_secret, parse_secret
from cdc.model import Delivery, Layout, Webhook, WebhookState

VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
]


@pytest.mark.parametrize(("secret", "uid", "timestamp", "body", "signature"), VECTORS)
def test_published_vectors(
    secret: str, uid: str, timestamp: int, body: bytes, signature: str
) -> None:
    headers = Signer([secret]).headers(uid, timestamp, body)
    assert headers == (
        ("webhook-id", uid),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signature),
    )
    assert verify([secret], dict(headers), body, timestamp) is None


def test_an_independent_verifier_accepts_what_we_sign() -> None:
    secret, body, now = new_secret(), '{"name": "Zoë"}'.encode(), int(time.time())
    headers = dict(Signer([secret]).headers("some-id", now, body))
    assert Independent(secret).verify(body, headers) == {"name": "Zoë"}
    with pytest.raises(WebhookVerificationError):
        Independent(new_secret()).verify(body, headers)


def test_we_accept_what_an_independent_signer_signs() -> None:
    secret, now = new_secret(), datetime.now(UTC).replace(microsecond=0)
    signature = Independent(secret).sign("id", now, '{"a": 1}')
    headers = {
        "Webhook-Id": "id",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": signature,
    }
    assert verify([secret], headers, b'{"a": 1}', now.timestamp()) is None


def test_while_rotating_both_secrets_verify() -> None:
    new, old, now = new_secret(), new_secret(), int(time.time())
    headers = dict(Signer([new, old]).headers("id", now, b"{}"))
    assert headers["webhook-signature"].count("v1,") == 2
    assert headers["webhook-signature"].count(" ") == 1
    for secret in (new, old):
        assert verify([secret], headers, b"{}", now) is None
        Independent(secret).verify(b"{}", headers)
    assert verify([new_secret()], headers, b"{}", now) is SignatureProblem.MISMATCH
    assert verify([new_secret(), old], headers, b"{}", now) is None


def signed(**change: str) -> dict[str, str]:
    """Headers of the first vector with some of them changed; an empty value takes one away."""
    secret, uid, timestamp, body, _ = VECTORS[0]
    headers = dict(Signer([secret]).headers(uid, timestamp, body))
    headers |= {f"webhook-{name}": value for name, value in change.items()}
    return {name: value for name, value in headers.items() if value}


@pytest.mark.parametrize(
    ("headers", "body", "now", "problem"),
    [
        (signed(id=""), None, 0, SignatureProblem.NO_ID),
        (signed(timestamp=""), None, 0, SignatureProblem.NO_TIMESTAMP),
        (signed(signature=""), None, 0, SignatureProblem.NO_SIGNATURE),
        (signed(timestamp="soon"), None, 0, SignatureProblem.BAD_TIMESTAMP),
        (signed(timestamp="1614265330.5"), None, 0, SignatureProblem.BAD_TIMESTAMP),
        (signed(timestamp="9" * 5000), None, 0, SignatureProblem.BAD_TIMESTAMP),
        (signed(), None, 301, SignatureProblem.TOO_OLD),
        (signed(), None, -301, SignatureProblem.TOO_NEW),
        (signed(), None, 300, None),
        (signed(), None, -300, None),
        (signed(signature="v1a,abc"), None, 0, SignatureProblem.NO_V1),
        (signed(signature="v1a,abc v2"), None, 0, SignatureProblem.NO_V1),
        (signed(signature="v1,"), None, 0, SignatureProblem.MISMATCH),
        (signed(signature="v1,\u00e9\udcff"), None, 0, SignatureProblem.MISMATCH),
        (signed(id="other\udcff"), None, 0, SignatureProblem.MISMATCH),
        (signed(timestamp="1614265331"), None, 0, SignatureProblem.MISMATCH),
        (signed(), b'{"test":  2432232314}', 0, SignatureProblem.MISMATCH),
        (signed(signature="v1a,x v1,y " + VECTORS[0][4]), None, 0, None),
    ],
)
def test_what_is_wrong_has_a_name(
    headers: dict[str, str], body: bytes | None, now: int, problem: SignatureProblem | None
) -> None:
    secret, _, timestamp, genuine, _ = VECTORS[0]
    assert verify([secret], headers, body or genuine, timestamp + now) is problem


def test_no_secret_is_no_verification() -> None:
    assert verify([], signed(), VECTORS[0][3], VECTORS[0][2]) is SignatureProblem.NO_SECRET


def test_new_secrets_are_strong_and_never_alike() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(parse_secret(secret)) == 32 for secret in made)


@pytest.mark.parametrize("length", [24, 32, 63, 64])
def test_secrets_of_all_lengths_with_and_without_padding(length: int) -> None:
    key = bytes(range(length))
    text = "whsec_" + base64.b64encode(key).decode()
    assert parse_secret(text) == parse_secret(text.rstrip("=")) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!w",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwé",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
    ],
)
def test_wrong_and_weak_secrets_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_secret(text)
    encoded = text.removeprefix("whsec_")
    assert not encoded or encoded not in caught.value.message + caught.value.hint
    assert caught.value.__cause__ is None
    with pytest.raises(UsageError):
        Signer([text])


def test_without_secrets_nothing_is_signed() -> None:
    with pytest.raises(UsageError):
        Signer([])


@pytest.mark.parametrize(
    ("endpoint", "url", "login"),
    [
        ("https://a.com/x?y=1", "https://a.com/x?y=1", None),
        ("https://me:pass@a.com:8443/x", "https://a.com:8443/x", ("me", "pass")),
        ("https://me@a.com", "https://a.com", ("me", "")),
        ("https://m%40e:p%3Ass%25@a.com/", "https://a.com/", ("m@e", "p:ss%")),
        ("https://me:p:q@a.com?x=@", "https://a.com?x=@", ("me", "p:q")),
        ("https://a.com/@you/%7e?x=a+b#c", "https://a.com/@you/%7e?x=a+b#c", None),
    ],
)
def test_user_and_password_leave_the_url(
    endpoint: str, url: str, login: tuple[str, str] | None
) -> None:
    assert split_endpoint(endpoint) == (url, login)


def a_webhook(endpoint: str = "https://a.com/hook", **headers: str) -> Webhook:
    return Webhook(
        id=1,
        company="1",
        endpoint=endpoint,
        state=WebhookState.ACTIVE,
        version=1,
        secrets=(VECTORS[0][0],),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


A_DELIVERY = Delivery(
    id=5,
    webhook_id=1,
    xid=9,
    uid=VECTORS[0][1],
    layout=Layout(1, "rating_changed", ("base", "company", "rating")),
    action="created",
    time=datetime(2015, 3, 16, tzinfo=UTC),
    refs=(None, "1", "9"),
)


def test_a_sealed_request_literally() -> None:
    sealer = Sealer(a_webhook("https://me:Zoë@a.com/hook", X_Key="k", X_Other="o"))
    request = sealer.seal(A_DELIVERY, VECTORS[0][3], VECTORS[0][2])
    assert request.url == sealer.url == "https://a.com/hook"
    assert request.body == VECTORS[0][3]
    assert request.headers == (
        ("Content-Type", "application/json"),
        ("User-Agent", "interview suite webhook"),
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("Authorization", "Basic bWU6Wm/Dqw=="),
        ("X-Key", "k"),
        ("X-Other", "o"),
    )


def test_attempts_differ_in_time_only() -> None:
    sealer = Sealer(a_webhook())
    first, second = (sealer.seal(A_DELIVERY, b"{}", now) for now in (1_000_000, 1_000_300))
    assert first.body == second.body
    assert dict(first.headers)["webhook-id"] == dict(second.headers)["webhook-id"]
    assert dict(first.headers)["webhook-timestamp"] == "1000000"
    assert dict(second.headers)["webhook-timestamp"] == "1000300"


def test_nothing_secret_in_representations() -> None:
    webhook = a_webhook("https://a.com/hook", Authorization="Bearer tell-nobody")
    request = Sealer(webhook).seal(A_DELIVERY, b"{}", 1)
    assert "tell-nobody" not in repr(request)
    assert VECTORS[0][0] not in repr(webhook)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"user-agent": "me"},
        {"Webhook-Id": "1"},
        {"webhook-anything": "1"},
        {"Host": "other.com"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"webhook_id": "1"},
        {"Content_Length": "3"},
        {"Transfer_Encoding": "chunked"},
        {"Proxy_Authorization": "x"},
        {"HTTP2-Settings": "x"},
        {"X-A": "1", "X_A": "2"},
        {f"X-{i}": "tell" * 500 for i in range(9)},
        {"Accept-Encoding": "gzip"},
        {"Proxy-Authorization": "x"},
        {"X-A": "tell\r\nHost: other.com"},
        {"X-A": "tell\n"},
        {"X-A": "tell\x00"},
        {"X-A": " tell"},
        {"X-A": "tellé"},
        {"X-A": "tell" * 2000},
        {"X A": "1"},
        {"X-A:": "1"},
        {"": "1"},
        {"X-A\r\nB": "1"},
        {"X-A": "1", "x-a": "2"},
        {f"X-{i}": "1" for i in range(40)},
    ],
)
def test_headers_that_may_not_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_headers(headers)
    assert "tell" not in caught.value.message + caught.value.hint


def test_headers_that_may_be_sent() -> None:
    check_headers({"X_Api_Key": "1"})
    check_headers({"X-Api-Key": "a b\tc", "Authorization": "Bearer x", "Accept": "*/*"})
    check_headers({"Authorization": "Bearer x"}, "https://a.com/")
    with pytest.raises(UsageError, match="Authorization"):
        check_headers({"Authorization": "Bearer x"}, "https://me:pw@a.com/")
    with pytest.raises(UsageError):
        Sealer(a_webhook("https://me:pw@a.com/", Authorization="Bearer x"))


def test_credentials_are_found_as_a_receiver_would_repeat_them() -> None:
    secret = 'alpha"bravo/charlie<delta>+echo\\foxtrot'
    hidden = credentials([("X-Key", secret)])
    escaped = json.dumps({"X-Key": secret})
    for echo in (
        escaped,
        escaped.replace("/", "\\/"),  # PHP's json_encode
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        urlencode({"key": secret}),
    ):
        left = echo
        for one in hidden:
            left = left.replace(one, "")
        assert not re.search("alpha|bravo|charlie|delta|echo|foxtrot", left)
