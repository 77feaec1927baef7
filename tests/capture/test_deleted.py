"""Deleted rows are captured where the mapping declares it, with what a cascade takes along."""

from __future__ import annotations

import re

import pytest

from cdc.capture import check, install, plan
from cdc.errors import MappingError
from cdc.mapping import Mapping, default_mapping, parse_mapping
from tests.capture.kit import Suite, connect

# The tables refer to each other with these actions.
REFERENCES = """
do $$ declare c record; begin
  for c in select conrelid::regclass as of, conname from pg_constraint
            where contype = 'f' and connamespace = 'public'::regnamespace loop
    execute format('alter table %s drop constraint %I', c.of, c.conname);
  end loop;
end $$;
alter table candidate add foreign key (project_id) references project on delete cascade;
alter table question add foreign key (project_id) references project on delete cascade;
alter table answervideo add foreign key (candidate_id) references candidate on delete cascade,
  add foreign key (question_id) references question on delete cascade;
alter table note add foreign key (answervideo_id) references answervideo on delete cascade;
alter table rating add foreign key (candidate_id) references candidate on delete set null;
"""
CHAIN = [("d", "17"), ("d", "19"), ("d", "7"), ("d", "4")]
"""Project, candidate, answer video, note: what goes with the project."""


def mapping(more: str = "") -> Mapping:
    """The default one, with ``deleted`` for each event. more: of the company."""
    text = re.sub(r"^event = .*$", r"\g<0>\ndeleted = true", default_mapping().source, flags=re.M)
    return parse_mapping(text.replace("[company]\n", f"[company]\n{more}\n"), "x.toml")


@pytest.fixture
def deleting(own_suite: Suite) -> Suite:
    """One webhook of company 1 that wants deleted rows alone."""
    own_suite.install(mapping())
    assert own_suite.register("1") == 1
    own_suite.run("update cdc.subscription set actions = 'd'")
    return own_suite


@pytest.fixture
def cascading(deleting: Suite) -> Suite:
    deleting.run(REFERENCES)
    return deleting


def kept(suite: Suite) -> list[tuple[str, str]]:
    """Table and key of the parents in cdc.gone."""
    return [tuple(row) for row in suite.all("select source, key from cdc.gone order by id")]


def test_a_chain_of_cascades_is_sent_whole(cascading: Suite) -> None:
    """Of three steps, and by two paths to the answer video; a row that is set null is updated."""
    cascading.run("update cdc.subscription set actions = 'cmd' where event = 'rating_changed'")
    cascading.run("delete from project where id = 17")
    assert [(q.event, q.action, q.key) for q in cascading.queued()] == [
        ("project_changed", "d", "17"),
        ("candidate_changed", "d", "19"),
        ("rating_changed", "m", "9"),
        ("answervideo_changed", "d", "7"),
        ("note_changed", "d", "4"),
    ]
    base = "https://interview-suite.com/api/v3/companies/1"
    assert cascading.posts()[-1] == (
        '{"endpoint": "https://abc.com/hook", "time": "<time>", "event": "note_changed", "data": '
        f'{{"action": "deleted", "project": "{base}/projects/17/", '
        f'"customer": "{base}/customers/1/", '
        f'"answervideo": "{base}/projects/17/candidates/19/answervideos/7/", '
        f'"candidate": "{base}/projects/17/candidates/19/", '
        f'"note": "{base}/projects/17/candidates/19/notes/4/"}}}}'
    )


@pytest.mark.parametrize("children_first", [True, False])
def test_statement_by_statement(cascading: Suite, *, children_first: bool) -> None:
    cascading.run(
        REFERENCES.replace("on delete cascade", "deferrable initially deferred").replace(
            "on delete set null", "deferrable initially deferred"
        )
    )
    statements = [
        "delete from project where id = 17",
        "delete from question where id = 123",
        "delete from rating where id = 9",
        "delete from candidate where id = 19",
        "delete from answervideo where id = 7",
        "delete from note where id = 4",
    ]
    cascading.run(f"begin; {'; '.join(statements[:: -1 if children_first else 1])}; commit")
    assert sorted(cascading.changes()) == sorted([*CHAIN, ("d", "9")])
    assert not cascading.unresolved()


def test_one_statement_for_parent_and_child(cascading: Suite) -> None:
    """The child's trigger may fire before its parent's: then it is captured late."""
    cascading.run("alter table candidate drop constraint candidate_project_id_fkey")
    cascading.run(
        "with gone as (delete from candidate where id = 19 returning *)"
        " delete from project where id in (select project_id from gone)"
    )
    cascading.resolve()
    assert sorted(cascading.changes()) == sorted(CHAIN)
    assert not cascading.unresolved()


def test_what_is_rolled_back_is_not_sent(cascading: Suite) -> None:
    cascading.run("begin; delete from project where id = 17; rollback")
    cascading.run("begin; savepoint one; delete from project; rollback to one; commit")
    assert (cascading.changes(), kept(cascading)) == ([], [])
    # A parent is that of the transaction: what was kept in a savepoint that is gone is not read.
    cascading.run(
        "begin; update project set company_id = 2 where id = 17; savepoint one;"
        " delete from project where id = 17; rollback to one;"
        " update project set company_id = 1 where id = 17;"
        " delete from project where id = 17; commit"
    )
    assert cascading.changes() == CHAIN


def test_late_capture_reads_the_parents_that_went_along(cascading: Suite) -> None:
    with connect(cascading.url) as migration:
        migration.execute("begin; lock table customer in access exclusive mode")
        cascading.run("delete from project where id = 17")
        migration.execute("rollback")
    assert cascading.changes() == CHAIN[:3]
    assert ("note", "4") in cascading.unresolved()
    cascading.resolve()
    assert not cascading.unresolved()
    assert {("note", "4"), ("answervideo", "7")} <= {
        (q.event[:-8], q.key) for q in cascading.queued()
    }
    assert set(cascading.changes()) >= set(CHAIN)


def test_deleted_and_inserted_again(deleting: Suite) -> None:
    deleting.run("update cdc.subscription set actions = 'cmd'")
    again = "delete from rating where id = 9; insert into rating values (9, 19, 1)"
    deleting.run(f"{again}; update rating set stars = 2; {again}")
    assert "".join(action for action, _ in deleting.changes()) == "dcmdc"
    deleting.clear()
    deleting.run(
        "with gone as (delete from rating where id = 9 returning *)"
        " insert into rating select * from gone"
    )
    assert deleting.changes() == [("d", "9"), ("c", "9")]
    deleting.clear()
    deleting.run(
        "merge into rating r using (values (9), (10)) v (id) on r.id = v.id"
        " when matched then delete when not matched then insert (id, candidate_id)"
        " values (v.id, 19)"
    )
    assert sorted(deleting.changes()) == [("c", "10"), ("d", "9")]


def test_webhooks_that_name_no_action_get_no_deletes_and_truncate_sends_nothing(
    deleting: Suite,
) -> None:
    deleting.run("update cdc.subscription set actions = null")
    deleting.run("delete from rating; truncate note")
    assert (deleting.changes(), deleting.unresolved(), kept(deleting)) == ([], [], [])
    deleting.run("insert into rating values (11, 19, 1); update rating set stars = 2")
    assert deleting.changes() == [("c", "11"), ("m", "11")]


def test_a_filter_asks_for_the_last_values(own_suite: Suite) -> None:
    text = mapping().source.replace("deleted = true", 'deleted = true\nfields = ["name"]')
    own_suite.install(parse_mapping(text, "x.toml"))
    own_suite.register("1", "rating_changed")
    own_suite.run("""update cdc.subscription set actions = 'd', filter = '{"name": ["x"]}'""")
    own_suite.run("insert into rating (id, candidate_id, name) values (10, 19, 'x')")
    own_suite.run("update rating set name = 'x' where id = 9; delete from rating where id = 10")
    own_suite.run("update rating set name = 'y' where id = 9; delete from rating where id = 9")
    assert own_suite.changes() == [("d", "10")]
    # What updates must have changed keeps no deleted row away.
    own_suite.run("update cdc.subscription set actions = 'md', filter = null, changed = '{name}'")
    own_suite.run("insert into rating select g, 19 from generate_series(100, 170) g")
    own_suite.clear()
    own_suite.run("update rating set stars = 1; delete from rating where id = 100")
    own_suite.run("delete from rating")
    assert own_suite.changes() == [("d", str(key)) for key in range(100, 171)]


@pytest.mark.parametrize("rows", [1, 64, 65, 10_000])
def test_any_number_of_rows_and_of_parents(cascading: Suite, rows: int) -> None:
    """All candidates go with their project, and an answer video with each of them."""
    last = 1000 + rows - 1
    cascading.run("delete from cdc.subscription where event <> 'answervideo_changed'")
    cascading.run(
        f"insert into candidate select g, 17 from generate_series(1000, {last}) g;"
        f"insert into answervideo select g, g, 123 from generate_series(1000, {last}) g"
    )
    cascading.clear()
    cascading.run("delete from project where id = 17")
    found = cascading.changes()
    assert len(found) == rows + 1
    assert {action for action, _ in found} == {"d"}
    assert not cascading.unresolved()
    xids = cascading.all(
        "select distinct xid::text from cdc.queue union select xid::text from cdc.gone"
    )
    assert len(xids) == 1, "written by the transaction itself, no second one"


def test_very_many_rows(deleting: Suite) -> None:
    deleting.run("insert into rating select g, 19 from generate_series(1001, 101000) g")
    deleting.run("delete from rating where id > 1000")
    assert deleting.one("select count(distinct refs) from cdc.queue where action = 'd'") == 100_000


def test_a_partitioned_table(own_suite: Suite) -> None:
    own_suite.run(
        "drop table note, rating cascade; drop table answervideo, candidate cascade;"
        "create table candidate (id bigint, project_id bigint, name text, primary key (id))"
        "  partition by range (id);"
        "create table candidate_1 partition of candidate for values from (0) to (100);"
        "create table candidate_2 partition of candidate for values from (100) to (200);"
        "create table answervideo (id bigint primary key, question_id bigint,"
        "  candidate_id bigint references candidate on delete cascade);"
        "create table rating (id bigint primary key, candidate_id bigint, customer_id bigint);"
        "create table note (id bigint primary key, answervideo_id bigint, candidate_id bigint,"
        "  customer_id bigint)"
    )
    own_suite.install(mapping())
    own_suite.register("1", "candidate_changed", "answervideo_changed")
    own_suite.run("insert into candidate values (19, 17), (20, 17), (120, 17)")
    own_suite.run("insert into answervideo values (7, null, 19), (8, null, 120)")
    own_suite.run("update cdc.subscription set actions = 'cmd'")
    own_suite.clear()
    own_suite.run("update candidate set id = 121 where id = 20")
    assert own_suite.changes() == [("m", "121")]
    own_suite.clear()
    own_suite.run("delete from candidate where id = 19")
    own_suite.run("delete from candidate_2 where id = 120")
    assert own_suite.changes() == [("d", "19"), ("d", "7"), ("d", "120"), ("d", "8")]
    assert set(own_suite.states().values()) == {"installed"}
    # What `cdc triggers plan` warns of: PostgreSQL counts the moved row as deleted and inserted.
    own_suite.clear()
    own_suite.run(
        "merge into candidate c using (values (121)) v (id) on c.id = v.id"
        " when matched and c.name = 'x' then delete when matched then update set id = 50"
    )
    assert own_suite.changes() == [("d", "121")]
    limits = plan.unseen(own_suite.mapping, check.check(own_suite.conn, own_suite.mapping))
    assert any("if it has a DELETE action, as deleted" in limit for limit in limits)


def test_row_security_of_others_is_noticed(cascading: Suite) -> None:
    """On our table of parents: the writer neither fails nor waits, and what is lost is logged."""
    cascading.run(
        "alter table cdc.gone enable row level security, force row level security;"
        "drop policy grants_decide on cdc.gone"
    )
    cascading.run("delete from note where id = 4")
    assert cascading.unresolved() == [("note", "4")]
    cascading.run("create policy grants_decide on cdc.gone using (true) with check (true)")
    cascading.resolve()
    assert cascading.changes() == [("d", "4")]


def test_a_company_with_an_address_of_its_own_is_deleted(own_suite: Suite) -> None:
    """Text of any length there fails no writer."""
    own_suite.run("alter table company add host text")
    own_suite.run(REFERENCES)
    own_suite.run(
        "alter table project add foreign key (company_id) references company on delete cascade"
    )
    own_suite.install(mapping('base_url_column = "host"'))
    own_suite.register("1", "note_changed", "project_changed")
    own_suite.run("update cdc.subscription set actions = 'd'")
    own_suite.run("update company set host = 'acme.example/' || repeat('x', 10000000) where id = 1")
    own_suite.run("delete from company where id = 1")
    assert sorted(own_suite.changes()) == [("d", "15"), ("d", "17"), ("d", "4")]
    assert own_suite.one("select max(length(own::text)) from cdc.gone") < 3000


def test_the_session_is_left_as_it_was(cascading: Suite) -> None:
    cascading.run("create sequence theirs; select setval('theirs', 41)")
    assert cascading.one("select nextval('theirs')") == 42
    cascading.run("delete from candidate where id = 19")
    assert cascading.one("select lastval()") == 42
    assert cascading.one("show lock_timeout") == "0"


def test_install_is_complete_and_is_undone(deleting: Suite) -> None:
    assert deleting.install() == []
    assert set(deleting.states().values()) == {"installed"}
    assert deleting.states().keys() >= {"public.question", "public.customer", "public.note"}
    with pytest.raises(MappingError, match="wants deleted rows of answervideo_changed"):
        deleting.install(default_mapping())
    deleting.run("update cdc.subscription set actions = null")
    assert deleting.install(default_mapping())
    assert deleting.one("select count(*) from pg_trigger where tgname ~ '^cdc_capture_(d|g)'") == 0
    assert deleting.one("select count(*) from pg_proc where proname like 'gone\\_%'") == 0


def test_status_sees_what_was_done_to_the_triggers(deleting: Suite) -> None:
    deleting.run("drop trigger cdc_capture_delete on note")
    deleting.run("alter table candidate disable trigger cdc_capture_gone")
    deleting.run("drop trigger cdc_capture_gone on question")
    found = {table: state for table, state in deleting.states().items() if state != "installed"}
    assert found == {
        "public.note": "missing",
        "public.candidate": "disabled",
        "public.question": "missing",
    }
    assert len(deleting.install()) == 4  # and one that asks for old daemons
    assert set(deleting.states().values()) == {"installed"}


def test_the_kill_switch_stops_what_parents_keep_too(deleting: Suite) -> None:
    install.carry_out(deleting.command, install.switch_off(deleting.command), lambda _: None)
    deleting.run("delete from note; delete from answervideo")
    assert (deleting.changes(), kept(deleting)) == ([], [])
    assert set(deleting.states().values()) == {"off"}
    on = install.switch_on(deleting.command, deleting.mapping)
    install.carry_out(deleting.command, on, lambda _: None)
    assert set(deleting.states().values()) == {"installed"}
    deleting.run("delete from rating; delete from candidate")
    assert kept(deleting) == [("public.candidate", "19")]


def test_a_parent_with_a_domain_that_takes_no_null_is_refused(own_suite: Suite) -> None:
    """What is kept of it is made a row of the table again, without its other columns."""
    own_suite.run(
        "create domain given as text not null; create domain more as given;"
        "alter table candidate add letter more default 'x'"
    )
    with pytest.raises(MappingError, match=r'resources.candidate.table: column "letter"'):
        own_suite.install(mapping())


def test_a_writer_fails_no_more_than_without(cascading: Suite) -> None:
    """A lock on our table is not waited for, nor is it missed."""
    with connect(cascading.url) as other:
        other.execute("begin; lock table cdc.gone in exclusive mode")
        cascading.run("set statement_timeout = '5s'")
        cascading.run("delete from candidate where id = 19")
        other.execute("rollback")
    assert sorted(cascading.unresolved())[0][0] == "answervideo"
    cascading.run("alter table cdc.gone rename to moved")
    cascading.run("delete from project where id = 17")
    assert ("project", "17") in cascading.unresolved()
