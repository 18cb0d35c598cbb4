"""What a CSV record looks like: the special bytes, and how a record splits into fields.

The rules are strict on purpose:

- A record ends at LF, CRLF or CR outside quotes.
- A field that begins with a quote ends with a quote, right before a delimiter or the end of the
  record. A doubled quote inside is one quote. A quote anywhere else makes the record bad.
- With an escape byte, escape + any byte is that byte. Only a dialect without quotes allows an
  escaped line break outside quotes (MySQL's dumps have them). Otherwise lines that happen to end
  in the escape byte could chain through a quoted file.
- Two stray quotes look like a quoted field. A quoted field is taken for two stray quotes if all
  physical lines between them are whole records of the expected width (2 fields or more), and
  there are enough of them. 16 lines are always enough. 5 lines (of 2 fields), 4 (of 3 fields) or
  3 (of more) are enough if the first and the last line of the field would be records as well,
  were the quotes plain text. ``trusts_quotes`` drops this rule.
"""

import re
from dataclasses import dataclass, field

LINE_BREAK = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The special bytes of a CSV file, one byte each. ``quote`` and ``escape`` may be None.

    >>> Dialect(b";").split(b'1;"a;""b"" c"')
    [b'1', b'a;"b" c']

    Raises:
        ValueError: one of them is not a single byte or is a line break, or two are the same.
    """

    delimiter: bytes = b","
    quote: bytes | None = b'"'
    escape: bytes | None = None
    trusts_quotes: bool = False
    _pairs: re.Pattern[bytes] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seen: dict[bytes, str] = {}
        for name in ("delimiter", "quote", "escape"):
            byte = getattr(self, name)
            if name != "delimiter" and byte is None:
                continue
            if not isinstance(byte, bytes) or len(byte) != 1 or byte in b"\r\n":
                raise ValueError(f"{name} must be one byte that is not a line break, not {byte!r}")
            if byte in seen:
                raise ValueError(f"{name} and {seen[byte]} are both {byte!r}; they must differ")
            seen[byte] = name
        # In a well-formed field an escape, and inside quotes a quote, is the first of two bytes.
        pairs = re.compile(b"(?s)" + byte_class(self.specials) + b"(.)") if self.escape else None
        object.__setattr__(self, "_pairs", pairs)

    @property
    def specials(self) -> bytes:
        """The quote and the escape byte, without those that are None."""
        return (self.quote or b"") + (self.escape or b"")

    def is_plain(self, data: bytes) -> bool:
        """True if neither the quote nor the escape byte is in ``data``."""
        return not ((self.quote and self.quote in data) or (self.escape and self.escape in data))

    def value(self, raw_field: bytes) -> bytes:
        """The value of one well-formed field: without its quotes and escapes."""
        if self.quote and raw_field.startswith(self.quote):
            raw_field = raw_field[1:-1]
            if self._pairs is None:
                return raw_field.replace(self.quote * 2, self.quote)
        return raw_field if self._pairs is None else self._pairs.sub(rb"\1", raw_field)

    def values(self, raw_fields: list[bytes]) -> list[bytes]:
        """:meth:`value` of each."""
        if self._pairs or not self.quote:
            return [self.value(raw_field) for raw_field in raw_fields]
        quote, doubled, mark = self.quote, self.quote * 2, self.quote[0]
        return [
            raw_field[1:-1].replace(doubled, quote)
            if raw_field and raw_field[0] == mark
            else raw_field
            for raw_field in raw_fields
        ]

    def drop_escaped(self, data: bytes) -> bytes:
        """``data`` without each escape and the byte after it, in a dialect without quotes."""
        return self._pairs.sub(b"", data) if self._pairs else data

    def split(self, raw: bytes) -> list[bytes]:
        """The values of all fields of a good record; ``raw`` has no line end."""
        return [self.value(field) for field in self.split_raw(raw)]

    def split_raw(self, raw: bytes) -> list[bytes]:
        """The fields of a good record, with their quotes and escapes."""
        if self.is_plain(raw):
            return raw.split(self.delimiter)
        next_special = re.compile(byte_class(self.delimiter + (self.escape or b""))).search
        fields: list[bytes] = []
        start = end = 0
        while True:
            if self.quote and raw.startswith(self.quote, start):
                end = find_closing_quote(raw, start + 1, len(raw), self.quote, self.escape) + 1
            while (found := next_special(raw, end)) and found.group() == self.escape:
                end = found.end() + 1
            end = found.start() if found else len(raw)
            fields.append(raw[start:end])
            if not found:
                return fields
            start = end = end + 1


DEFAULT_DIALECT = Dialect()


def byte_class(members: bytes) -> bytes:
    """A regular expression that matches one of these bytes."""
    return b"[" + re.escape(members) + b"]"


def count_lines(data: bytes, start: int = 0, end: int | None = None) -> int:
    """How many line breaks (LF, CRLF, CR) lie in ``data[start:end]``."""
    breaks = data.count(b"\n", start, end) + data.count(b"\r", start, end)
    return breaks - data.count(b"\r\n", start, end)


def find_closing_quote(data: bytes, at: int, reach: int, quote: bytes, escape: bytes | None) -> int:
    """Index of the quote in ``data[at:reach]`` that closes the field open at ``at``, or -1."""
    if escape is None:
        find_other = re.compile(b"[^" + re.escape(quote) + b"]").search
        while (at := data.find(quote, at, reach)) >= 0:
            other = find_other(data, at, reach)
            end = other.start() if other else min(reach, len(data))
            if (end - at) % 2:  # an even run is doubled quotes only
                return end - 1
            at = end
        return -1
    search = re.compile(byte_class(quote + escape)).search
    while found := search(data, at, reach):
        at = found.start()
        if found.group() == quote and not data.startswith(quote, at + 1):
            return at
        at += 2
    return -1


def find_line_ends(window: bytes, raws: list[bytes]) -> list[bytes]:
    """The line end of each line; ``raws`` are the lines of ``window`` without them."""
    returns = window.count(b"\r")
    if returns and not returns == window.count(b"\n") == window.count(b"\r\n"):
        lines = window.splitlines(keepends=True)
        return [line[len(raw) :] for line, raw in zip(lines, raws, strict=True)]
    ends = [b"\r\n" if returns else b"\n"] * len(raws)
    if not window.endswith(ends[-1]):
        ends[-1] = b""
    return ends
