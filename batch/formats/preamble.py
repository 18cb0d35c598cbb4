"""A line above the header of a CSV file that is for a program: Excel's and PowerShell's.

Excel reads and writes ``sep=;``, which names the delimiter. PowerShell's ``Export-Csv`` writes
``#TYPE System.IO.FileInfo``. The line is no record. Its bytes stay at the top of the output, and
line numbers and offsets count it.
"""

import re
from dataclasses import dataclass, replace

from batch.errors import InputError
from batch.formats.layout import Layout
from batch.messages import show
from batch.reading.dialect import Dialect
from batch.reading.input_stream import InputStream
from batch.reading.records import UTF8_BOM

_LONGEST = 1024  # bytes of such a line
# No letter, digit, full stop, space or quote: those are no delimiter of ours.
# A program that quotes every field has quoted the line, too.
_SEP = re.compile(rb'("?)(?i:sep)=([\t!#-&(-\-/:-@\[-`{-~])\1(?:\r\n|\r|\n|\Z)')
_TYPE = re.compile(rb"#TYPE [\w.+`\[\]]+(?:\r\n|\r|\n)")


@dataclass(frozen=True)
class Preamble:
    """The start of a file: the bytes before its first record, and the dialect of the records."""

    raw: bytes  # byte order mark and line; b"" if there is no such line
    dialect: Dialect
    has_sep: bool = False  # the line names the delimiter


def read_preamble(name: str, stream: InputStream, dialect: Dialect, layout: Layout) -> Preamble:
    """Read such a line from a stream that nothing was read of, if there is one.

    Args:
        name: of the input, for messages.
        dialect: as the user gave it; a line with ``sep=`` replaces the delimiter.

    Raises:
        InputError: the line names another delimiter than ``--delimiter``, or the quote.
    """
    head = stream.peek(_LONGEST)
    start = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0
    found = _SEP.match(head, start)
    has_sep = found is not None
    if found:
        dialect = _take_delimiter(name, found[2], dialect, layout)
    elif layout.has_header:
        found = _TYPE.match(head, start)
    return Preamble(stream.read(found.end()) if found else b"", dialect, has_sep)


def _take_delimiter(name: str, mark: bytes, dialect: Dialect, layout: Layout) -> Dialect:
    named = f"{name}: line 1 names {show(mark.decode('ascii'))} as the delimiter"
    if layout.delimiter_is_given and mark != dialect.delimiter:
        raise InputError(
            f"{named}, and --delimiter is {show(dialect.delimiter.decode('latin-1'))}; leave "
            "--delimiter out, or remove that line"
        )
    if mark in (dialect.quote, dialect.escape):
        option = "--quote" if mark == dialect.quote else "--escape"
        raise InputError(f"{named}, which is also {option}; leave {option} out")
    return replace(dialect, delimiter=mark)
