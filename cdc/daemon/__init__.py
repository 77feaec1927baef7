"""What runs in the process of `cdc run`.

pipeline.py   read this first: one delivery, from its row to its record
app.py        builds everything, starts and stops it in order
preflight.py  what has to be right before a daemon starts
watcher.py    from connecting to losing the connection: owns shards, looks, listens
doorbell.py   when to sleep until NOTIFY, and when to poll
dispatch/     keeps lanes going: fills windows, starts attempts, follows registrations
worker.py     what is kept about one webhook: its registration, its lane, its sealer
store/        the database side: look, fetch, settle
maintenance/  what keeps the tables small
supervisor.py several daemons under one parent
"""
