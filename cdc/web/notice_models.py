"""Notices and contacts, as the API has them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from cdc.web.models import In, Name, Number, Out, Paged


class NoticeQuery(Paged):
    company: Name | None = None
    webhook: Number | None = None


class NoticeOut(Out):
    id: int
    at: datetime
    kind: Literal["failing", "suspending", "suspended", "recovered", "dead", "expiring"]
    webhook_id: int
    company: str
    event: str | None = Field(description="Of the delivery that the cause is of.")
    since: datetime = Field(description="When it began; of `recovered`: what is over now.")
    cause: str = Field(description="Stable code, such as `status 503`; empty where there is none.")
    sentence: str = Field(description="For people.")


class NoticePage(Out):
    items: list[NoticeOut]
    next: str | None


class ContactIn(In):
    email: str = Field(min_length=3, max_length=254)


class ContactOut(Out):
    id: int
    company: str
    email: str
    created_at: datetime
    invited_at: datetime | None = Field(description="When it was asked to confirm the address.")
    confirmed_at: datetime | None = Field(description="It gets notices from then on.")
    last_error: str | None = Field(description="Of the mail server.")


class Contacts(Out):
    items: list[ContactOut] = Field(description="10 of a company at most.")
