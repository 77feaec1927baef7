"""The demo: a change's whole path on a PostgreSQL of its own, checked by the ledger of the writer.

protocol.py  the protocol's shapes, written out by hand
ledger.py    the interview suite at work: SQL, its ledger, and what arrived read by that
stage.py     database, registrations, receiver, daemon: up and down
story.py     what happens, step by step
show.py      how it looks to a person
report.py    how it ended: for people, and as JSON
keep.py      staying up afterwards
run.py       all of it, from the first line to the exit code

What was owed is compared with what arrived by ``cdc/sandbox/account.py``.
"""
