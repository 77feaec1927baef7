"""What follows from the default mapping in sql/ is current, and does what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from cdc.capture.check import check
from cdc.capture.plan import plan
from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import find_binaries
from cdc.schema import migrations
from tests.house.rendered_sql import rendered


@pytest.mark.parametrize("name", rendered())
def test_is_current(name: str) -> None:
    found = (sqlfiles.root() / name).read_text(encoding="utf-8")
    assert found == rendered()[name], "run: python -m tests.house.rendered_sql"


def test_psql_alone_installs_what_the_program_would(empty_database: str, tmp_path: Path) -> None:
    migrations.upgrade(empty_database)
    for name in ("sample_suite.sql", "triggers.sql", "triggers.sql"):  # twice: it can be run again
        psql = find_binaries() / "psql"
        file = tmp_path / name
        file.write_text(rendered()[name], encoding="utf-8")
        done = subprocess.run(
            [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, empty_database],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    mapping = default_mapping()
    with psycopg.connect(empty_database, autocommit=True) as conn:
        assert plan(conn, mapping, check(conn, mapping)) == []
        row = conn.execute("select mapping, mapping_source from cdc.installation").fetchone()
        assert row == (mapping.fingerprint, mapping.source)
