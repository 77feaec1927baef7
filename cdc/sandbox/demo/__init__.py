"""The demo: a change's whole path on a PostgreSQL of its own, checked by the ledger of the writer.

run.py       from the first line to the exit code: begin here
stage.py     what it takes: database, receiver, daemon
story.py     what happens: the webhooks, and from story.sql the suite's rows and the scenes
ledger.py    what the suite changed, what arrived compared with it, and the report
show.py      all that is printed
"""
