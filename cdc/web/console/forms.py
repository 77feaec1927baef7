"""Forms as browsers send them, checked by the models of the API."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from cdc.web.problems import Problem
from cdc.wording import expected

KIND = "application/x-www-form-urlencoded"
MAX_FIELDS = 200

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Form:
    fields: Mapping[str, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, kind: str, body: bytes) -> Form:
        """Raises Problem for what no form of ours sends."""
        if kind.partition(";")[0].strip().lower() != KIND:
            raise Problem("unsupported_media_type", f"expected Content-Type: {KIND}")
        fields: dict[str, list[str]] = {}
        try:
            for name, value in parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_FIELDS,
            ):
                fields.setdefault(name, []).append(value)
        except ValueError:
            raise Problem("bad_request", "the form is malformed") from None
        return cls(fields)

    def one(self, name: str) -> str:
        """A field without the blanks around it; empty if it was not sent."""
        return self.fields.get(name, [""])[0].strip()

    def every(self, name: str) -> list[str]:
        return self.fields.get(name, [])

    def filled(self, *names: str) -> dict[str, str]:
        """Those of the fields that hold something."""
        return {name: value for name in names if (value := self.one(name))}

    def digest(self, path: str) -> bytes:
        """Of what was sent to this path."""
        return hashlib.sha256(repr((path, sorted(self.fields.items()))).encode()).digest()

    @property
    def version(self) -> int:
        """Of the webhook, as the page with the form had it."""
        text = self.one("version")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0


def checked(model: type[M], given: Mapping[str, Any]) -> M:
    """The model with these values, which come as text. Raises Problem that names the fields."""
    try:
        return model.model_validate(dict(given), strict=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise Problem(
            "invalid",
            errors={str(one["loc"][0] if one["loc"] else ""): expected(one) for one in found},
        ) from None


def headers(text: str) -> dict[str, str]:
    """Lines of ``Name: value``. Raises Problem."""
    found: dict[str, str] = {}
    for line in lines(text):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise Problem("invalid", errors={"headers": "expected a line `Name: value` for each"})
        found[name.strip()] = value.strip()
    return found


def names(text: str) -> list[str]:
    """Those between commas."""
    return [name for one in text.split(",") if (name := one.strip())]


def filters(text: str) -> dict[str, list[str]]:
    """Lines of ``field=value,value``. Raises Problem."""
    found: dict[str, list[str]] = {}
    for line in lines(text):
        name, equals, values = line.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            error = f"`{line}`: expected a line `field=value,value` for each field"
            raise Problem("invalid", errors={"filter": error})
        found[name.strip()] = [value.strip() for value in values.split(",")]
    return found


def lines(text: str) -> list[str]:
    """Those that hold something."""
    return [line for one in text.splitlines() if (line := one.strip())]
