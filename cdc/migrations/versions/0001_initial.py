"""The first schema: the files of ``sql/schema``, run as they are.

They are the DBA's copy and the migration's source at once. From the first release on they are
frozen: a later change is a migration of its own, and the files say what both add up to.
"""

from alembic import op

from cdc import sqlfiles
from cdc.migrations import FOUNDATION

revision = "0001"
down_revision = None

# Alembic makes and fills its version table itself.
NOT_HERE = (*FOUNDATION, "25_version.sql")


def upgrade() -> None:
    for path in sqlfiles.schema_files():
        if path.name in NOT_HERE:
            continue
        sql = path.read_text(encoding="utf-8")
        if op.get_context().as_sql:
            op.get_context().impl.static_output(sql)
        else:
            op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)
