"""The challenge: a signed POST that an endpoint answers, to prove that it expects webhooks."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from cdc.message.trial import ACTION, trial_result
from cdc.model import CHALLENGE_EVENT, Delivery, Layout, Outcome, Webhook

LONGEST_ANSWER = 4096
"""Bytes of an answer that is read as JSON."""
ERROR = "challenge"
TODO = (
    "The receiver must answer with the value of data.challenge as its body: "
    'docs/receiver.md, "The challenge".'
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """text: random; an answer that holds it comes from one that got this request."""

    delivery: Delivery
    text: str

    @classmethod
    def new(cls, webhook: Webhook) -> Challenge:
        layout, text = Layout(0, CHALLENGE_EVENT, ("challenge",)), secrets.token_urlsafe(32)
        about = (webhook.id, 0, str(uuid.uuid4()), layout, ACTION, datetime.now(UTC), (text,))
        return cls(Delivery(0, *about), text)

    def body(self, endpoint: str) -> bytes:
        time = self.delivery.time.isoformat(timespec="microseconds")
        payload = {"endpoint": endpoint, "time": time, "event": CHALLENGE_EVENT}
        return json.dumps({**payload, "data": {"challenge": self.text}}).encode()

    def echoed(self, answer: bytes) -> bool:
        """Whether an answer's body is the text, or JSON with it under ``challenge``.

        A server that repeats all of what it gets has proven nothing."""
        found: Any = answer.strip().decode(errors="replace")
        if len(answer) <= LONGEST_ANSWER and found != self.text:
            try:
                found = orjson.loads(answer)
            except orjson.JSONDecodeError:
                return False
        if isinstance(found, dict):
            found = found.get("challenge")
        return isinstance(found, str) and secrets.compare_digest(
            found.encode(errors="replace"), self.text.encode()
        )

    def result(self, outcome: Outcome, *, echoed: bool) -> dict[str, Any]:
        """As of a test."""
        made = trial_result(self.delivery, outcome)
        made["excerpt"] = made["excerpt"].replace(self.text, "***")
        if not made["ok"] or echoed:
            return made
        sentence = f"the receiver answered {outcome.status} without the challenge"
        return {
            **made,
            **{"ok": False, "error": ERROR, "cause": ERROR, "sentence": sentence, "todo": TODO},
        }
