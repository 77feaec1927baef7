"""Notices, as they are listed. Daemons write them (``daemon/maintenance/notices.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cdc.schema.tables import notice


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Which notices; None: no matter. ``before``: only those with smaller numbers."""

    company: str | None = None
    webhook: int | None = None
    before: int | None = None
    limit: int = 50


def listed(conn: sa.Connection, wanted: NoticeFilter) -> Sequence[dict[str, Any]]:
    """The newest first."""
    query = sa.select(notice).order_by(notice.c.id.desc()).limit(wanted.limit)
    for column, value in (
        (notice.c.company, wanted.company),
        (notice.c.webhook_id, wanted.webhook),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.before is not None:
        query = query.where(notice.c.id < wanted.before)
    return [dict(row) for row in conn.execute(query).mappings()]
