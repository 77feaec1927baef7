-- Row-level security changes nothing about our tables: each has a policy that shows all rows and takes all
-- rows, so that the grants alone decide. While row-level security is off, which it is unless others enable
-- it (an event trigger does on some managed servers, for each new table), PostgreSQL does not look at it.
-- Last of all files: for each table of schema cdc that has none yet, partitions included.
do $policies$
declare
  ours regclass;
begin
  for ours in
    select c.oid from pg_class c
     where c.relnamespace = 'cdc'::regnamespace and c.relkind in ('r', 'p')
       and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'grants_decide')
     order by c.relname
  loop
    execute format('create policy grants_decide on %s using (true) with check (true)', ours);
  end loop;
end
$policies$;
