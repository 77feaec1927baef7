"""The registry: webhooks and their secrets.

    with Registry(url, Rules.of(settings, mapping)) as registry:
        added = registry.add(NewWebhook("1", ("project_changed",), "https://..."))

model.py     registrations, and the rules they are held against
checks.py    what one must look like (pure)
store.py     Registry: add, find, update, pause, resume, remove, rotate secrets
tables.py    its statements
company.py   does the suite have this company?
owner.py     the daemon that owns a webhook: has it stopped?
transfer.py  export and import
"""

from cdc.registry.model import (
    Added,
    Changes,
    Duplicate,
    LimitReached,
    NewWebhook,
    Registration,
    Rotated,
    Rules,
    Secret,
    UnknownWebhook,
    without_login,
)
from cdc.registry.store import GRACE, Registry

__all__ = [
    "GRACE",
    "Added",
    "Changes",
    "Duplicate",
    "LimitReached",
    "NewWebhook",
    "Registration",
    "Registry",
    "Rotated",
    "Rules",
    "Secret",
    "UnknownWebhook",
    "without_login",
]
