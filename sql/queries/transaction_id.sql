-- fall asleep: a transaction id of our own. When all older ones have ended, none has seen the doorbell
-- unarmed.
--
-- Reads no table; locks nothing.
select pg_current_xact_id()
