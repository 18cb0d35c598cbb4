"""JSON Lines: one object a line, our keys put before its closing brace.

Lines are cut as in CSV (LF, CRLF or CR; blank ones skipped and counted; one that is too long
is bad), by the same reader. Strict: a line that is not one valid object, or has a key twice
anywhere in it, is a bad record, and costs no neighbour.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from json.decoder import scanstring
from typing import BinaryIO

from batch.errors import InputError, UsageError
from batch.formats.columns import check_column_names, encode_texts, find_text_column, format_columns
from batch.formats.input import Input
from batch.formats.layout import JSONL
from batch.formats.text_table import TextTable
from batch.messages import show
from batch.model.decision import Predictions
from batch.reading.dialect import Dialect
from batch.reading.records import Record, RecordReader
from batch.reading.source import Source, reading

# Python's parser gives up at a depth that depends on who called it; ours is always the same.
MAX_DEPTH = 200
_LINES = Dialect(b",", quote=None)  # every line is a record, whatever is in it
# Its end may be missing, so that no quote is looked at twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_skip_space = re.compile(r"[ \t]*").match


class _RepeatedKeyError(ValueError):
    """An object has two members of one name."""


def _check_keys(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and the infinities, which are no JSON


def _drop_number(_: str) -> None:
    """Nobody asks for its value, and an integer of 5,000 digits is good JSON."""


_decoder = json.JSONDecoder(
    object_pairs_hook=_check_keys,
    parse_int=_drop_number,
    parse_float=_drop_number,
    parse_constant=_refuse_constant,
)


class JsonLinesReader:
    """The records of a JSON Lines stream; their ``raw`` is the line, ``text`` the key's value.

    Args:
        stream: UTF-8, as for ``RecordReader``, which has the other arguments too.
        text_key: whose value is the message; ``find_text_key`` sets it.
        taken: keys that an object must not have, because ours are called so.
    """

    def __init__(
        self,
        stream: BinaryIO,
        text_key: str | None = None,
        taken: Collection[str] = (),
        **options,
    ) -> None:
        self.text_key, self.taken = text_key, frozenset(taken)
        self._lines = RecordReader(stream, _LINES, **options)
        self._first: list[Record] = []  # looked at, not yet returned

    @property
    def bom(self) -> bytes:
        return self._lines.bom

    @property
    def offset(self) -> int:
        return self._first[0].offset if self._first else self._lines.offset

    @property
    def line(self) -> int:
        return self._first[0].line if self._first else self._lines.line

    @property
    def blank_lines(self) -> int:
        return self._lines.blank_lines

    def look_ahead(self) -> Record | None:
        """The next record, not parsed, which stays the next."""
        self._first = self._first or self._lines.read_records(1)
        return self._first[0] if self._first else None

    def read_records(self, n: int) -> list[Record]:
        """The next ``n`` records, fewer only before the end or a fault of the stream, then none."""
        records, self._first = self._first[:n], self._first[n:]
        if len(records) < n:
            records = records + self._lines.read_records(n - len(records))
        return [record if record.problem else self._parse(record) for record in records]

    def _parse(self, record: Record) -> Record:
        found, problem = parse_object(record.raw)
        if problem is None:
            text = found.get(self.text_key)
            if self.text_key not in found:
                problem = f"has no key {show(self.text_key)}"
            elif not isinstance(text, str):
                problem = f"has no string as its {show(self.text_key)}"
            elif not self.taken.isdisjoint(found):
                key = min(self.taken & found.keys())
                problem = (
                    f"has a key {key!r} already; choose others with --columns, "
                    "or give --overwrite-columns"
                )
        text = None if problem else _encode(text)
        raw, line_end, line, offset, _, _, dialect = record  # a third of _replace's time
        return Record(raw, line_end, line, offset, text, problem, dialect)


def _encode(text: str) -> bytes:
    """UTF-8, with the input's own bytes where they were none; a lone surrogate is none either."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def parse_object(raw: bytes) -> tuple[dict[str, object], str | None]:
    """The members of a line that is one JSON object, or what is wrong with it.

    >>> parse_object(b'{"text": "hello", "text": "you"}')[1]
    'has a key twice'
    """
    text = raw.decode("utf-8", "surrogateescape")
    if text.count("[") + text.count("{") > MAX_DEPTH and _find_depth(text) > MAX_DEPTH:
        return {}, f"is nested more than {MAX_DEPTH} deep"
    try:
        found = _decoder.decode(text)
    except json.JSONDecodeError as error:
        before = text[: error.pos].encode("utf-8", "surrogateescape")
        return {}, f"is not valid JSON, at byte {len(before) + 1}"
    except _RepeatedKeyError:
        return {}, "has a key twice"
    except ValueError:
        return {}, "is not valid JSON, which has no NaN and no Infinity"
    return (found, None) if isinstance(found, dict) else ({}, "is not a JSON object")


def _find_depth(text: str) -> int:
    brackets = re.findall(r"[\[{\]}]", _STRING.sub("", text))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets))


def find_text_key(name: str, reader: JsonLinesReader, wanted: str | None) -> str:
    """Set and return the key of the messages: ``wanted``, or the first line's first obvious one.

    Raises:
        InputError: the first line shows none, or is itself bad.
    """
    first = reader.look_ahead()
    if wanted is None and first is not None:
        found, problem = ({}, first.problem) if first.problem else parse_object(first.raw)
        if problem:
            raise InputError(
                f"{name}: line {first.line}, byte offset {first.offset}: {problem}; the first "
                "line must show the keys, unless --text-column names the text's"
            )
        wanted = list(found)[find_text_column(name, list(found), None)]
    reader.text_key = wanted or "text"
    return reader.text_key


def drop_members(raw: bytes, names: Collection[str]) -> bytes:
    """A valid object less its members of these names; all else byte for byte.

    >>> drop_members(b'{"text": "hello", "label": "spam" , "id": 1}', ["label"])
    b'{"text": "hello", "id": 1}'
    """
    text = raw.decode("utf-8", "surrogateescape")
    at = begin = _skip_space(text).end() + 1
    kept = []
    while True:
        start = at
        key, at = scanstring(text, _skip_space(text, at).end() + 1)
        at = _skip_space(text, at).end() + 1  # behind the colon
        _, at = _decoder.raw_decode(text, _skip_space(text, at).end())
        at = _skip_space(text, at).end()
        if key not in names:
            kept.append(text[start:at])
        if text[at] == "}":
            break
        at += 1
    whole = text[:begin] + ",".join(kept) + text[at:]
    return whole.encode("utf-8", "surrogateescape")


def _encode_json(text: str) -> bytes:
    return json.dumps(text).encode()


class JsonRowWriter:
    """Turns records and predictions into lines: the object's own bytes, and our members in it.

    Args:
        line_end: what a last line without an end gets.
        overwrite: take members of our names out of the object first.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        labels: list[str],
        line_end: bytes = b"\n",
        overwrite: bool = False,
    ):
        self._columns, self._line_end, self._overwrite = columns, line_end, overwrite
        self._texts = encode_texts(columns, labels, _encode_json)
        names = [_encode_json(name).replace(b"%", b"%%") for name in columns]
        self._members = b"".join(b",%b:%%b" % name for name in names)

    def body(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        values = zip(*format_columns(self._columns, predictions, self._texts), strict=True)
        raws = [record.raw for record in records]
        if self._overwrite:
            raws = [drop_members(raw, self._columns) for raw in raws]
        ends = [raw.rindex(b"}") for raw in raws]  # white space may follow it
        return b"".join(
            raw[:end] + self._members % value + raw[end:] + (record.line_end or self._line_end)
            for record, raw, end, value in zip(records, raws, ends, values, strict=True)
        )


class JsonTable(TextTable):
    """Writes each object's own bytes, with our members before its closing brace."""

    format = JSONL

    def __init__(
        self,
        source: Source,
        input_: Input,
        columns: tuple[str, ...],
        labels: list[str],
        compress: Callable[[bytes], bytes] | None = None,
    ):
        """
        Raises:
            InputError: the first line shows no key of the messages.
            UsageError: an option that is for CSV.
        """
        layout, text_column = input_.layout, input_.text_column
        encoding = layout.encoding
        if encoding.codec != "utf-8":
            raise UsageError(
                f"--encoding: JSON Lines is in UTF-8, UTF-16 or UTF-32, not in {encoding.name}"
            )
        if not layout.has_header:
            raise UsageError("--no-header: JSON Lines has no header; leave it out")
        super().__init__(source, layout, compress)
        self._columns, self._taken = columns, () if layout.overwrite else columns
        self.text_name = text_column
        self._reader = self._make_reader()
        with reading(source.name):
            self._bom = self._reader.bom
            self.text_name = find_text_key(source.name, self._reader, text_column)
            first = self._reader.look_ahead()
        check_column_names(source.name, [], self.text_name, columns)
        line_end = (first and first.line_end) or b"\n"
        self._writer = JsonRowWriter(columns, labels, line_end, layout.overwrite)
        self.text_in_output = self.text_name

    def _make_reader(self, **options) -> JsonLinesReader:
        longest = self._layout.max_record_bytes
        return JsonLinesReader(
            self._stream, self.text_name, self._taken, max_record_bytes=longest, **options
        )

    def header(self) -> bytes:
        return self._pack(self._bom)

    def own_bytes(self, record: Record) -> bytes:
        """See :meth:`Table.own_bytes`."""
        return drop_members(record.raw, self._columns) if self._layout.overwrite else record.raw

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """The output lines of good records."""
        return self._pack(self._writer.body(records, predictions))
