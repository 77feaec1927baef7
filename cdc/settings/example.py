"""The commented default file, made from the settings themselves: `cdc config default`."""

from __future__ import annotations

import textwrap

from cdc.settings.model import Settings
from cdc.settings.reference import describe

_HEAD = """\
# Settings of cdc. Every key with its default, commented out: remove the # to change one. Variables
# of the environment (CDC_WINDOW for window) take precedence over this file; `cdc config show`
# prints each value and where it comes from. Name the file with --config, or in CDC_CONFIG.
"""


def default_file() -> str:
    """TOML with every key, its meaning and range, and its default as a comment."""
    parts = [_HEAD]
    for key in describe():
        default = Settings.model_fields[key.name].default
        text = key.description.replace("`", "")
        parts += ["", *(f"# {line}" for line in textwrap.wrap(text, 98))]
        parts.append(f"# {key.env}; {key.type}.")
        empty = {"database_url": '"postgresql://user:password@host:5432/database"'}
        parts.append(f"#{key.name} = {empty.get(key.name) or _toml(default, key.type)}")
    return "\n".join(parts) + "\n"


def _toml(value: object, kind: str) -> str:
    if value is None:
        return '""  # none' if kind in ("text", "path") else "0  # none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part, kind) for part in value)}]"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f'"{value}"'
