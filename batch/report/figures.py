"""The report's figures: inline SVG with the colours of the page."""

import math
from collections.abc import Sequence

from batch.messages import count
from batch.report.findings import BINS, Findings
from batch.report.html import escape
from batch.report.timeline import Bucket

WIDTH, LEFT, RIGHT = 960, 68, 12  # of a figure and its margins, in units of the SVG


def plot_time(buckets: Sequence[Bucket], unit: str, positive: str) -> str:
    """Two figures, one above the other: the positive share as a line, all rows as bars."""
    top, middle, bottom, height = 24, 200, 360, 392
    step = (WIDTH - LEFT - RIGHT) / len(buckets)
    highest = _round_up(max(bucket.rows for bucket in buckets))
    share = _round_up(
        max(bucket.positive / bucket.rows for bucket in buckets if bucket.rows) * 100, 100
    )
    parts = [draw_text(LEFT, 14, f"% {escape(positive)}", "strong")]
    parts += _grid([0, share / 2, share], share, top, middle - 20)
    parts.append(draw_text(LEFT, middle + 12, "rows", "strong"))
    parts += _grid([0, highest / 2, highest], highest, middle + 22, bottom)
    lines: list[list[tuple[float, float]]] = [[]]
    bars = []
    for number, bucket in enumerate(buckets):
        x = LEFT + number * step
        if bucket.rows:
            value = 100 * bucket.positive / bucket.rows
            y = middle - 20 - (middle - 20 - top) * value / share
            lines[-1].append((x + step / 2, y))
        elif lines[-1]:
            lines.append([])
        title = (
            f"{bucket.name}: {count(bucket.rows, 'row')}, {bucket.positive:,} {escape(positive)}"
        )
        area = (x, step, middle + 22, bottom, highest)
        bars.append(_bar(area, bucket.rows, bucket.positive, title))
    for line in lines:
        if len(line) == 1:
            parts.append(
                f'<circle class="spam" cx="{line[0][0]:.1f}" cy="{line[0][1]:.1f}" r="3"/>'
            )
        elif line:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline class="rate" points="{points}"/>')
    every = math.ceil(len(buckets) / (5 if unit == "hour" else 8))
    for number in range(0, len(buckets), every):
        x = LEFT + number * step
        if number == 0 or x + 8 * len(buckets[number].name) < WIDTH:  # about its width
            parts.append(draw_text(x, bottom + 20, buckets[number].name))
    return draw_svg("time", f"Share of {positive} and rows by the {unit}", height, parts + bars)


def _bar(area: tuple, rows: int, positive: int, title: str) -> str:
    """One bar with its positive part at the bottom."""
    x, step, top, bottom, highest = area
    gap, scale = min(2.0, step / 5), (bottom - top) / highest
    parts = []
    for kind, start, part in (("spam", 0, positive), ("other", positive, rows - positive)):
        if part:
            y, tall = bottom - (start + part) * scale, max(part * scale, 0.5)
            place = f'x="{x:.1f}" y="{y:.1f}" width="{step - gap:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect class="{kind}" {place}/>')
    return f"<g><title>{title}</title>{''.join(parts)}</g>"


def plot_scores(found: Findings) -> str:
    """Rows by score. The two kinds are side by side: stacked bars mislead on a log scale."""
    top, bottom, height = 16, 240, 272
    decades = max(1, math.ceil(math.log10(max(2, int(found.histogram.max())))))
    step = (WIDTH - LEFT - RIGHT) / BINS

    def to_y(count: float) -> float:  # a bar of one row is visible, too
        return bottom - (bottom - top) * (math.log10(count) + 0.15) / (decades + 0.15)

    parts = []
    for power in range(decades + 1):
        y = to_y(10**power)
        parts.append(draw_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(draw_text(LEFT - 8, y + 4, f"{10**power:,}", "", "end"))
    for number in range(BINS):
        counts = [int(found.histogram[kind, number]) for kind in (1, 0)]
        used = [kind for kind in (0, 1) if counts[kind]]
        for place, kind in enumerate(used):
            wide = (step - 2) / len(used)
            x, y = LEFT + number * step + 1 + place * wide, to_y(counts[kind])
            title = (
                f"{number / BINS:.3f} to {(number + 1) / BINS:.3f}: {count(counts[kind], 'row')}"
            )
            parts.append(
                f'<rect class="{("spam", "other")[kind]}" x="{x:.1f}" y="{y:.1f}" '
                f'width="{wide:.1f}" height="{bottom - y:.1f}"><title>{title}</title></rect>'
            )
    parts.append(draw_line(LEFT, bottom, WIDTH - RIGHT, bottom))
    for tick in range(6):
        x = LEFT + (WIDTH - LEFT - RIGHT) * tick / 5
        parts.append(draw_text(x, bottom + 22, f"{tick / 5:g}", "", "middle"))
    if found.boundary is not None:
        x = LEFT + (WIDTH - LEFT - RIGHT) * found.boundary
        parts.append(draw_line(x, top, x, bottom, "mark"))
    return draw_svg("scores", f"Rows by their probability of {found.positive}", height, parts)


def draw_svg(name: str, title: str, height: int, parts: Sequence[str], width: int = WIDTH) -> str:
    label = escape(title)
    return (
        f'<svg id="{name}" role="img" aria-label="{label}" viewBox="0 0 {width} {height}">\n'
        f"<title>{label}</title>\n{chr(10).join(parts)}\n</svg>"
    )


def _grid(values: Sequence[float], highest: float, top: float, bottom: float) -> list[str]:
    parts = []
    for value in values:
        y = bottom - (bottom - top) * value / highest
        parts.append(draw_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(draw_text(LEFT - 8, y + 4, f"{value:,g}", "", "end"))
    return parts


def draw_line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def draw_text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _round_up(value: float, most: float = math.inf) -> float:
    """The next number of 1, 2, 5, 10, 20, 50, ..., but at most ``most``."""
    power = 10.0 ** math.floor(math.log10(max(value, 1)))
    found = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value)
    return min(found, most)
