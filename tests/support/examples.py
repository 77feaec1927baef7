"""How many examples Hypothesis makes: few in each run, 25 times as many in `make long`."""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = 25 if "CDC_TEST_LONG" in os.environ else 1


def examples(number: int) -> settings:
    """Settings for a property that needs more or fewer examples than the profile has."""
    return settings(max_examples=number * TIMES)
