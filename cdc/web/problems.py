"""Errors of the API: problem documents (RFC 9457), each with a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from cdc.deliver.guard import AddressRefused
from cdc.errors import CdcError, DatabaseError, UsageError
from cdc.webhooks.model import Duplicate, LimitReached, UnknownWebhook, Unverified, VersionChanged
from cdc.webhooks.trials import TooManyTrials

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """status: of the answer. title: the same for all of this code. todo: for a client."""

    status: int
    title: str
    todo: str


CODES: Mapping[str, Kind] = {
    "bad_request": Kind(400, "The request is malformed", "Correct the HTTP request."),
    "invalid_cursor": Kind(
        400, "The cursor is not one of this list", "Give `next` of a page of the same list."
    ),
    "cursor_gone": Kind(
        410,
        "The list cannot be continued from this cursor",
        "Continue from `restart`, a cursor; what `detail` says is missing or comes again.",
    ),
    "invalid": Kind(422, "A value is not accepted", "Correct the fields that `errors` names."),
    "address_refused": Kind(
        422,
        "The endpoint's address may not be called",
        "Use a public https address; the operator can allow others.",
    ),
    "unauthorized": Kind(
        401,
        "No valid key",
        "Send `Authorization: Bearer <key>`. A key that is unknown, expired or revoked is refused.",
    ),
    "forbidden": Kind(403, "The key's scope does not allow this", "Use a key of a wider scope."),
    "not_found": Kind(
        404, "Nothing is here, or not for this key", "Check the address, and the key's scope."
    ),
    "method_not_allowed": Kind(
        405, "The method is not possible here", "Use a method that `Allow` lists."
    ),
    "timeout": Kind(408, "The request did not arrive in time", "Send it again, faster."),
    "duplicate": Kind(
        409, "The company has this webhook already", "Change that webhook, or give another `ref`."
    ),
    "limit_reached": Kind(
        409, "The limit is reached", "Remove what is not needed, or ask the operator."
    ),
    "in_progress": Kind(409, "Another request changes the same", "Send it again after a moment."),
    "conflict": Kind(
        409, "This is not possible in the current state", "Read the current state, then decide."
    ),
    "unverified": Kind(
        409, "The endpoint is not yet verified", "Verify it: `POST /v1/webhooks/{id}/verify`."
    ),
    "version_changed": Kind(
        412, "The webhook was changed meanwhile", "Read it again, and repeat with its new version."
    ),
    "too_large": Kind(413, "The body is too large", "Send at most 64 KiB."),
    "unsupported_media_type": Kind(
        415, "The body's type is not accepted", "Send JSON, with the Content-Type that is expected."
    ),
    "idempotency_key_reused": Kind(
        422,
        "The Idempotency-Key belongs to another request",
        "Use a new Idempotency-Key for each request; the same only to repeat one.",
    ),
    "too_many_requests": Kind(
        429, "Too many of these requests", "Wait as long as `Retry-After` says."
    ),
    "internal": Kind(
        500, "The server made a mistake", "Report it to the operator, with the request's id."
    ),
    "unavailable": Kind(503, "The service cannot answer now", "Send it again after a moment."),
}


class Problem(Exception):
    """A refused or failed request.

    detail: what is wrong with it.
    errors: the fields concerned, each with what is wrong with it.
    restart: of a cursor that is gone, the one to go on from.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        restart: str | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.errors = dict(errors or {})
        self.headers = dict(headers or {})
        self.restart = restart

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def document(self, request: str = "") -> dict[str, Any]:
        further = {} if self.restart is None else {"restart": self.restart}
        return {
            "type": "about:blank",
            "title": CODES[self.code].title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail or CODES[self.code].todo,
            "errors": [{"field": name, "message": text} for name, text in self.errors.items()],
            "request_id": request,
            **further,
        }


_BY_KIND = (
    (UnknownWebhook, "not_found"),
    (Duplicate, "duplicate"),
    (LimitReached, "limit_reached"),
    (Unverified, "unverified"),
    (VersionChanged, "version_changed"),
    (AddressRefused, "address_refused"),
    (TooManyTrials, "too_many_requests"),
    (UsageError, "invalid"),
    (DatabaseError, "unavailable"),
)


def problem_of(error: CdcError, field: str = "") -> Problem:
    """The error as the API answers it.

    Hints for terminals are left out, and what the database says: it may name what is inside.
    """
    code = next((code for kind, code in _BY_KIND if isinstance(error, kind)), "conflict")
    if code == "unavailable":
        return Problem(code, headers={"Retry-After": "2"})
    terminal = any(mark in error.hint for mark in ("`cdc", "--", "CDC_"))
    text = error.message if terminal or not error.hint else f"{error.message}. {error.hint}"
    named = field and code != "not_found"  # that is the path's
    wait = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyTrials) else None
    return Problem(code, text, errors={field: text} if named else None, headers=wait)


@contextmanager
def about(field: str) -> Iterator[None]:
    """What is refused within is this field."""
    try:
        yield
    except CdcError as error:
        raise problem_of(error, field) from None
