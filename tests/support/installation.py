"""What tests of several rooms share: a prepared database, and the command line as people use it."""

from __future__ import annotations

import re

import psycopg

from cdc.mapping import Mapping, default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.suite import KeyType, capture, tables_sql
from cdc.schema import migrations


def prepare_template(url: str) -> None:
    """Schema cdc, the sample suite and its triggers, for the default mapping."""
    prepare(url, default_mapping())


def prepare(url: str, mapping: Mapping, key_type: KeyType = "bigint") -> None:
    """The same for any mapping, in an empty database."""
    migrations.upgrade(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(tables_sql(mapping, key_type).encode())
    capture(url, mapping)


def adopt(url: str) -> None:
    """What `cdc adopt` does: a copy of the template is a database of its own, and a daemon refuses
    to run in a copy."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "update cdc.installation i set system_identifier = c.system_identifier,"
            " database_oid = d.oid from pg_control_system() c, pg_database d"
            " where d.datname = current_database()"
        )


def included_by_install() -> list[str]:
    """Names of the files that install.sql includes, in its order."""
    text = (sqlfiles.root() / "install.sql").read_text(encoding="utf-8")
    return re.findall(r"^\\ir schema/(\S+)$", text, re.MULTILINE)
