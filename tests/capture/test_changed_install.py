"""Old and new rows are compared where fields are declared and a webhook asks, and nowhere else."""

from __future__ import annotations

import pytest

from cdc.capture import render
from cdc.errors import MappingError
from cdc.mapping import Mapping, default_mapping
from tests.capture.kit import Suite
from tests.capture.test_changed import COLUMNS, declared, queued, register


def test_nothing_is_compared_unless_it_is_asked_for(own_suite: Suite) -> None:
    """The old rows are not read where no webhook of the event names changed fields."""
    plans: list[str] = []
    own_suite.run(COLUMNS)
    own_suite.install(declared())
    fresh = Suite(own_suite.url)
    fresh.conn.add_notice_handler(lambda said: plans.append(said.message_detail or ""))
    fresh.run(
        "set debug_print_plan = on; set debug_pretty_print = off; set client_min_messages = log"
    )
    register(fresh, (None, None, None))
    fresh.run("update candidate set other = 'x' where id = 19")
    assert any("new_rows" in plan for plan in plans)
    assert not any("old_rows" in plan for plan in plans)
    register(fresh, (None, [], None))
    plans.clear()
    fresh.run("insert into candidate (id, project_id) values (7, 17)")
    assert not any("old_rows" in plan for plan in plans)
    fresh.run("update candidate set other = 'y' where id = 19")
    assert len([plan for plan in plans if "old_rows" in plan]) == 1
    # Kept for statements of a million rows.
    plans.clear()
    fresh.run("update candidate set other = 'z' where id in (7, 19)")
    (plan,) = [plan for plan in plans if "old_rows" in plan]
    assert "HASHJOIN" in plan or "MERGEJOIN" in plan
    assert "NESTLOOP" not in plan
    fresh.close()


def test_install_sees_what_the_triggers_lack(own_suite: Suite) -> None:
    """The old rows are demanded where fields are declared, also none, and nowhere else."""
    own_suite.run(COLUMNS)
    plain = own_suite.mapping
    for wanted in (declared(()), declared(), plain):
        relations = "public.candidate"
        former = own_suite.mapping
        own_suite.mapping = wanted
        assert states_of(own_suite, wanted)[relations] == "outdated"
        steps = own_suite.install(wanted)
        triggers = [step for step in steps if "trigger cdc_capture_update" in step.sql]
        assert len(triggers) == (former is plain or wanted is plain)
        assert not any("trigger cdc_capture_insert" in step.sql for step in steps)
        assert own_suite.install(wanted) == []
        assert states_of(own_suite, wanted)[relations] == "installed"
    own_suite.install(declared())
    trigger = render.trigger(
        "cdc_capture_update", declared().resources["candidate"].table, plain.resources["candidate"]
    )
    own_suite.run(f"{trigger} alter table candidate enable always trigger cdc_capture_update")
    assert states_of(own_suite, declared())["public.candidate"] == "outdated"
    # Capture goes on meanwhile: all counts as changed.
    (webhook,) = register(own_suite, (None, ["status"], None))
    own_suite.run("update candidate set id = id")
    assert queued(own_suite, webhook) == [("m", "19")]
    (step,) = own_suite.install(declared())
    assert step.why == (
        "cdc_capture_update does not get the old rows, which the mapping's `fields` need"
    )
    assert (
        own_suite.one(
            "select tgenabled::text from pg_trigger where tgname = 'cdc_capture_update'"
            " and tgrelid = 'candidate'::regclass"
        )
        == "A"
    )


def states_of(suite: Suite, mapping: Mapping) -> dict[str, str]:
    suite.mapping = mapping
    return suite.states()


def test_where_no_fields_are_declared_nothing_is_different(own_suite: Suite) -> None:
    plain, other = default_mapping(), declared(())
    for name, resource in plain.resources.items():
        if resource.event is not None and name != "candidate":
            assert render.functions(plain, resource) == render.functions(other, resource)
        if resource.event is not None:
            text = "".join(function.sql for function in render.functions(plain, resource))
            text += "".join(render.trigger(t, resource.table, resource) for t in render.TRIGGERS)
            assert "old_rows" not in text
            assert "compared" not in text


def test_a_mapping_without_what_a_webhook_asks_is_refused(own_suite: Suite) -> None:
    own_suite.run(COLUMNS)
    own_suite.install(declared())
    (webhook,) = register(own_suite, (None, ["status", "score"], None))
    with pytest.raises(MappingError) as caught:
        own_suite.install(declared(("status",)))
    assert caught.value.message == (
        f"resources.candidate.fields: lacks 'score'; webhook {webhook} wants candidate_changed "
        "when that has changed"
    )
    own_suite.run("update cdc.subscription set changed = '{}'")
    own_suite.install(declared(()))
    with pytest.raises(MappingError) as caught:
        own_suite.install(default_mapping())
    assert "not declared" in caught.value.message
    assert f"`cdc webhook update {webhook} --any-update`" in caught.value.hint
    own_suite.run("update cdc.subscription set changed = null")
    own_suite.install(default_mapping())
