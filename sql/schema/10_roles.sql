-- Roles. None of them can log in; grant them to the accounts that do the work:
--
--   cdc_owner   owns everything in schema cdc, secrets included. It runs nothing of the suite's: no
--               right on any table of it.
--   cdc_capture what the capture functions run as. It reads the key columns of the suite's tables and
--               adds to the queue; it sees no secret, endpoint or header. Whatever the owner of a
--               table of the suite hides in it (a view, a policy, an index's function) runs as
--               this role when capture reads the table, so it must not be able to do more.
--   cdc_daemon  what `cdc run` needs: queue, retries, log. No right on any table of the suite.
--   cdc_admin   what `cdc webhook` and `cdc delivery` need: registrations and their secrets.
--   cdc_reader  what `cdc status` needs: sees the state of everything, no secrets.
--   cdc_serve   what `cdc serve` needs: registrations and replays, as cdc_admin; but it can read no secret,
--               no header's value and no login of an endpoint.
--
-- Roles belong to the whole server, so they may be there already because another database uses them.
-- Needs: superuser, or CREATEROLE. Locks: none.
do $roles$
declare
  wanted text;
begin
  foreach wanted in array array['cdc_owner', 'cdc_capture', 'cdc_daemon', 'cdc_admin', 'cdc_reader',
                                   'cdc_serve'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      execute pg_catalog.format('create role %I nologin', wanted);
    end if;
  end loop;
  -- Objects are created as one of these two, so the installing account must be able to become it.
  foreach wanted in array array['cdc_owner', 'cdc_capture'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = current_user and rolsuper)
       and not pg_catalog.pg_has_role(current_user, wanted, 'usage') then
      execute pg_catalog.format('grant %I to %I', wanted, current_user);
    end if;
  end loop;
end
$roles$;
