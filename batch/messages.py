"""Parts of messages: names shown safely, counts with their noun."""


def show(value: str) -> str:
    """A name from the input: quoted, control characters escaped, at most 60 characters."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def list_columns(names: list[str]) -> str:
    """Column names, 30 at most. A long one is not shown, since it may be the text of a message."""
    shown = [show(name) if len(name) <= 40 else f"({len(name)} characters)" for name in names[:30]]
    return ", ".join([*shown, f"and {len(names) - 30} more"] if names[30:] else shown)


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
