"""The report as one HTML page: tables, and figures as SVG."""

from pathlib import Path

from batch.messages import count
from batch.reading.source import STANDARD_INPUT
from batch.report.figures import plot_scores, plot_time
from batch.report.findings import Findings, ShownRow
from batch.report.html import draw_document, escape, percent
from batch.report.parts import STYLE, draw_message, draw_table, draw_tile
from batch.version import __version__

COMMENT = "<!-- spam-batch report -->\n"
START = f"<!DOCTYPE html>\n{COMMENT}".strip()  # identifies a file as a report of ours
MOST_CAMPAIGNS = 20  # shown
MOST_LABELS = 12


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
        draw_tile("Rows", f"{found.rows:,}", count(len(found.labels), "label")),
        draw_tile(f"Labelled {name}", percent(spam, found.rows), count(spam, "row"), "tile main"),
        draw_tile(
            f"Of {name}, in campaigns", percent(repeated, spam), count(len(several), "campaign")
        ),
    ]
    banner = ""
    if found.bad:
        banner = (
            f'<div class="banner" role="alert"><strong>{count(found.bad, "record")} left out'
            f"</strong>, which cannot be read; the first: {escape(found.first_bad)}.</div>"
        )
    return f'{banner}<div class="tiles">{"".join(tiles)}</div>'


def _labels(found: Findings) -> str:
    rows = []
    for label, number in found.labels.most_common(MOST_LABELS):
        kind = "meter spam" if label == found.positive else "meter"
        share = 100 * number / found.rows
        meter = f'<div class="{kind}" style="width:{share:.2f}%"></div>'
        rows.append([escape(label), f"{number:,}", percent(number, found.rows), meter])
    more = len(found.labels) - len(rows)
    note = f'<p class="soft">There are {more:,} more labels, which are rarer.</p>' if more else ""
    return draw_table(["Label", "Rows", "Share", ""], rows, "nnw") + note


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
        message = [] if entry.text is None else [draw_message(entry.text)]
        share = percent(entry.rows, spam)
        rows.append(
            [f"{entry.rows:,}", share, f"{entry.first:,}", f"{entry.last:,}", scores, *message]
        )
    heads = ["Rows", "Share", "First line", "Last line", "Scores"]
    return text + draw_table(
        [*heads, "The first"] if found.shows_text else heads, rows, "nnnnn", True
    )


def _least_sure(found: Findings) -> str:
    if not found.knows_positive:
        return _unknown(found)
    rows = found.least_sure()
    if not rows:
        return "<p>There are no rows.</p>"
    boundary = found.boundary
    where = "0.5" if boundary is None else f"{boundary:.3f}, where {escape(found.positive)} begins"
    heads = ["Line", "Label", "Score"] + ["Message"] * found.shows_text
    table = draw_table(heads, [_sure_row(row) for row in rows], "n n", first=True)
    return f"<p>{count(len(rows), 'row')}, whose score is nearest to {where}.</p>{table}"


def _sure_row(row: ShownRow) -> list[str]:
    message = [] if row.text is None else [draw_message(row.text)]
    return [f"{row.line:,}", escape(row.label), f"{row.score:.6f}", *message]


def _unknown(found: Findings) -> str:
    return (
        f"<p>No row is labelled {escape(found.positive)}, so it is unknown which label the scores "
        "belong to; give a label with --positive-label.</p>"
    )
