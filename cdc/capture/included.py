"""What a payload has of a row's values, for the webhooks that include some. Pure.

Only for resources that declare the names of ``fields``, and only where a webhook includes some.
Values travel as JSON text, from the trigger to the payload: numerics keep their digits, and nothing
that a row holds makes it fail. (jsonb refuses some of what json can hold.)
"""

from __future__ import annotations

from cdc.capture.sql_text import lines, literal, literals
from cdc.mapping import Resource
from cdc.mapping.model import quote

LONGEST_STORED = 8_000
"""Bytes that a value may take in its row to be turned into JSON at all: a larger one would not fit,
and would cost its writer time. cdc.included() says how long the JSON may be."""

# How values are written, whatever the writer's session has set.
_FORMS = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
}


def forms(resource: Resource) -> str:
    """A statement that sets how values are written, for the transaction around it; empty for a
    resource whose values are not read."""
    if not resource.fields:
        return ""
    calls = (f"set_config('{name}', '{value}', true)" for name, value in _FORMS.items())
    return f"setting := concat({lines(calls, ',', 18)});"


def values(resource: Resource, known: str) -> str:
    """Those of a row (alias ``own``) as JSON, in the order of the fields; empty: too long.

    known: SQL for the columns of which a row that was kept has a value; empty: of all.
    """
    found = []
    for name in resource.fields or ():
        value = f"own.{quote(name)}"
        lacks = f"pg_column_size({value}) > {LONGEST_STORED}"
        lacks += f" or not {known} ? {literal(name)}" if known else ""
        found.append(f"case when {lacks} then '' else coalesce(to_json({value})::text, 'null') end")
    return f"array[{lines(found, ',', 13)}]"


def queued(resource: Resource, where: str = "") -> str:
    """What is selected of ``found`` and ``wants`` to be queued: arrays, row by row; without the
    second for a resource whose values are not read.

    where: which of the rows.
    """
    only = f"\n         filter (where {where})" if where else ""
    found = [
        f"array_agg((found.source, wants.webhook_id, found.refs)::cdc.captured){only} as captured"
    ]
    if resource.fields:
        found.append(f"array_agg({of_webhook(resource)}){only} as included")
    return lines(found, ",", 7)


def of_webhook(resource: Resource) -> str:
    """What one of ``wants`` includes of a row of ``found``."""
    names = f"array[{literals(resource.fields or ())}]"
    return (
        f"case when wants.include is not null then\n"
        f"         cdc.included({names}, found.vals, wants.include, found.changed)\n"
        f"       end"
    )
