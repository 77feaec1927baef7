"""What became of a change: did they get it, when, what did they answer, and why not.

model.py  what is asked, and what can be known
suite.py  whose row it is
facts.py  where its deliveries are, and how their webhooks do
story.py  the facts in plain sentences
webhook.py  those of a webhook
explanation.py  all of it: ``explain``
"""

from cdc.diagnosis.explain.explanation import Explanation, explain, explain_webhook, subject_of
from cdc.diagnosis.explain.facts import common
from cdc.diagnosis.explain.model import CommonFacts, Sentence, Subject

__all__ = [
    "CommonFacts",
    "Explanation",
    "Sentence",
    "Subject",
    "common",
    "explain",
    "explain_webhook",
    "subject_of",
]
