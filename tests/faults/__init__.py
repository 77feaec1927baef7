"""Faults at random moments under load, and an independent account of every change.

    python -m tests.faults             # or: make faults

A run: `run.py` sets the stage; `writers.py` change the suite's tables and keep a ledger
(`ledger.py`); `fleet.py` holds the daemons, `receiver.py` the receiver, each a process of its own;
`faults.py` disturbs them; `accounting.py` holds what arrived against what was committed.
"""
