"""Row-level security: on our own tables it changes nothing, on the suite's a policy is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.capture.check import show_all
from cdc.errors import MappingError
from cdc.mapping import default_mapping
from cdc.postgres import row_security
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from tests.capture.kit import ROWS, Suite, connect

# As on Supabase: each new table is secured, by whichever role it is made.
SECURE_ALL = """
create function public.secure() returns event_trigger language plpgsql as $$
declare made record;
begin
  for made in select * from pg_event_trigger_ddl_commands() where object_type = 'table' loop
    execute format('alter table %s enable row level security', made.object_identity);
  end loop;
end $$;
create event trigger secure_all on ddl_command_end
  when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') execute function public.secure();
"""
BY_HAND = """
do $$
declare ours regclass;
begin
  for ours in select oid from pg_class
               where relnamespace = 'cdc'::regnamespace and relkind in ('r', 'p') loop
    execute format('alter table %s enable row level security', ours);
    execute format('alter table %s force row level security', ours);
  end loop;
end $$;
"""
TENANTS = """
create policy tenants on {table} to writer
  using (current_setting('app.tenant', true) = '1') with check (true);
"""


@pytest.fixture
def writer(own_suite: Suite) -> Iterator[Suite]:
    """A suite whose writer is an ordinary account, with row security off as dumps and loaders have
    it: it fails wherever a policy would have to be asked."""
    with connect(own_suite.url) as admin:
        admin.execute("create role writer login")
        admin.execute("grant all on all tables in schema public to writer")
        admin.execute("grant all on all sequences in schema public to writer")
        yield own_suite
        own_suite.conn.execute("reset session authorization")
        admin.execute("drop owned by writer; drop role writer")


def written(suite: Suite) -> None:
    """Rows with a company and without, one and many, and some whose parents come later."""
    suite.run("set session authorization writer; set row_security = off")
    suite.run("update rating set stars = 1")
    suite.run("insert into rating (candidate_id) values (null)")
    suite.run(
        "insert into candidate (id, project_id) select i, 17 from generate_series(1001, 1100) i"
    )
    suite.run(
        "insert into rating (id, candidate_id) select i, null from generate_series(1001, 1100) i"
    )
    suite.run(
        "begin; set constraints all deferred;"
        " insert into rating (id, candidate_id) values (777, 778);"
        " insert into candidate (id, project_id) values (778, 17); commit"
    )
    suite.run("reset session authorization; reset row_security")


def as_it_should_be(suite: Suite) -> None:
    assert len(suite.queued()) == 1 + 100 + 2
    assert len(suite.unresolved()) == 1 + 100
    assert row_security.filtered(suite.conn) == {}


def test_on_all_of_our_tables_it_changes_nothing(writer: Suite) -> None:
    writer.register("1")
    writer.run(BY_HAND)
    written(writer)
    assert writer.resolve() == 1  # its parent came later
    as_it_should_be(writer)


def test_nor_where_an_event_trigger_enables_it(empty_database: str) -> None:
    with connect(empty_database) as conn:
        conn.execute(SECURE_ALL.encode())
    migrations.upgrade(empty_database)
    with connect(empty_database) as conn:
        secured = conn.execute(
            "select count(*) from pg_class where relnamespace = 'cdc'::regnamespace"
            " and relrowsecurity and relkind in ('r', 'p')"
        ).fetchone()
        assert secured == (22 + 33,)
        conn.execute(tables_sql(default_mapping()).encode())
    suite = Suite(empty_database)
    with pytest.raises(MappingError) as refused:
        suite.install()
    # What the message proposes is all that is needed.
    suite.run("\n".join(line for line in refused.value.hint.splitlines() if line.endswith(";")))
    suite.run(ROWS)
    suite.install()
    suite.register("1")
    suite.run("create role writer login; grant all on all tables in schema public to writer")
    suite.run("grant all on all sequences in schema public to writer")
    try:
        for table in (*default_mapping().resources, "company"):
            suite.run(f"create policy writes on {table} to writer using (true) with check (true)")
        suite.run("set session authorization writer")
        suite.run("update rating set stars = 2; insert into rating (candidate_id) values (null)")
        suite.run("reset session authorization")
        assert suite.changes() == [("m", "9")]
        assert len(suite.unresolved()) == 1
    finally:
        suite.run("drop owned by writer; drop role writer")
        suite.close()


@pytest.mark.parametrize("forced", [False, True])
def test_a_policy_that_shows_all_rows_is_enough(writer: Suite, *, forced: bool) -> None:
    """The suite's own policies stay: they are for others."""
    read = [table for table in writer.mapping.resources.values() if table.name != "rating"]
    for resource in read:
        name = resource.table.sql
        writer.run(f"alter table {name} enable row level security")
        if forced:
            writer.run(f"alter table {name} force row level security")
        writer.run(TENANTS.format(table=name))
    with pytest.raises(MappingError) as refused:
        writer.install()
    writer.run(show_all([writer.mapping.resources["candidate"].table]).splitlines()[1])
    assert "public.project" in str(refused.value)
    writer.run("\n".join(s for s in refused.value.hint.splitlines()[1:-1] if "candidate" not in s))
    assert writer.install() == []
    writer.register("1")
    writer.run("set session authorization writer; set app.tenant = '1'")
    writer.run("update rating set stars = 1")
    writer.run(
        "insert into candidate (id, project_id) select i, 17 from generate_series(1001, 1100) i"
    )
    writer.run("set app.tenant = 'none'; update rating set stars = 2; set row_security = off")
    writer.run("update rating set stars = 3")
    writer.run("reset session authorization; reset row_security")
    assert [c for c in writer.changes() if c[0] == "m"] == [("m", "9")] * 3
    assert len(writer.queued()) == 103
    assert writer.unresolved() == []


FILTERS = {
    "queue": "create policy less on cdc.queue as restrictive for insert with check (false)",
    "unresolved": "create policy less on cdc.unresolved as restrictive using (false)",
    "subscription": "drop policy grants_decide on cdc.subscription",
}


@pytest.mark.parametrize("table", FILTERS)
def test_where_rows_are_filtered_no_writer_fails(writer: Suite, table: str) -> None:
    """What cannot be queued is kept, and captured when the policy is gone."""
    writer.register("1")
    writer.run(BY_HAND)
    writer.run(FILTERS[table])
    written(writer)
    found = row_security.filtered(writer.conn)
    assert list(found) == [table]
    assert "cdc_capture" in found[table]
    if table == "unresolved":
        assert len(writer.queued()) == 102  # one whose parent came later has nowhere to be kept
        return
    assert writer.queued() == []
    reasons = {row[0] for row in writer.all("select reason from cdc.unresolved")}
    assert any(f"row-level security of cdc.{table} may hide or refuse" in r for r in reasons)
    writer.run(f"drop policy if exists less on cdc.{table}")
    writer.run("drop policy if exists grants_decide on cdc.subscription")
    writer.run("create policy grants_decide on cdc.subscription using (true) with check (true)")
    writer.resolve()
    as_it_should_be(writer)
