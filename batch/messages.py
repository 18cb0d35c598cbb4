"""Parts of messages: names shown safely, counts with their noun."""

import re
from collections.abc import Sequence

# Usual names of the text column, tried in this order, in any case.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
LONGEST_NAME = 40  # characters
# A digit at the start, a number of three digits, an address, the end of a sentence.
_DATA = re.compile(r"^\s*[\d+(-]|\d{3}|@|://|[!?…。！？]|\.(\s|$)")


def show(value: str) -> str:
    """A name from the input: quoted, control characters escaped, at most 60 characters."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def list_columns(names: Sequence[str]) -> str:
    """Column names, 30 at most; their number alone where one could be the text of a message."""
    if not look_like_names(names):
        return f"{len(names)} (they look like data, so they are not shown)"
    shown = [show(name) for name in names[:30]]
    return ", ".join([*shown, f"and {len(names) - 30} more"] if names[30:] else shown)


def look_like_names(names: Sequence[str]) -> bool:
    """True if a first record may be shown: short, different names, without digits or a sentence.

    >>> look_like_names(["id", "text"]), look_like_names(["101", "my pin is 4471"])
    (True, False)
    """
    if list(names) in ([str(at + start) for at in range(len(names))] for start in (0, 1)):
        return True  # columns that a program numbered
    lowered = [name.strip().lower() for name in names]
    is_distinct = len(set(lowered)) == len(names) or any(name in TEXT_NAMES for name in lowered)
    return is_distinct and not any(map(_is_data, names))


def _is_data(name: str) -> bool:
    return len(name) > LONGEST_NAME or len(name.split()) > 3 or bool(_DATA.search(name))


def count(number: int, noun: str) -> str:
    """
    >>> count(1, "record"), count(4096, "record")
    ('1 record', '4,096 records')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def escape_controls(text: str) -> str:
    """``text`` with characters that cannot be printed shown as ``\\x1b`` and so on."""
    if text.isprintable():
        return text
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
