"""The demo: the whole road on a PostgreSQL of its own, judged by a ledger that the writer keeps.

protocol.py  the protocol's shapes, written out by hand
ledger.py    what the suite's writer owes to whom, noted as it writes
arrivals.py  which POST is which entry of the ledger
account.py   ledger against what arrived: pure, no mercy
writer.py    the interview suite at work: SQL, and the ledger beside it
stage.py     what it takes: database, registrations, receiver, daemon; up and down
daemon.py    the daemon as a process of its own
scene.py     what steps are made of: do something, wait for what that owes
story.py     what happens, step by step
show.py      how it looks to a person
report.py    how it ended: for people, and as JSON
keep.py      staying up afterwards
run.py       all of it, from the first line to the exit code
"""
