"""The report as one HTML page with its style sheet, tables, and figures as SVG."""

from collections.abc import Sequence
from pathlib import Path

from batch.messages import count
from batch.reading.source import STANDARD_INPUT
from batch.report.figures import plot_scores, plot_time
from batch.report.findings import Findings, ShownRow
from batch.report.html import draw_document, escape, percent
from batch.version import __version__

COMMENT = "<!-- spam-batch report -->\n"
START = f"<!DOCTYPE html>\n{COMMENT}".strip()  # identifies a file as a report of ours
MOST_CAMPAIGNS = 20  # shown
MOST_LABELS = 12

STYLE = """
:root { color-scheme: light dark; --page: #f4f5f8; --card: #fff; --ink: #1c212c; --soft: #626b7d;
  --line: #e1e4eb; --spam: #d9480f; --other: #8fa6d3; --warn: #fff3e2; }
@media (prefers-color-scheme: dark) { :root { --page: #13151a; --card: #1c1f26; --ink: #e8eaf0;
  --soft: #a2a9b8; --line: #333944; --spam: #ff8a4c; --other: #5f79ad; --warn: #3a2614; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 56px; }
h1 { font-size: 1.8rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 4px; }
h2 { font-size: 1.15rem; letter-spacing: -.01em; margin: 40px 0 10px; }
p { margin: 0 0 12px; max-width: 76ch; } .soft, footer { color: var(--soft); }
footer { font-size: .85rem; margin-top: 40px; padding-top: 14px;
  border-top: 1px solid var(--line); }
.banner { background: var(--warn); border-left: 5px solid var(--spam); border-radius: 6px;
  padding: 12px 16px; margin: 18px 0 0; }
.tiles { display: grid; gap: 14px; margin: 22px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 200px), 1fr)); }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.tile b { display: block; font-size: 2rem; line-height: 1.25; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; } .tile.main b { color: var(--spam); }
.tile small { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 10px; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: normal; }
tbody tr:last-child > * { border-bottom: 0; } tbody th { font-weight: 600; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.wide { width: 45%; } .message { min-width: 260px; white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: isolate; }
.meter { height: .7em; border-radius: 3px; background: var(--other); min-width: 2px;
  margin-top: .4em; } .meter.spam { background: var(--spam); }
svg { display: block; width: 100%; min-width: 600px; height: auto; }
svg text { fill: var(--soft); font-size: 13px; }
svg .grid { stroke: var(--line); } svg .spam { fill: var(--spam); }
svg .other { fill: var(--other); }
svg .rate { fill: none; stroke: var(--spam); stroke-width: 2; stroke-linejoin: round; }
svg .mark { stroke: var(--ink); stroke-dasharray: 4 4; } svg .strong { fill: var(--ink); }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 3px; margin-right: .4em; }
@media (max-width: 560px) { main { padding: 22px 12px 40px; } .tile, .card { padding: 12px; }
  th, td { padding: 6px; } }
""".strip()


def draw_page(found: Findings) -> str:
    """The whole document."""
    sections = {"Labels": _labels(found)}
    if found.date_column is not None:
        sections["Over time"] = _time(found)
    if found.has_scores:
        sections["Scores"] = _scores(found)
    sections["Campaigns"] = _campaigns(found)
    if found.has_scores:
        sections["Least sure"] = _least_sure(found)
    body = "\n".join(
        f"<section>\n<h2>{name}</h2>\n{content}\n</section>" for name, content in sections.items()
    )
    texts = "are shown" if found.shows_text else "are left out; --show-text shows them"
    footer = (
        f"<footer>Made by spam-batch report {__version__}. The texts of messages {texts}. This "
        "page loads nothing from the network.</footer>"
    )
    title = "standard input" if found.name == STANDARD_INPUT else Path(found.name).name
    return draw_document(title, _header(found), f"{body}\n{footer}", STYLE, COMMENT)


def _header(found: Findings) -> str:
    spam, name = found.labels[found.positive], escape(found.positive)
    several = found.campaigns.found()
    repeated = sum(entry.rows for entry in several)
    tiles = [
        _tile("Rows", f"{found.rows:,}", count(len(found.labels), "label")),
        _tile(f"Labelled {name}", percent(spam, found.rows), count(spam, "row"), "tile main"),
        _tile(f"Of {name}, in campaigns", percent(repeated, spam), count(len(several), "campaign")),
    ]
    banner = ""
    if found.bad:
        banner = (
            f'<div class="banner" role="alert"><strong>{count(found.bad, "record")} left out'
            f"</strong>, which cannot be read; the first: {escape(found.first_bad)}.</div>"
        )
    return f'{banner}<div class="tiles">{"".join(tiles)}</div>'


def _tile(name: str, value: str, note: str, kind: str = "tile") -> str:
    return f'<div class="{kind}">{name}<b>{value}</b><small>{note}</small></div>'


def _labels(found: Findings) -> str:
    rows = []
    for label, number in found.labels.most_common(MOST_LABELS):
        kind = "meter spam" if label == found.positive else "meter"
        share = 100 * number / found.rows
        meter = f'<div class="{kind}" style="width:{share:.2f}%"></div>'
        rows.append([escape(label), f"{number:,}", percent(number, found.rows), meter])
    more = len(found.labels) - len(rows)
    note = f'<p class="soft">There are {more:,} more labels, which are rarer.</p>' if more else ""
    return _table(["Label", "Rows", "Share", ""], rows, "nnw") + note


def _time(found: Findings) -> str:
    unit, buckets, outside = found.timeline.buckets()
    column, notes = escape(found.date_column or ""), []
    if found.undated:
        rows = count(found.undated, "row")
        notes.append(f"Left out: {rows} without a date in {column} that can be read.")
    if outside:
        rows = count(outside, "row")
        notes.append(f"Left out: {rows} from far before or after the time shown.")
    note = f'<p class="soft">{" ".join(notes)}</p>' if notes else ""
    if not buckets:
        return f"<p>No row has a date in {column} that can be read.</p>"
    text = (
        f"<p>Share of {escape(found.positive)}, and rows, by the {unit}; times are those in "
        f"{column}, without their time zones.</p>"
    )
    return f'{text}<div class="card scroll">{plot_time(buckets, unit, found.positive)}</div>{note}'


def _scores(found: Findings) -> str:
    if not found.knows_positive:
        return _unknown(found)
    name, boundary = escape(found.positive), found.boundary
    where = "" if boundary is None else f" The line is where {name} begins, judging by the rows."
    keys = (
        f'<p class="soft"><span class="key" style="background:var(--spam)"></span>labelled {name} '
        '&nbsp; <span class="key" style="background:var(--other)"></span>other labels</p>'
    )
    return (
        f"<p>Number of rows by their probability of {name}, on a logarithmic scale."
        f'{where}</p>{keys}<div class="card scroll">{plot_scores(found)}</div>'
    )


def _campaigns(found: Findings) -> str:
    name, several = escape(found.positive), found.campaigns.found()
    spam = found.labels[found.positive]
    if not several:
        return f"<p>Of {count(spam, 'row')} labelled {name}, no two have the same text.</p>"
    repeated, shown = sum(entry.rows for entry in several), several[:MOST_CAMPAIGNS]
    text = (
        f"<p>Of {count(spam, 'row')} labelled {name}, {repeated:,} have the text of another one, "
        f"except for case, digits and punctuation: {count(len(several), 'campaign')}"
        f"{'' if len(shown) == len(several) else f', the largest {len(shown)} here'}.</p>"
    )
    if found.campaigns.missed:
        more = count(found.campaigns.missed, "row")
        text += (
            f'<p class="soft">There were more distinct messages than are counted at once '
            f"({found.campaigns.most:,}), and the rarest were dropped. So a campaign may have up "
            f"to {more} more than shown, or be missing.</p>"
        )
    rows = []
    for entry in shown:
        scores = f"{entry.low:.3f} – {entry.high:.3f}" if found.has_scores else "–"
        message = [] if entry.text is None else [_message(entry.text)]
        share = percent(entry.rows, spam)
        rows.append(
            [f"{entry.rows:,}", share, f"{entry.first:,}", f"{entry.last:,}", scores, *message]
        )
    heads = ["Rows", "Share", "First line", "Last line", "Scores"]
    return text + _table([*heads, "The first"] if found.shows_text else heads, rows, "nnnnn", True)


def _least_sure(found: Findings) -> str:
    if not found.knows_positive:
        return _unknown(found)
    rows = found.least_sure()
    if not rows:
        return "<p>There are no rows.</p>"
    boundary = found.boundary
    where = "0.5" if boundary is None else f"{boundary:.3f}, where {escape(found.positive)} begins"
    heads = ["Line", "Label", "Score"] + ["Message"] * found.shows_text
    table = _table(heads, [_sure_row(row) for row in rows], "n n", first=True)
    return f"<p>{count(len(rows), 'row')}, whose score is nearest to {where}.</p>{table}"


def _sure_row(row: ShownRow) -> list[str]:
    message = [] if row.text is None else [_message(row.text)]
    return [f"{row.line:,}", escape(row.label), f"{row.score:.6f}", *message]


def _unknown(found: Findings) -> str:
    return (
        f"<p>No row is labelled {escape(found.positive)}, so it is unknown which label the scores "
        "belong to; give a label with --positive-label.</p>"
    )


def _message(text: str) -> str:
    return f'<div class="message" dir="auto">{escape(text)}</div>'


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], kinds: str, first: bool = False
) -> str:
    """A card with a table of HTML cells. The first column is the heading of each row.

    Args:
        kinds: one letter for each column, n for a number, w for a wide column.
        first: ``kinds`` also has a letter for the first column.
    """
    classes = {"n": ' class="number"', "w": ' class="wide"'}
    letters = (kinds if first else f" {kinds}").ljust(len(heads))
    marks = [classes.get(letter, "") for letter in letters]
    top = "".join(
        f'<th scope="col"{mark}>{head}</th>' for mark, head in zip(marks, heads, strict=True)
    )
    lines = []
    for row in rows:
        cells = [f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True)]
        cells[0] = f'<th scope="row"{marks[0]}>{row[0]}</th>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="card scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
