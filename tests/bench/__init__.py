"""The benchmark: what it costs and how long it takes, beside baselines of the same run.

run.py       all of it, from the machine to the report
work/        the workloads, one file each; what each of them has to reach stands there
load/, target.py  the processes they are made of: receiver, writers, and the baselines' clients
place.py     the databases: on a PostgreSQL of our own, or beside the user's own
child.py     a process that ends with us; its CPU and memory
daemon.py    `cdc run`, as in production
account.py   pure: what arrived held against what was written: lost, repeated, latencies
figures.py   pure: medians, a figure beside its baseline and what it has to reach
bench.py     what every workload has at hand
report.py    the table for people; document.py: docs/performance.md, charts.py: its SVG

One host, one clock: every time is CLOCK_MONOTONIC in nanoseconds, which all its processes share.
"""
