"""The demo: the whole road on a PostgreSQL of its own, judged by a ledger that the writer keeps.

protocol.py  the protocol's shapes, written out by hand
ledger.py    what the suite's writer owes to whom, noted as it writes
account.py   ledger against what arrived: pure, no mercy
writer.py    the interview suite at work: SQL, and the ledger beside it
story.py     what happens, step by step
stage.py     what it takes: database, registrations, receiver, daemon; up and down
show.py      how it looks to a person
run.py       all of it, from the first line to the exit code
"""
