"""Renders the capture functions and triggers of a mapping as SQL. Pure; reads no database.

The SQL is made to be read by a DBA; what it must never do (wait, raise) and why it looks as it does
stands in docs/decisions.md, "The queue is written by the trigger".
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from textwrap import fill
from typing import Final

from cdc.capture import backfill, company_names, function_bodies
from cdc.capture.changed_mask import OLD_ROWS
from cdc.capture.deleted import gone, parents_of_deleted
from cdc.capture.parent_lookup import OPTIONS
from cdc.capture.sql_text import dollar_quoted, literal, literals
from cdc.mapping import Mapping, Resource, Table, plan_joins
from cdc.mapping.model import quote
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER, READS_DELETED

# The role the generated functions run as: it can do what capture needs, and nothing else.
RUNS_AS: Final = "cdc_capture"
# Their schema, which that role may not use: what runs as it can neither alter nor give them away.
SCHEMA = "cdc_capture"

TRIGGERS = {"cdc_capture_insert": "insert", "cdc_capture_update": "update"}
DELETED = "cdc_capture_delete"
GONE = "cdc_capture_gone"


# A digest of the body above: shows whether it was changed by hand or is of another release.
_SEAL = (
    "-- Rendered by cdc ({}); not to be changed by hand: `cdc triggers install` would undo it.\n"
)

OFF = """
-- Switched off by `cdc triggers off`: changes are not captured, and not made up for.
begin
  return null;
end
"""
"""Body of every capture function while capture is switched off."""


@dataclass(frozen=True, slots=True)
class Function:
    """A rendered function; ``body`` is what the catalogue keeps as prosrc."""

    name: str
    arguments: str
    returns: str
    body: str
    schema: str = SCHEMA

    @property
    def signature(self) -> str:
        return f"{self.schema}.{self.name}({self.arguments})"

    @property
    def types(self) -> str:
        """Of its arguments, as statements name a function that is there."""
        named = filter(None, self.arguments.split(", "))
        return ", ".join(argument.partition(" ")[2] for argument in named)

    @property
    def sql(self) -> str:
        options = "\n".join(f"set {option}" for option in OPTIONS)
        return (
            f"create or replace function {_broken(self.signature)} returns {self.returns}\n"
            f"language plpgsql security definer\n{options}\n"
            f"as {dollar_quoted('cdc', self.body)};"
        )

    @property
    def rights(self) -> str:
        """A role that may execute it could attach it to a table of its own."""
        there = f"{self.schema}.{self.name}({self.types})"
        text = f"revoke all on function {there} from public;"
        if self.returns != "trigger":
            text += f"\ngrant execute on function {there} to cdc_owner;"  # its callers
        return text


def _broken(signature: str) -> str:
    """Over several lines, where it has many arguments."""
    before, _, arguments = signature.partition("(")
    if "," not in arguments:
        return signature
    arguments = arguments.removesuffix(")").replace(", ", ",\n  ")
    return f"{before}(\n  {arguments}\n)"


ARGUMENTS = {
    "capture": "",
    "gone": "",
    "resolve": "wanted bigint[]",
    "backfill": backfill.ARGUMENTS,
    "company": company_names.ARGUMENTS,
}
"""Of the functions, by the first word of their names."""


def functions(mapping: Mapping, resource: Resource) -> tuple[Function, Function, Function]:
    """The functions of a resource that has an event: to capture its changes, to resolve late what
    could not be, and to read its rows for a backfill."""
    join_plan = plan_joins(mapping, resource)
    return (
        Function(
            f"capture_{resource.name}",
            "",
            "trigger",
            sealed(function_bodies.capture(join_plan, mapping)),
        ),
        Function(
            f"resolve_{resource.name}",
            ARGUMENTS["resolve"],
            "bigint",
            sealed(function_bodies.resolve(join_plan, mapping)),
        ),
        Function(
            f"backfill_{resource.name}",
            ARGUMENTS["backfill"],
            backfill.RETURNS,
            sealed(backfill.body(join_plan, mapping)),
        ),
    )


def naming(mapping: Mapping) -> list[Function]:
    """The function that reads names of companies, where the mapping has a column of them."""
    if mapping.company.name is None:
        return []
    body = sealed(company_names.body(mapping))
    return [Function(company_names.NAME, ARGUMENTS["company"], company_names.RETURNS, body)]


def keepers(mapping: Mapping) -> dict[str, tuple[Table, Function]]:
    """The functions that keep deleted parents, with their tables, by the parent's name."""
    return {
        name: (table, Function(f"gone_{name}", "", "trigger", sealed(gone(table, key, columns))))
        for name, (table, columns) in parents_of_deleted(mapping).items()
        for key in [mapping.key_of(name)]
    }


def refusal_of_old_daemons() -> str:
    """Raises while a daemon runs that cannot send deleted rows: it would end at the first one.

    Those that run since before the migration are meant; none of them can start after it.
    """
    return f"""\
do $daemons$
declare
  old text := (
    select string_agg(format('process %s (user %s)', a.pid, a.usename), ', ' order by a.pid)
      from pg_stat_activity a
     where a.datname = current_database()
       and (pg_has_role(a.usesysid, 'cdc_daemon', 'member')
            or has_table_privilege(a.usesysid, 'cdc.shard', 'update'))
       and a.pid in (select l.pid from pg_locks l
                      where l.locktype = 'advisory' and l.classid = {LOCK_CLASS}
                        and l.objid = {MEMBER} and l.objsubid = 2 and l.granted)
       and a.pid not in (select l.pid from pg_locks l
                          where l.locktype = 'advisory' and l.classid = {LOCK_CLASS}
                            and l.objid = {READS_DELETED} and l.objsubid = 2 and l.granted));
begin
  if old is not null then
    raise object_not_in_prerequisite_state using
      message = 'a daemon of the previous release runs, which cannot send deleted rows: ' || old,
      hint = 'Stop it and start one of this release, then install the mapping again.';
  end if;
end
$daemons$;"""


def switched_off(name: str, schema: str = SCHEMA) -> Function:
    """A capture function that does nothing: the off switch, which locks no table of the suite.
    schema: cdc, where it is still the first release's."""
    return Function(name, "", "trigger", OFF, schema)


def noted(function: Function, done: str) -> str:
    """Notes with the function that it was switched ``off`` or ``on``, when and by whom: one line in
    its comment, after those that are there."""
    return f"""\
do $note$
begin
  execute format('comment on function %s is %L', '{function.signature}',
    right(concat_ws(E'\\n', obj_description('{function.signature}'::regprocedure, 'pg_proc'),
      format('%s %s by %s', '{done}',
        to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
        session_user)), 4000));
end
$note$;"""


def sealed(body: str) -> str:
    """The body with its seal below."""
    return body + _SEAL.format(sha256(body.encode()).hexdigest()[:16])


def intact(body: str) -> bool:
    """Whether a body is as some release rendered it: its seal fits."""
    lines = body.splitlines(keepends=True)
    return bool(lines) and body == sealed("".join(lines[:-1]))


def triggers(resource: Resource) -> tuple[str, ...]:
    """Names of the triggers on each table of a resource."""
    return (*TRIGGERS, *([DELETED] if resource.deleted else []))


def compares(name: str, resource: Resource) -> bool:
    """Whether a trigger of ours gets the old rows, too."""
    return TRIGGERS.get(name) == "update" and resource.fields is not None


def trigger(name: str, table: Table, resource: Resource) -> str:
    # The function reads the rows of its statement under one name, whatever was done to them.
    done, rows = ("delete", "old") if name == DELETED else (TRIGGERS[name], "new")
    old, argument = "", ""
    if compares(name, resource):
        old, argument = f"old table as {OLD_ROWS} ", literal(OLD_ROWS)
    return (
        f"create or replace trigger {name} after {done} on {table.sql}\n"
        f"  referencing {old}{rows} table as new_rows\n"
        f"  for each statement execute function {SCHEMA}.capture_{resource.name}({argument});"
    )


def keeping_trigger(name: str, table: Table) -> str:
    """On a parent (``name`` in the mapping) of resources whose deleted rows are captured."""
    return (
        f"create or replace trigger {GONE} after delete on {table.sql}\n"
        f"  referencing old table as new_rows\n"
        f"  for each statement execute function {SCHEMA}.gone_{name}();"
    )


def drop_trigger(name: str, table: Table) -> str:
    return f"drop trigger if exists {quote(name)} on {table.sql};"


def grant(table: Table, columns: tuple[str, ...]) -> str:
    """Lets the capture functions read these columns and nothing else of a table."""
    named = ", ".join(quote(column) for column in columns)
    return (
        f"grant usage on schema {quote(table.schema)} to {RUNS_AS};\n"
        f"grant select ({named}) on {table.sql} to {RUNS_AS};"
    )


def revoke(table: Table, columns: tuple[str, ...]) -> str:
    named = ", ".join(quote(column) for column in columns)
    return f"revoke select ({named}) on {table.sql} from {RUNS_AS};"


def layouts(mapping: Mapping) -> str:
    rows = []
    for resource in mapping.captured:
        layout = plan_joins(mapping, resource).layout
        fields = fill(f"array[{literals(layout.fields)}]", 96, subsequent_indent=" " * 9)
        rows.append(f"  ({layout.id}, {literal(layout.event)},\n   {fields})")
    values = ",\n".join(rows)
    return (
        f"insert into cdc.layout (id, event, fields) values\n{values}\n"
        "on conflict (event, fields) do nothing;"
    )
