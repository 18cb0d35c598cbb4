"""Parts of the pages of spam-batch: style sheet, tiles, tables."""

from collections.abc import Sequence

from batch.report.html import escape

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


def draw_tile(name: str, value: str, note: str, kind: str = "tile") -> str:
    """One large figure. ``name`` and ``note`` are HTML."""
    return f'<div class="{kind}">{name}<b>{value}</b><small>{note}</small></div>'


def draw_message(text: str) -> str:
    """The text of a message: escaped, and it cannot turn what is around it."""
    return f'<div class="message" dir="auto">{escape(text)}</div>'


def draw_table(
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
