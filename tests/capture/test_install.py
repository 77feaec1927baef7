"""Installing, mending and switching capture on a live database."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from threading import Thread

import pytest

from cdc.capture import catalog, check, install, plan
from cdc.capture.plan import TRIGGER_LOCK
from cdc.errors import DatabaseError
from cdc.mapping import Mapping, Table, default_mapping, parse_mapping
from cdc.postgres.lock_retry import LockRetry
from tests.capture.kit import Suite, connect

RATING = Table("public", "rating")


def changed(*edits: tuple[str, str]) -> Mapping:
    """The default mapping with texts replaced."""
    text = default_mapping().source
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_mapping(text, "changed.toml")


def planned(suite: Suite, mapping: Mapping | None = None) -> list[plan.Step]:
    mapping = mapping or suite.mapping
    return plan.plan(suite.conn, mapping, check.check(suite.conn, mapping))


def test_a_second_installation_has_nothing_to_do(suite: Suite) -> None:
    assert planned(suite) == []
    assert set(suite.states().values()) == {"installed"}
    assert catalog.installed_mapping(suite.conn) == default_mapping().fingerprint


@pytest.mark.parametrize(
    ("broken", "state", "lock"),
    [
        ("drop trigger cdc_capture_insert on rating", "missing", TRIGGER_LOCK),
        (
            "alter table rating disable trigger cdc_capture_update",
            "disabled",
            TRIGGER_LOCK,
        ),
        (
            "alter table rating enable replica trigger cdc_capture_update",
            "disabled",
            TRIGGER_LOCK,
        ),
        (
            "create or replace trigger cdc_capture_update after update on rating"
            " referencing new table as new_rows for each statement"
            " execute function cdc_capture.capture_note()",
            "altered",
            TRIGGER_LOCK,
        ),
        (
            "create or replace trigger cdc_capture_update after update on rating"
            " referencing new table as other for each statement"
            " execute function cdc_capture.capture_rating()",
            "altered",
            TRIGGER_LOCK,
        ),
        (
            "create or replace trigger cdc_capture_insert after insert on rating"
            " referencing new table as new_rows for each statement when (false)"
            " execute function cdc_capture.capture_rating()",
            "altered",
            TRIGGER_LOCK,
        ),
        (
            "create or replace trigger cdc_capture_insert after insert or update on rating"
            " for each row execute function cdc_capture.capture_rating();"
            " alter table rating disable trigger cdc_capture_insert",
            "disabled",
            TRIGGER_LOCK,
        ),
        ("drop function cdc_capture.resolve_rating(bigint[])", "missing", ""),
        ("drop function cdc_capture.capture_rating() cascade", "missing", TRIGGER_LOCK),
        ("alter function cdc_capture.capture_rating() set search_path = public", "altered", ""),
        ("alter function cdc_capture.capture_rating() reset enable_seqscan", "altered", ""),
        ("alter function cdc_capture.capture_rating() security invoker", "altered", ""),
        ("alter function cdc_capture.capture_rating() owner to postgres", "altered", ""),
        ("alter function cdc_capture.resolve_rating(bigint[]) owner to postgres", "altered", ""),
        ("grant execute on function cdc_capture.capture_rating() to public", "altered", ""),
        (
            "create or replace function cdc_capture.capture_rating() returns trigger"
            " language plpgsql security definer set search_path = pg_catalog, pg_temp"
            " set enable_seqscan = off set jit = off as"
            " 'begin return null; end'",
            "altered",
            "",
        ),
    ],
    ids=lambda value: value[:44] if " " in value else "",
)
def test_what_was_changed_by_hand_is_found_and_mended(
    suite: Suite, broken: str, state: str, lock: str
) -> None:
    suite.run(broken)
    assert suite.states() == {
        **{f"public.{t}": "installed" for t in ("project", "candidate", "answervideo", "note")},
        "public.rating": state,
    }
    steps = suite.install()
    # Only what is wrong is touched, under no more of a lock than that needs.
    assert {step.table for step in steps} <= {None, RATING}
    assert {step.lock for step in steps} <= {"", lock}
    assert set(suite.states().values()) == {"installed"}
    assert planned(suite) == []
    suite.register("1")
    suite.run("update rating set stars = 1; insert into rating values (10, 19)")
    assert suite.changes() == [("m", "9"), ("c", "10")]


def test_a_trigger_that_always_fires_is_left_alone(suite: Suite) -> None:
    """A DBA's choice for sessions with session_replication_role = replica. What a subscription
    applies fires no statement trigger in any case."""
    suite.run("alter table rating enable always trigger cdc_capture_update")
    assert planned(suite) == []
    assert suite.states()["public.rating"] == "installed"
    suite.register("1")
    suite.run("set session_replication_role = replica; update rating set stars = 1")
    suite.run("reset session_replication_role")
    assert suite.changes() == [("m", "9")]
    suite.run("alter table rating enable trigger cdc_capture_update")


def test_rights_that_were_taken_away_are_given_again(suite: Suite) -> None:
    suite.run("revoke select (project_id) on candidate from cdc_capture")
    (step,) = planned(suite)
    assert step.sql == (
        'grant usage on schema "public" to cdc_capture;\n'
        'grant select ("id", "project_id") on "public"."candidate" to cdc_capture;'
    )
    assert step.lock == ""
    suite.install()
    assert planned(suite) == []


def test_a_mapping_without_an_event_any_more(own_suite: Suite) -> None:
    """Its triggers, functions and rights go; what is queued under its layout can still be read."""
    own_suite.register("1")
    own_suite.run("update note set name = 'x'; update rating set stars = 1")
    mapping = changed(
        ('event = "note_changed"\n', ""),
        ('data = ["project", "customer", "answervideo", "candidate", "note"]', ""),
    )
    own_suite.install(mapping)
    assert planned(own_suite, mapping) == []
    assert "public.note" not in own_suite.states()
    assert {t.table.name for t in catalog.triggers(own_suite.conn)} == {
        "project", "candidate", "answervideo", "rating"
    }  # fmt: skip
    assert not any("note" in name for name in catalog.functions(own_suite.conn))
    # Nothing reads notes now, and nothing may.
    assert Table("public", "note") not in catalog.granted(own_suite.conn)
    own_suite.run("update note set name = 'y'")
    assert [d.layout.event for d in own_suite.deliveries()] == ["note_changed", "rating_changed"]
    # And back again.
    own_suite.install(default_mapping())
    assert planned(own_suite) == []
    own_suite.run("update note set name = 'z'")
    assert own_suite.deliveries()[-1].layout.event == "note_changed"


def test_a_mapping_with_another_column(own_suite: Suite) -> None:
    own_suite.run("alter table candidate add job_id bigint references project")
    own_suite.run("update candidate set job_id = 15")
    mapping = changed(
        ('table = "candidate"\nkey = "id"\nparents = { project = "project_id" }',
         'table = "candidate"\nkey = "id"\nparents = { project = "job_id" }')
    )  # fmt: skip
    own_suite.register("1")
    steps = own_suite.install(mapping)
    # No trigger is touched: functions and rights are enough.
    assert {step.lock for step in steps} == {""}
    assert catalog.granted(own_suite.conn)[Table("public", "candidate")] == ("id", "job_id")
    own_suite.run("update candidate set name = 'x'")
    (post,) = own_suite.posts()
    assert "/projects/15/candidates/19/" in post


def test_a_resource_with_another_name(own_suite: Suite) -> None:
    """The table's triggers move to the new function in one transaction: no change slips through."""
    mapping = changed(
        ("[resources.rating]", "[resources.score]"),
        ('"{candidate}ratings/{rating}/", "{company}ratings/{rating}/"',
         '"{candidate}scores/{score}/", "{company}scores/{score}/"'),
        ('data = ["project", "candidate", "rating"]', 'data = ["project", "candidate", "score"]'),
    )  # fmt: skip
    own_suite.install(mapping)
    assert planned(own_suite, mapping) == []
    own_suite.register("1")
    own_suite.run("update rating set stars = 1")
    (post,) = own_suite.posts()
    assert post.endswith('/candidates/19/scores/9/"}}')


def test_a_table_that_is_locked_for_long(own_suite: Suite) -> None:
    """The installation gives up; meanwhile others wait no longer than one try."""
    own_suite.run("drop trigger cdc_capture_insert on rating")
    own_suite.run("drop trigger cdc_capture_insert on note")
    said: list[str] = []
    with connect(own_suite.url) as idle, connect(own_suite.url) as busy:
        idle.execute("begin; update rating set stars = 1")
        holder = idle.info.backend_pid
        waits = []

        def work() -> None:
            """A writer who goes on all the time."""
            for number in range(10, 40):
                began = time.monotonic()
                busy.execute("insert into rating values (%s, 19)", (number,))
                waits.append(time.monotonic() - began)

        writer = Thread(target=work)
        writer.start()
        with pytest.raises(DatabaseError) as caught:
            install.carry_out(
                own_suite.command,
                planned(own_suite),
                said.append,
                LockRetry(lock_timeout_ms=100, tries=3, pause=0.05),
            )
        writer.join()
        idle.execute("commit")
    assert "public.rating is locked by another session: gave up after 3 tries" in str(caught.value)
    assert "pg_terminate_backend" in caught.value.hint
    # And it is said who is in the way, and not who came by since.
    who = f"pid {holder} (postgres, idle in transaction for "
    assert [line.partition(who)[0] for line in said if "locked" in line] == [
        "public.rating is locked, waiting (try 1 of 3): ",
        "public.rating is locked, waiting (try 2 of 3): ",
    ]
    assert who in str(caught.value)
    # One try at the most, and some time for a machine that is busy otherwise.
    assert max(waits) < 1.0
    # Nothing is left half done: the next time goes on from there.
    assert [str(step.table) for step in planned(own_suite)] in (
        ["public.rating", "public.note"],
        ["public.rating"],
    )
    own_suite.install()
    assert planned(own_suite) == []


def test_a_writer_queues_behind_us_no_longer_than_the_timeout(own_suite: Suite) -> None:
    """A session idles in a transaction on the table; a third wants to write to it, and can while
    the first still idles, though it has waited behind us: the catalogue of locks says so."""
    own_suite.run("drop trigger cdc_capture_insert on rating")
    steps = planned(own_suite)
    lock_retry = LockRetry(lock_timeout_ms=300, tries=200, pause=0.3)
    reported: list[object] = []

    def run() -> None:
        try:
            install.carry_out(own_suite.command, steps, lambda _: None, lock_retry)
            reported.append("installed")
        except Exception as error:
            reported.append(error)

    with (
        connect(own_suite.url) as idle,
        connect(own_suite.url) as third,
        connect(own_suite.url) as watch,
    ):
        ours, theirs = own_suite.command.info.backend_pid, third.info.backend_pid
        idle.execute("begin; update rating set stars = 1")

        def blocked(pid: int) -> list[int]:
            rows = watch.execute("select pg_blocking_pids(%s)", (pid,)).fetchall()
            return list(rows[0][0])

        def until(holds: Callable[[], bool], limit: float = 60) -> None:
            end = time.monotonic() + limit
            while not holds():
                assert time.monotonic() < end
                time.sleep(0.001)

        installing = Thread(target=run)
        installing.start()
        # We wait for the one who idles ...
        until(lambda: idle.info.backend_pid in blocked(ours))
        # ... and the third behind us, but for one try only: then the row is there.
        queued = False
        keys = count(100)
        while not queued:
            wanting = Thread(
                target=lambda: third.execute("insert into rating values (%s, 19)", (next(keys),))
            )
            wanting.start()
            while wanting.is_alive():
                queued = queued or ours in blocked(theirs)
            wanting.join()
        # ... though the first idles on, and capture is not installed.
        assert reported == []
        idle.execute("commit")
        installing.join(60)
    assert reported == ["installed"]
    assert planned(own_suite) == []


def test_two_who_install_at_once(own_suite: Suite) -> None:
    """Both come to an end, the second with nothing left to do."""
    mapping = default_mapping()
    install.carry_out(own_suite.command, plan.removal(own_suite.conn), lambda _: None)
    errors: list[Exception] = []

    def run() -> None:
        other = Suite(own_suite.url)
        try:
            install.carry_out(other.command, steps, lambda _: None, LockRetry(5000, 3, 0.01))
        except Exception as error:
            errors.append(error)
        finally:
            other.close()

    steps = planned(own_suite, mapping)
    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert planned(own_suite, mapping) == []
