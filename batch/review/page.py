"""The review page: rows as data, one script, and no network."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from batch.messages import count
from batch.report.html import POLICY, draw_document, escape
from batch.report.parts import STYLE
from batch.review.script import SCRIPT
from batch.review.selection import CAMPAIGN, CHANGED, LEAST_SURE, RANDOM, Chosen
from batch.version import __version__

COMMENT = "<!-- spam-batch review -->\n"
START = f"<!DOCTYPE html>\n{COMMENT}".strip()  # identifies a file as a page of ours
_SHOWN = {
    RANDOM: "random sample",
    CHANGED: "changed by another model",
    LEAST_SURE: "least sure",
    CAMPAIGN: "campaign",
}
_STYLE = """
[hidden] { display: none !important; }
progress { width: 100%; height: 10px; margin: 14px 0 4px; accent-color: var(--spam); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; min-height: 9em;
  max-height: 46vh; overflow-y: auto; font-size: 1.1rem; margin: 0 0 12px; }
.keys { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 10px; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 8px 12px; cursor: pointer; text-align: left; }
button[data-label] { flex: 1 1 120px; border-color: var(--other); font-weight: 600; }
button[aria-pressed="true"] { border-color: var(--spam); box-shadow: inset 0 0 0 1px var(--spam); }
button:focus-visible, .text:focus-visible { outline: 3px solid var(--spam); outline-offset: 1px; }
kbd { font: 600 .8rem ui-monospace, monospace; border: 1px solid var(--line); border-radius: 4px;
  padding: 1px 5px; margin-right: 6px; background: var(--page); }
""".strip()
_KEYS = (
    ("skip", "Space", "skip"),
    ("undo", "⌫", "undo"),
    ("back", "←", "back"),
    ("next", "→", "next"),
    ("model", "?", "what the model said"),
)


def draw_page(name: str, letters: Mapping[str, str], rows: Sequence[Chosen]) -> str:
    """The whole document.

    Args:
        name: of the labelled file.
        letters: label -> its key.
    """
    shown = [_to_json(chosen) for chosen in rows]
    # The state in the browser belongs to these rows: another file begins with another one.
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()
    data = {
        "key": f"spam-batch review {digest}",
        "classes": [[letter, label] for label, letter in letters.items()],
        "whys": _SHOWN,
        "rows": shown,
    }
    policy = f"{POLICY}; script-src 'sha256-{_hash(SCRIPT)}'"
    return draw_document(
        f"{Path(name).name}: review", _header(rows), _body(letters, data), f"{STYLE}\n{_STYLE}",
        COMMENT, policy,
    )  # fmt: skip


def _to_json(chosen: Chosen) -> dict:
    row = chosen.row
    return {
        "text": row.text,
        "label": row.label,
        "score": row.score,
        "line": row.line,
        "row": row.number,
        "whys": chosen.whys,
        "weight": None if chosen.weight is None else round(chosen.weight, 6),
        "repeats": chosen.repeats,
    }


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _header(rows: Sequence[Chosen]) -> str:
    return (
        f'<p class="soft">{count(len(rows), "row")} to label with the keys below. The page keeps '
        "what you do in this browser and sends nothing; save it at the end.</p>"
        '<progress id="progress" value="0" max="1" aria-label="labelled"></progress>'
        '<p id="count" class="soft" aria-live="polite"></p>'
    )


def _body(letters: Mapping[str, str], data: dict) -> str:
    labels = "".join(
        f'<button data-label="{number}" aria-pressed="false"><kbd>{escape(letter.upper())}'
        f"</kbd>{escape(label)}</button>"
        for number, (label, letter) in enumerate(letters.items())
    )
    others = "".join(
        f'<button data-action="{action}"><kbd>{key}</kbd>{what}</button>'
        for action, key, what in _KEYS
    )
    # In JSON a letter may be written as its number, and no tag can begin without this one.
    safe = json.dumps(data).replace("<", "\\u003c")
    return f"""<section id="work">
<p id="where" class="soft"></p>
<div id="text" class="text card" dir="auto" tabindex="0" role="region" aria-label="message"></div>
<p><span id="state"></span> <span id="model" class="soft"></span></p>
<div class="keys">{labels}</div>
</section>
<section id="end" hidden><p>These are all rows. Save them, or go back.</p></section>
<div class="keys">{others}<button data-action="save"><kbd>Ctrl S</kbd>save corrections.csv</button>
</div>
<noscript><p class="banner">This page needs its script: allow scripts for it.</p></noscript>
<footer>Made by spam-batch review {__version__}. The page has the texts of messages; keep it as \
you keep them.</footer>
<script type="application/json" id="data">{safe}</script>
<script>{SCRIPT}</script>"""
