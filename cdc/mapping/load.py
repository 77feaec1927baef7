"""Reads a mapping file and refuses what cannot work, naming the place in the file.

What only the database knows (do the tables and columns exist?) is checked in cdc.capture.check.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cdc.errors import MappingError
from cdc.mapping.model import COMPANY, Company, Mapping, Resource, Table, UrlTemplate
from cdc.mapping.names import IDENTIFIER, folded
from cdc.settings.kinds import odd_in_url

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
    key: str
    parents: dict[str, str] = {}
    url: str | list[str]
    event: str | None = None
    data: list[str] = []
    optional: bool = False


class _MappingFile(_Strict):
    base_url: str
    company: _Company
    resources: dict[str, _Resource]


def default_mapping() -> Mapping:
    """The interview suite's own mapping, shipped with the program."""
    text = files("cdc.mapping").joinpath("interview_suite.toml").read_text(encoding="utf-8")
    return parse_mapping(text, "interview_suite.toml")


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
    except _Wrong as wrong:
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
    return f"{place}: {first['msg']} (found {first['input']!r})"


class _Wrong(Exception):
    def __init__(self, place: str, problem: str, hint: str = "") -> None:
        self.place, self.problem, self.hint = place, problem, hint


class _Checker:
    """Turns the raw file into a Mapping; one method a rule."""

    def __init__(self, raw: _MappingFile, text: str) -> None:
        self.raw = raw
        self.text = text
        self.names = {COMPANY, *raw.resources}

    def mapping(self) -> Mapping:
        raw = self.raw
        if len(raw.resources) > MOST_RESOURCES:
            raise _Wrong("resources", f"more than {MOST_RESOURCES} are not mapped")
        if (odd := odd_in_url(raw.base_url)) is not None:
            raise _Wrong("base_url", f"'{raw.base_url}' is an invalid URL: {odd}")
        if not re.fullmatch(r"https?://[^\s{}]+/", raw.base_url):
            raise _Wrong(
                "base_url",
                f"'{raw.base_url}' is invalid: expected an http(s) URL that ends with a slash",
            )
        company = Company(
            table=_table(raw.company.table, "company.table"),
            key=_identifier(raw.company.key, "company.key"),
            urls=self._urls("company", COMPANY, raw.company.url),
            base_url_column=None
            if raw.company.base_url_column is None
            else _identifier(raw.company.base_url_column, "company.base_url_column"),
            name=None
            if raw.company.name is None
            else _identifier(raw.company.name, "company.name"),
        )
        resources = {
            name: self._resource(name, resource) for name, resource in raw.resources.items()
        }
        self._no_circles(resources)
        self._urls_end(company, resources)
        for name, resource in resources.items():
            self._reaches_company(name, resource, resources)
        if not any(r.event for r in resources.values()):
            raise _Wrong("resources", "none has an event, so nothing would be captured")
        self._no_twins(company, resources)
        return Mapping(raw.base_url, company, resources, self.text)

    def _resource(self, name: str, raw: _Resource) -> Resource:
        place = f"resources.{name}"
        if name == COMPANY or name in TAKEN or not NAME.fullmatch(name):
            raise _Wrong(
                place,
                "a resource is named by lower case letters, digits and underscores (at most 40), "
                f"and not 'company' or one of {', '.join(sorted(TAKEN))}",
            )
        parents = {}
        for parent, column in raw.parents.items():
            if parent not in self.names:
                raise _Wrong(f"{place}.parents.{parent}", self._unknown(parent))
            parents[parent] = _identifier(column, f"{place}.parents.{parent}")
        if raw.event is not None and not NAME.fullmatch(raw.event):
            raise _Wrong(f"{place}.event", f"'{raw.event}' is not made of a-z, 0-9 and _ only")
        if raw.event is None and raw.data:
            raise _Wrong(f"{place}.data", "is only of use with an event")
        if raw.event is None and raw.optional:
            raise _Wrong(f"{place}.optional", "is only of use with an event")
        for member in raw.data:
            if member not in self.names:
                raise _Wrong(f"{place}.data", self._unknown(member))
        if len(set(raw.data)) < len(raw.data):
            raise _Wrong(f"{place}.data", "names a member twice")
        return Resource(
            name=name,
            table=_table(raw.table, f"{place}.table"),
            key=_identifier(raw.key, f"{place}.key"),
            parents=parents,
            urls=self._urls(place, name, raw.url),
            event=raw.event,
            data=tuple(raw.data),
            optional=raw.optional,
        )

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.names, 1)
        return f"unknown resource '{name}'" + (f", did you mean '{close[0]}'?" if close else "")

    def _urls(self, place: str, own: str, urls: str | list[str]) -> tuple[UrlTemplate, ...]:
        texts = [urls] if isinstance(urls, str) else urls
        if not texts:
            raise _Wrong(f"{place}.url", "is empty")
        return tuple(self._url(f"{place}.url", own, text) for text in texts)

    def _url(self, place: str, own: str, text: str) -> UrlTemplate:
        try:
            template = UrlTemplate.parse(text)
        except ValueError as error:
            raise _Wrong(place, f"'{text}': {error}") from None
        for name in template.names:
            if name not in self.names:
                raise _Wrong(place, self._unknown(name))
        if own not in template.names:
            raise _Wrong(place, f"'{text}' does not hold {{{own}}}, the row's own key")
        if any(name != own for name in template.names[1:]) or (
            template.names[0] != own and template.parts[0][0]
        ):
            raise _Wrong(
                place, f"'{text}': another resource's address can only stand at the beginning"
            )
        return template

    def _no_circles(self, resources: dict[str, Resource]) -> None:
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in trail:
                circle = " -> ".join((*trail[trail.index(name) :], name))
                raise _Wrong(f"resources.{trail[-1]}.parents.{name}", f"a circle: {circle}")
            if name in done or name == COMPANY:
                return
            for parent in resources[name].parents:
                visit(parent, (*trail, name))
            done.add(name)

        for name in resources:
            visit(name, ())

    def _urls_end(self, company: Company, resources: dict[str, Resource]) -> None:
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            place = "company.url" if name == COMPANY else f"resources.{name}.url"
            if name in trail:
                raise _Wrong(place, f"a circle: {' -> '.join((*trail, name))}")
            if name in done:
                return
            done.add(name)
            for template in company.urls if name == COMPANY else resources[name].urls:
                for other in template.names:
                    if other != name:
                        visit(other, (*trail, name))

        for name in (COMPANY, *resources):
            visit(name, ())

    def _reaches_company(
        self, name: str, resource: Resource, resources: dict[str, Resource]
    ) -> None:
        reached = set(ancestors(name, resources))
        if COMPANY not in reached:
            raise _Wrong(
                f"resources.{name}.parents",
                "no path leads from here to the company",
                "Every resource needs a parent that is the company or has a path to it.",
            )
        for member in (*resource.data, *(n for url in resource.urls for n in url.names)):
            if member != name and member not in reached:
                raise _Wrong(
                    f"resources.{name}",
                    f"'{member}' is used in data or url, but no path of parents leads to it",
                )

    def _no_twins(self, company: Company, resources: dict[str, Resource]) -> None:
        tables = {company.table: "company"}
        events: dict[str, str] = {}
        for name, resource in resources.items():
            if resource.table in tables:
                raise _Wrong(
                    f"resources.{name}.table",
                    f"{resource.table} is mapped already, by {tables[resource.table]}",
                )
            tables[resource.table] = f"resources.{name}"
            if resource.event is not None and resource.event in events:
                raise _Wrong(
                    f"resources.{name}.event",
                    f"'{resource.event}' is the event of {events[resource.event]} already",
                )
            if resource.event is not None:
                events[resource.event] = f"resources.{name}"


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


def _identifiers(text: str, place: str) -> list[str]:
    names: list[str] = []
    position = 0
    while True:
        match = IDENTIFIER.match(text, position)
        if match is None:
            raise _Wrong(
                place,
                f"invalid SQL name {text!r}",
                "Quote what is not plain, e.g. '\"Job Application\"'.",
            )
        quoted, plain = match.groups()
        names.append(quoted.replace('""', '"') if quoted else folded(plain))
        if not names[-1].isprintable():
            raise _Wrong(place, f"{names[-1]!r} holds a character that cannot be printed")
        if len(names[-1].encode()) > 63:
            raise _Wrong(place, f"{names[-1]!r} is longer than PostgreSQL's 63 bytes")
        position = match.end()
        if position == len(text):
            return names
        if text[position] != ".":
            raise _Wrong(place, f"invalid SQL name {text!r}")
        position += 1


def _identifier(text: str, place: str) -> str:
    names = _identifiers(text, place)
    if len(names) != 1:
        raise _Wrong(place, f"invalid column {text!r}: expected one name")
    return names[0]


def _table(text: str, place: str) -> Table:
    names = _identifiers(text, place)
    if len(names) > 2:
        raise _Wrong(place, f"invalid table {text!r}: expected table or schema.table")
    table = Table(*names) if len(names) == 2 else Table("public", names[0])
    if table.schema in ("cdc", "information_schema") or table.schema.startswith("pg_"):
        raise _Wrong(place, f"{table} is not a table of the suite")
    return table
