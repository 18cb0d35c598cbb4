"""The comparison of two models as one HTML page."""

import math
from pathlib import Path

from batch.compare.findings import BINS, Comparison
from batch.compare.pairs import NEAR, Pair, Side
from batch.messages import count
from batch.report.figures import draw_svg, draw_text, plot_time
from batch.report.html import draw_document, escape, percent
from batch.report.parts import STYLE, draw_message, draw_table, draw_tile
from batch.version import __version__

COMMENT = "<!-- spam-batch compare -->\n"
_STYLE = "#moves { min-width: 0; max-width: 520px; }"
START = f"<!DOCTYPE html>\n{COMMENT}".strip()  # identifies a file as a page of ours


def draw_page(found: Comparison) -> str:
    """The whole document."""
    sections = {"What changes": _changes(found)}
    if found.agreement:
        sections["Which is right"] = _agreement(found)
    if found.scored:
        sections["Where the scores moved"] = _scores(found)
    if found.date_column is not None:
        sections["Over time"] = _time(found)
    sections["Changed rows"] = _rows(found)
    body = "\n".join(
        f"<section>\n<h2>{name}</h2>\n{content}\n</section>" for name, content in sections.items()
    )
    texts = "are shown" if found.shows_text else "are left out; --show-text shows them"
    footer = (
        f"<footer>Made by spam-batch compare {__version__}. The texts of messages {texts}. This "
        "page loads nothing from the network.</footer>"
    )
    title = f"{Path(found.name).name}: two models"
    return draw_document(title, _header(found), f"{body}\n{footer}", f"{STYLE}\n{_STYLE}", COMMENT)


def _header(found: Comparison) -> str:
    old, new = map(escape, found.models)
    near = count(found.near, "row") + " near the threshold" if found.knows_near else ""
    tiles = [
        draw_tile("Rows", f"{found.rows:,}", "labelled by both"),
        draw_tile("Another label", percent(found.total, found.rows, 2),
                  count(found.total, "row"), "tile main"),
        draw_tile("Of these, near", percent(found.near, found.total)
                  if found.knows_near else "–", near),
    ]  # fmt: skip
    banner = ""
    if found.bad:
        banner = (
            f'<div class="banner" role="alert"><strong>{count(found.bad, "record")} left out'
            "</strong>, which cannot be read.</div>"
        )
    names = f'<p class="soft">Before: {old}<br>After: {new}</p>'
    return f'{names}{banner}<div class="tiles">{"".join(tiles)}</div>'


def _changes(found: Comparison) -> str:
    before, after = found.labels
    rows = [
        [escape(label), f"{before[label]:,}", f"{after[label]:,}",
         f"{after[label] - before[label]:+,}"]
        for label in dict.fromkeys([*before, *after])
    ]  # fmt: skip
    tables = draw_table(["Label", "Rows before", "Rows after", "Difference"], rows, "nnn")
    if not found.total:
        return f"<p>No label changes.</p>{tables}"
    moves = [
        [escape(old), escape(new), f"{number:,}", percent(number, found.rows, 2)]
        for (old, new), number in found.changes.most_common()
    ]
    return f"{draw_table(['From', 'To', 'Rows', 'Share'], moves, ' nn')}<p></p>{tables}"


def _agreement(found: Comparison) -> str:
    known = found.agreement
    assert known is not None  # as draw_page asked
    rows = []
    for at, name in enumerate(("before", "after")):
        low, high = known.interval(at)
        rows.append(
            [name, f"{known.right[at]:,}", percent(known.right[at], known.rows, 2),
             f"{percent(low, 1, 2)} – {percent(high, 1, 2)}", f"{known.alone[at]:,}"]
        )  # fmt: skip
    heads = ["Model", "Right", "Share", "95 % interval", "Right alone"]
    text = (
        f"<p>{count(known.rows, 'row')} with a value in {escape(known.column)}. A p-value of "
        f"McNemar's exact test of {known.p_value:.3g}: chance alone would make a difference as "
        "large as this one, or larger, in that share of comparisons.</p>"
    )
    return text + draw_table(heads, rows, "nnnn")


def _scores(found: Comparison) -> str:
    mean, most = found.moved / found.scored, found.furthest
    where = f", on line {found.furthest_line:,}" if most else ""
    keys = (
        '<p class="soft"><span class="key" style="background:var(--other)"></span>same label '
        '&nbsp; <span class="key" style="background:var(--spam)"></span>another label</p>'
    )
    return (
        f"<p>A score moved by {mean:.4f} on average, and by {most:.4f} at most{where}. Each field "
        "holds the rows with a score before (to the right) and after (upwards); the stronger, the "
        f'more. Rows on the diagonal have kept their score.</p>{keys}<div class="card scroll">'
        f"{_plot_grid(found)}</div>"
    )


def _plot_grid(found: Comparison) -> str:
    """Rows by both scores. The strength is on a logarithmic scale, so one row is seen, too."""
    left, right, top, bottom = 44, 464, 8, 408
    wide, tall = (right - left) / BINS, (bottom - top) / BINS
    most = math.log1p(int(found.grid.sum(axis=0).max()))
    parts = []
    for old in range(BINS):
        for new in range(BINS):
            same, other = (int(found.grid[kind, old, new]) for kind in (0, 1))
            if not same + other:
                continue
            x, y = left + old * wide, bottom - (new + 1) * tall
            title = (
                f"before {old / BINS:.2f} to {(old + 1) / BINS:.2f}, after {new / BINS:.2f} to "
                f"{(new + 1) / BINS:.2f}: {count(same + other, 'row')}, {other:,} with another "
                "label"
            )
            strength = 0.25 + 0.75 * math.log1p(same + other) / most
            parts.append(
                f'<rect class="{"spam" if other else "other"}" x="{x + 1:.1f}" y="{y + 1:.1f}" '
                f'width="{wide - 2:.1f}" height="{tall - 2:.1f}" opacity="{strength:.2f}">'
                f"<title>{title}</title></rect>"
            )
    for tick in range(6):
        x = left + (right - left) * tick / 5
        y = bottom - (bottom - top) * tick / 5
        parts.append(draw_text(x, bottom + 18, f"{tick / 5:g}", "", "middle"))
        parts.append(draw_text(left - 8, y + 4, f"{tick / 5:g}", "", "end"))
    parts.append(draw_text(right, bottom + 38, "score before", "strong", "end"))
    parts.append(draw_text(left + 6, top + 14, "score after", "strong"))
    return draw_svg("moves", "Rows by their scores before and after", 452, parts, 480)


def _time(found: Comparison) -> str:
    unit, buckets, outside = found.timeline.buckets()
    column, left = escape(found.date_column or ""), found.undated + outside
    if not buckets:
        return f"<p>No row has a date in {column} that can be read.</p>"
    note = f'<p class="soft">Left out: {count(left, "row")} without a date near the others.</p>'
    text = f"<p>Share of rows with another label, and rows, by the {unit} in {column}.</p>"
    figure = plot_time(buckets, unit, "with another label")
    return f'{text}<div class="card scroll">{figure}</div>{note if left else ""}'


def _rows(found: Comparison) -> str:
    if not found.changed:
        return "<p>There are none.</p>"
    shown = found.changed
    which = "" if len(shown) == found.total else f", the first {len(shown):,} here"
    near = (
        f" Near: neither model was further than {NEAR:g} from another label."
        if found.knows_near
        else ""
    )
    text = f"<p>{count(found.total, 'row')} of {escape(found.name)}{which}.{near}</p>"
    heads = ["Line", "Byte", "Before", "After", "Scores"]
    heads += ["Near"] * found.knows_near + ["Message"] * found.shows_text
    return text + draw_table(heads, [_row(found, pair) for pair in shown], "nn  n", True)


def _row(found: Comparison, pair: Pair) -> list[str]:
    cells = [f"{pair.line:,}", f"{pair.offset:,}", escape(pair.before.label),
             escape(pair.after.label), f"{_score(pair.before)} → {_score(pair.after)}"]  # fmt: skip
    if found.knows_near:
        cells.append("near" if pair.is_near else "")
    return [*cells, draw_message(pair.text)] if found.shows_text else cells


def _score(side: Side) -> str:
    return "–" if side.score is None else f"{side.score:.3f}"
