"""What the receiver saw, as a file: one record for each request, written when it ended."""

from __future__ import annotations

import base64
import hmac
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson

_HEAD = struct.Struct("<HhddIHHH")
TOLERANCE = 300  # seconds that a signed timestamp may lie off the clock


class Request(NamedTuple):
    """One POST.

    webhook:  number of the webhook, from its path.
    time:     microseconds since the epoch, as the body says.
    received: monotonic seconds when its last byte had come.
    ended:    monotonic seconds when it was answered, or the connection was lost.
    status:   what was answered, 0 without a whole answer.
    problem:  why it is not genuine; empty if it is.
    """

    webhook: int
    uid: str
    company: str
    event: str
    key: str
    action: str
    time: int
    received: float
    ended: float
    status: int
    problem: str = ""


def pack(
    webhook: int,
    status: int,
    received: float,
    ended: float,
    timestamp: int,
    uid: bytes,
    signature: bytes,
    body: bytes,
) -> bytes:
    """A record: all that is cheap to keep, nothing is looked into yet."""
    sizes = len(uid), len(signature), len(body)
    head = _HEAD.pack(webhook, status, received, ended, timestamp, *sizes)
    return head + uid + signature + body


def read(path: Path, secrets: Mapping[int, str], wall: float) -> Iterator[Request]:
    """All requests in the order in which they ended.

    secrets: of the webhooks, by number.  wall: what to add to monotonic seconds for the clock's.
    """
    keys = {n: base64.b64decode(secret.removeprefix("whsec_")) for n, secret in secrets.items()}
    data = memoryview(path.read_bytes())
    at = 0
    while at < len(data):
        webhook, status, received, ended, timestamp, *sizes = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        parts = []
        for size in sizes:
            parts.append(bytes(data[at : at + size]))
            at += size
        uid, signature, body = parts
        problem = _problem(keys[webhook], uid, timestamp, signature, body, received + wall)
        yield _request(webhook, uid.decode(), body, received, ended, status, problem)


def _problem(
    key: bytes, uid: bytes, timestamp: int, signature: bytes, body: bytes, now: float
) -> str:
    """Verified here by hand: what is tested must not be its own witness."""
    wanted = hmac.digest(key, b"%s.%d.%s" % (uid, timestamp, body), "sha256")
    if signature != b"v1," + base64.b64encode(wanted):
        return "the signature is wrong"
    return "" if abs(timestamp - now) < TOLERANCE else "the timestamp is wrong"


def _request(
    webhook: int,
    uid: str,
    body: bytes,
    received: float,
    ended: float,
    status: int,
    problem: str,
) -> Request:
    payload = orjson.loads(body)
    event, data = payload["event"], payload["data"]
    url = data[event.removesuffix("_changed")]
    when = datetime.fromisoformat(payload["time"])
    return Request(
        webhook,
        uid,
        url.partition("/companies/")[2].partition("/")[0],
        event,
        url.rsplit("/", 2)[1],
        data["action"],
        round(when.timestamp() * 1_000_000),
        received,
        ended,
        status,
        problem,
    )
