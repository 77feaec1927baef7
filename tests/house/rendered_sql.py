"""Writes the files of sql/ that follow from the default mapping.

python -m tests.house.rendered_sql
"""

from __future__ import annotations

from cdc.capture.script import offline
from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.suite import tables_sql

SAMPLE = """\
-- A small stand-in for the interview suite, to try things out in an empty database. Rendered from
-- the default mapping, not written by hand. Never needed where the real suite is.
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/sample_suite.sql "$CDC_DATABASE_URL"
"""


def rendered() -> dict[str, str]:
    """Name of the file to what it has to hold."""
    mapping = default_mapping()
    return {
        "triggers.sql": offline(mapping),
        "sample_suite.sql": f"{SAMPLE}\n{tables_sql(mapping)}",
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (sqlfiles.root() / name).write_text(text, encoding="utf-8")
