"""What runs in the process of `cdc run`.

pipeline.py   read this first: one delivery, from its row to its record
app.py        builds everything, starts and stops it in order
preflight.py  what has to be right before a daemon starts
lease.py      what a daemon may do now: its shards, their epochs, the newest snapshot
watcher.py    from connecting to losing the connection: owns shards, looks, listens
doorbell.py   when to sleep until NOTIFY, and when to poll
dispatch/     keeps lanes going: fills windows, starts attempts, follows registrations
worker.py     what is kept about one webhook: its registration, its lane, its sealer
consequences.py  what follows from an outcome besides its record: suspends, logs
store/        the database side: look, fetch, settle
maintenance/  keeps the tables small, captures what was late, measures, writes notices
backfills.py  carries out backfills
trials.py     carries out tests of webhooks
mail.py       sends notices by SMTP
supervisor.py several daemons under one parent
"""
