"""Contacts of a company: addresses that get its notices by mail, once they are confirmed."""

from __future__ import annotations

from cdc.web.call import ApiAnswer, Call
from cdc.web.notice_models import ContactOut, Contacts
from cdc.web.problems import Problem, about
from cdc.webhooks import checks, contacts


def listed(call: Call) -> ApiAnswer:
    company = _company(call)
    found = contacts.listed(call.conn, company)
    return ApiAnswer(Contacts(items=[ContactOut(**one) for one in found]))


def add(call: Call) -> ApiAnswer:
    """The code that confirms the address is in the mail to it, and nowhere else."""
    company = _company(call)
    with about("email"):
        row, _ = contacts.add(call.conn, call.actor, company, call.body.email)
    return ApiAnswer(ContactOut(**row), 201)


def remove(call: Call) -> ApiAnswer:
    company = _company(call)
    number = int(call.params["contact_id"])
    try:
        contacts.remove(call.conn, call.actor, number, company)
    except contacts.UnknownContact:
        raise Problem("not_found") from None
    return ApiAnswer(None, 204)


def _company(call: Call) -> str:
    company = call.access.company(call.params["company"])
    with about("company"):
        checks.company(company)
    return company
