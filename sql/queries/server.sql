-- preflight: the server, and the session's account.
--
-- Asked before it is known whether schema cdc is there: reads no table of ours; locks nothing.
-- member: the account has cdc_daemon. account: its name, as SQL writes it.
select pg_is_in_recovery() as standby,
       current_setting('server_version_num')::int as version,
       getdatabaseencoding()::text as encoding,
       current_setting('max_prepared_transactions')::int as prepared_transactions,
       coalesce((select pg_has_role(session_user, oid, 'member') from pg_roles
                  where rolname = 'cdc_daemon'), false) as member,
       quote_ident(session_user) as account
