"""Causes of a failed attempt: a sentence that names each, and a sentence that says what to do.

An attempt leaves an error class and one line of detail (``model.Outcome``). The details are made of
the sentences here, so ``cause_of`` recognises the cause again from what the attempt log and the
lanes keep. Status, explain, doctor, `webhook test` and the daemon's log take their advice from it.
Pure; no sentence may hold a secret.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from cdc.causes.sentences import CLASSES, SENTENCES, STATUSES, TALK, UNRESOLVED
from cdc.guides import located
from cdc.model import THIS_MACHINE


class Cause(NamedTuple):
    """Why an attempt failed.

    code: stable, for scripts and tests; begins with the error class.
    text: names the cause; the start of a sentence, without a full stop.
    todo: what to do about it, in whole sentences. Its commands name the webhook ``ID``.
    """

    code: str
    text: str
    todo: str

    def todo_for(self, webhook_id: int) -> str:
        """What to do, with the webhook's number in the commands, and files where they are."""
        return located(_ID.sub(str(webhook_id), self.todo))


_LEADS = re.compile(r"leads to (?P<place>[^;]+);")
_ID = re.compile(r"\bID\b")
_SQLSTATE = re.compile(r"\(([0-9A-Z]{5})\)\.?$")
_VALUE = re.compile(r"\\\{(\w+)\\\}")


def detail(code: str, **values: str) -> str:
    """The line of detail for a cause."""
    return SENTENCES[code][0].format(
        **{name: value.replace(". ", " ") for name, value in values.items()}
    )


def cause_of(error: str, status: int | None = None, detail: str = "") -> Cause:
    """The cause behind an attempt's error class, status and detail, as the log keeps them.

    Without a detail, or with one of another release, it is that of the class.
    """
    if error == "status" and status is not None:
        return _of_status(status, detail)
    what, _, remedy = detail.partition(". ")
    for code, pattern in _patterns():
        found = pattern.fullmatch(what) if code.partition(" ")[0] == error else None
        if found is not None:
            todo = _whole(error, remedy) or SENTENCES[code][1].format(**found.groupdict())
            return Cause(code, what, todo)
    text, todo = CLASSES.get(error, (error, TALK))
    return Cause(error, what.rstrip(".") or text, _whole(error, remedy) or todo)


def _whole(error: str, remedy: str) -> str:
    """A remedy that a detail brought, in whole sentences."""
    whole = remedy if not remedy or remedy.endswith(".") else f"{remedy}."
    if error == "guard" and "CDC_" in whole:
        whole += " Daemons read their settings at the start: restart them."
    return whole


def cause_unresolved(reason: str) -> Cause:
    """Why a change lies in cdc.unresolved, by the SQLSTATE that its reason ends with; without one
    capture has read all that the mapping names, and found no company."""
    found = _SQLSTATE.search(reason)
    code = found[1] if found is not None else ""
    if reason.startswith("row-level security of "):
        code = "row-level security"
    known = UNRESOLVED.get(code)
    if known is None:
        return Cause(
            "unresolved",
            reason.rstrip("."),
            "Correct the row or the mapping; the daemon then captures it. See docs/capture.md, "
            "'What could not be resolved'.",
        )
    text, todo = known
    return Cause(f"unresolved {code}", f"{text}: {reason.rstrip('.')}", todo)


def _of_status(status: int, detail: str) -> Cause:
    meaning, todo = STATUSES.get(status) or STATUSES.get(status // 100) or CLASSES["status"]
    if (leads := _LEADS.search(detail)) is not None:
        meaning = f"a redirect to {leads['place']}, which is not followed"
    said = detail.partition(" (")[0] or f"answered {status}"
    return Cause(f"status {status}", f"the receiver {said}: {meaning}", todo)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each text as an expression that finds its values again, in the order of the table."""
    return [
        (code, re.compile(_VALUE.sub(r"(?P<\1>.+?)", re.escape(text)), re.DOTALL))
        for code, (text, _) in SENTENCES.items()
    ]


def usable_again(why: str, webhook_id: str) -> str:
    """What to do where daemons cannot use a registration. why: what a lane notes of that."""
    if THIS_MACHINE in why:
        return (
            "Raise the daemon's limit of open files (LimitNOFILE=, ulimit -n), or find out what "
            "uses up its descriptors, memory or local ports; deliveries continue without a restart."
        )
    if "CDC_SECRET_KEYS" in why:
        return (
            "Give the daemons the keys that it was encrypted with (CDC_SECRET_KEYS), and restart "
            "them; if a key is lost for good, see docs/runbook.md."
        )
    return (
        f"Correct it with `cdc webhook update {webhook_id}`; `cdc webhook show {webhook_id}` "
        "shows the registration."
    )
