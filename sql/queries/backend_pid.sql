-- session: the process that serves it. A transaction pooler reports another one to its clients.
--
-- Not prepared: a transaction pooler would be left with it. Reads no table; locks nothing.
select pg_catalog.pg_backend_pid()
