-- start, and where a row has an unknown one: what the references of a row mean. They are few and never
-- change.
--
-- Reads cdc.layout as a whole.
select id, event, fields from cdc.layout
