"""Names of tables as words of a mapping: in snake case, singular and plural. Pure."""

from __future__ import annotations

import re
import unicodedata


def snake(name: str) -> str:
    """With the letters that a mapping takes: a to z."""
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()


def singular(name: str) -> str:
    if name.endswith("ies"):
        return name[:-3] + "y"
    if name.endswith("people"):
        return name[:-6] + "person"
    return name[:-1] if re.search(r"[^su]s$", name) and not name.endswith("is") else name


def segment(singular: str) -> str:
    """Part of an address: the name, plural."""
    name = re.sub(r"[^a-z0-9]+", "-", singular.encode("ascii", "ignore").decode()) or "rows"
    if name.endswith("s"):
        return name
    if name.endswith("person"):
        return name[:-6] + "people"
    return name[:-1] + "ies" if re.search(r"[^aeiou]y$", name) else name + "s"
