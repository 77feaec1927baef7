"""What the tables of schema cdc are made of: types, defaults, the metadata they belong to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

metadata = sa.MetaData(schema="cdc")


class Char(UserDefinedType[str]):
    """PostgreSQL's ``"char"``: one byte."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return '"char"'


class Xid8(UserDefinedType[int]):
    """A transaction id that does not wrap around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


# Without them reflection would warn that it does not know the types.
_dialect = postgresql.base.ischema_names
_dialect.setdefault("xid8", Xid8)
_dialect['"char"'] = Char

C = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")
XID = sa.text("pg_current_xact_id()")
NEW_ID = sa.text("cdc.new_id()")


def column(name: str, kind: Any, *, null: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, **options)
