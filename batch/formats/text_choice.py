"""Which column holds the messages, judged by the values of the first records.

``--text-column`` decides if it is given. Else a column's name decides where one name fits and its
values could be messages. Where several names fit, the values decide. Nothing of a value is ever
part of a sentence here.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batch.errors import InputError
from batch.messages import TEXT_NAMES, list_columns, look_like_names, show

SAMPLE = 100  # records looked at
LONGEST = 200  # characters of a value that are compared with KINDS
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

# Scripts without spaces between words: Thai to Burmese, Chinese, Japanese.
_UNSPACED = re.compile("[\u0e00-\u109f\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]")


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
            return f"{show(self.name)} (no text)"
        what = f", {self.kind}" if self.kind else ""
        figures = f"{self.words:.1f} words a value, {self.distinct:.0%} distinct{what}"
        return f"{show(self.name)} ({figures})"


@dataclass(frozen=True)
class TextChoice:
    """The text column, and warnings, such as that it was a guess."""

    column: int  # from 0
    warnings: tuple[str, ...] = ()
    may_show: bool = True  # False: its name could be the text of a message


def look_at(number: int, name: str, values: Sequence[str]) -> ColumnLook:
    """Judge the values of one column; None of them is kept.

    >>> look_at(0, "sent", ["2026-11-28 07:00", "2026-11-28 07:01"]).kind
    'dates'
    """
    filled = [value.strip() for value in values if value.strip()]
    if not filled:
        return ColumnLook(number, name, 0, 0.0, 0.0, None)
    words = sum(_count_words(value) for value in filled) / len(filled)
    distinct = len(set(filled)) / len(filled)
    starts = [value[:LONGEST] for value in filled]
    for kind, pattern in KINDS.items():
        matching = sum(pattern.fullmatch(start) is not None for start in starts)
        if matching >= ALMOST_ALL * len(filled):
            return ColumnLook(number, name, len(filled), distinct, words, kind)
    return ColumnLook(number, name, len(filled), distinct, words, None)


def _count_words(value: str) -> float:
    """Words with a letter; where a script has no spaces, two characters count as a word."""
    unspaced = len(_UNSPACED.findall(value))
    rest = _UNSPACED.sub("", value) if unspaced else value
    return unspaced / 2 + sum(any(map(str.isalpha, word)) for word in rest.split())


def find_text_column(
    name: str,
    names: list[str],
    wanted: str | None,
    values: Callable[[int], Sequence[str]],
    advise: Callable[[], str | None] | None = None,
) -> TextChoice:
    """The column that holds the messages.

    Args:
        name: of the input, for messages.
        names: of all columns.
        wanted: a name or, if no column has it, a number from 1; None: names and values decide.
        values: number of a column, from 0 -> its values in the first records, if they are text.
        advise: why no column fits, and what to type, if the input shows it.

    Raises:
        InputError: the column is not there or there twice, no name fits, the one that fits holds
            no messages, or the values do not decide between several.
    """
    if wanted is not None:
        return _find_named(name, names, wanted, advise)
    lowered = [column.strip().lower() for column in names]
    fitting = [
        number
        for candidate in TEXT_NAMES
        for number, column in enumerate(lowered)
        if column == candidate
    ]
    if not fitting:
        why = advise and advise()
        why = why or f"columns: {list_columns(names)}; name it with --text-column"
        raise InputError(f"{name}: no text column found; {why}")
    return choose_text_column(name, [look_at(at, names[at], values(at)) for at in fitting])


def _find_named(
    name: str, names: list[str], wanted: str, advise: Callable[[], str | None] | None
) -> TextChoice:
    found = [index for index, column in enumerate(names) if column == wanted]
    if len(found) == 1:
        return TextChoice(found[0])
    if not found and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        at = int(wanted) - 1
        if look_like_names(names):
            return TextChoice(at)
        warning = "the first line was read as the header, but looks like a record; if it is one, "
        warnings = (f"{warning}type: --no-header --text-column {wanted}",) if advise else ()
        return TextChoice(at, warnings, names[at].strip().lower() in TEXT_NAMES)
    if found:
        numbers = " and ".join(str(at + 1) for at in found)
        raise InputError(
            f"{name}: the text column {show(wanted)} is there {len(found)} times, as column "
            f"{numbers}; give one of these numbers"
        )
    if advise and (why := advise()):
        raise InputError(f"{name}: no text column found; {why}")
    raise InputError(
        f"{name}: the text column {show(wanted)} is not there; columns: {list_columns(names)}"
    )


def choose_text_column(name: str, looks: Sequence[ColumnLook]) -> TextChoice:
    """The text column of the input ``name``, out of the columns whose name fits, the best first.

    Raises:
        InputError: the only one holds no messages, or the values do not decide between several;
            the sentence has figures of each.
    """
    lowered = [look.name.strip().lower() for look in looks[:2]]
    if not any(look.values for look in looks) and len(set(lowered)) == len(lowered):
        return TextChoice(looks[0].number)  # a header alone: the name is all there is
    first, *others = sorted(looks, key=lambda look: -look.score)
    if not others:
        if first.kind and first.kind != "true or false" and first.values >= LEAST_TO_REFUSE:
            raise InputError(
                f"{name}: the column {show(first.name)} holds {first.kind}, not messages; name "
                f"the text with --text-column ({_option(first, looks)} takes it as it is)"
            )
        return TextChoice(first.number)
    listed = ", ".join(look.figures() for look in looks)
    if first.score == 0 or first.score < CLEARLY * others[0].score:
        raise InputError(
            f"{name}: more than one column could be the text: {listed}; name one, for example: "
            f"{_option(first, looks)}"
        )
    warning = (
        f"the text column was chosen by its values: {show(first.name)}, of {listed}; to be sure, "
        "name it with --text-column"
    )
    return TextChoice(first.number, (warning,))


def _option(look: ColumnLook, looks: Sequence[ColumnLook]) -> str:
    is_unique = [other.name for other in looks].count(look.name) == 1
    return f"--text-column {shlex.quote(look.name) if is_unique else look.number + 1}"
