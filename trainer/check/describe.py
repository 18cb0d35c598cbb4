"""Classes, copies, lengths and scripts of labelled rows, as lines. No line has a text.

Rows have ``label``, ``text``, ``file`` (its number), ``line`` and ``offset``.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from batch.messages import count, show
from batch.model.tokenizer import Tokenizer
from trainer.data.splits import group_key

MOST = 20  # classes or scripts that are listed
PLACES = 5  # lines that are named for each kind of finding


def class_lines(rows: pd.DataFrame) -> list[str]:
    """How many messages each class has."""
    counts = rows["label"].value_counts()
    lines = [
        f"  {show(name)}: {count(int(number), 'message')}, {100 * number / len(rows):.1f} %"
        for name, number in counts.head(MOST).items()
    ]
    if len(counts) > MOST:
        lines.append(f"  and {len(counts) - MOST:,} more")
    return ["classes:", *lines]


def copy_lines(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Repeated texts, texts with two labels, and near copies with two labels."""
    repeated = rows[rows.duplicated("text")]
    conflicts = _with_two_labels(rows, rows["text"])
    keys = rows["text"].map(group_key)
    near = _with_two_labels(rows, keys)
    near = near[~near.index.isin(conflicts.index)]
    empty = rows[rows["text"].str.strip() == ""]
    return [
        f"repeated: {count(len(repeated), 'message')} with the text of an earlier one"
        + _places(repeated, names),
        f"two labels: {count(len(conflicts), 'message')} whose text also has another label"
        + _places(conflicts, names),
        f"near copies with two labels: {count(len(near), 'more message')}, if case, digits and "
        "punctuation do not count" + _places(near, names),
        f"empty: {count(len(empty), 'message')}" + _places(empty, names),
    ]


def _with_two_labels(rows: pd.DataFrame, keys: pd.Series) -> pd.DataFrame:
    labels = rows["label"].groupby(keys).transform("nunique")
    return rows[labels > 1]


def _places(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """The first lines, for the end of a sentence."""
    shown = [
        f"{names[row.file]} line {row.line}" if len(names) > 1 else str(row.line)
        for row in rows.head(PLACES).itertuples()
    ]
    if not shown:
        return ""
    more = ", ..." if len(rows) > PLACES else ""
    what = "" if len(names) > 1 else "line " if len(rows) == 1 else "lines "
    return f": {what}{', '.join(shown)}{more}"


def length_lines(
    rows: pd.DataFrame, names: Sequence[str], tokenizer: Tokenizer | None, limit: int
) -> list[str]:
    """Tokens of the messages, and which have more than ``limit``; characters without tokenizer."""
    if tokenizer is None:
        lengths, unit = rows["text"].str.len().to_numpy(), "characters"
    else:
        # One more than any limit is enough to know that a message is longer.
        lengths = tokenizer.encode_batch(list(rows["text"]), max(limit, 1024) + 1).lengths
        unit = "tokens"
    middle, most = np.percentile(lengths, [50, 95], method="higher")
    line = f"lengths: half have at most {middle:,} {unit}, 95 % at most {most:,}"
    if tokenizer is None:
        return [f"{line}, the longest {lengths.max():,}; tokens were not counted, because there "
                "is no tokenizer here; give --bpe"]  # fmt: skip
    long = rows[lengths > limit]
    return [f"{line}; {count(len(long), 'message')} longer than {limit:,}{_places(long, names)}"]


def script_lines(texts: Iterable[str]) -> list[str]:
    """The share of letters of each script, by the first word of a letter's Unicode name."""
    characters = Counter(character for text in texts for character in text)
    scripts: Counter[str] = Counter()
    for character, number in characters.items():
        if character.isalpha():
            scripts[unicodedata.name(character, "unnamed").split()[0].capitalize()] += number
    total = sum(scripts.values())
    shares = [f"{name} {100 * number / total:.2f} %" for name, number in scripts.most_common(MOST)]
    return [f"scripts of the letters: {', '.join(shares) or 'there are none'}"]
