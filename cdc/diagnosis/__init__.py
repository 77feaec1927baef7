"""What status, doctor and explain know: SQL and verdicts, which commands print.

health/            how deliveries progress, and what is wrong
doctor/            named checks, each with a verdict and what to do
explain/           what became of a change
deliveries.py      deliveries, in any table they may be in
capture_state.py   how capture stands
exposed_files.py   files that hold secrets, and who else may read them
"""
