"""The list of what was owed to a webhook: each delivery once, in an order that is final.

Deliveries stand in the order of the transactions that made their changes, and within one of their
numbers. A place in it is given only to what was committed before all transactions that are still
open, so nothing appears before a place that was read: a client that goes on from there sees each
delivery once, whatever becomes of it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from cdc.model import ACTION_NAMES, LOG_RING, UNFIT, Delivery, Layout

QUEUE_SCAN_ROWS = 1000
"""Rows of the queue that a page looks at, where more wait for its webhook."""

ALL_SLOTS = (0, LOG_RING - 1, 1, 0)
NO_SLOTS = (1, 0, 1, 0)
FIRST_NUMBER, LAST_NUMBER = -(2**63), 2**63 - 1
_UNKNOWN = Layout(-1, "unknown", ())
_HEAD = 9  # columns of the first row; a delivery has those behind them


# The first row says what holds for the whole page, the others a delivery each.
# The columns by name: a release may add some while `cdc serve` has this prepared.
_PAGE = """
with own as materialized (select company, endpoint from cdc.registration where id = %(webhook)s)
select own.company, own.endpoint, o.identity, o.pruned, o.xmin, o.reach_xid, o.reach_id,
       o.final_until, o.final_until = statement_timestamp(),
       o.xid, o.id, o.uid, o.layout, l.event, l.fields, o.action, o."time", o.refs, o.state,
       o.tries, o.status, o.error, o.due_at, o.body
  from cdc.owed(%(webhook)s, %(xid)s::xid8, %(number)s, %(limit)s, %(scan)s, %(slots)s::smallint[],
                %(bodies)s) o
  left join own on o.id is null
  left join cdc.layout l on l.id = o.layout
 order by o.xid nulls first, o.id
"""


class Place(NamedTuple):
    """Behind this number of this transaction."""

    xid: int
    number: int


BEGINNING = Place(0, FIRST_NUMBER)


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery and what became of it."""

    delivery: Delivery
    state: str
    status: int | None
    error: str | None
    due_at: datetime | None

    @property
    def place(self) -> Place:
        return Place(self.delivery.xid, self.delivery.id)


@dataclass(frozen=True, slots=True)
class OwedSpan:
    """A part of the list.

    company, endpoint: of the webhook; empty if it was deleted at this moment.
    identity:    of the database, and of the history of its transactions.
    pruned:      the highest transaction of what was removed from the log.
    frontier:    the lowest transaction that has no place in the list yet.
    end:         where to go on.
    more:        there may be more below the frontier.
    final_until: all that was committed until then is below the frontier.
    final:       that is now: what is not below the frontier is not committed.
    """

    company: str
    endpoint: str
    identity: str
    pruned: int
    frontier: int
    owed: list[Owed]
    end: Place
    more: bool
    final_until: datetime
    final: bool


def span(
    conn: psycopg.Connection[Any],
    webhook: int,
    place: Place,
    limit: int,
    slots: Sequence[int] = ALL_SLOTS,
    *,
    bodies: bool = False,
) -> OwedSpan:
    """At most ``limit`` deliveries behind ``place``.

    slots:  partitions of the log to read: from, to, and again from, to.
    bodies: bring those that are kept.
    """
    asked = {
        "webhook": webhook,
        "xid": str(place.xid),
        "number": place.number,
        "limit": limit,
        "scan": QUEUE_SCAN_ROWS,
        "slots": list(slots),
        "bodies": bodies,
    }
    with conn.cursor(row_factory=tuple_row) as cursor:
        # Its plan does not depend on the values: the function has its own.
        head, *rows = cursor.execute(_PAGE, asked, prepare=True, binary=True).fetchall()
    company, endpoint, identity, pruned, xmin, reach_xid, reach_id, until, final = head[:_HEAD]
    frontier, reach = Place(xmin, FIRST_NUMBER), Place(reach_xid, reach_id)
    layouts: dict[int, Layout] = {}
    owed = [_owed(webhook, row, layouts) for row in rows]
    full = len(owed) == limit
    if not full and reach < frontier:
        end = Place(reach.xid + 1, FIRST_NUMBER) if reach.number == LAST_NUMBER else reach
    else:
        # That of a delivery, not the frontier: the number of a transaction that wrote nothing
        # durable comes again if the server crashes.
        end = owed[-1].place if owed else place
    return OwedSpan(
        company=company or "",
        endpoint=endpoint or "",
        identity=identity,
        pruned=pruned,
        frontier=frontier.xid,
        owed=owed,
        end=end,
        more=full or reach < frontier,
        final_until=until,
        final=final,
    )


def _owed(webhook: int, row: tuple[Any, ...], layouts: dict[int, Layout]) -> Owed:
    """layouts: of the same page, by id; this row's is added."""
    xid, number, uid, layout_id, event, fields, action, time, refs, *became = row[_HEAD:]
    state, tries, status, error, due_at, body = became
    layout, refs = layouts.get(layout_id, _UNKNOWN), tuple(refs)
    if event is not None and layout is _UNKNOWN:
        layout = layouts[layout_id] = Layout(layout_id, event, tuple(fields))
    if len(layout.fields) != len(refs):
        layout = Layout(UNFIT, layout.event, ())
    delivery = Delivery(
        id=number,
        webhook_id=webhook,
        xid=xid,
        uid=uid,
        layout=layout,
        action=ACTION_NAMES.get(action, "unknown"),
        time=time,
        refs=refs or (None,),
        tries=tries,
        body=body,
    )
    return Owed(delivery, state, status, error, due_at)
