"""The console: pages for the helpdesk and the operator, complete without JavaScript.

site.py       one request: session, form token, screen, page
screens.py    the list of screens
visit.py      what a screen gets, and what it gives back
forms.py      fields of a form, checked by the API's own models
overview.py, companies.py, webhooks.py, registering.py, changes.py, deliveries.py,
installation.py, records.py, people.py   the screens
render.py     templates/ and static/: every value is escaped

A change is made by the API's own functions, in the request's transaction, and so has its checks and
its entry in the audit.
"""
