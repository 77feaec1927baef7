"""The numbers a lane goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneRules:
    """Limits and delays of one lane; times in seconds (docs/receiver.md, "Answers").

    window:           places (``Delivery.places``) of queue rows in memory at most; created rows
                      from beyond the window that belong before a modified one in it come on top.
    cap:              requests in flight at once at most.
    rate:             requests started per second at most, or None.
    schedule:         delays between the attempts of a delivery; one more attempt than delays.
    jitter:           each of these delays is stretched or shortened by up to this share.
    retry_after_cap:  longest wait a receiver can ask for.
    breaker_failures: failures in a row that open the breaker.
    first_probe:      wait before the first probe of an open breaker; doubles with each failed one.
    max_probe:        longest wait between two probes.
    blocked_limit:    resources being retried at which the lane takes no more rows from the queue:
                      they are remembered one by one (some 200 bytes each), so they need a bound.
    """

    window: int = 1000
    cap: int = 10
    rate: float | None = None
    schedule: tuple[float, ...] = (
        5.0,
        300.0,
        1800.0,
        7200.0,
        18000.0,
        36000.0,
        50400.0,
        72000.0,
        86400.0,
    )
    jitter: float = 0.2
    retry_after_cap: float = 3600.0
    breaker_failures: int = 5
    first_probe: float = 1.0
    max_probe: float = 60.0
    blocked_limit: int = 100_000

    @property
    def due_limit(self) -> int:
        """Rows of the retry table held in memory at most."""
        return self.cap * 2 + 4
