"""A delivery: what became of it, in sentences; its attempts; send it again."""

from __future__ import annotations

from typing import Any

from cdc.diagnosis.deliveries import DeliveryKey
from cdc.diagnosis.explain import Sentence, Subject, explain
from cdc.errors import CdcError
from cdc.web.api import deliveries as api
from cdc.web.console import for_companies
from cdc.web.console.changes import Confirmation
from cdc.web.console.forms import checked
from cdc.web.console.visit import Page, Redirect, Visit
from cdc.web.delivery_models import DeliveryDetail, DeliveryFound, PlaceQuery, RetryOut
from cdc.web.models import Empty
from cdc.wording import counted

DONE = {
    "0": "It waits already, so nothing was changed.",
    "1": "It is sent again, with a new retry budget.",
}


def _found(visit: Visit) -> list[DeliveryDetail]:
    place = {name: visit.query[name] for name in PlaceQuery.model_fields if visit.query.get(name)}
    body = api.show(visit.call(query=checked(PlaceQuery, place))).body
    assert isinstance(body, DeliveryFound)
    return body.items


def show(visit: Visit) -> Page:
    found = _found(visit)
    if visit.access.company_only is not None:
        said = {(one.webhook, one.id): for_companies.of_delivery(one) for one in found}
        unread = ""
    else:
        said, unread = _sentences(visit, found)
    values: dict[str, Any] = {
        "uid": str(found[0].uid),
        "deliveries": [(one, said.get((one.webhook, one.id), [])) for one in found],
        "endpoints": {one.webhook: visit.registry.get(one.webhook).endpoint for one in found},
        "unread": unread,
        "done": DONE.get(visit.query.get("done", ""), ""),
    }
    return Page("delivery.html", values)


def ask_retry(visit: Visit) -> Page:
    found = _found(visit)
    webhooks = ", ".join(str(one.webhook) for one in found)
    uid = str(found[0].uid)
    what = [
        f"{counted(len(found), 'delivery', 'deliveries').capitalize()} with the id {uid} "
        f"of webhook {webhooks} is sent again, with the same webhook-id and a new retry budget.",
        "A receiver that has it already recognises the repeat by this id.",
    ]
    if any(one.state in ("queued", "parked", "held") for one in found):
        what.append("One that waits already is left as it is.")
    asked = Confirmation("Send a delivery again", what, "Send again")
    return asked.page(f"/deliveries/{uid}/retry", f"/deliveries/{uid}")


def retry(visit: Visit) -> Redirect:
    done = api.retry(visit.call(body=Empty())).body
    assert isinstance(done, RetryOut)
    return Redirect(f"/deliveries/{visit.params['uid']}?done={min(done.retried, 1)}")


def _sentences(
    visit: Visit, found: list[DeliveryDetail]
) -> tuple[dict[tuple[int, int], list[Sentence]], str]:
    """Of each delivery; or why they cannot be made."""
    known = tuple(DeliveryKey(one.webhook, one.id, str(one.uid)) for one in found)
    subject = Subject(uid=known[0].uid, known=known)
    try:
        shared = visit.service.common()
        with visit.service.pool.autocommit() as conn:
            explained = explain(conn, visit.service.mapping, subject, shared)
    except CdcError as error:
        return {}, error.message
    return {
        (one.webhook, one.id): [*said, *explained.general] for one, said in explained.deliveries
    }, ""
