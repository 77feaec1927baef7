"""SQL that gives capture functions their owner. Pure.

The owner may not use the functions' schema, except while this runs.
"""

from __future__ import annotations

from cdc.capture.render import RUNS_AS, SCHEMA, Function


def moved(function: Function) -> str:
    """Takes a function of the first release from schema cdc, with the triggers that call it."""
    there = f"cdc.{function.name}({function.types})"
    return owned(function, f"alter function {there} set schema {SCHEMA};\n")


def owned(function: Function, before: str = "") -> str:
    """Gives a function back to its owner, after what cdc_owner does ``before``."""
    return f"""\
set local role cdc_owner;
grant usage, create on schema {SCHEMA} to {RUNS_AS};
{before}reset role;
alter function {SCHEMA}.{function.name}({function.types}) owner to {RUNS_AS};
set local role cdc_owner;
revoke usage, create on schema {SCHEMA} from {RUNS_AS};
reset role;"""


def former_owned(function: str) -> str:
    """Gives a function that lies where the first release had it back to its owner of then."""
    arguments = "bigint[]" if function.startswith("resolve_") else ""
    return f"alter function cdc.{function}({arguments}) owner to cdc_owner;"
