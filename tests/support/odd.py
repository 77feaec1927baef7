"""A database whose settings are all unusual: ``CDC_TEST_ODD=1`` starts the tests' server so.

Sessions of ours have to set what they rely on. Connections that a test makes for itself begin with
the usual value of what the test reads or asserts (``USUAL``), and with the rest as it is here.
"""

from __future__ import annotations

import os
from typing import Any

import psycopg

ODD = os.environ.get("CDC_TEST_ODD") == "1"

SETTINGS = {
    # how values are written and read
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "backslash_quote": "off",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "xmlbinary": "hex",
    "xmloption": "document",
    "gin_fuzzy_search_limit": "1",
    # how they are run
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "row_security": "off",
    "check_function_bodies": "off",
    "plpgsql.variable_conflict": "use_column",
    "plpgsql.extra_errors": "all",
    "enable_nestloop": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "join_collapse_limit": "1",
    "from_collapse_limit": "1",
    "plan_cache_mode": "force_custom_plan",
    "random_page_cost": "1000",
    "stats_fetch_consistency": "snapshot",
}


USUAL = {
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "row_security": "on",
}


def usual(**others: object) -> str:
    """The usual values, and others, as a connection's ``options``."""
    settings = {**USUAL, **others}
    return " ".join(f"-c {name}={_escaped(str(settings[name]))}" for name in settings)


def _escaped(value: str) -> str:
    return value.replace(" ", "\\ ")


def spare_tests() -> None:
    """Has connections that are not ours begin with what is usual."""

    def conninfo(make: Any) -> Any:
        def made(conninfo: str = "", **options: Any) -> str:
            if not str(options.get("application_name", "")).startswith("cdc"):
                options.setdefault("options", usual())
            return str(make(conninfo, **options))

        return made

    for module in (psycopg.connection, psycopg.connection_async):
        vars(module)["make_conninfo"] = conninfo(vars(module)["make_conninfo"])
