"""Functions of PostgreSQL that are everybody's by default, and that hardened servers take away."""

from __future__ import annotations

import re

CALLERS = {
    "pg_control_system()": ("cdc_daemon", "cdc_admin", "cdc_reader", "cdc_serve"),
    "pg_current_wal_insert_lsn()": ("cdc_admin", "cdc_reader"),
    "pg_current_wal_lsn()": ("cdc_serve",),
    "pg_walfile_name(pg_lsn)": ("cdc_serve",),
}
"""Which of our roles call them, besides the account that migrates."""

_BY_NAME = {signature.partition("(")[0]: signature for signature in CALLERS}


def grant_for(message: str) -> str:
    """How to give the right that PostgreSQL missed, by its message in any language; empty where the
    message names none of these functions."""
    for name in re.findall(r"\w+", message):
        if name in _BY_NAME:
            return grant(_BY_NAME[name])
    return ""


def grant(signature: str) -> str:
    """The statement that gives it back, and where to run it: it counts in one database."""
    return (
        f"As a superuser, in this database: grant execute on function {signature} to "
        f"{', '.join(CALLERS[signature])}; for `cdc migrate` to the account that runs it, and to "
        "cdc_owner; or, as PostgreSQL does, to public."
    )
