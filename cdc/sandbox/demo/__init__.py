"""The demo: a change's whole path on a PostgreSQL of its own, checked by the ledger of the writer.

protocol.py  the protocol's shapes, written out by hand
story.sql    what happens: the suite's rows, the scenes
story.py     the scenes read, the webhooks, and which rows have an event
ledger.py    the suite at work: its ledger, and what arrived read by that
stage.py     database, receiver, daemon: brought up, the story played on them
report.py    how it ended, by ``cdc/sandbox/account.py``
show.py      all that is printed
run.py       from the first line to the exit code, and staying up afterwards
"""
