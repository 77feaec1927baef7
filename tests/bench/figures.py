"""Figures: how they are drawn from runs, and what they have to reach. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import median
from typing import Any, Literal

SECOND = 1_000_000_000

Better = Literal["more", "less"]


def rate(times: Sequence[int]) -> float:
    """Events a second between the first and the last, given in nanoseconds and in order; 0 where
    there is no such time."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return (len(times) - 1) * SECOND / (times[-1] - times[0])


def by_second(times: Sequence[int], start: int, *, step: float = 1.0) -> list[float]:
    """Events a second in each step of time (seconds) from ``start`` on; the last one may be cut."""
    counts: list[int] = []
    for at in times:
        slot = int((at - start) / (SECOND * step))
        if slot < 0:
            continue
        counts.extend([0] * (slot + 1 - len(counts)))
        counts[slot] += 1
    return [count / step for count in counts]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to reach at least, and what it aims at.

    of_baseline: both are multiples of the baseline, else of the figure's own unit.
    better:      whether a good value is a large one or a small one.
    """

    reach: float
    aim: float | None = None
    of_baseline: bool = True
    better: Better = "more"

    def met(self, value: float, wanted: float | None) -> bool:
        if wanted is None:
            return False
        return value >= wanted if self.better == "more" else value <= wanted


@dataclass(slots=True)
class Figure:
    """One line of the table.

    runs:     its values, one a run; its value is their median.
    baseline: values of what it is compared with, from the same runs; ``against`` names it.
    bound:    what it has to reach, if anything.
    lost, repeated: deliveries, over all its runs; given once where several figures share them.
    more:     what else is worth telling, for JSON.
    note:     a few words for people.
    """

    workload: str
    name: str
    unit: str
    runs: list[float]
    baseline: list[float] = field(default_factory=list)
    against: str = ""
    bound: Bound | None = None
    lost: int = 0
    repeated: int = 0
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return median(self.runs)

    @property
    def base(self) -> float | None:
        return median(self.baseline) if self.baseline else None

    @property
    def ratio(self) -> float | None:
        """To the baseline; None without one."""
        return self.value / self.base if self.base else None

    @property
    def verdict(self) -> str:
        """``aim``, ``reach`` or ``missed``; empty where nothing has to be reached."""
        if self.bound is None:
            return ""
        value = self.ratio if self.bound.of_baseline else self.value
        if value is None:
            return ""
        if self.bound.met(value, self.bound.aim):
            return "aim"
        return "reach" if self.bound.met(value, self.bound.reach) else "missed"

    def as_json(self) -> dict[str, Any]:
        bound = self.bound
        return {
            "workload": self.workload,
            "name": self.name,
            "unit": self.unit,
            "value": _short(self.value),
            "runs": [_short(value) for value in self.runs],
            "against": self.against,
            "baseline": _short(self.base),
            "baseline_runs": [_short(value) for value in self.baseline],
            "ratio": _short(self.ratio),
            "reach": bound and bound.reach,
            "aim": bound and bound.aim,
            "bound_is_ratio": bound.of_baseline if bound else None,
            "verdict": self.verdict,
            "lost": self.lost,
            "repeated": self.repeated,
            "note": self.note,
            **self.more,
        }


def _short(value: float | None) -> float | None:
    """Four digits that say something; None for what has no number."""
    if value is None or not isfinite(value):
        return None
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def milliseconds(nanoseconds: Iterable[float]) -> list[float]:
    """In order of size."""
    return sorted(value / 1e6 for value in nanoseconds)
