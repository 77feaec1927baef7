"""The demo: a change's whole way on a PostgreSQL of its own, checked by the ledger of the writer.

protocol.py  the protocol's shapes, written out by hand
book.py      the interview suite at work: SQL, its ledger, and what arrived read by that
stage.py     what it takes: database, registrations, receiver, daemon; up and down
process.py   the daemon and the API, processes of their own
story.py     what happens, step by step
show.py      how it looks to a person
report.py    how it ended: for people, and as JSON
keep.py      staying up afterwards
run.py       all of it, from the first line to the exit code

What was owed is compared with what arrived by ``cdc/sandbox/account.py``.
"""
