"""The kill switch: at once, in no session's way, and what it has cost can be read afterwards."""

from __future__ import annotations

from threading import Event, Thread

from cdc.capture import catalog, install, render
from cdc.capture.plan import Step
from cdc.mapping import default_mapping
from tests.capture.kit import Suite, connect
from tests.capture.test_install import changed, planned


def carry_out(suite: Suite, steps: list[Step]) -> None:
    install.carry_out(suite.command, steps, lambda _: None)


def off(suite: Suite) -> None:
    carry_out(suite, install.switch_off(suite.conn))


def on(suite: Suite) -> None:
    carry_out(suite, install.switch_on(suite.conn, suite.mapping))


def test_while_writers_are_busy(own_suite: Suite) -> None:
    """They go on without an error, and none is between on and off: each statement is captured whole
    or not at all."""
    own_suite.register("1")
    stop = Event()
    failed: list[Exception] = []
    done: list[int] = []

    def write(number: int) -> None:
        try:
            with connect(own_suite.url) as conn:
                while not stop.is_set():
                    conn.execute(
                        "insert into rating (id, candidate_id)"
                        " select %s + nextval('cdc.queue_id') * 10 + g, 19"
                        "   from generate_series(1, 3) g",
                        (number,),
                    )
                    done.append(number)
        except Exception as error:
            failed.append(error)

    writers = [Thread(target=write, args=(1_000_000_000 * n,)) for n in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for _ in range(5):
        for switch in (off, on):
            switch(own_suite)
            before = len(done)
            while len(done) < before + 3 and not failed:
                stop.wait(0.001)
    stop.set()
    for writer in writers:
        writer.join()
    assert failed == []
    captured = own_suite.all('select "time", count(*) from cdc.queue group by xid, 1')
    assert {count for _, count in captured} == {3}
    assert len(captured) < len(done)
    assert len(captured) == own_suite.one("select count(distinct xid) from cdc.queue")
    assert own_suite.unresolved() == []


def test_it_works_within_transactions_that_are_open(own_suite: Suite) -> None:
    """What they have changed before is captured; they wait for no session, and none for them."""
    own_suite.register("1")
    with connect(own_suite.url) as other:
        other.execute("begin isolation level repeatable read")
        other.execute("update rating set stars = 1")
        off(own_suite)
        other.execute("update rating set stars = 2")
        on(own_suite)
        other.execute("update rating set stars = 3")
        other.execute("commit")
    assert own_suite.changes() == [("m", "9")] * 2


def test_whatever_mapping_is_installed(own_suite: Suite) -> None:
    """Who has to stop it in a hurry does not look for the right file first."""
    other = changed(("[resources.rating]", "[resources.score]"),
                    ('"{candidate}ratings/{rating}/", "{company}ratings/{rating}/"',
                     '"{candidate}scores/{score}/", "{company}scores/{score}/"'),
                    ('data = ["project", "candidate", "rating"]',
                     'data = ["project", "candidate", "score"]'))  # fmt: skip
    own_suite.install(other)
    own_suite.register("1", *other.events)
    assert len(install.switch_off(own_suite.conn)) == 5
    off(own_suite)
    own_suite.run("update rating set stars = 1; update note set name = 'x'")
    assert own_suite.queued() == []


def test_a_function_of_another_owner(own_suite: Suite) -> None:
    """Who has to stop it in a hurry need not find out first why it cannot be replaced."""
    own_suite.register("1")
    for switch, captured in ((off, 0), (on, 1)):
        own_suite.run("alter function cdc_capture.capture_rating() owner to postgres")
        switch(own_suite)
        own_suite.run("update rating set stars = 1")
        assert len(own_suite.changes()) == captured
    assert set(own_suite.states().values()) == {"installed"}
    assert planned(own_suite) == []


def test_when_it_was_off_is_noted_with_the_functions(own_suite: Suite) -> None:
    def gaps() -> list[catalog.Gap]:
        return catalog.gaps(catalog.functions(own_suite.conn)["capture_rating"])

    def now() -> object:
        return own_suite.one("select clock_timestamp()")

    assert gaps() == []
    began = now()
    off(own_suite)
    off(own_suite)  # again: it is the same gap
    (gap,) = gaps()
    assert gap.until is None
    assert gap.who == "postgres"
    assert own_suite.states()["public.rating"] == "off"
    on(own_suite)
    (gap,) = gaps()
    assert began < gap.since < gap.until < now()  # type: ignore[operator]  # times, all of them
    # An installation switches on as well, and says so.
    off(own_suite)
    own_suite.install()
    assert [found.until is None for found in gaps()] == [False, False]
    assert planned(own_suite) == []
    # However often: it stays short.
    for _ in range(60):
        off(own_suite)
        on(own_suite)
    assert len(catalog.functions(own_suite.conn)["capture_rating"].notes) <= 4000
    assert len(gaps()) > 10


def test_a_body_changed_by_hand_is_distinguished_from_an_older_one(own_suite: Suite) -> None:
    function = render.functions(default_mapping(), default_mapping().resources["rating"])[0]
    assert render.intact(function.body)
    body = function.body.rpartition("-- Rendered")[0]
    older = render.sealed(body.replace("happened", "occurred"))
    for body, state in (
        (function.body.replace("return null", "return  null"), "altered"),
        (function.body + "-- mine\n", "altered"),
        (function.body.partition("-- Rendered")[0], "altered"),
        (older, "outdated"),
    ):
        by_hand = render.Function(function.name, "", "trigger", body)
        carry_out(own_suite, [Step(by_hand.sql, "", role=render.RUNS_AS)])
        assert own_suite.states()["public.rating"] == state
        (step,) = own_suite.install()
        assert step.lock == ""
        assert own_suite.states()["public.rating"] == "installed"
