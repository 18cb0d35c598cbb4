"""The style sheet and the HTML pieces of the training report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from batch.report import html
from batch.report.html import escape

# Sections that take half of the page's width.
HALF = ("Confusion matrix", "Precision and recall", "Calibration", "Message lengths")
MOST_CHARACTERS = 1000  # shown of a message
STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1f2430; --soft: #5b6374;
  --line: #dfe2e9; --accent: #2457c5; --warn: #fff4e5; --warn-line: #d9480f; --cell: 36 87 197; }
@media (prefers-color-scheme: dark) { :root { --page: #14161b; --card: #1d2027; --ink: #e7e9ee;
  --soft: #a0a7b6; --line: #333845; --accent: #8ab0ff; --warn: #3a2413; --warn-line: #ff9255;
  --cell: 110 155 255; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; display: grid;
  gap: 0 24px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
header, section { grid-column: 1 / -1; min-width: 0; } .half { grid-column: span 1; }
@media (max-width: 860px) { .half { grid-column: 1 / -1; } }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.02em; }
h2 { font-size: 1.2rem; margin: 48px 0 12px; letter-spacing: -.01em; }
h3 { font-size: .95rem; margin: 20px 0 8px; } figure { margin: 0; }
p { margin: 0 0 12px; max-width: 72ch; } .below { margin-top: 12px; font-size: .88rem; }
.soft, figcaption, small { color: var(--soft); }
.banner { background: var(--warn); border-left: 5px solid var(--warn-line); border-radius: 6px;
  padding: 14px 18px; margin: 20px 0; }
.tiles, .figures, .columns { display: grid; gap: 16px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(100%, 200px), 1fr)); margin: 24px 0; }
.figures, .columns { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.columns { align-items: start; } .columns > *, .figures > * { min-width: 0; }
.tile, .card, .mistakes li { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 2rem; line-height: 1.2; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile.main b { color: var(--accent); } .tile small { display: block; font-size: .85rem; }
.plot { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px; }
figure svg { display: block; width: 100%; max-width: 500px; height: auto; margin: 0 auto; }
figcaption { font-size: .88rem; line-height: 1.45; margin: 8px 2px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 10px; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tr:last-child > * { border-bottom: 0; } th { font-weight: 600; }
thead th { color: var(--soft); font-weight: 500; font-size: .88rem; }
td small { display: block; font-size: .8rem; } .scores { overflow-wrap: normal; }
.settings { font-size: .9rem; table-layout: fixed; }
.settings th { font-weight: 500; color: var(--soft); width: 45%; }
.hashes th { width: 25%; } .hashes td { font: .82rem/1.6 ui-monospace, Menlo, monospace; }
.confusion caption { color: var(--soft); font-size: .88rem; text-align: left; padding: 0 10px 4px; }
.confusion thead * { text-align: center; } .confusion thead td { background: none; }
.confusion th, .confusion td { overflow-wrap: normal; vertical-align: middle; }
.confusion td { text-align: center; font-size: 1.25rem; min-width: 76px; border-radius: 6px;
  border: 3px solid var(--card); background: rgb(var(--cell) / var(--share)); }
.confusion td small { font-size: .75rem; color: inherit; }
.mistakes { list-style: none; padding: 0; margin: 16px 0 0; display: grid; gap: 10px; }
.how { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: .88rem; }
blockquote { margin: 6px 0 0; white-space: pre-wrap; }
@media (max-width: 520px) { body { font-size: 15px; } main { padding: 24px 14px 48px; }
  th, td { padding: 6px 6px; } .tile, .card, .mistakes li { padding: 13px 14px; } }
""".strip()


def percent(value: float, digits: int = 2) -> str:
    """A share with a no-break space before its sign.

    >>> percent(0.96666).replace("\\xa0", " ")
    '96.67 %'
    """
    return html.percent(value, digits=digits)


def absent(what: str) -> str:
    """The sentence in place of numbers that an older run did not record."""
    return f'<p class="soft">This run has not recorded {what}.</p>'


def interval(scores: dict | None, key: str) -> str:
    """The interval of one of ``scores``, or an empty string if none was recorded."""
    bounds = (scores or {}).get("intervals", {}).get(key)
    return f"{percent(bounds[0], 1)} – {percent(bounds[1], 1)}" if bounds else ""


def draw_page(title: str, header: str, sections: dict[str, str]) -> str:
    """The whole document; ``title`` and the sections' names are text, all else is HTML."""
    body = "\n".join(
        f'<section class="{"half" if name in HALF else "whole"}">\n<h2>{name}</h2>\n{content}'
        "\n</section>"
        for name, content in sections.items()
    )
    return html.draw_document(title, header, body, STYLE)


def tile(name: str, value: float, scores: dict | None, key: str, main: bool = False) -> str:
    """A share in large print, with its interval from ``scores``."""
    bounds = interval(scores, key)
    note = f"{bounds} (95 % interval)" if bounds else "no interval recorded"
    return (
        f'<div class="{"tile main" if main else "tile"}">{escape(name)}'
        f"<b>{percent(value, 1)}</b><small>{note}</small></div>"
    )


def figure(plot: str, note: str = "") -> str:
    """A plot (an SVG element of :mod:`trainer.report.figures`) or HTML, with a caption."""
    plot = f'<div class="plot">{plot}</div>' if plot.startswith("<svg") else plot
    return f"<figure>{plot}{f'<figcaption>{note}</figcaption>' if note else ''}</figure>"


def grid(figures: list[str]) -> str:
    """Figures side by side, if there is room."""
    return f'<div class="figures">{"".join(figures)}</div>' if figures else ""


def draw_table(rows: Sequence[Sequence[str]], heads: Sequence[str] = (), kind: str = "") -> str:
    """A table of HTML cells; the first cell of each row is its heading."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    lines = (
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    head = f"<thead><tr>{top}</tr></thead>" if heads else ""
    return f'<table class="{kind}">{head}<tbody>{"".join(lines)}</tbody></table>'


def draw_facts(values: dict, kind: str = "settings") -> str:
    """A card with a table of names and values."""
    rows = [
        [escape(str(name)), "–" if value is None else escape(str(value))]
        for name, value in values.items()
    ]
    return f'<div class="card">{draw_table(rows, kind=kind)}</div>'


def draw_scores(names: dict[str, str], columns: dict[str, dict]) -> str:
    """A table with a row for each score of ``names``, with its interval in small print."""
    rows = [["Messages", *(f"{scores['messages']:,}" for scores in columns.values())]]
    for key, name in names.items():
        cells = []
        for scores in columns.values():
            value = scores.get(key)
            number = "–" if value is None else f"{value:.4f}" if key == "auc" else percent(value)
            cells.append(f"{number}<small>{interval(scores, key)}</small>")
        rows.append([name, *cells])
    return draw_table(rows, ["", *map(escape, columns)], "scores")


def draw_mistake(row: Any, positive: str | None) -> str:
    """A message that was labelled wrong; ``row`` is a row of the report's predictions."""
    what = "p" if positive is None else f"p({escape(positive)})"
    sure = "" if np.isnan(row.score) else f"<span>{what} = {percent(row.score)}</span>"
    text = row.text[:MOST_CHARACTERS] + ("…" if len(row.text) > MOST_CHARACTERS else "")
    return (
        f'<li><div class="how"><strong>{escape(row.label)} taken for {escape(row.predicted)}'
        f'</strong>{sure}<span class="soft">test.csv, record {row.row + 1:,}</span></div>'
        f'<blockquote dir="auto">{escape(text)}</blockquote></li>'
    )


def draw_confusion(labels: Sequence[str], counts: np.ndarray) -> str:
    """A table ``(K, K)``: rows are true, columns predicted; shaded by the share of the row."""
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    lines = []
    for label, row in zip(labels, counts, strict=True):
        cells = (
            f'<td style="--share:{0.06 + 0.5 * share:.2f}">{count:,}'
            f"<small>{percent(share, 1)}</small></td>"
            for count, share in zip(row, row / max(1, row.sum()), strict=True)
        )
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>')
    return (
        '<div class="card scroll"><table class="confusion" id="confusion">'
        f"<caption>true ↓ predicted →</caption><thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
