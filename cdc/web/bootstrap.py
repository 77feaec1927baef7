"""Before requests are answered: is the database prepared, and is the first key there?"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from cdc.errors import ConfigError, DatabaseError
from cdc.schema.tables import api_key
from cdc.web import keys
from cdc.web.keys import KEY, Scope
from cdc.web.pool import RequestPool
from cdc.webhooks.audit import Actor

_ACCOUNT = """
select current_user,
       has_column_privilege('cdc.webhook_secret', 'secret', 'select')
"""


def prepare(pool: RequestPool, key_file: Path | None) -> str | None:
    """Whether the account can do its work. Returns its name if it may read secrets, the first time.

    key_file: a key that there has to be; it is made, and written there, if there is no file.
    Raises DatabaseError, ConfigError.
    """
    with pool.transaction() as conn:
        if conn.scalar(sa.text("select to_regclass('cdc.api_key')")) is None:
            raise DatabaseError(
                "schema cdc is not installed here, or too old", "Run `cdc migrate`."
            )
        account, reads = conn.execute(sa.text(_ACCOUNT)).one()
        conn.execute(sa.select(api_key.c.id).limit(1))
        if key_file is not None:
            first_key(conn, key_file)
    return str(account) if reads and key_file is not None else None


def first_key(conn: sa.Connection, file: Path) -> None:
    """Sees to it that the key in this file is valid."""
    try:
        sent = file.read_text("utf-8").strip()
    except FileNotFoundError:
        _, sent = keys.create(conn, Actor.here(), Scope("admin"), description="bootstrap")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(sent + "\n")
        return
    except OSError as error:
        raise ConfigError(f"cannot read the key in {file}: {error.strerror}") from None
    found = KEY.fullmatch(sent)
    if found is None:
        raise ConfigError(
            f"{file} holds no key",
            "Expected cdc_<12 letters>_<43 characters>; without the file, one is made.",
        )
    there = conn.scalar(sa.select(api_key.c.digest).where(api_key.c.id == found[1]))
    if there is None:
        keys.create(conn, Actor.here(), Scope("admin"), description="bootstrap", key=sent)
    elif keys.valid(conn, sent) is None:
        raise ConfigError(f"the key in {file} is not valid: it is another one, expired or revoked")
