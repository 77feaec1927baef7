"""Causes of a failed attempt: a sentence that names each, and a sentence that says what to do.

An attempt leaves an error class and one line of detail (``road.Outcome``). The details are made of
the sentences here, so ``cause_of`` recognises the cause again from what the attempt log and the
lanes keep. Status, explain, doctor, `webhook test` and the daemon's log take their advice from it.
Pure; no sentence may hold a secret.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from cdc.causes.sentences import CLASSES, SENTENCES, STATUSES, TALK
from cdc.guides import located


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
            todo = remedy or SENTENCES[code][1].format(**found.groupdict())
            return Cause(code, what, todo)
    text, todo = CLASSES.get(error, (error, TALK))
    return Cause(error, what.rstrip(".") or text, remedy or todo)


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
