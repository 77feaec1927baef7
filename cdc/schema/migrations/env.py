"""Alembic's entry: online on the connection it is given, offline as SQL to read."""

from typing import Any

from alembic import context

from cdc.postgres import sqlfiles
from cdc.postgres.advisory_locks import INSTALLING, LOCK_CLASS
from cdc.postgres.session_settings import FOR_PSQL
from cdc.schema import tables
from cdc.schema.migrations import FOUNDATION, VERSION_TABLE

MIGRATION_OPTIONS: dict[str, Any] = {
    "target_metadata": tables.metadata,
    "version_table": VERSION_TABLE,
    "version_table_schema": "cdc",
    "include_schemas": True,
    "transactional_ddl": True,
}

# Requests queue behind one that waits for a strong lock. Less than deadlock_timeout, so that it
# is we who give up, never a daemon.
SET_LOCK_TIMEOUT = "set local lock_timeout = '{}ms';"
LOCK_TIMEOUT_MS = 500
AS_OWNER = "set local role cdc_owner;"

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", as_sql=True, **MIGRATION_OPTIONS)
    with context.begin_transaction():
        # Printed as they are: execute() would read a colon as a bind parameter.
        # Defaults are made for good: no nextval(text) in schema public may get into one.
        # (On a connection of ours every transaction begins like this.)
        for line in FOR_PSQL:
            context.get_context().impl.static_output(line)
        context.get_context().impl.static_output(SET_LOCK_TIMEOUT.format(LOCK_TIMEOUT_MS))
        for name in FOUNDATION:
            context.get_context().impl.static_output(sqlfiles.schema_file(name))
        context.get_context().impl.static_output(AS_OWNER)
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    plain = connection.execution_options(no_parameters=True)
    limit = context.config.attributes.get("lock_timeout_ms", LOCK_TIMEOUT_MS)
    plain.exec_driver_sql(SET_LOCK_TIMEOUT.format(limit))
    # Two who migrate at once do so one after the other. Who installs capture holds the same lock.
    plain.exec_driver_sql(f"select pg_advisory_xact_lock({LOCK_CLASS}, {INSTALLING})")
    if context.config.attributes.get("publish"):
        plain.exec_driver_sql("set local cdc.publish = 'yes'")
    for name in FOUNDATION:
        plain.exec_driver_sql(sqlfiles.schema_file(name))
    plain.exec_driver_sql(AS_OWNER)
    context.configure(connection=connection, **MIGRATION_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()
    plain.exec_driver_sql("reset role")
