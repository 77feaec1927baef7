"""The doorbell's rule, with a clock and a database that are played."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from cdc.daemon.doorbell import (
    ARMED_S,
    BUSY_FINDS_PER_S,
    BUSY_POLL_S,
    CROWD_LIMIT_WRITERS,
    DEAF_POLL_S,
    QUICK_POLL_S,
    SLOW_POLL_S,
    SWAMPED_FINDS_PER_S,
    Doorbell,
    Mode,
    Wait,
)
from cdc.daemon.watcher import FLEET_EVERY_S
from tests.daemon.played import Daemon, Played, run


def test_a_quiet_daemon_sleeps_until_it_is_rung() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING
    assert daemon.bell.wait().listen
    assert daemon.bell.wait().seconds == SLOW_POLL_S
    looks = daemon.looks
    run(played, 10.0, 0, daemon)
    assert daemon.looks - looks == 10
    assert played.armed_until > played.now


def test_a_daemon_that_is_rung_glances_and_looks_four_times_a_second() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    looks, glances = daemon.looks, daemon.glances
    run(played, 10.0, 100, daemon)
    assert daemon.mode() is Mode.SLEEPING
    assert daemon.looks - looks == 1000
    assert daemon.looks - looks - (daemon.glances - glances) <= 41
    assert played.armed_until > played.now


def test_a_glance_finds_that_the_bell_was_silenced() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 50, daemon)
    assert daemon.mode() is Mode.SLEEPING
    assert daemon.bell.may_glance(played.now)
    played.armed_until, played.rung = 0.0, True
    daemon.look()
    assert played.armed_until > played.now


def test_a_busy_daemon_polls_and_lets_the_bell_run_out() -> None:
    played = Played(crowd=3)
    daemon = Daemon(played)
    run(played, 5.0, 200, daemon)
    assert daemon.mode() is Mode.POLLING
    assert daemon.bell.wait().seconds == BUSY_POLL_S
    assert not daemon.bell.wait().listen
    assert played.armed_until < played.now


def test_getting_busy_silences_the_bell_at_once() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    played.crowd = CROWD_LIMIT_WRITERS
    run(played, FLEET_EVERY_S + 0.02, 200, daemon)
    assert daemon.mode() is Mode.POLLING
    assert played.armed_until < played.now
    assert daemon.bell.arms(played.now) is None, "once is enough"


def test_an_overloaded_daemon_stays_busy_although_it_looks_seldom() -> None:
    played = Played(crowd=3)
    daemon = Daemon(played)
    run(played, 1.0, 200, daemon)
    assert daemon.mode() is Mode.POLLING
    for _ in range(3 * BUSY_FINDS_PER_S):
        played.now += 0.1
        daemon.look(found=True)
        assert daemon.mode() is Mode.POLLING
    assert played.armed_until < played.now
    run(played, 1.0, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING


def test_a_quick_answer_is_asked_for_again_sooner() -> None:
    bell = Doorbell()
    for n in range(SWAMPED_FINDS_PER_S + 2):
        bell.arms(n * 0.001)
        bell.looked(n * 0.001, found=True, armed=False, was_armed=False, xmin=1, took=0.0)
    assert bell.mode is Mode.POLLING
    assert bell.wait() == Wait(QUICK_POLL_S, listen=False)
    between = (QUICK_POLL_S + BUSY_POLL_S) / 2
    bell.looked(0.4, found=True, armed=False, was_armed=False, xmin=1, took=between)
    assert bell.wait() == Wait(between, listen=False)
    bell.looked(0.4, found=True, armed=False, was_armed=False, xmin=1, took=1.0)
    assert bell.wait() == Wait(BUSY_POLL_S, listen=False)


@pytest.mark.parametrize("seconds", [QUICK_POLL_S, BUSY_POLL_S, (QUICK_POLL_S + BUSY_POLL_S) / 2])
def test_the_event_loop_makes_no_poll_interval_shorter(seconds: float) -> None:
    async def polls() -> float:
        began = time.perf_counter()
        for _ in range(50):
            await asyncio.sleep(seconds)
        return (time.perf_counter() - began) / 50

    assert uvloop.run(polls()) > QUICK_POLL_S / 2


@pytest.mark.parametrize(
    ("per_second", "pause"), [(320, BUSY_POLL_S), (600, 1 / 600), (1000, 0.001), (4000, 0.001)]
)
def test_a_poll_waits_until_a_transaction_is_expected(per_second: int, pause: float) -> None:
    bell = Doorbell()
    for n in range(SWAMPED_FINDS_PER_S + 2):
        bell.arms(n / per_second)
        bell.looked(n / per_second, found=1, armed=False, was_armed=False, xmin=1, took=0.0)
    assert bell.mode is Mode.POLLING
    assert bell.wait().seconds == pytest.approx(pause, rel=0.02)


def test_behind_a_long_writer_a_ring_costs_a_glance() -> None:
    """Transactions that last, in whichever database, are no reason to poll."""
    played = Played()
    writers = [played.begins() for _ in range(3)]  # they have seen the bell unarmed
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    looks, glances = daemon.looks, daemon.glances
    run(played, 10.0, 100, daemon)
    assert daemon.mode() is Mode.SETTLING
    assert daemon.looks - looks <= 1010
    assert daemon.looks - looks - (daemon.glances - glances) <= 41
    played.armed_until = 0.0
    daemon.look()
    assert played.armed_until > played.now, "a glance finds that it was silenced"
    played.open.difference_update(writers)
    run(played, 0.02, 100, daemon)
    assert daemon.mode() is Mode.SLEEPING, "a glance finds that they have ended"


def test_writers_who_would_not_wait_for_each_other_go_on_ringing() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 5.0, 200, daemon)
    assert daemon.mode() is Mode.SLEEPING
    played.crowd = 2
    run(played, 1.0, 200, daemon)
    assert daemon.mode() is Mode.POLLING
    # Silent, the bell makes no session wait; that is no reason to arm it under the same load.
    played.crowd = 0
    run(played, 5.0, 200, daemon)
    assert daemon.mode() is Mode.POLLING
    assert played.armed_until < played.now
    run(played, 2.0, BUSY_FINDS_PER_S - 5, daemon)
    run(played, 5.0, 200, daemon)
    assert daemon.mode() is Mode.SLEEPING


def test_very_many_commits_are_a_load_in_any_case() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 5.0, SWAMPED_FINDS_PER_S + 100, daemon)
    assert daemon.mode() is Mode.POLLING
    assert played.armed_until < played.now


def test_a_slow_daemon_finds_many_transactions_at_once_and_polls() -> None:
    bell = Doorbell(mode=Mode.SLEEPING)
    transactions, looks_per_s = 20, SWAMPED_FINDS_PER_S / 20 + 5
    for n in range(round(looks_per_s) + 1):
        now = n / looks_per_s
        if not bell.arms(now):
            break
        bell.looked(now, found=transactions, armed=True, was_armed=True, xmin=1)
    assert bell.arms(now) is False, "as many rings as transactions, however few looks"
    bell.looked(now, found=transactions, armed=False, was_armed=True, xmin=1)
    assert bell.mode is Mode.POLLING


def test_when_daemons_disagree_the_sleeping_one_is_rung() -> None:
    played = Played()
    crowded, quiet = Daemon(played), Daemon(played)
    run(played, 2.0, 200, quiet)
    played.crowd = CROWD_LIMIT_WRITERS
    for _ in range(BUSY_FINDS_PER_S + 2):  # one of them has seen a crowd that the other has not
        played.now += 0.001
        crowded.look(found=True)
    played.crowd = 0
    assert crowded.mode() is Mode.POLLING
    assert quiet.mode() is Mode.SLEEPING
    assert played.armed_until < played.now
    # Woken, it arms again, and asks whether a writer has seen the bell silent in between.
    writer = played.begins()
    run(played, 0.001, 0, crowded, quiet)
    assert played.armed_until > played.now
    assert quiet.mode() is Mode.SETTLING
    played.open.remove(writer)
    run(played, 0.9, 0, crowded, quiet)
    assert quiet.mode() is Mode.SLEEPING
    assert played.armed_until > played.now
    looks = quiet.looks
    run(played, 0.05, 200, crowded, quiet)
    assert quiet.looks - looks >= 9, "it was rung"


def test_when_the_load_ends_it_sleeps_again() -> None:
    played = Played(crowd=3)
    daemon = Daemon(played)
    run(played, 5.0, 200, daemon)
    run(played, 2.0, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING
    assert played.armed_until > played.now


def test_few_commits_a_second_are_no_load() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    run(played, 20.0, BUSY_FINDS_PER_S - 5, daemon)
    assert daemon.mode() is Mode.SLEEPING


def test_an_idle_daemon_and_a_busy_one_conclude_the_same() -> None:
    played = Played(crowd=3)
    idle, busy = Daemon(played), Daemon(played)
    # All rows may be the busy one's: looks see them all, so the idle one counts them too.
    run(played, 5.0, 200, idle, busy)
    assert idle.mode() is busy.mode() is Mode.POLLING
    assert played.armed_until < played.now
    run(played, 3.0, 0, idle, busy)
    assert idle.mode() is busy.mode() is Mode.SLEEPING
    assert played.armed_until > played.now


def test_one_who_joins_a_busy_fleet_does_not_stay_the_one_who_arms() -> None:
    played = Played(crowd=3)
    busy = Daemon(played)
    run(played, 3.0, 200, busy)
    late = Daemon(played)
    run(played, 1.0, 200, busy, late)
    assert late.mode() is Mode.POLLING
    run(played, ARMED_S, 200, busy, late)
    assert played.armed_until < played.now


def test_it_falls_asleep_only_when_older_writers_have_ended() -> None:
    played = Played()
    writer = played.begins()  # it has seen the bell unarmed
    daemon = Daemon(played)
    run(played, 2.0, 0, daemon)
    assert daemon.mode() is Mode.SETTLING
    # Behind a long writer the looks become rare, but never rarer than the slow poll.
    looks = daemon.looks
    run(played, 10.0, 0, daemon)
    assert 10 <= daemon.looks - looks <= 12
    played.open.remove(writer)
    run(played, SLOW_POLL_S * 1.1, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING


def test_writers_that_begin_after_arming_keep_no_daemon_awake() -> None:
    played = Played()
    daemon = Daemon(played)
    daemon.look()
    played.begins()
    run(played, 0.1, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING


def test_a_bell_that_lapsed_counts_as_silent() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING
    # The machine stood still; a writer came and saw the bell silent.
    played.now += ARMED_S
    played.begins()
    daemon.look()
    assert daemon.mode() is Mode.SETTLING
    run(played, 1.0, 0, daemon)
    assert daemon.mode() is Mode.SETTLING


def test_a_bell_that_cannot_be_used_is_replaced_by_polling() -> None:
    played = Played()
    daemon = Daemon(played, usable=False)
    run(played, 5.0, 0, daemon)
    assert daemon.mode() is Mode.DEAF
    assert played.armed_until == 0.0
    assert daemon.bell.wait() == Wait(DEAF_POLL_S, listen=False)
    # A change is looked for quickly again as long as there are some.
    run(played, 1.0, 20, daemon)
    assert daemon.bell.wait().seconds < DEAF_POLL_S


def test_a_full_notification_queue_makes_everybody_poll() -> None:
    played = Played()
    daemon = Daemon(played)
    run(played, 1.0, 0, daemon)
    played.full = True
    run(played, 2.0, 0, daemon)
    assert daemon.mode() is Mode.DEAF
    assert not daemon.bell.wait().listen
    played.full = False
    run(played, 1.0, 0, daemon)
    assert daemon.mode() is Mode.SLEEPING
