"""Line charts as SVG, as far as the documentation needs them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
COLORS = ("#0b63a5", "#c2410c", "#15803d", "#7c3aed", "#a16207", "#be185d")
DASHES = ("", "6 4", "2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """dashed: 0 for a solid one, 1 and 2 for others.  color: its number."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dashed: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """x_names: what stands at the places of the x axis, where that is no number.

    log_x, log_y: logarithmic axes; points at or below zero are left out there.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    x_names: Sequence[tuple[float, str]] = ()
    log_x: bool = False
    log_y: bool = False

    def svg(self) -> str:
        lines = [line for line in (self._shown(line) for line in self.lines) if line.points]
        xs = [x for line in lines for x, _ in line.points] or [0.0, 1.0]
        ys = [y for line in lines for _, y in line.points] or [0.0, 1.0]
        x_ticks = [value for value, _ in self.x_names] or _ticks(xs, log=self.log_x)
        y_ticks = _ticks(ys, log=self.log_y)
        at_x = _scale([*x_ticks, *xs], LEFT, WIDTH - RIGHT, log=self.log_x)
        at_y = _scale([*y_ticks, *ys], HEIGHT - BOTTOM, TOP, log=self.log_y)
        names = dict(self.x_names)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            _text(LEFT, 22, self.title, size=14),
        ]
        for tick in y_ticks:
            parts.append(_rule(LEFT, at_y(tick), WIDTH - RIGHT, at_y(tick)))
            parts.append(_text(LEFT - 8, at_y(tick) + 4, _number(tick), anchor="end"))
        for tick in x_ticks:
            parts.append(_rule(at_x(tick), TOP, at_x(tick), HEIGHT - BOTTOM))
            name = names.get(tick, _number(tick))
            parts.append(_text(at_x(tick), HEIGHT - BOTTOM + 18, name, anchor="middle"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_text(middle, HEIGHT - 10, self.x, anchor="middle"))
        parts.append(_text(14, TOP - 8, self.y))
        for number, line in enumerate(lines):
            parts += _drawn(line, at_x, at_y, TOP + 14 + 20 * number)
        return "\n".join([*parts, "</svg>", ""])

    def _shown(self, line: Line) -> Line:
        points = [
            (x, y)
            for x, y in line.points
            if (x > 0 or not self.log_x) and (y > 0 or not self.log_y) and y != float("inf")
        ]
        return Line(line.name, points, line.color, line.dashed)


def _drawn(
    line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float], legend: float
) -> list[str]:
    style = f'stroke="{COLORS[line.color % len(COLORS)]}" stroke-width="2" fill="none"'
    if dash := DASHES[line.dashed % len(DASHES)]:
        style += f' stroke-dasharray="{dash}"'
    path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line.points)
    x = WIDTH - RIGHT + 14
    return [
        f'<polyline points="{path}" {style}/>',
        f'<polyline points="{x},{legend - 4} {x + 24},{legend - 4}" {style}/>',
        _text(x + 30, legend, line.name),
    ]


def _scale(values: Sequence[float], start: float, end: float, *, log: bool) -> Callable[..., float]:
    def put(value: float) -> float:
        return log10(value) if log else value

    low, high = put(min(values)), put(max(values))
    span = (high - low) or 1.0
    return lambda value: start + (put(value) - low) / span * (end - start)


def _ticks(values: Sequence[float], *, log: bool) -> list[float]:
    """Round numbers that hold all values between them."""
    if log:
        low, high = floor(log10(min(values))), ceil(log10(max(values)))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    top = max(max(values), 1e-9)
    unit = 10.0 ** floor(log10(top))
    step = next(s * unit for s in (0.2, 0.5, 1.0, 2.0) if top / (s * unit) <= 6)
    return [step * number for number in range(ceil(top / step - 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {place} fill="#222">{escape(text)}</text>'
