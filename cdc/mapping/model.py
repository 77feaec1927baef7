"""The mapping as the rest of the program sees it: checked, with names as PostgreSQL has them."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import dataclass, field
from typing import Any

COMPANY = "company"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the suite; both names as the catalogue has them, unquoted."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def quote(identifier: str) -> str:
    """An identifier, quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """``{company}projects/{project}/``: literal texts and the names between them.

    parts:  pairs of (literal text, name or None); the name's value follows the text. A name is the
            resource's own, for its key, or that of a column of its key if it has several.
    parent: the resource with whose address it begins; its name is then that of the first part.
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]
    parent: str | None = None

    @classmethod
    def parse(cls, text: str, columns: tuple[str, ...] = ()) -> UrlTemplate:
        """columns: names that need not be plain.

        Raises ValueError when the braces do not match or hold anything but a plain name."""
        parts = []
        for literal, name, spec, conversion in string.Formatter().parse(text):
            plain = name is None or name.isidentifier() or name in columns
            if not plain or spec or conversion:
                raise ValueError("expected only the name of a resource between braces")
            parts.append((literal, name))
        return cls(text, tuple(parts))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.parts if name is not None)


@dataclass(frozen=True, slots=True)
class Company:
    """The table of the companies: where every path ends.

    base_url_column: column with the base URL of a company that is served under a host of its own.
    name: column with what people call it. For commands alone, so it is not part of the fingerprint.
    """

    table: Table
    key: str
    urls: tuple[UrlTemplate, ...]
    base_url_column: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A table of the suite whose rows have an address.

    key:     the columns that identify a row.
    parents: name of the parent (a resource or ``company``) to the columns that lead to it, one for
             each of its key, in the order in which paths are tried.
    event:   what a webhook registers for; None: changes are not captured.
    data:    names whose addresses make up the payload's data, after ``action``.
    optional: a row that leads to no company is not captured, rather than kept as unresolved.
    parents_if_there: more of them, where the table has the column (cdc/capture/fit.py).
    fields:  columns that a webhook may ask for; empty: only whether a row differs at all; None: not
             even that.
    deleted: deleted rows are captured, too.
    changed_at: column with the time of a row's last change.
    """

    name: str
    table: Table
    key: tuple[str, ...]
    parents: dict[str, tuple[str, ...]]
    urls: tuple[UrlTemplate, ...]
    event: str | None
    data: tuple[str, ...]
    optional: bool = False
    fields: tuple[str, ...] | None = None
    deleted: bool = False
    changed_at: str | None = None
    parents_if_there: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that capture reads: the key, those of the parents, the fields."""
        leading = (column for columns in self.parents.values() for column in columns)
        return tuple(dict.fromkeys((*self.key, *leading, *(self.fields or ()))))


@dataclass(frozen=True)
class Mapping:
    """The whole declaration. Build one with cdc.mapping.load, which checks it.

    fits:     it is the default one: paths whose column a database lacks are left out
              (cdc/capture/fit.py).
    declared: fingerprint of the declaration that it was made of by that. What depends on the
              database, parents_if_there, is not part of it.
    """

    base_url: str
    company: Company
    resources: dict[str, Resource]
    source: str = field(repr=False, compare=False)
    fits: bool = field(default=False, repr=False, compare=False)
    declared: str | None = field(default=None, repr=False, compare=False)

    @property
    def captured(self) -> tuple[Resource, ...]:
        """Resources with an event, in the order of the file."""
        return tuple(r for r in self.resources.values() if r.event is not None)

    @property
    def events(self) -> dict[str, Resource]:
        return {r.event: r for r in self.captured if r.event is not None}

    def urls_of(self, name: str) -> tuple[UrlTemplate, ...]:
        return self.company.urls if name == COMPANY else self.resources[name].urls

    def key_of(self, name: str) -> tuple[str, ...]:
        return (self.company.key,) if name == COMPANY else self.resources[name].key

    @property
    def fingerprint(self) -> str:
        """Same for two files that mean the same, whatever their comments and spacing."""
        if self.declared is not None:
            return self.declared
        text = json.dumps(self._canonical(), sort_keys=False, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _canonical(self) -> list[Any]:
        company = self.company
        return [
            self.base_url,
            [str(company.table), company.key, company.base_url_column],
            [template.text for template in company.urls],
            [
                [
                    r.name,
                    [r.table.schema, r.table.name],
                    _one_or_all(r.key),
                    [(parent, _one_or_all(columns)) for parent, columns in r.parents.items()],
                    [template.text for template in r.urls],
                    r.event,
                    list(r.data),
                    # Only what is set: other mappings keep the fingerprint that is installed.
                    *(["optional"] if r.optional else []),
                    *([["fields", *r.fields]] if r.fields is not None else []),
                    *(["deleted"] if r.deleted else []),
                    *([["changed_at", r.changed_at]] if r.changed_at is not None else []),
                ]
                for r in sorted(self.resources.values(), key=lambda r: r.name)
            ],
        ]


def _one_or_all(columns: tuple[str, ...]) -> str | tuple[str, ...]:
    return columns[0] if len(columns) == 1 else columns
