"""What a migration consists of.

``versions/NNNN_name.sql`` is its transaction: statements that need a moment each. Before it comes
what needs a strong lock on a table that writers of the suite touch, ``APART`` in
``versions/NNNN_name.py``; then what takes long (an index on a table that may be large), outside of
any transaction, blocking no session: ``ONLINE``. A column that such an index needs is added apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is made beforehand, CONCURRENTLY; the transaction finds it there.

    on: table, method and what else stands behind ON. Where it is made no search path can be relied
        on (``Connection.alone``), so operators and their classes are named with their schema.
    """

    name: str
    on: str

    @property
    def sql(self) -> str:
        return f"create index concurrently if not exists {self.name} on {self.on};"

    @property
    def drop(self) -> str:
        """For one that was left unfinished."""
        return f"drop index concurrently if exists cdc.{self.name};"


@dataclass(frozen=True, slots=True)
class Apart:
    """A change of a table that writers of the suite touch, or of one that is to have a new index,
    under ACCESS EXCLUSIVE: a transaction of its own, so that its lock is held for a moment, and no
    other lock is waited for meanwhile.

    sql: one statement, which takes no lock where it was run before.
    """

    table: str
    sql: str

    LOCK: ClassVar[str] = "ACCESS EXCLUSIVE"
    WAIT_MS: ClassVar[int] = 50
    """A writer waits as long behind each try, and may have a lock_timeout of its own."""

    @property
    def script(self) -> str:
        """For psql."""
        return (
            f"begin;\nset local search_path = pg_catalog, pg_temp;\n"
            f"set local lock_timeout = '{self.WAIT_MS}ms';\nset local role cdc_owner;\n"
            f"{self.sql}\ncommit;"
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A version of schema cdc: how one comes to it from the one before.

    locks: what its transaction takes on tables that were there before, by name (a partitioned one
           stands for its partitions); a test compares it with what is really taken.
    """

    number: str
    title: str
    before: str | None
    online: tuple[Index, ...] = ()
    apart: tuple[Apart, ...] = ()
    locks: dict[str, str] = field(default_factory=dict)
    sql: str = ""


def version(module: ModuleType) -> Version:
    """What a file of ``versions/`` says."""
    return Version(
        number=module.revision,
        title=(module.__doc__ or "").partition("\n")[0].rstrip("."),
        before=module.down_revision,
        online=tuple(getattr(module, "ONLINE", ())),
        apart=tuple(getattr(module, "APART", ())),
        locks=dict(getattr(module, "LOCKS", {})),
        sql=_beside(str(module.__file__)),
    )


def run(file: str, before: Iterable[str] = ()) -> None:
    """Runs the SQL file next to a file of ``versions/``, as it is; offline, prints it.

    before: statements to run first, of ``Apart``: where they were not run on their own, as in a new
            installation.
    """
    from alembic import op

    sql = "\n".join([*before, _beside(file)])
    if op.get_context().as_sql:
        # Printed as it is: execute() would read a colon as a bind parameter.
        op.get_context().impl.static_output(sql)
    else:
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)


def partitions() -> Iterator[str]:
    """Names of the partitions of cdc.attempt."""
    return (f"attempt_{slot:02}" for slot in range(32))


def _beside(file: str) -> str:
    return Path(file).with_suffix(".sql").read_text(encoding="utf-8")
