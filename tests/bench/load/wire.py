"""The bytes that the baselines send: the same as the daemon's, made without it."""

from __future__ import annotations

from urllib.parse import urlsplit

from cdc.message.signing import OURS

SUITE = "https://interview-suite.com/api/v3"
# As long as what the daemon signs; they are not verified.
SIGNED = (
    ("webhook-id", "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"),
    ("webhook-timestamp", "1426519955"),
    ("webhook-signature", "v1,0e/xKeJhbYbuNL7iz6FQLh73KT3yCYGNethi+2nSKxk="),
)
HEADERS = (*OURS, *SIGNED)


def hook_of(key: int, hooks: int) -> int:
    """Which webhook hears of a candidate: rows are dealt out to companies one by one."""
    return 1 + (key - 1) % hooks


def body(base: str, hook: int, key: int) -> bytes:
    """What is posted for a modified candidate of the company whose number is the hook's."""
    project = f"{SUITE}/companies/{hook}/projects/{hook}/"
    return (
        f'{{"endpoint": "{base}{hook}", "time": "2015-03-16T15:32:34.174752+00:00", '
        f'"event": "candidate_changed", "data": {{"action": "modified", "project": "{project}", '
        f'"candidate": "{project}candidates/{key}/"}}}}'
    ).encode()


def message(base: str, hook: int, key: int) -> bytes:
    """The whole request, as it goes over the wire."""
    content = body(base, hook, key)
    head = [f"POST /{hook} HTTP/1.1", f"Host: {urlsplit(base).netloc}"]
    head += [f"{name}: {value}" for name, value in HEADERS]
    head += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(head).encode() + content
