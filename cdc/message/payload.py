"""Queue row -> payload. Pure: the same row, mapping and endpoint always give the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC
from secrets import token_hex
from sys import getsizeof
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from cdc.errors import CdcError
from cdc.mapping import Mapping, UrlTemplate, row_keys
from cdc.model import NOTICE_LAYOUT, UNFIT, Delivery, Layout

LONGEST_KEPT = 4_000
"""Characters of what is kept of a payload at most: long keys would fill the memory."""

CACHED = 16 << 20
"""Bytes of each kind that are kept at most, roughly: some ten thousand of usual length."""

_ENTRY = 300  # bytes of an entry in addition to its texts

Refs = tuple[str | None, ...]
Address = Callable[[Refs], str | None]


class Untranslatable(CdcError):
    """A row was queued of which no payload can be made: the mapping no longer has its event, or one
    of its keys cannot stand in a URL, or they are too long."""


class Translator:
    """Makes payloads for one mapping.

    base_url: of the suite's API; the mapping's own when None. A company with a base URL or a host
              of its own (``base_url_column``) keeps that.
    """

    def __init__(self, mapping: Mapping, base_url: str | None = None) -> None:
        self._mapping = mapping
        base = base_url or mapping.base_url
        self._base = base if base.endswith("/") else base + "/"
        self._bases = _Kept()
        self._members: dict[int, list[tuple[str, Address]]] = {}
        self._stand_ins: dict[int, list[str]] = {}  # of layouts with a key of several columns
        # What comes out for a row's parents, with the row's own key left open: that one is another
        # in each delivery, its parents are the same for many.
        self._open = _Kept()
        self._endpoints = _Kept()

    def body(self, delivery: Delivery, endpoint: str) -> bytes:
        """The payload's exact bytes.

        endpoint: the URL to be called, without user and password.
        Raises Untranslatable.
        """
        layout, key = delivery.layout, delivery.refs[-1]
        if layout.id == NOTICE_LAYOUT:
            return _notice(delivery, endpoint)
        parents = (layout.id, delivery.refs[:-1] if key is not None else delivery.refs)
        pieces: list[str] | None = self._open.get(parents)
        if pieces is None:
            pieces = self._rendered(layout, delivery.refs)
            if sum(map(len, pieces)) < LONGEST_KEPT:
                self._open.keep(parents, pieces, sum(map(getsizeof, (*parents[1], *pieces))))
        quoted: str | None = self._endpoints.get(endpoint)
        if quoted is None:
            quoted = _json(endpoint)
            self._endpoints.keep(endpoint, quoted, len(endpoint) + len(quoted))
        time = delivery.time.astimezone(UTC).isoformat(timespec="microseconds")
        if key is None:
            data = pieces[0]
        elif (stand_ins := self._stand_ins.get(layout.id)) is None:
            data = _segment(key).join(pieces)
        else:
            data = pieces[0]
            for stand_in, part in zip(stand_ins, _parts(key, len(stand_ins)), strict=True):
                data = data.replace(stand_in, _segment(part))
        if delivery.included is not None:
            data += _members(delivery.included)
        return (
            f'{{"endpoint": {quoted}, "time": "{time}", '
            f'"event": "{layout.event}", "data": {{"action": "{delivery.action}"{data}}}}}'
        ).encode("ascii")

    def _rendered(self, layout: Layout, refs: Refs) -> list[str]:
        """The members of ``data`` after the action, in pieces between which the own key belongs."""
        members = self._members.get(layout.id)
        if members is None:
            members = self._compile(layout)
            _, columns = row_keys.of_layout(layout.fields[-1])
            if columns:
                self._stand_ins[layout.id] = [f"{_STAND_IN}n{n}n" for n in range(len(columns))]
            self._members[layout.id] = members
        stand_ins = self._stand_ins.get(layout.id)
        if refs[-1] is not None:
            refs = (*refs[:-1], row_keys.joined(stand_ins) if stand_ins else _STAND_IN)
        data = ""
        for opening, address in members:
            url = address(refs)
            data += f", {opening}" + ("null" if url is None else _json(url))
        return [data] if stand_ins else data.split(_STAND_IN)

    def _base_of(self, own: str | None) -> str:
        """A company's base URL: its own, or ours with the company's host in place of ours."""
        if not own:
            return self._base
        base: str | None = self._bases.get(own)
        if base is None:
            name = own.strip()  # a line end comes with values out of forms and files
            if "://" in name:
                base = name if name.endswith("/") else name + "/"
            elif name:
                base = urlunsplit(urlsplit(self._base)._replace(netloc=name))
            else:
                base = self._base
            self._bases.keep(own, base, getsizeof(own) + getsizeof(base))
        return base

    def _compile(self, layout: Layout) -> list[tuple[str, Address]]:
        if layout.id == UNFIT:
            raise Untranslatable(
                "the row's keys exceed the daemon's limit (4,000 bytes together, 2,000 its own), "
                "or are not a list",
                "Give the row, or its parents, shorter keys; its deliveries end as dead.",
            )
        resource = self._mapping.events.get(layout.event)
        if resource is None:
            raise Untranslatable(
                f"the mapping has no event '{layout.event}', but a change was queued for it",
                "Put the event back into the mapping to deliver it, or let it expire.",
            )
        return [
            (f"{_json(name)}: ", self._address(layout, name, resource.name))
            for name in resource.data
        ]

    def _address(self, layout: Layout, name: str, own: str) -> Address:
        """How the address of ``name`` is made from references; None where a parent is missing."""
        alternatives = [
            self._from_template(layout, name, own, template)
            for template in self._mapping.urls_of(name)
        ]
        if len(alternatives) == 1:
            return alternatives[0]

        def first(refs: Refs) -> str | None:
            return next((url for make in alternatives if (url := make(refs)) is not None), None)

        return first

    def _from_template(self, layout: Layout, name: str, own: str, template: UrlTemplate) -> Address:
        base_of = self._base_of
        fields, keys = zip(*map(row_keys.of_layout, layout.fields), strict=True)
        if name not in fields:
            return lambda refs: None
        position = fields.index(name)
        columns = keys[position]

        def base(refs: Refs) -> str | None:
            return base_of(refs[0])

        head: Address = base
        parent, rest = template.parent, template.parts
        if parent is not None:
            seen = _seen_from(layout, name, parent) if f"{name}.{parent}" in fields else layout
            head, rest = self._address(seen, parent, own), rest[1:]
        if any(part is not None and part not in (columns or (name,)) for _, part in rest):
            key = f"the columns {', '.join(columns)}" if columns else "one column"
            raise Untranslatable(
                f"a change was queued when the key of {name} was {key}; its address now needs "
                f"others: {template.text}",
                "Put the key back into the mapping to deliver it, or let it expire.",
            )

        def address(refs: Refs) -> str | None:
            key = refs[position]
            url = None if key is None else head(refs)
            if url is None or key is None:
                return None
            if not columns:
                segment = _segment(key)
                return url + "".join(literal + (segment if part else "") for literal, part in rest)
            values = dict(zip(columns, _parts(key, len(columns)), strict=True))
            return url + "".join(
                literal + (_segment(values[part]) if part else "") for literal, part in rest
            )

        return address


def _seen_from(layout: Layout, child: str, parent: str) -> Layout:
    """The layout in which ``parent`` means the child's own: reference ``child.parent``, and what
    lies above it as ``child.parent.grandparent``."""
    apart, above = f"{child}.{parent}", f"{child}.{parent}."

    def seen(field: str) -> str:
        path, _ = row_keys.of_layout(field)
        if path == apart or path.startswith(above):
            return field[len(child) + 1 :]
        # Another's: out of sight, but in its place.
        return f"({field})" if path == parent or path.startswith(f"{parent}.") else field

    return Layout(layout.id, layout.event, tuple(seen(field) for field in layout.fields))


# Stands for a key that is not known yet: a word of its own that no key contains, and that needs no
# quoting in a URL or in JSON.
_STAND_IN = f"key{token_hex(16)}"


class _Kept(dict[Any, Any]):
    """Remembers what is expensive to make; one that has grown to ``CACHED`` bytes starts again."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def keep(self, key: object, value: object, size: int) -> None:
        """size: bytes of key and value."""
        self._size += size + _ENTRY
        if self._size > CACHED:
            self.clear()
            self._size = size + _ENTRY
        self[key] = value


def _parts(key: str, number: int) -> list[str]:
    """The values of a key of several columns. Raises Untranslatable."""
    found = row_keys.parts(key)
    if len(found) != number:
        raise Untranslatable(
            f"a key has {len(found)} values; expected {number}",
            "No trigger has written it; drop it.",
        )
    return found


def _segment(key: str) -> str:
    """A key as one segment of a path.

    Raises Untranslatable for one that no URL can hold: a segment of dots, percent-encoded or not,
    is taken for a step in the path, and leads to another resource.
    """
    if key.isalnum() and key.isascii():
        return key
    if key in (".", ".."):
        raise Untranslatable(
            f"a key is {key!r}, which cannot be part of a URL: it would lead to another resource",
            "Give the row another key; its deliveries end as dead.",
        )
    return quote(key, safe="-._~")


_encoder = json.JSONEncoder(ensure_ascii=True)


def _json(text: str) -> str:
    return _encoder.encode(text)


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


def _members(included: str) -> str:
    """Those of an object, as they are written, but in ASCII: what is beyond is within its strings.
    None of what is JSON and no object, which capture has not written."""
    text = included.strip()
    if not text.startswith("{") or not (members := text[1:-1].strip()):
        return ""
    return ", " + _BEYOND_ASCII.sub(lambda found: _json(found[0])[1:-1], members)


def _notice(delivery: Delivery, endpoint: str) -> bytes:
    """The payload of a notice, whose references are what it says."""
    said: dict[str, str | int | None] = dict(
        zip(delivery.layout.fields[1:], delivery.refs[1:], strict=True)
    )
    for name in ("notice", "webhook"):
        number = said[name]
        if not (isinstance(number, str) and number.isdecimal() and number.isascii()):
            raise Untranslatable(
                f"a notice with an invalid number: {number!r}", "No daemon has written it; drop it."
            )
        said[name] = int(number)
    payload = {
        "endpoint": endpoint,
        "time": delivery.time.astimezone(UTC).isoformat(timespec="microseconds"),
        "event": delivery.layout.event,
        "data": {"action": delivery.action, **said},
    }
    return _encoder.encode(payload).encode("ascii")
