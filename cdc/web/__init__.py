"""`cdc serve`: the API over HTTP, in a process of its own.

It never calls a webhook and reads no secret: its account (``cdc_serve``) may not. What has to be
sent is a row that a daemon finds.

server.py      connections: limits, slow clients, malformed requests
dispatch.py    one request: key, scope, body, transaction, answer
routes.py      the list of routes; api/ has what they do
access.py      what a key may see: the one place that decides it
models.py      what goes in and out: the document (openapi.py) and all checks follow from it
problems.py    errors, with their codes
keys.py        keys of the API
idempotency.py answers that are repeated
tasks.py       what takes longer than a request
pool.py        threads and connections
app.py, bootstrap.py  composition root, and what has to be there
"""
