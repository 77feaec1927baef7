"""The console, pages for the helpdesk and the operator, and the portal, pages for a company.

Complete without JavaScript.

site.py       one request to either: session, form token, screen, page
signing_in.py the console, and how people sign in to it
proving.py    endpoints that a company has entered
portal.py     the portal, and the links that lead to it
screens.py    the screens of both
visit.py      what a screen gets, and what it gives back
forms.py      fields of a form, checked by the API's own models
overview.py, companies.py, webhooks.py, registering.py, changes.py, deliveries.py, searching.py,
sending.py, installation.py, records.py, people.py, links.py   the screens
unverified.py     why nothing is sent to an endpoint that is not proven
for_companies.py  a webhook in sentences, for the portal
zones.py      the reader's zone, chosen by hand
render.py     templates/ and static/: every value is escaped

A change is made by the API's own functions, in the request's transaction, and so has its checks and
its entry in the audit.
"""
