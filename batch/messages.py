"""Parts of a message to the user: counts with their noun, and names shown safely."""


def show(value: str) -> str:
    """A name from the input for a message: quoted, control characters escaped, at most 60 long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def list_columns(names: list[str]) -> str:
    """Column names for a message. A long one is not shown: it may be a message itself."""
    shown = [show(name) if len(name) <= 40 else f"({len(name)} characters)" for name in names[:30]]
    return ", ".join([*shown, f"and {len(names) - 30} more"] if names[30:] else shown)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def escape_controls(text: str) -> str:
    """``text`` with what is not printable, of file and column names say, as ``\\x1b`` and so on."""
    if text.isprintable():
        return text
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
