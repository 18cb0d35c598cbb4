"""Which column holds the messages, judged by the values of the first records.

A column's name decides where one name fits and its values could be messages. Where several
names fit, the values decide. Nothing of a value is ever part of a sentence here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batch.errors import InputError
from batch.messages import list_columns, show

# Tried in this order, in any case, when no --text-column is given.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
SAMPLE = 100  # records looked at
ALMOST_ALL = 0.9  # of the values that are not empty
LEAST_TO_REFUSE = 10  # values; of fewer, a few messages may be numbers by chance
CLEARLY = 2.0  # so many times the words of the next column decide

_NUMBER = r"[+\-(]?[\d][\d\s.,:()/+\-]*%?"
_CLOCK = r"\d{1,2}[:.h]\d{2}([:.]\d{2}([.,]\d+)?)?( ?[ap]m)?"
_ZONE = r"( ?(z|utc|gmt|[+-]\d\d:?\d\d))?"
_DAY = (
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
    r"|\d{1,2}\.? ?[a-z]{3,9}\.?,? ?\d{2,4}"
    r"|[a-z]{3,9}\.? \d{1,2},? \d{4}"
)
# What a value may be that is no message, in the order in which it is looked for.
KINDS = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "dates": rf"([a-z]{{2,9}},? )?({_DAY})([ t,]+{_CLOCK})?{_ZONE}",
        "times": _CLOCK,
        "numbers": _NUMBER,
        "addresses": r"(.{0,80}<)?[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+>?|(https?|ftp|file)://\S+|www\.\S+",
        "MIME types": r"(text|application|image|audio|video|multipart|message|font)/[\w.+-]+(;.*)?",
        "identifiers": r"(?=.*[\d_])[\w.:/#{}<>@+-]{1,64}",
        "true or false": r"true|false|yes|no|null|none",
    }.items()
}


@dataclass(frozen=True)
class ColumnLook:
    """What the first values of one column look like, in figures."""

    number: int  # from 0
    name: str
    values: int  # that are not empty
    distinct: float  # share of them
    words: float  # mean number of words with a letter
    kind: str | None  # what almost all values are, if that is no text

    @property
    def score(self) -> float:
        """How much it looks like messages: words, and that they differ."""
        return 0.0 if self.kind or not self.values else self.words * self.distinct

    def figures(self) -> str:
        """For a message, which never shows a value."""
        if not self.values:
            return f"{show(self.name)} (empty)"
        what = f", {self.kind}" if self.kind else ""
        figures = f"{self.words:.1f} words a value, {self.distinct:.0%} distinct{what}"
        return f"{show(self.name)} ({figures})"


@dataclass(frozen=True)
class TextChoice:
    """The text column, and a warning if it was a guess."""

    column: int  # from 0
    warning: str | None = None


def look_at(number: int, name: str, values: Sequence[str]) -> ColumnLook:
    """Judge the values of one column; None of them is kept.

    >>> look_at(0, "sent", ["2026-11-28 07:00", "2026-11-28 07:01"]).kind
    'dates'
    """
    filled = [value.strip() for value in values if value.strip()]
    if not filled:
        return ColumnLook(number, name, 0, 0.0, 0.0, None)
    words = [sum(any(c.isalpha() for c in word) for word in value.split()) for value in filled]
    found = None
    for kind, pattern in KINDS.items():
        if sum(pattern.fullmatch(value) is not None for value in filled) >= ALMOST_ALL * len(
            filled
        ):
            found = kind
            break
    distinct = len(set(filled)) / len(filled)
    return ColumnLook(number, name, len(filled), distinct, sum(words) / len(filled), found)


def choose_text_column(
    name: str, names: Sequence[str], values: Callable[[int], Sequence[str]]
) -> TextChoice:
    """The text column of the input ``name``, whose columns are ``names``.

    Args:
        values: number of a column, from 0 -> its values in the first records; none if there
            are no records.

    Raises:
        InputError: no name fits, the one that fits holds no text, or the values do not decide
            between several; the sentence has figures of each.
    """
    lowered = [column.strip().lower() for column in names]
    fitting = [
        number
        for candidate in TEXT_NAMES
        for number, column in enumerate(lowered)
        if column == candidate
    ]
    if not fitting:
        raise InputError(
            f"{name}: no text column found; columns: {list_columns(list(names))}; "
            "name it with --text-column"
        )
    looks = [look_at(number, names[number], values(number)) for number in fitting]
    if not any(look.values for look in looks):  # a header alone: the name is all there is
        return TextChoice(fitting[0])
    if len(looks) == 1:
        return _take_only(name, looks[0])
    first, second = sorted(looks, key=lambda look: -look.score)[:2]
    listed = ", ".join(look.figures() for look in looks)
    if first.score == 0 or first.score < CLEARLY * second.score:
        number = first.number + 1
        raise InputError(
            f"{name}: more than one column could be the text: {listed}; name one, for example: "
            f"--text-column {number}"
        )
    return TextChoice(
        first.number,
        f"the text column was chosen by its values: {show(first.name)}, of {listed}; to be sure, "
        "name it with --text-column",
    )


def _take_only(name: str, look: ColumnLook) -> TextChoice:
    if look.kind and look.kind != "true or false" and look.values >= LEAST_TO_REFUSE:
        raise InputError(
            f"{name}: the column {show(look.name)} holds {look.kind}, not messages; name the text "
            f"with --text-column (--text-column {look.number + 1} takes it as it is)"
        )
    return TextChoice(look.number)
