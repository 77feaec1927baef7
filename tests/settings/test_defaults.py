"""The numbers that the guides promise, literally."""

from __future__ import annotations

from cdc.daemon import worker
from cdc.lanes import LaneRules
from cdc.model import Webhook, WebhookState
from cdc.settings import Settings

SETTINGS = Settings(database_url="postgresql://x/y")
MINUTE, HOUR = 60.0, 3600.0


def test_of_attempts() -> None:
    assert SETTINGS.retry_schedule == (
        *(5.0, 5 * MINUTE, 30 * MINUTE),
        *(2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
    )
    assert SETTINGS.retry_jitter == 0.2
    assert SETTINGS.attempt_timeout == 15.0
    assert SETTINGS.connect_timeout == 5.0
    assert SETTINGS.answer_limit == 64 * 1024
    assert SETTINGS.excerpt_limit == 1024


def test_of_lanes() -> None:
    assert SETTINGS.window == 1000
    assert SETTINGS.total_window == 50_000
    assert SETTINGS.max_concurrency == 10
    assert SETTINGS.unrecorded_limit == 500
    assert SETTINGS.breaker_failures == 5
    assert SETTINGS.breaker_first_probe == 1.0
    assert SETTINGS.breaker_max_probe == 60.0
    assert SETTINGS.retry_after_cap == HOUR
    assert SETTINGS.suspend_after_days == 5.0


def test_of_retention_and_limits() -> None:
    assert (SETTINGS.log_days, SETTINGS.held_days) == (14, 14.0)
    assert (SETTINGS.webhooks_per_company, SETTINGS.webhooks_per_event) == (100, 20)


def test_a_lane_uses_the_defaults() -> None:
    webhook = Webhook(1, "1", "https://abc.com/", WebhookState.ACTIVE, 1, ())
    assert worker.rules_of(webhook, SETTINGS) == LaneRules()
    assert webhook.rate is None
