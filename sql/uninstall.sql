-- Takes away all that install.sql and triggers.sql (or `cdc migrate` and `cdc triggers install`) made:
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/uninstall.sql "$CDC_DATABASE_URL"
--
-- Stop the daemons first: one that runs holds locks on schema cdc. What is queued, the log and all
-- registrations are gone afterwards.
--
-- Needs: superuser; or the owner of the suite's tables, member of cdc_owner and cdc_capture and, for the roles,
-- CREATEROLE with the right to administer them.
-- Locks: ACCESS EXCLUSIVE on each table of the suite that has a trigger of ours, one at a time, for a
-- moment; waits for it 500 ms at most, 20 times: later requests queue behind one that waits. Do not run
-- it as one transaction (psql -1): each table is one of its own. If it stops, run it again; it continues
-- from there.
\set ON_ERROR_STOP on
-- Each transaction below begins by setting its search path, for itself alone (behind a pooler the next
-- client gets the session). So nothing planted in schema public is taken for PostgreSQL's: it would run
-- with the rights of the account that uninstalls.

-- Event triggers of others may refuse what follows.
do $others$
declare
  other record;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  for other in
    select evtname, evtfoid::regprocedure as function, pg_get_userbyid(evtowner) as owner
      from pg_event_trigger where evtenabled in ('O', 'A')
  loop
    raise notice 'event trigger % (function %, owner %) runs at this; where it refuses: alter event trigger % disable',
      other.evtname, other.function, other.owner, other.evtname;
  end loop;
end
$others$;

-- 1. Triggers, wherever they are: found by the functions they call, whatever the mapping says today; and
-- policies that are for cdc_capture alone.
do $triggers$
declare
  there record;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  for there in
    select 'trigger' as kind, t.tgname as name, t.tgrelid::regclass::text as on_table
      from pg_catalog.pg_trigger t
      join pg_catalog.pg_proc p on p.oid = t.tgfoid
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      join pg_catalog.pg_class c on c.oid = t.tgrelid
     where n.nspname in ('cdc', 'cdc_capture') and not t.tgisinternal
       and c.relnamespace is distinct from pg_catalog.to_regnamespace('cdc')
    union all
    select 'policy', p.polname, p.polrelid::regclass::text
      from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid
     where p.polroles = array(select oid from pg_catalog.pg_roles where rolname = 'cdc_capture')
       and c.relnamespace is distinct from pg_catalog.to_regnamespace('cdc')
     order by 3, 1, 2
  loop
    for try in 1..20 loop
      perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      perform pg_catalog.set_config('lock_timeout', '500ms', true);
      begin
        execute pg_catalog.format('drop %s if exists %I on %s', there.kind, there.name, there.on_table);
        exit;
      exception when lock_not_available then
        if try = 20 then
          raise exception '% is locked by another session: gave up after 20 tries', there.on_table
            using hint = 'pg_stat_activity shows sessions that are idle in transaction; then run this again.';
        end if;
        raise notice '% is locked, waiting (try % of 20)', there.on_table, try;
      end;
      commit;  -- between tries no session is blocked
      perform pg_catalog.pg_sleep(1);
    end loop;
    commit;
  end loop;
end
$triggers$;

-- 2. Rights that our roles were given on anything of this database outside our schemas, then these.
begin;
set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '500ms';
select format('revoke all on %s %s from %I;', a.kind, a.name, r.rolname)
  from (select case when c.relkind = 'S' then 'sequence' else 'table' end, c.oid::regclass::text,
               x.grantee, c.relnamespace
          from pg_catalog.pg_class c, aclexplode(c.relacl) x
        union
        select 'table', a.attrelid::regclass::text, x.grantee, c.relnamespace
          from pg_catalog.pg_attribute a, pg_catalog.pg_class c, aclexplode(a.attacl) x
         where c.oid = a.attrelid and not a.attisdropped
        union
        select 'routine', p.oid::regprocedure::text, x.grantee, p.pronamespace
          from pg_catalog.pg_proc p, aclexplode(p.proacl) x
        union
        select 'type', t.oid::regtype::text, x.grantee, t.typnamespace
          from pg_catalog.pg_type t, aclexplode(t.typacl) x
        union
        select 'schema', quote_ident(n.nspname), x.grantee, n.oid
          from pg_catalog.pg_namespace n, aclexplode(n.nspacl) x
        union
        select 'database', quote_ident(d.datname), x.grantee, 0
          from pg_catalog.pg_database d, aclexplode(d.datacl) x
         where d.datname = current_database()) a (kind, name, grantee, namespace)
  join pg_catalog.pg_roles r on r.oid = a.grantee
 where r.rolname in ('cdc_owner', 'cdc_capture', 'cdc_daemon', 'cdc_admin', 'cdc_reader',
                     'cdc_serve')
   and a.namespace not in (select oid from pg_catalog.pg_namespace where nspname in ('cdc', 'cdc_capture'))
\gexec
set local client_min_messages = warning;
drop schema if exists cdc_capture, cdc cascade;
commit;

-- 3. Roles, which belong to the whole server: they stay while anything else needs them.
do $roles$
declare
  ours text;
  needed text;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  perform pg_catalog.set_config('lock_timeout', '500ms', true);
  foreach ours in array array['cdc_daemon', 'cdc_admin', 'cdc_reader', 'cdc_serve', 'cdc_capture',
                              'cdc_owner'] loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = ours);
    needed := (
      select pg_catalog.string_agg(distinct coalesce('database ' || d.datname, 'the server'), ', ')
        from pg_catalog.pg_shdepend s
        left join pg_catalog.pg_database d
          on d.oid = case when s.classid = 'pg_database'::regclass then s.objid else s.dbid end
       where s.refclassid = 'pg_authid'::regclass
         and s.refobjid = (select oid from pg_catalog.pg_roles where rolname = ours)
         -- Being a member of another role, or having one, ends with the role.
         and s.classid <> 'pg_auth_members'::regclass);
    if needed is not null then
      raise notice 'role % stays: % still depends on it', ours, needed;
    else
      execute pg_catalog.format('drop role %I', ours);
    end if;
  end loop;
end
$roles$;
