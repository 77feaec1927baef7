"""Settings of PostgreSQL that every session of ours sets for itself. Pure; renders SQL.

A database or a role may have its own defaults for any of them (ALTER DATABASE ... SET). What is
listed here changes the result of a statement of ours, or ends it. Three are left as they are:
``default_transaction_read_only`` is how an operator or a managed server stops writes, and is
respected; ``lc_messages`` only a superuser may set, so no text of the server is ever compared;
``default_tablespace`` is for the DBA to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RESULTS: Final[Mapping[str, str]] = {
    # Nothing that others made is found under a name of PostgreSQL's: neither what lies in schema
    # public nor temporary things (which are searched first, for types, unless they are named last).
    "search_path": "pg_catalog, pg_temp",
    # How values are written and read.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    # How statements are understood, and what they make.
    "transform_null_equals": "off",
    "row_security": "on",
    "default_table_access_method": "heap",
    # The limits that a statement of ours needs are set where it is run.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    # Changes no result, but where costs are set unusually it compiles each small statement: the
    # doctor took half a minute on PostgreSQL 15.
    "jit": "off",
}
"""For each session of a daemon."""

PLANS: Final[Mapping[str, str]] = {
    # Plans must go by index whatever the tables hold when they are made: the queue is empty most of
    # the time, and full when it matters.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",  # off, an index that has the order is walked from end to end
    # Alike: else a bitmap and a sort may seem cheaper than the index that has the order, and a
    # fetch reads all that waits for a webhook.
    "random_page_cost": "1",
    "seq_page_cost": "1",
    "join_collapse_limit": "8",
    "from_collapse_limit": "8",
    "plan_cache_mode": "force_generic_plan",
}
"""For the statements of a daemon, which are prepared and kept."""

# Not in every release, or not on every system; set where this is true.
_ONLY_WHERE = {
    "transaction_timeout": "pg_catalog.current_setting('transaction_timeout', true) is not null",
    "client_connection_check_interval": "pg_catalog.version() operator(pg_catalog.!~*)"
    " 'windows|mingw|visual c'",
}


def setting(settings: Mapping[str, str], *, local: bool) -> str:
    """A statement that sets all of them, for the transaction or for the session.

    All that it names has its schema: it is run before the search path is ours. Where a role may not
    set ``session_replication_role`` and its sessions do not start with ``origin``, it fails: our
    foreign keys would not be kept.
    """
    parts = [_set(name, value, local) for name, value in settings.items()]
    replica = _set("session_replication_role", "origin", local)
    parts.append(
        "case when pg_catalog.current_setting('session_replication_role')"
        f" operator(pg_catalog.<>) 'origin' then {replica} end"
    )
    return "select " + ", ".join(parts)


def _set(name: str, value: str, local: bool) -> str:
    call = f"pg_catalog.set_config('{name}', '{value}', {'true' if local else 'false'})"
    where = _ONLY_WHERE.get(name)
    return f"case when {where} then {call} end" if where else call


LOCK_TIMEOUT: Final = "2s"
"""How long a command waits for a lock, unless it sets a limit of its own: longer, and an operator
who looks for the cause of an outage waits behind it."""

COMMAND: Final[Mapping[str, str]] = {**RESULTS, "lock_timeout": LOCK_TIMEOUT}
"""For each transaction of a command."""

HERE: Final = setting(COMMAND, local=True)
"""Sets what results of a command depend on, for the transaction that begins with it."""

FOR_PSQL: Final = tuple(
    f"set local {name} = {RESULTS[name]};"
    for name in (
        "search_path",
        "quote_all_identifiers",  # options of functions are kept as the session writes them
        "standard_conforming_strings",
        "default_table_access_method",
    )
)
"""What scripts depend on that a DBA runs with psql: lines of them."""
