"""What the receiver saw, as a file: one record for each request, written when it ended."""

from __future__ import annotations

import base64
import hmac
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from cdc.sandbox.protocol import said
from cdc.sandbox.records import Arrival

_HEAD = struct.Struct("<HhddIHHH")
TOLERANCE = 300  # seconds that a signed timestamp may lie off the clock


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


def read(path: Path, secrets: Mapping[int, str], wall: float) -> Iterator[Arrival]:
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
        yield Arrival(
            webhook, uid.decode(), *said(body), received, ended, status, problem, "", hash(body)
        )


def _problem(
    key: bytes, uid: bytes, timestamp: int, signature: bytes, body: bytes, now: float
) -> str:
    """Verified here by hand: what is tested must not be its own witness."""
    wanted = hmac.digest(key, b"%s.%d.%s" % (uid, timestamp, body), "sha256")
    if signature != b"v1," + base64.b64encode(wanted):
        return "the signature is wrong"
    return "" if abs(timestamp - now) < TOLERANCE else "the timestamp is wrong"
