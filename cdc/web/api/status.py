"""How everything does, and what became of a change: what `cdc status` and `cdc explain` know."""

from __future__ import annotations

from typing import Any

import orjson

from cdc.diagnosis import explain
from cdc.web.call import ApiAnswer, Call
from cdc.web.models import Document


def show_status(call: Call) -> ApiAnswer:
    return ApiAnswer(_document(call.service.status(call.query.company).as_json()))


def explain_change(call: Call) -> ApiAnswer:
    query, mapping = call.query, call.service.mapping
    subject = explain.subject_of(mapping, query.what, query.key, query.company, query.since)
    shared = call.service.common()
    with call.service.pool.autocommit() as conn:
        found = explain.explain(conn, mapping, subject, shared)
    return ApiAnswer(_document(found.as_json()))


def _document(found: dict[str, Any]) -> Document:
    plain = orjson.dumps(found, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Document.model_validate(orjson.loads(plain))
