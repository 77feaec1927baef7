"""What an update has changed in a row, as bits, and the registrations that ask for it. Pure.

Bit 0: the row differs at all; bit i: the i-th of the mapping's fields does. A row is compared with
the one that had its key before the statement. All bits are set for an inserted row, and where that
pair is not unique: the key is new, or occurs twice before or after. Record images are compared
(``*<>``): that works for every type, and never raises.

Only for resources that declare ``fields``: the triggers of others get no old rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from cdc.capture.sql_text import key_text, lines, literal, named
from cdc.mapping import Resource
from cdc.mapping.model import quote

OLD_ROWS = "old_rows"
"""The update trigger's old table, and the argument that says that there is one."""

COMPARED = 1_000_000
"""Rows of a statement whose bits are kept in memory at the same time (8 MB)."""

ALL = "(-1)::bigint"
# Of a row in its batch. No column of a table is likely to have this name; if one has, its changes
# are captured late.
_NUMBER = quote("number of cdc")


def numbered(resource: Resource, part: str = "") -> str:
    """A part of the new rows (``offset ... limit ...``; without, all of them) as ``own``; each with
    the number under which its bits are, where there can be any."""
    rows = f"(select * from new_rows {part})" if part else "new_rows"
    if resource.fields is None:
        return f"{rows} own"
    return f"(select row_number() over () as {_NUMBER}, part.* from {rows} part) own"


def bits(masks: str) -> str:
    """Of a row of ``numbered``: null where nothing was compared."""
    return f"{masks}[own.{_NUMBER}]"


def compare(resource: Resource) -> str:
    """Statements that set ``masks`` to the bits of the rows of a batch, if they are wanted.

    Planned once in a session, perhaps for a single row, and kept for a million: so never a nested
    loop. Done for COMPARED rows at a time, not for each batch, as it reads all old and new rows.
    """

    key = partial(_key, resource)

    def of_row(alias: str, column: int) -> str:
        columns = [f"{alias}.*::record as whole", f"{key(alias)} as key"]
        fields = enumerate(resource.fields or (), 1)
        columns += [f"{alias}.{quote(name)} as f{bit}" for bit, name in fields]
        return lines(columns, ",", column)

    columns = range(1, len(resource.fields or ()) + 1)
    differ = _differ("own.whole", "old_.whole", [(f"own.f{n}", f"old_.f{n}") for n in columns])
    return f"""\
masks := null;
if tg_nargs > 0 and exists (
     select from cdc.subscription s
      where s.event = {literal(resource.event or "")}
        and (s.changed is not null or s.include is not null)) then
  if done >= compared then
    setting := set_config('enable_nestloop', 'off', true);
    changes := array(
      -- old_ is the row that had this key before, where there was one, and there is one now.
      select case when pair.key is null then {ALL}
                  else {lines(differ, " +", 23)} end
        from (select row_number() over () as number,
                     {of_row("n", 21)}
                from new_rows n) own
        left join (
          (select each.key
             from (select {key("o")} as key from {OLD_ROWS} o
                   union all
                   select {key("n")} from new_rows n) each
            group by each.key having count(*) = 2) pair
          join (
              select {of_row("o", 21)}
                from {OLD_ROWS} o) old_ on old_.key = pair.key
        ) on pair.key = own.key
       order by own.number offset done limit {COMPARED});
    compared := done + {COMPARED};
    setting := set_config('enable_nestloop', 'on', true);
  end if;
  batch := least(batch, compared - done);
  masks := changes[done - compared + {COMPARED} + 1 : done - compared + {COMPARED} + batch];
end if;"""


def of_single(resource: Resource, column: int) -> str:
    """The bits of the only row ``n`` that a statement has changed, which was ``o`` before."""
    fields = [(f"n.{quote(name)}", f"o.{quote(name)}") for name in resource.fields or ()]
    differ = _differ("n.*::record", "o.*::record", fields)
    same = f"{_key(resource, 'n')} = {_key(resource, 'o')}"
    return (
        f"case when {same}\n{' ' * column}     then {lines(differ, ' +', column + 10)}\n"
        f"{' ' * column}     else {ALL} end"
    )


def _differ(new: str, old: str, fields: Sequence[tuple[str, str]]) -> list[str]:
    """SQL for the bits of a row, each a number."""
    return [
        f"({new} *<> {old})::int::bigint",
        *(
            f"((row({one})::record *<> row({other})::record)::int::bigint << {bit})"
            for bit, (one, other) in enumerate(fields, 1)
        ),
    ]


def _key(resource: Resource, alias: str) -> str:
    return f'{key_text(named(alias, resource.key))} collate "C"'


def kept(resource: Resource, masks: str) -> str:
    """To be added to what is kept of a row in cdc.unresolved: its bits, where there are any."""
    named = f"jsonb_build_object({_name(resource)}, {bits(masks)})"
    return f"case when {masks} is null then '{{}}' else jsonb_build_object('', {named}) end"


def was_kept(resource: Resource, own: str) -> str:
    """The bits of a row that waited; all where none were kept."""
    return f"coalesce(({own} -> '' ->> {_name(resource)})::bigint, {ALL})"


def _name(resource: Resource) -> str:
    """It names the fields: bits of another mapping are not found."""
    return literal(f"changed of {json.dumps(resource.fields)}")


def wanted(resource: Resource, subscription: str) -> str:
    """Whether a registration wants a row of ``found`` with these bits."""
    wishes = [
        f"{subscription}.changed is null",
        f"{subscription}.changed = '{{}}' and found.changed & 1 <> 0",
    ]
    wishes += [
        f"{literal(name)} = any({subscription}.changed) and found.changed & {1 << bit} <> 0"
        for bit, name in enumerate(resource.fields or (), 1)
    ]
    return f"({f'{chr(10)}         or '.join(wishes)})"
