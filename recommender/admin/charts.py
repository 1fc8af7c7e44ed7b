"""Draws charts as accessible SVG, with colours from the page's style sheet.

Our own drawing, since a chart here is 40 lines of markup: no script, no image, and nothing to install.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from recommender.admin.numbers import local
from recommender.runs.figures import Gain

WIDTH = 460
HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 44
N_SERIES_STYLES = 6
"""Series differ in colour and dash; the style sheet has this many of each, then they repeat."""

N_POINTS = 400
"""Points drawn per line: more than one per pixel cannot be seen."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `points` are (x, y), ascending in x. A faint one is drawn behind the others."""

    name: str
    points: Sequence[tuple[float, float]]
    is_faint: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its `value` in words, since a length alone cannot be read."""

    label: str
    value: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One label with several shares, what they are in words, and a floor, 0 for none."""

    label: str
    shares: tuple[float, ...]
    text: str
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values linearly to pixels."""

    lowest: float
    highest: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        share = (value - self.lowest) / ((self.highest - self.lowest) or 1.0)
        return f"{self.start + share * (self.end - self.start):.1f}"


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, x_names: Mapping[float, str] | None = None
) -> SafeString:
    """Draw one line per series with axes, ticks and a legend; values that are not finite are left out.

    x_names: what stands at the x axis in place of numbers, such as days; of many every second, third and so on.
    """
    lines = [replace(line, points=points) for line in series if (points := _drawable(line.points))]
    if not lines:
        return SafeString("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 6), ticks(min(ys), max(ys), 5)
    x_scale = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_scale = _Scale(min(y_ticks[0], *ys), max(y_ticks[-1], *ys), HEIGHT - BOTTOM, TOP)
    parts = [
        _grid(y_ticks, y_scale),
        _x_axis(_x_marks(x_ticks, x_names, xs), x_scale, x_label, y_label),
        format_html_join("", "{}", ((_line(line, n, x_scale, y_scale),) for n, line in enumerate(lines))),
        _legend([line.name for line in lines]),
    ]
    return _svg(parts, title=title, description=_describe_lines(lines, y_label), css="rec-lines", height=HEIGHT)


def bar_chart(bars: Sequence[Bar], *, title: str) -> SafeString:
    """Draw horizontal bars from 0, each with its label above and its value in words beside it."""
    if not bars:
        return SafeString("")
    row, width = 40, 420
    scale = _Scale(0, max((bar.value for bar in bars), default=1) or 1, 0, width)
    rows = format_html_join(
        "",
        '<text class="rec-label" x="0" y="{}">{}</text>'
        '<text class="rec-quiet" x="{}" y="{}" text-anchor="end">{}</text>'
        '<rect class="rec-track" x="0" y="{}" width="{}" height="8" rx="4"/>'
        '<rect class="rec-bar" x="0" y="{}" width="{}" height="8" rx="4"/>',
        (
            (n * row + 14, _short(bar.label, 44), width, n * row + 14, bar.text, n * row + 21, width, n * row + 21,
             scale(max(bar.value, 0)))
            for n, bar in enumerate(bars)
        ),
    )  # fmt: skip
    description = "; ".join(f"{bar.label}: {bar.text or format(bar.value, 'g')}" for bar in bars)
    return _svg([rows], title=title, description=description, css="rec-bars", height=row * len(bars), width=width)


def share_chart(rows: Sequence[ShareRow], *, names: Sequence[str], title: str) -> SafeString:
    """Draw for each row one bar from 0 for each of `names`, and a tick where its floor is; a legend is above."""
    if not rows:
        return SafeString("")
    step, width, size = 26 + 10 * len(names), 420, 7
    highest = max((max(row.shares) for row in rows), default=0)
    scale = _Scale(0, max(highest, *(row.floor for row in rows)) or 1, 0, width)
    parts = [_key(names)]
    for number, row in enumerate(rows):
        top = 26 + number * step
        parts.append(
            format_html(
                '<text class="rec-label" x="0" y="{}">{}</text>'
                '<text class="rec-quiet" x="{}" y="{}" text-anchor="end">{}</text>',
                top + 12, _short(row.label, 40), width, top + 12, row.text,
            )
        )  # fmt: skip
        parts += [
            format_html(
                '<rect class="rec-share rec-f{}" x="0" y="{}" width="{}" height="{}" rx="2"/>',
                n, top + 18 + n * 10, scale(max(share, 0)), size,
            )
            for n, share in enumerate(row.shares)
        ]  # fmt: skip
        if row.floor:
            parts.append(format_html('<path class="rec-floor" d="M{} {}v12"/>', scale(row.floor), top + 15))
    description = "; ".join(f"{row.label}: {row.text}" for row in rows)
    return _svg(parts, title=title, description=description, css="rec-bars", height=30 + step * len(rows), width=width)


def _key(names: Sequence[str]) -> SafeString:
    """The colour of each kind of bar, in one row."""
    return format_html_join(
        "",
        '<rect class="rec-share rec-f{0}" x="{1}" y="4" width="12" height="8" rx="2"/>'
        '<text class="rec-quiet" x="{2}" y="12">{3}</text>',
        ((n, n * 140, n * 140 + 18, _short(name, 20)) for n, name in enumerate(names)),
    )


def frontier_chart(points: Sequence[tuple[float, float, str]], *, title: str, x_label: str, y_label: str) -> SafeString:
    """Draw labelled points (x, y, label) joined in their order; nothing for fewer than two."""
    if len(points) < 2:
        return SafeString("")
    line = Series("", [(x, y) for x, y, _label in points])
    xs, ys = [x for x, _y in line.points], [y for _x, y in line.points]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 5), ticks(min(ys), max(ys), 5)
    x_scale = _Scale(min(x_ticks), max(x_ticks), LEFT, WIDTH - RIGHT)
    y_scale = _Scale(min(y_ticks), max(y_ticks), HEIGHT - BOTTOM, TOP)
    marks = format_html_join(
        "",
        '<circle class="rec-dot rec-s0" cx="{0}" cy="{1}" r="4"/><text class="rec-label" x="{0}" y="{1}" dx="{3}" '
        'dy="-8" text-anchor="{4}">{2}</text>',
        ((x_scale(x), y_scale(y), label, *((-6, "end") if float(x_scale(x)) > WIDTH * 0.8 else (6, "start")))
         for x, y, label in points),
    )  # fmt: skip
    axis = _x_axis([(tick, f"{tick:g}") for tick in x_ticks], x_scale, x_label, y_label)
    parts = [_grid(y_ticks, y_scale), axis, _line(line, 0, x_scale, y_scale)]
    description = "; ".join(f"{label}: {x:.4g}, {y:.4g}" for x, y, label in points)
    return _svg([*parts, marks], title=title, description=description, css="rec-lines", height=HEIGHT)


def column_chart(columns: Sequence[Bar], *, title: str, label_every: int = 1) -> SafeString:
    """Draw narrow upright columns from 0, every `label_every`-th with its label."""
    highest = max((column.value for column in columns), default=0)
    if highest <= 0:
        return SafeString("")
    width, height, step = 360, 92, 360 / len(columns)
    scale = _Scale(0, highest, 0, height - 20)
    parts = []
    for n, column in enumerate(columns):
        size = float(scale(column.value))
        x, middle = n * step + step * 0.15, n * step + step / 2
        parts.append(
            format_html(
                '<rect class="rec-bar" x="{}" y="{}" width="{}" height="{}"/>',
                f"{x:.1f}", f"{height - 18 - size:.1f}", f"{step * 0.7:.1f}", f"{size:.1f}",
            )
        )  # fmt: skip
        if n % label_every == 0:
            parts.append(
                format_html(
                    '<text class="rec-tick" x="{}" y="{}" text-anchor="middle">{}</text>',
                    f"{middle:.1f}", height - 4, column.label,
                )
            )  # fmt: skip
    parts.append(format_html('<path class="rec-axis" d="M0 {0}H{1}"/>', height - 18, width))
    description = ", ".join(f"{column.label}: {local(column.value, 'g')}" for column in columns if column.value)
    return _svg(parts, title=title, description=description, css="rec-columns", height=height, width=width)


def interval_chart(gains: Sequence[tuple[str, Gain]], *, title: str) -> SafeString:
    """Draw each gain, by its label, as a dot with its bounds beside a line at 0: better is right of it."""
    finite = [(label, gain) for label, gain in gains if all(map(math.isfinite, gain))]
    if not finite:
        return SafeString("")
    row, left, width = 28, 176, 460
    height = TOP + row * len(finite) + 26
    lowest, highest = min(0.0, *(gain.low for _, gain in finite)), max(0.0, *(gain.high for _, gain in finite))
    marks = ticks(lowest, highest, 5)
    scale = _Scale(min(lowest, marks[0]), max(highest, marks[-1]), left, width - 24)
    parts = [
        format_html_join(
            "",
            '<path class="rec-grid" d="M{0} {2}V{3}"/>'
            '<text class="rec-tick" x="{0}" y="{4}" text-anchor="middle">{1}</text>',
            ((scale(mark), local(mark, "+g") if mark else "0", TOP - 8, height - 26, height - 8) for mark in marks),
        ),
        format_html('<path class="rec-axis" d="M{0} {1}V{2}"/>', scale(0), TOP - 8, height - 26),
        format_html(
            '<text class="rec-quiet" x="{0}" y="14" text-anchor="end">◀ {2}</text>'
            '<text class="rec-quiet" x="{1}" y="14">{3} ▶</text>',
            f"{float(scale(0)) - 8:.1f}", f"{float(scale(0)) + 8:.1f}", gettext("worse"), gettext("better"),
        ),
        *(_interval(label, gain, TOP + n * row + 10, scale) for n, (label, gain) in enumerate(finite)),
    ]  # fmt: skip
    texts = (
        gettext("%(name)s: %(mean)s (%(low)s to %(high)s)")
        % {"name": label, **{bound: local(value, "+.4f") for bound, value in gain._asdict().items()}}
        for label, gain in finite
    )
    return _svg(parts, title=title, description="; ".join(texts), css="rec-intervals", height=height, width=width)


SMALLEST_SPAN = 1e-290
"""Below this the steps between marks are no longer floating-point numbers."""


def ticks(lowest: float, highest: float, n_wanted: int) -> list[float]:
    """Return round values that span both ends, steps of 1, 2 or 5 times a power of ten (Heckbert 1990, "Nice
    numbers for graph labels", Graphics Gems)."""
    if highest <= lowest:
        return [lowest]
    if highest - lowest < SMALLEST_SPAN:
        return [lowest, highest]
    raw = highest / max(n_wanted - 1, 1) - lowest / max(n_wanted - 1, 1)  # the difference itself may be no number
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next((size * magnitude for size in (1, 2, 5, 10) if size * magnitude >= raw * 0.999), 10 * magnitude)
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def _drawable(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the finite points, evenly thinned to `N_POINTS`; the last is always kept."""
    finite = [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    step = max(1, -(-len(finite) // N_POINTS))
    return finite[::step] + (finite[-1:] if finite and (len(finite) - 1) % step else [])


def _grid(marks: Iterable[float], scale: _Scale) -> SafeString:
    return format_html_join(
        "",
        '<path class="rec-grid" d="M{1} {0}H{2}"/>'
        '<text class="rec-tick" x="{3}" y="{0}" dy="4" text-anchor="end">{4}</text>',
        ((scale(mark), LEFT, WIDTH - RIGHT, LEFT - 8, local(mark, "g")) for mark in marks),
    )


N_X_NAMES = 6


def _x_marks(marks: Iterable[float], names: Mapping[float, str] | None, xs: Sequence[float]) -> list[tuple[float, str]]:
    if names is None:
        return [(mark, local(mark, "g")) for mark in marks if min(xs) <= mark <= max(xs)]
    within = [(mark, name) for mark, name in sorted(names.items()) if min(xs) <= mark <= max(xs)]
    return within[:: -(-len(within) // N_X_NAMES) or 1]


def _x_axis(marks: Iterable[tuple[float, str]], scale: _Scale, x_label: str, y_label: str) -> SafeString:
    axis = format_html_join(
        "",
        '<text class="rec-tick" x="{}" y="{}" text-anchor="middle">{}</text>',
        ((scale(mark), HEIGHT - BOTTOM + 17, name) for mark, name in marks),
    )
    return format_html(
        '<path class="rec-axis" d="M{} {}H{}"/>{}<text class="rec-quiet" x="{}" y="{}" text-anchor="end">{}</text>'
        '<text class="rec-quiet" x="{}" y="14">{}</text>',
        LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, axis, WIDTH - RIGHT, HEIGHT - 8, x_label, 4, y_label,
    )  # fmt: skip


def _line(line: Series, number: int, x_scale: _Scale, y_scale: _Scale) -> SafeString:
    style = number % N_SERIES_STYLES
    if len(line.points) == 1:
        (x, y) = line.points[0]
        return format_html('<circle class="rec-dot rec-s{}" cx="{}" cy="{}" r="4"/>', style, x_scale(x), y_scale(y))
    path = "L".join(f"{x_scale(x)} {y_scale(y)}" for x, y in line.points)
    faint = " rec-faint" if line.is_faint else ""
    return format_html('<path class="rec-line rec-s{}{}" d="M{}"/>', style, faint, path)


def _legend(names: Sequence[str]) -> SafeString:
    """Put the names in one row above the plot, right of the label of the y axis."""
    step = (WIDTH - 90) // len(names)
    return format_html_join(
        "",
        '<path class="rec-line rec-s{0}" d="M{1} 10h22"/><text class="rec-label" x="{2}" y="14">{3}</text>',
        ((n % N_SERIES_STYLES, x, x + 28, _short(name, step // 8)) for n, name in enumerate(names)
         if (x := 90 + n * step) is not None),
    )  # fmt: skip


def _interval(label: str, gain: Gain, y: float, scale: _Scale) -> SafeString:
    css = "rec-better" if gain.low > 0 else "rec-worse" if gain.high < 0 else "rec-even"
    return format_html(
        '<text class="rec-label" x="0" y="{y}" dy="4">{label}</text>'
        '<path class="rec-whisker {css}" d="M{low} {y}H{high}"/>'
        '<circle class="rec-dot {css}" cx="{x}" cy="{y}" r="5"/>',
        y=y,
        label=_short(label, 26),
        css=css,
        low=scale(gain.low),
        high=scale(gain.high),
        x=scale(gain.mean),
    )


def _describe_lines(lines: Sequence[Series], y_label: str) -> str:
    return "; ".join(
        gettext("%(name)s: %(label)s from %(first)s to %(last)s")
        % {
            "name": line.name,
            "label": y_label,
            "first": local(line.points[0][1], ".4g"),
            "last": local(line.points[-1][1], ".4g"),
        }
        for line in lines
    )


def _svg(
    parts: Iterable[SafeString], *, title: str, description: str, css: str, height: float, width: float = WIDTH
) -> SafeString:
    """Wrap the parts; `title` and `desc` are what a screen reader says."""
    return format_html(
        '<svg class="rec-chart {css}" viewBox="0 0 {width} {height}" role="img" '
        'xmlns="http://www.w3.org/2000/svg"><title>{title}</title><desc>{description}</desc>{body}</svg>',
        css=css,
        width=width,
        height=height,
        title=title,
        description=description,
        body=format_html_join("", "{}", ((part,) for part in parts)),
    )


def _short(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters - 1].rstrip()}…"
