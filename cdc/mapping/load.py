"""Reads a mapping file and refuses what cannot work, naming the place in the file.

What only the database knows (do the tables and columns exist?) is checked in cdc.capture.check.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cdc.errors import MappingError
from cdc.mapping import addresses
from cdc.mapping.model import COMPANY, Company, Mapping, Resource
from cdc.mapping.names import Wrong, identifier, table_named
from cdc.model import CHALLENGE_EVENT, NOTICE_EVENT
from cdc.settings.kinds import odd_in_url
from cdc.wording import expected

MOST_FIELDS = 60
"""Of one resource: which of them have changed is one number of 64 bits."""

CREDENTIALS = ("*_key", "*token*", "*password*", "*secret*")
"""Names of columns that are never sent, nor compared."""

_WORDS = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a word of a name in camel case begins."""

MOST_RESOURCES = 200
"""Of one mapping; a suite has some ten, and paths among them are followed step by step."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Words that the rendered SQL uses for itself.
TAKEN = frozenset(
    {"own", "new_rows", "new", "old", "u", "found", "subscription", "base", "action", "at_commit"}
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Company(_Strict):
    table: str
    key: str
    url: str | list[str]
    base_url_column: str | None = None
    name: str | None = None


class _Resource(_Strict):
    table: str
    key: str | list[str]
    parents: dict[str, str | list[str]] = {}
    url: str | list[str]
    event: str | None = None
    data: list[str] = []
    optional: bool = False
    parents_if_there: dict[str, str | list[str]] = {}
    fields: list[str] | None = None
    deleted: bool = False
    changed_at: str | None = None


class _MappingFile(_Strict):
    base_url: str
    company: _Company
    resources: dict[str, _Resource]


@cache
def default_mapping() -> Mapping:
    """The interview suite's own mapping, shipped with the program."""
    path = Path(__file__).with_name("interview_suite.toml")
    return replace(parse_mapping(path.read_text("utf-8"), path.name), fits=True)


def load_mapping(path: Path | None, base_url: str | None = None) -> Mapping:
    """The mapping of this installation: the given file, or the default without one.

    base_url: replaces the file's, so that a test system needs no file of its own; not part of the
    fingerprint's concern as long as the file stays the same, so it is applied where URLs are made.
    Raises MappingError.
    """
    if path is None:
        return default_mapping()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(
            f"the mapping file {path} cannot be read: {error}", "CDC_MAPPING names the file."
        ) from None
    return parse_mapping(text, str(path))


def parse_mapping(text: str, origin: str) -> Mapping:
    """Checks the text of a mapping file; ``origin`` names it in errors. Raises MappingError."""
    try:
        raw = _MappingFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{origin}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise MappingError(f"{origin}: {_first_problem(error)}") from None
    try:
        return _Checker(raw, text).mapping()
    except Wrong as wrong:
        raise MappingError(f"{origin}: {wrong.place}: {wrong.problem}", wrong.hint) from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[str]"))
    if first["type"] == "extra_forbidden":
        rooms: dict[str, type[BaseModel]] = {"company": _Company, "resources": _Resource}
        known = rooms.get(str(first["loc"][0]), _MappingFile)
        close = difflib.get_close_matches(str(first["loc"][-1]), known.model_fields, 1)
        accepted = ", ".join(known.model_fields)
        return f"{place}: unknown key" + (
            f", did you mean '{close[0]}'?" if close else f"; known are {accepted}"
        )
    if first["type"] == "missing":
        return f"{place}: is missing"
    return f"{place}: {expected(first)} (found {first['input']!r})"


class _Checker:
    """Turns the raw file into a Mapping; one method a rule."""

    def __init__(self, raw: _MappingFile, text: str) -> None:
        self.raw = raw
        self.text = text
        self.names = {COMPANY, *raw.resources}

    def mapping(self) -> Mapping:
        raw = self.raw
        if (mapped := len(raw.resources)) > MOST_RESOURCES:
            raise Wrong("resources", f"{mapped} are mapped; expected at most {MOST_RESOURCES}")
        if (odd := odd_in_url(raw.base_url)) is not None:
            raise Wrong("base_url", f"'{raw.base_url}' is an invalid URL: {odd}")
        if not re.fullmatch(r"https?://[^\s{}]+/", raw.base_url):
            raise Wrong(
                "base_url",
                f"'{raw.base_url}' is invalid: expected an http(s) URL that ends with a slash",
            )
        company = Company(
            table=table_named(raw.company.table, "company.table"),
            key=identifier(raw.company.key, "company.key"),
            urls=addresses.templates("company.url", raw.company.url, COMPANY, self.names),
            base_url_column=None
            if raw.company.base_url_column is None
            else identifier(raw.company.base_url_column, "company.base_url_column"),
            name=None if raw.company.name is None else identifier(raw.company.name, "company.name"),
        )
        resources = {
            name: self._resource(name, resource) for name, resource in raw.resources.items()
        }
        self._whole_keys(resources)
        self._no_circles(resources)
        addresses.end(company, resources)
        for resource in resources.values():
            addresses.hold_keys(resource)
        for name, resource in resources.items():
            self._reaches_company(name, resource, resources)
        if not any(r.event for r in resources.values()):
            raise Wrong("resources", "none has an event, so nothing would be captured")
        self._no_twins(company, resources)
        return Mapping(raw.base_url, company, resources, self.text)

    def _resource(self, name: str, raw: _Resource) -> Resource:
        place = f"resources.{name}"
        if name == COMPANY or name in TAKEN or not NAME.fullmatch(name):
            raise Wrong(
                place,
                "a resource is named by lower case letters, digits and underscores (at most 40), "
                f"and not 'company' or one of {', '.join(sorted(TAKEN))}",
            )
        parents = self._parents(f"{place}.parents", raw.parents)
        if_there = self._parents(f"{place}.parents_if_there", raw.parents_if_there)
        for parent in parents.keys() & if_there.keys():
            raise Wrong(f"{place}.parents_if_there.{parent}", "is one of its parents already")
        if raw.event is not None and not NAME.fullmatch(raw.event):
            raise Wrong(f"{place}.event", f"'{raw.event}' is not made of a-z, 0-9 and _ only")
        if raw.event is None and raw.data:
            raise Wrong(f"{place}.data", "is only of use with an event")
        for key in ("optional", "fields", "deleted", "changed_at"):
            if raw.event is None and getattr(raw, key) not in (None, False):
                raise Wrong(f"{place}.{key}", "is only of use with an event")
        for member in raw.data:
            if member not in self.names:
                raise Wrong(f"{place}.data", addresses.unknown(member, self.names))
        if len(set(raw.data)) < len(raw.data):
            raise Wrong(f"{place}.data", "names a member twice")
        own_key = _columns(raw.key, f"{place}.key")
        return Resource(
            name=name,
            table=table_named(raw.table, f"{place}.table"),
            key=own_key,
            parents=parents,
            urls=addresses.templates(f"{place}.url", raw.url, name, self.names, own_key),
            event=raw.event,
            data=tuple(raw.data),
            optional=raw.optional,
            fields=_fields(raw.fields, f"{place}.fields"),
            deleted=raw.deleted,
            changed_at=None
            if raw.changed_at is None
            else identifier(raw.changed_at, f"{place}.changed_at"),
            parents_if_there=if_there,
        )

    def _parents(self, place: str, raw: dict[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
        parents = {}
        for parent, columns in raw.items():
            if parent not in self.names:
                raise Wrong(f"{place}.{parent}", addresses.unknown(parent, self.names))
            parents[parent] = _columns(columns, f"{place}.{parent}")
        return parents

    def _whole_keys(self, resources: dict[str, Resource]) -> None:
        """A parent is found by all columns of its key."""
        for name, resource in resources.items():
            for where in ("parents", "parents_if_there"):
                for parent, columns in getattr(resource, where).items():
                    key = ("key",) if parent == COMPANY else resources[parent].key
                    if len(columns) != len(key):
                        raise Wrong(
                            f"resources.{name}.{where}.{parent}",
                            f"{_count(columns)}, but the key of {parent} has {len(key)}",
                            "Name a column for each of the key, in the key's order"
                            + (f": {', '.join(key)}." if parent != COMPANY else "."),
                        )

    def _no_circles(self, resources: dict[str, Resource]) -> None:
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in trail:
                cycle = " -> ".join((*trail[trail.index(name) :], name))
                raise Wrong(f"resources.{trail[-1]}.parents.{name}", f"a cycle: {cycle}")
            if name in done or name == COMPANY:
                return
            for parent in (*resources[name].parents, *resources[name].parents_if_there):
                visit(parent, (*trail, name))
            done.add(name)

        for name in resources:
            visit(name, ())

    def _reaches_company(
        self, name: str, resource: Resource, resources: dict[str, Resource]
    ) -> None:
        reached = set(ancestors(name, resources))
        if COMPANY not in reached:
            raise Wrong(
                f"resources.{name}.parents",
                "no path leads from here to the company",
                "Every resource needs a parent that is the company or has a path to it.",
            )
        begins = (url.parent for url in resource.urls if url.parent is not None)
        for member in (*resource.data, *begins):
            if member != name and member not in reached:
                raise Wrong(
                    f"resources.{name}",
                    f"'{member}' is used in data or url, but no path of parents leads to it",
                )

    def _no_twins(self, company: Company, resources: dict[str, Resource]) -> None:
        tables = {company.table: "company"}
        events: dict[str, str] = {}
        for name, resource in resources.items():
            if resource.table in tables:
                raise Wrong(
                    f"resources.{name}.table",
                    f"{resource.table} is mapped already, by {tables[resource.table]}",
                )
            tables[resource.table] = f"resources.{name}"
            if resource.event is not None and resource.event in events:
                raise Wrong(
                    f"resources.{name}.event",
                    f"'{resource.event}' is the event of {events[resource.event]} already",
                )
            for taken, of in ((NOTICE_EVENT, "notices"), (CHALLENGE_EVENT, "challenges")):
                if resource.event == taken:
                    raise Wrong(f"resources.{name}.event", f"'{taken}' is the event of {of}")
            if resource.event is not None:
                events[resource.event] = f"resources.{name}"


def _columns(names: str | list[str], place: str) -> tuple[str, ...]:
    """Of a key, or those that lead to one: a single one, or several."""
    listed = [names] if isinstance(names, str) else names
    if not listed:
        raise Wrong(place, "is empty")
    columns = tuple(identifier(name, place) for name in listed)
    if len(set(columns)) < len(columns):
        raise Wrong(place, "names a column twice")
    return columns


def _count(columns: tuple[str, ...]) -> str:
    return "is one column" if len(columns) == 1 else f"has {len(columns)} columns"


def _fields(names: list[str] | None, place: str) -> tuple[str, ...] | None:
    """Columns that may leave the database, so those that hold credentials by their name may not."""
    if names is None:
        return None
    fields = tuple(identifier(name, place) for name in names)
    for field in fields:
        words = _WORDS.sub("_", field).lower()  # apiKey: api_key
        pattern = next((p for p in CREDENTIALS if fnmatch(words, p)), None)
        if pattern is not None:
            raise Wrong(
                place,
                f"{field!r} holds a credential, by its name ({pattern})",
                "Leave it out; such a column is neither sent nor compared.",
            )
    if len(set(fields)) < len(fields):
        raise Wrong(place, "names a column twice")
    if len(fields) > MOST_FIELDS:
        raise Wrong(place, f"has {len(fields)} columns; expected at most {MOST_FIELDS}")
    return fields


def ancestors(name: str, resources: dict[str, Resource]) -> Iterator[str]:
    """All that can be reached over parents, each once; ``company`` included."""
    seen: set[str] = set()
    stack = [name]
    while stack:
        current = stack.pop()
        for parent in () if current == COMPANY else resources[current].parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
                yield parent
