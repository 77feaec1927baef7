"""Sessions of console and portal. Of a session's secret, in its cookie, a SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa

from cdc.schema.tables import api_key, session
from cdc.settings import Settings
from cdc.web import keys
from cdc.web.keys import NOW, Key, Scope
from cdc.webhooks import audit, checks
from cdc.webhooks.audit import Actor
from cdc.wording import bracketed

LIFETIME = timedelta(hours=8)
LINK_LIFETIME = timedelta(minutes=5)

Ability = Literal["test", "replay", "manage"]
"""What a link may allow in addition to looking; managing webhooks has tests of them, too."""

_COOKIE = re.compile(r"([a-z2-7]{12})?\.([A-Za-z0-9_-]{43})")
_NONE = hashlib.sha256(b"no session").digest()
_SCOPE = sa.func.coalesce(session.c.scope, api_key.c.scope)
# Of a session with a key, the key is valid still. (Without: the outer join has nothing of one.)
_VALID = sa.and_(
    api_key.c.revoked_at.is_(None),
    sa.or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > NOW),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A person who is signed in.

    key:    the one that they gave, without its secret; without an id where the OpenID Connect
            provider vouches for the person.
    person: of that provider, or who opened a link of the portal.
    may:    what a link allows; None: what the scope does.
    """

    id: str
    key: Key = field(repr=False)
    person: str = ""
    may: frozenset[Ability] | None = None

    def actor(self, source: str, request: str) -> Actor:
        return Actor(f"session:{self.id}", source, request)


def without_key() -> str:
    """A cookie for the form to sign in: nothing is kept of it here."""
    return f".{secrets.token_urlsafe(32)}"


def form_token(cookie: str) -> str:
    """What a form has to bring along with this cookie; empty for a cookie that is not ours."""
    return derived(cookie, "cdc console form")


def derived(cookie: str, purpose: str) -> str:
    """A secret that follows from this cookie's; empty for a cookie that is not ours."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return ""
    made = hmac.digest(found[2].encode(), purpose.encode(), hashlib.sha256)
    return urlsafe_b64encode(made).decode().rstrip("=")


def is_token(cookie: str, sent: str) -> bool:
    """Whether a form came from a page of this session; compared in constant time."""
    wanted = form_token(cookie)
    return bool(wanted) and hmac.compare_digest(wanted.encode(), sent.encode())


def begin(
    conn: sa.Connection,
    key: Key,
    source: str,
    request: str,
    person: str = "",
    may: frozenset[Ability] | None = None,
) -> str:
    """Signs in, with a key, as a person of the provider's, or by a link. Returns the cookie."""
    number, secret = keys.new_key()
    conn.execute(
        sa.insert(session)
        .inline()
        .values(
            id=number,
            digest=keys.digest(secret),
            key_id=None if person else key.id,
            expires_at=NOW + sa.cast(LIFETIME, sa.Interval),
            person=person or None,
            scope=str(key.scope) if person else None,
            may=None if may is None else sorted(may),
        )
    )
    made = Session(number, key, person, may)
    who = {"person": person} if person else {"key": key.id}
    after = {"session": number, **who, "scope": str(key.scope)}
    audit.note(conn, made.actor(source, request), "session.begin", after=after)
    return f"{number}.{secret}"


def new_link(
    conn: sa.Connection, actor: Actor, company: str, may: Collection[Ability]
) -> tuple[str, datetime]:
    """A link for a person of this company, for one use. Returns its secret, and when it ends.

    Raises UsageError for what is not a company's key.
    """
    checks.company(company)
    number, secret = keys.new_key()
    made = (
        sa.insert(session)
        .values(
            id=number,
            digest=keys.digest(secret),
            expires_at=NOW + sa.cast(LINK_LIFETIME, sa.Interval),
            person=f"portal of company {company}",
            scope=str(Scope("company", company)),
            may=sorted(may),
            is_link=True,
        )
        .returning(session.c.expires_at)
    )
    ends = conn.execute(made).scalar_one()
    after = {"link": number, "may": sorted(may)}
    audit.note(conn, actor, "portal_link.create", company=company, after=after)
    return f"{number}.{secret}", ends


def address(settings: Settings, link: str) -> str:
    """Where a link is opened."""
    here = f"http://{bracketed(settings.serve_host)}:{settings.serve_port}/"
    url = settings.serve_url or here
    return f"{url.rstrip('/')}/p/{link}"


def open_link(conn: sa.Connection, link: str, source: str, request: str) -> str | None:
    """Begins a session of the portal. Returns its cookie; None for a link that is used or old."""
    found = _COOKIE.fullmatch(link)
    if found is None or found[1] is None:
        return None
    # The request that deletes it has opened it: of two at the same time, one.
    opened = sa.delete(session).where(
        session.c.id == found[1],
        session.c.digest == keys.digest(found[2]),
        session.c.is_link,
        session.c.expires_at > NOW,
    )
    row = conn.execute(opened.returning(session.c.person, session.c.scope, session.c.may)).first()
    if row is None:
        return None
    key = Key("", Scope.parse(row.scope), "")
    return begin(conn, key, source, request, row.person, _may(row.may))


def find(conn: sa.Connection, cookie: str) -> Session | None:
    """The session of a cookie, if it has not ended, and its key is valid still."""
    found = _COOKIE.fullmatch(cookie)
    if found is None or found[1] is None:
        return None
    query = (
        sa.select(
            session.c.digest,
            session.c.key_id,
            session.c.person,
            session.c.may,
            _SCOPE.label("scope"),
        )
        .outerjoin(api_key, api_key.c.id == session.c.key_id)
        .where(session.c.id == found[1], session.c.expires_at > NOW, _VALID)
        .where(session.c.is_link.is_(False))
    )
    row = conn.execute(query).one_or_none()
    same = hmac.compare_digest(keys.digest(found[2]), _NONE if row is None else row.digest)
    if row is None or not same:
        return None
    key = Key(row.key_id or "", Scope.parse(row.scope), "")
    return Session(found[1], key, row.person or "", _may(row.may))


def _may(kept: list[str] | None) -> frozenset[Ability] | None:
    if kept is None:
        return None
    wide = {*kept, "test"} if "manage" in kept else kept
    return frozenset(a for a in get_args(Ability) if a in wide)


def end(conn: sa.Connection, ended: Session, source: str, request: str) -> None:
    """Signs out: the cookie is worth nothing from now on."""
    conn.execute(sa.delete(session).where(session.c.id == ended.id))
    who = {"person": ended.person} if ended.person else {"key": ended.key.id}
    before = {"session": ended.id, **who}
    audit.note(conn, ended.actor(source, request), "session.end", before=before)


def listed(conn: sa.Connection, most: int, number: str | None = None) -> list[dict[str, Any]]:
    """Those that have not ended, the newest first; or this one alone."""
    of = session.c
    columns = (of.id, of.key_id, of.created_at, of.expires_at, of.person, _SCOPE.label("scope"))
    query = (
        sa.select(*columns, api_key.c.description)
        .outerjoin(api_key, api_key.c.id == of.key_id)
        .where(of.expires_at > NOW, _VALID, of.is_link.is_(False))
        .where(sa.true() if number is None else session.c.id == number)
        .order_by(session.c.created_at.desc())
        .limit(most)
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def revoke(conn: sa.Connection, number: str, actor: Actor) -> bool:
    """Ends another's session; whether there was one."""
    gone = (
        sa.delete(session)
        .where(session.c.id == number)
        .returning(session.c.key_id, session.c.person)
    )
    row = conn.execute(gone).one_or_none()
    if row is not None:
        who = {"person": row.person} if row.person else {"key": row.key_id}
        audit.note(conn, actor, "session.end", before={"session": number, **who})
    return row is not None


def forget_old(conn: sa.Connection) -> None:
    conn.execute(sa.delete(session).where(session.c.expires_at < NOW))
