"""Webhooks: their registrations and secrets, and what is sent to them again.

    with Registry(url, Rules.of(settings, mapping)) as registry:
        added = registry.add(NewWebhook("1", ("project_changed",), "https://..."))

model.py     registrations, and the rules they are held against
checks.py    what one must look like (pure)
registry.py  Registry: add, find, update, pause, resume, remove, rotate secrets
statements.py  its statements
company.py   does the suite have this company?
owner.py     the daemon that owns a webhook: has it stopped?
transfer.py  export and import
vault.py     secrets at rest
replay.py    deliveries that ended are sent again
"""
