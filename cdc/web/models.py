"""What goes into the API and comes out of it: the document and all checks of form follow."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from cdc.web.sessions import Ability
from cdc.webhooks.checks import LEAST_RATE, MOST_RATE

MAX_NUMBER = 2**63 - 1


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("expected a text without NUL characters")
    return text


def _iso(value: object) -> object:
    # A form of the console gives a datetime.
    if isinstance(value, datetime) or re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", str(value)):
        return value
    raise ValueError("expected ISO 8601 with an offset, e.g. 2026-01-31T10:00:00Z")


def _near(time: datetime) -> datetime:
    if not 1970 <= time.year <= 9998:  # one that can be converted and counted with
        raise ValueError("expected a year from 1970 to 9998")
    return time


# Not strict: behind a validator of ours, the text counts as Python's, not as JSON's.
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_iso), AfterValidator(_near)]
Text = Annotated[str, Field(max_length=1000), AfterValidator(_no_nul)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul)]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Limit = Annotated[int, Field(ge=1, le=200, description="Entries of a page, at most.")]
Cursor = Annotated[
    str | None,
    Field(max_length=200, description="`next` of the page before; without: the first page."),
]
WebhookState = Literal["active", "paused", "suspended", "removed"]
Signature = Literal["v1", "v1a"]
Action = Literal["created", "modified", "deleted"]
Outcome = Literal["dead", "delivered", "expired", "dropped", "retrying"]


class In(BaseModel):
    """A body or query: nothing that is not listed, no conversion of one type into another."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Query(BaseModel):
    """A query: its values come as text."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Out(BaseModel):
    """An answer. Clients have to leave aside what they do not know: fields are added."""

    model_config = ConfigDict(from_attributes=True)


class Empty(In):
    """A body with nothing in it; it may be left out."""


class ResumeIn(In):
    unverified: bool = Field(
        False, description="Also if the endpoint is not verified; not for keys of a company."
    )


class Paged(Query):
    limit: Limit = 50
    after: Cursor = None


# -- webhooks --------------------------------------------------------------------------------------


Wanted = dict[Name, Annotated[list[Text], Field(min_length=1, max_length=50)]]
ACTIONS_HELP = (
    "`created`, `modified`, `deleted` (where the mapping declares it); empty: the first two."
)
FILTER_HELP = "By field, values of which the row has one after the change; empty: any row."
CHANGED_HELP = (
    "Fields: an update is sent if it has changed one of them. Empty: if it has changed the row. "
    "null: any update. What is created is sent anyway."
)
INCLUDE_HELP = (
    "Fields whose values are sent, as `changed` and `fields` at the end of `data`. Empty: none."
)


class WebhookIn(In):
    events: list[Name] = Field(min_length=1, max_length=50, description="See `GET /v1/events`.")
    endpoint: str = Field(min_length=1, max_length=2000, description="URL to POST to.")
    description: Text = ""
    actions: list[Action] = Field([], max_length=3, description=ACTIONS_HELP)
    filter: Wanted = Field({}, max_length=10, description=FILTER_HELP)
    changed: list[Name] | None = Field(None, max_length=60, description=CHANGED_HELP)
    include: list[Name] = Field([], max_length=60, description=INCLUDE_HELP)
    headers: dict[str, str] = Field({}, max_length=20, description="Sent along; never shown.")
    max_concurrency: int | None = Field(
        None, ge=1, le=1000, description="Requests at once. Not for a company's key."
    )
    rate_limit: float | None = Field(
        None, ge=LEAST_RATE, le=MOST_RATE, description="Requests per second; null: no limit."
    )
    tls_profile: str | None = Field(
        None, max_length=63, description="Certificates. Not for a company's key."
    )
    ref: Name | None = Field(None, description="The caller's own id of it, unique in its company.")
    signature: Signature = Field(
        "v1", description="`v1`: a shared secret. `v1a`: a key pair (ed25519)."
    )


class WebhookPatch(In):
    """A JSON merge patch: what is left out stays, null takes away."""

    events: list[Name] | None = Field(None, min_length=1, max_length=50)
    endpoint: str | None = Field(None, min_length=1, max_length=2000)
    description: Text | None = None
    actions: list[Action] | None = Field(None, max_length=3, description=ACTIONS_HELP)
    filter: Wanted | None = Field(None, max_length=10, description=FILTER_HELP)
    changed: list[Name] | None = Field(None, max_length=60, description=CHANGED_HELP)
    include: list[Name] | None = Field(None, max_length=60, description=INCLUDE_HELP)
    headers: dict[str, str] | None = Field(
        None,
        max_length=20,
        description="All headers from now on (their values cannot be read, so nothing is merged); "
        "null: none.",
    )
    max_concurrency: int | None = Field(None, ge=1, le=1000)
    rate_limit: float | None = Field(None, ge=LEAST_RATE, le=MOST_RATE)
    tls_profile: str | None = Field(None, max_length=63)
    ref: Name | None = None


class WebhookOut(Out):
    id: int
    company: str
    events: list[str]
    actions: list[Action]
    filter: dict[str, list[str]] = Field(description=FILTER_HELP)
    changed: list[str] | None = Field(description=CHANGED_HELP)
    include: list[str] = Field(description=INCLUDE_HELP)
    endpoint: str = Field(description="User and password are hidden (`***`).")
    description: str
    state: WebhookState
    reason: str = Field(description="Why it is in this state.")
    since: datetime
    max_concurrency: int
    rate_limit: float | None
    headers: dict[str, str] = Field(description="Names; the values are hidden (`***`).")
    tls_profile: str | None
    ref: str | None
    unverified_since: datetime | None = Field(
        description="Nothing is sent to the endpoint before it is verified."
    )
    created_at: datetime
    version: int


class WebhookMade(WebhookOut):
    signature: Signature
    secret: str | None = Field(description="To verify `v1` with. Shown only now.")
    public_key: str | None = Field(description="To verify `v1a` with.")


class WebhookPage(Out):
    items: list[WebhookOut]
    next: str | None = Field(description="Cursor of the next page; null: this is the last one.")


class WebhookQuery(Paged):
    state: WebhookState | None = Field(None, description="Without: all but removed ones.")
    event: Name | None = None
    ref: Name | None = None


class AllWebhooksQuery(WebhookQuery):
    company: Name | None = None


class Reason(In):
    reason: Text = Field("", description="A note, shown with the webhook.")


class RotateIn(In):
    grace: int = Field(
        86_400, ge=0, le=30 * 86_400, description="Seconds that the old secret stays valid."
    )
    signature: Signature | None = Field(None, description="Without: as before.")


class RotateOut(Out):
    id: int
    signature: Signature
    secret: str | None = Field(description="Shown only now.")
    public_key: str | None
    old_secret_until: datetime | None
    version: int


# -- the rest --------------------------------------------------------------------------------------


class Event(Out):
    name: str
    table: str
    data: list[str] = Field(description="Keys of `data`, in order.")
    fields: list[str] | None = Field(
        description="What `filter`, `changed` and `include` can name. null: there is no `changed`."
    )


class Events(Out):
    items: list[Event]


class CompanyQuery(Query):
    prefix: Annotated[str, Field(max_length=200), AfterValidator(_no_nul)] = ""


class CompanyOut(Out):
    company: str
    name: str | None = Field(description="Where the mapping says which column has it.")
    webhooks: int


class Companies(Out):
    items: list[CompanyOut] = Field(
        description="At most 50. With a prefix, of key or name, also those without webhooks, where "
        "the suite's can be read."
    )


class StatusQuery(Query):
    company: Name | None = Field(None, description="Only its webhooks are listed.")


class ExplainQuery(Query):
    what: Name = Field(
        description="A resource or its event, `webhook`, a delivery's number, a webhook-id."
    )
    key: Name | None = Field(None, description="Of the row; or the number of the webhook.")
    company: Name | None = None
    since: Moment | None = Field(None, description="How far back; without: a day.")


class PortalLinkIn(In):
    may: list[Ability] = Field(
        default_factory=list,
        max_length=len(get_args(Ability)),
        description="What it allows in addition to looking: `test`, send tests; `replay`, send "
        "deliveries again; `manage`, register, change and test webhooks.",
    )


class PortalLinkMade(Out):
    url: str = Field(description="Valid for one use, within 5 minutes; shown only now.")
    expires_at: datetime


class KeyIn(In):
    scope: Name = Field(description="`admin`, `operator`, `read`, `company:7` or `webhook:5`.")
    description: Text = ""
    expires: int | None = Field(
        None, ge=1, le=3650 * 86_400, description="Seconds from now; null: never."
    )


class KeyOut(Out):
    id: str
    scope: str
    description: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyMade(KeyOut):
    key: str = Field(description="Shown only now.")


class KeyPage(Out):
    items: list[KeyOut]
    next: str | None


class AuditQuery(Paged):
    company: Name | None = None
    webhook: Number | None = None
    actor: Name | None = None
    action: Name | None = None
    since: Moment | None = None


class AuditEntry(Out):
    id: int
    at: datetime
    account: str = Field(description="Of the database.")
    actor: str
    source: str
    request: str
    action: str
    company: str | None
    webhook_id: int | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(Out):
    items: list[AuditEntry]
    next: str | None


class FieldError(Out):
    field: str
    message: str


class ProblemOut(Out):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable; docs/api.md lists all.")
    detail: str
    errors: list[FieldError]
    request_id: str
    restart: str = Field("", description="Of `cursor_gone` only: the cursor to continue from.")


class Document(Out):
    """JSON whose form is that of the command of the same name with --json."""

    model_config = ConfigDict(extra="allow")
