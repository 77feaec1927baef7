"""Schema cdc by Alembic: the source for databases.

``upgrade`` runs in one transaction, as cdc_owner after the two foundation files (roles, schema).
The version is kept in cdc.schema_version, as ``sql/install.sql`` writes it too.

Alembic and SQLAlchemy are imported by whoever upgrades: they are a third of the time that a daemon
needs to start, and it only asks for ``head``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdc.errors import DatabaseError

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.config import Config

# Run before Alembic looks for its own table, which lies in the schema that they make.
FOUNDATION = ("10_roles.sql", "20_schema.sql")
VERSION_TABLE = "schema_version"
SUPPORTED = 15
ENCODING = "UTF8"


def engine(url: str) -> sa.Engine:
    """A SQLAlchemy engine on psycopg 3, without a pool: commands are short."""
    import sqlalchemy as sa

    return sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
        # As db.connect has it: no prepared statements, in case of a pooler.
        connect_args={
            "application_name": "cdc command",
            "client_encoding": "utf8",
            "prepare_threshold": None,
        },
    )


def config(**attributes: Any) -> Config:
    from alembic.config import Config

    made = Config(output_buffer=attributes.pop("output", None))
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes.update(attributes)
    return made


def head() -> str:
    """The newest version this program knows: the number that the newest file's name begins with."""
    files = (Path(__file__).parent / "versions").glob("[0-9]*.py")
    return max(path.name.partition("_")[0] for path in files)


def current(connection: sa.Connection) -> str | None:
    """The database's version, None where nothing is installed."""
    import sqlalchemy as sa
    from alembic.migration import MigrationContext

    found = connection.execute(
        sa.text("select to_regclass('cdc.schema_version') is not null")
    ).scalar_one()
    if not found:
        return None
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": "cdc"}
    )
    return context.get_current_revision()


def upgrade(url: str) -> tuple[str | None, str]:
    """Brings schema cdc to the newest version. Returns the versions before and after.

    Raises DatabaseError when the server is too old, the database not in UTF-8, or the schema newer
    than this program.
    """
    from alembic import command

    made = engine(url)
    try:
        with made.begin() as connection:
            _supported(connection)
            _encoded(connection)
            before = current(connection)
            _not_newer(before)
            if before != head():
                command.upgrade(config(connection=connection), "head")
            return before, head()
    finally:
        made.dispose()


def offline_sql() -> str:
    """All that an upgrade of an empty database would run, to be read first or run with psql."""
    from alembic import command

    output = io.StringIO()
    command.upgrade(config(output=output), "head", sql=True)
    return output.getvalue()


def _supported(connection: sa.Connection) -> None:
    version = connection.dialect.server_version_info or (0,)
    if int(version[0]) < SUPPORTED:
        raise DatabaseError(
            f"this is PostgreSQL {'.'.join(map(str, version))}; {SUPPORTED} or newer is needed"
        )


def _encoded(connection: sa.Connection) -> None:
    import sqlalchemy as sa

    encoding = connection.execute(sa.text("select getdatabaseencoding()::text")).scalar_one()
    if encoding != ENCODING:
        raise DatabaseError(*wrong_encoding(encoding))


def wrong_encoding(encoding: str) -> tuple[str, str]:
    """Message and hint for a database in this encoding."""
    return (
        f"the database's encoding is {encoding}; only {ENCODING} is supported",
        "A database gets its encoding when it is made: dump it, and restore the dump into one made "
        "with: create database ... encoding 'UTF8' template template0",
    )


def _not_newer(version: str | None) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseError(
            f"schema cdc has version {version}, which is newer than this program knows ({head()})",
            "Install the release that made it, or a newer one.",
        )
