"""What became of a change: did they get it, when, what did they answer, and why not.

model.py  what is asked, and what can be known
suite.py  whose row it is
facts.py  where its deliveries are, and how their webhooks do
story.py  the facts in plain sentences
webhook.py  those of a webhook
explanation.py  all of it: ``explain``
"""

from cdc.diagnosis.explain.explanation import Explanation, explain, explain_webhook, subject_of
from cdc.diagnosis.explain.model import Sentence, Subject

__all__ = ["Explanation", "Sentence", "Subject", "explain", "explain_webhook", "subject_of"]
