"""Idempotency-Key: a request that is repeated gets the answer of the first one, for 24 hours.

The answer is stored in the transaction of the change, encrypted with a key made of the API key's
secret, which is not stored: the answer may hold a secret that is shown only once, and only its
holder can have it again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.dialects.postgresql import insert

from cdc.schema.tables import idempotency
from cdc.web.keys import NOW, Key
from cdc.web.problems import Problem

FORM = re.compile(r"[\x21-\x7e]{1,255}")
ANSWERS_KEPT = sa.text("interval '24 hours'")


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer: status, and headers with body as they were packed."""

    status: int
    packed: bytes


def check(name: str) -> str:
    if FORM.fullmatch(name) is None:
        raise Problem(
            "invalid",
            errors={
                "Idempotency-Key": "expected 1 to 255 visible ASCII characters, without spaces"
            },
        )
    return name


def begin(conn: sa.Connection, key: Key, name: str, route: str, digest: bytes) -> Stored | None:
    """The answer to the same request before; None if this is the first.

    A second one waits here until the first has ended. Raises Problem if that was another request.
    """
    first = (
        insert(idempotency)
        .values(key_id=key.id, name=name, route=route, digest=digest)
        .on_conflict_do_update(
            index_elements=["key_id", "name", "route"],
            set_={"digest": digest, "status": None, "answer": None, "created_at": NOW},
            where=idempotency.c.created_at < NOW - ANSWERS_KEPT,
        )
        .returning(idempotency.c.name)
    )
    if conn.execute(first).first() is not None:
        return None
    row = conn.execute(sa.select(idempotency).where(*_is(key, name, route))).one()
    if not hmac.compare_digest(row.digest, digest):
        raise Problem("idempotency_key_reused")
    return Stored(row.status, _fernet(key, name).decrypt(row.answer))


def end(conn: sa.Connection, key: Key, name: str, route: str, answer: Stored) -> None:
    packed = _fernet(key, name).encrypt(answer.packed)
    conn.execute(
        sa.update(idempotency)
        .where(*_is(key, name, route))
        .values(status=answer.status, answer=packed)
    )


def undo(conn: sa.Connection, key: Key, name: str, route: str) -> None:
    """Nothing was done: the next one with this name is the first."""
    conn.execute(sa.delete(idempotency).where(*_is(key, name, route)))


def forget_old(conn: sa.Connection) -> None:
    conn.execute(sa.delete(idempotency).where(idempotency.c.created_at < NOW - ANSWERS_KEPT))


def _is(key: Key, name: str, route: str) -> tuple[sa.ColumnElement[bool], ...]:
    columns = idempotency.c
    return columns.key_id == key.id, columns.name == name, columns.route == route


def _fernet(key: Key, name: str) -> Fernet:
    made = hmac.digest(key.secret.encode(), b"cdc idempotency " + name.encode(), hashlib.sha256)
    return Fernet(urlsafe_b64encode(made))
