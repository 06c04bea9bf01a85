"""The few SVG parts that the figures are made of: escaped, rounded, without colours.

The page's style sheet colours them by class name, so that one picture serves light, dark and print.
A mark that carries meaning also has a pattern or a label, so that no meaning rests on colour alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PATTERNS = Markup(
    '<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="p-degraded" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="5" height="5" class="deg-bg"/>'
    '<rect width="2.2" height="5" class="deg-fg"/></pattern>'
    '<pattern id="p-pending" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)">'
    '<rect width="1.6" height="6" class="pend-fg"/></pattern>'
    '<pattern id="p-half" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<circle cx="2.5" cy="2.5" r="1.25" class="half-fg"/></pattern>'
    "</defs></svg>"
)
"""Pattern definitions; they go into the page once, before the first figure."""

_WIDTH_PER_PX = 0.56


def attributes(values: Mapping[str, object]) -> str:
    """Write attributes: numbers rounded to a tenth, `_` as `-`, None left out."""
    parts = []
    for key, value in values.items():
        if value is None:
            continue
        text = short_number(value) if isinstance(value, float) else clean(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return "".join(parts)


def tag(name: str, content: str = "", **values: object) -> Markup:
    """Return an element. `content` that is no Markup is escaped."""
    inside = content if isinstance(content, Markup) else escape(clean(content))
    end = f">{inside}</{name}>" if inside else "/>"
    return Markup(f"<{name}{attributes(values)}{end}")  # noqa: S704 (all of it was escaped above)


def join(parts: Iterable[Markup]) -> Markup:
    """Put elements one after the other."""
    return Markup("").join(parts)


def text(x: float, y: float, words: str, cls: str = "", **values: object) -> Markup:
    """Return a text element whose baseline starts at (x, y)."""
    return tag("text", words, x=float(x), y=float(y), class_=cls or None, **values)


def rect(  # noqa: PLR0917 (the four numbers come in SVG's own order)
    x: float, y: float, width: float, height: float, cls: str, title: str = ""
) -> Markup:
    """Return a rectangle, with a title that browsers show on hover and screen readers read."""
    tip = tag("title", title) if title else Markup("")
    return tag(
        "rect",
        tip,
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        class_=cls,
    )


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> Markup:
    """Return a straight line."""
    return tag(
        "path",
        d=f"M{short_number(x1)} {short_number(y1)}L{short_number(x2)} {short_number(y2)}",
        class_=cls,
    )


def curve(points: Sequence[tuple[float, float] | None], cls: str, title: str = "") -> Markup:
    """Return one path through `points`; None leaves a gap, a point alone becomes a dot."""
    steps: list[str] = []
    fresh = True
    for n, point in enumerate(points):
        if point is None:
            fresh = True
            continue
        alone = fresh and (n + 1 == len(points) or points[n + 1] is None)
        where = f"{short_number(point[0])} {short_number(point[1])}"
        steps.append(f"{'M' if fresh else 'L'}{where}" + ("h.1" if alone else ""))
        fresh = False
    return (
        tag(
            "path",
            tag("title", title) if title else Markup(""),
            d="".join(steps),
            class_=cls,
        )
        if steps
        else Markup("")
    )


def boxes(items: Iterable[tuple[float, float, float, float]], cls: str) -> Markup:
    """Return many (x, y, width, height) rectangles as one path; empty ones are left out."""
    steps = "".join(
        f"M{short_number(x)} {short_number(y)}"
        f"h{short_number(w)}v{short_number(h)}h{short_number(-w)}z"
        for x, y, w, h in items
        if w > 0 and h > 0
    )
    return tag("path", d=steps, class_=cls) if steps else Markup("")


def short_number(value: float) -> str:
    """Write a coordinate to a tenth of a pixel in as few characters as possible."""
    result = f"{value:.1f}"
    return result.removesuffix(".0") if result != "-0.0" else "0"


def width_of(words: str, size_px: float = 11.0) -> float:
    """Estimate how wide `words` is in the page's sans-serif type."""
    return len(words) * size_px * _WIDTH_PER_PX


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from data [low, high] to pixels [start, end]; `log` maps the logarithm.

    Values outside are clamped.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, at_most: int) -> list[float]:
    """Return about `at_most` round values from `low` to `high`, in steps of 1, 2 or 5 · 10^n."""
    span = max(high - low, 1e-9)
    raw = span / max(1, at_most)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 9) for n in range(first, math.floor(high / step + 1e-9) + 1)]
