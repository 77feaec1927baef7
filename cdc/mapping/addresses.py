"""The addresses of a mapping file: reads their templates, and refuses those that cannot be made."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import replace

from cdc.mapping.model import COMPANY, Company, Resource, UrlTemplate
from cdc.mapping.names import Wrong

NOT_IN_BRACES = frozenset("{}[:!")
"""Characters of a column that a template cannot name."""


def unknown(name: str, resources: Collection[str], columns: tuple[str, ...] = ()) -> str:
    """columns: what it could be, too."""
    close = difflib.get_close_matches(name, (*resources, *columns), 1)
    what = "resource or column of the key" if columns else "resource"
    return f"unknown {what} '{name}'" + (f", did you mean '{close[0]}'?" if close else "")


def templates(
    place: str,
    urls: str | list[str],
    own: str,
    resources: Collection[str],
    key: tuple[str, ...] = (),
) -> tuple[UrlTemplate, ...]:
    """Those of one resource (``own``). Raises Wrong.

    key: its columns. If they are several, a template names them instead of the resource.
    """
    texts = [urls] if isinstance(urls, str) else urls
    if not texts:
        raise Wrong(place, "is empty")
    columns = key if len(key) > 1 else ()
    for column in columns:
        if set(column) & NOT_IN_BRACES:
            raise Wrong(place, f"column {column!r} of the key cannot be named between braces")
    return tuple(_template(place, text, own, resources, columns) for text in texts)


def _template(
    place: str, text: str, own: str, resources: Collection[str], columns: tuple[str, ...]
) -> UrlTemplate:
    try:
        template = UrlTemplate.parse(text, columns)
    except ValueError as error:
        raise Wrong(place, f"'{text}': {error}") from None
    for name in template.names:
        if name not in resources and name not in columns:
            raise Wrong(place, unknown(name, resources, columns))
        if columns and name == own and name not in columns:
            raise Wrong(
                place,
                f"'{text}': the key of {own} has several columns",
                f"Name them instead of {{{own}}}: {', '.join(f'{{{c}}}' for c in columns)}.",
            )
    if not columns and own not in template.names:
        raise Wrong(place, f"'{text}' does not hold {{{own}}}, the row's own key")
    literal, first = template.parts[0] if template.parts else ("", None)
    begins = first in resources and first != own and not literal
    if any(name not in (columns or (own,)) for name in template.names[1 if begins else 0 :]):
        raise Wrong(place, f"'{text}': another resource's address must be at the beginning")
    return replace(template, parent=first if begins else None)


def hold_keys(resource: Resource) -> None:
    """Raises Wrong where two rows could have the same address: each column of the key is named, or
    leads to the parent with whose address it begins."""
    if len(resource.key) == 1:
        return
    leading = {**resource.parents, **resource.parents_if_there}
    for url in resource.urls:
        held = {name for _, name in url.parts} | {*leading.get(url.parent or "", ())}
        for column in resource.key:
            if column not in held:
                raise Wrong(
                    f"resources.{resource.name}.url",
                    f"'{url.text}' does not hold {{{column}}}, a column of the key",
                    "Name it, or begin with the address of a parent to which it leads.",
                )


def end(company: Company, resources: dict[str, Resource]) -> None:
    """Raises Wrong where an address begins with itself, over however many others."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        place = "company.url" if name == COMPANY else f"resources.{name}.url"
        if name in trail:
            raise Wrong(place, f"a cycle: {' -> '.join((*trail, name))}")
        if name in done:
            return
        done.add(name)
        for template in company.urls if name == COMPANY else resources[name].urls:
            if template.parent is not None:
                visit(template.parent, (*trail, name))

    for name in (COMPANY, *resources):
        visit(name, ())
