"""JSON Lines: one object a line, and our keys put before its closing brace.

The reader of CSV splits the lines: they end at LF, CRLF or CR, blank ones are skipped and
counted, and one that is too long is a bad record. A line that is not one valid object, or has a
key twice anywhere in it, is a bad record, too; its neighbours are not affected.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate

from batch.errors import InputError, UsageError
from batch.formats.columns import check_column_names, encode_texts, format_columns
from batch.formats.input import Input
from batch.formats.json_advice import advise_record, describe_columns, find_nested
from batch.formats.layout import JSONL
from batch.formats.text_choice import find_text_column
from batch.formats.text_table import TextTable
from batch.messages import show
from batch.model.decision import Predictions
from batch.reading.dialect import Dialect
from batch.reading.foreign import describe_json, make_command
from batch.reading.record import Record
from batch.reading.source import Source, reading

# Python's parser fails at a depth that depends on its caller's; ours is always the same.
MAX_DEPTH = 200
LINES = Dialect(b",", quote=None)  # every line is a record, whatever is in it
# The closing quote is optional, so that no quote is looked at twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_SPACE = re.compile(r"[ \t]*")


class _RepeatedKeyError(ValueError):
    """An object has two members of one name."""


def _check_keys(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN, Infinity, -Infinity: not JSON


def _drop_number(_: str) -> None:
    """Numbers are not used, and int() refuses 5,000 digits, which are valid JSON."""


_decoder = json.JSONDecoder(
    object_pairs_hook=_check_keys,
    parse_int=_drop_number,
    parse_float=_drop_number,
    parse_constant=_refuse_constant,
)


def parse_record(record: Record, text_key: str, taken: Collection[str]) -> Record:
    """The record of one line with its ``text``, the value of ``text_key``; or with a ``problem``.

    Args:
        record: a whole line, not yet parsed.
        taken: keys that the object must not have, as ours have these names.
    """
    found, problem = parse_object(record.raw)
    text = None
    if problem is None:
        value = found.get(text_key)
        if text_key not in found:
            problem = f"has no key {show(text_key)}"
        elif not isinstance(value, str):
            problem = f"has no string as its {show(text_key)}"
        elif not found.keys().isdisjoint(taken):
            key = min(found.keys() & taken)
            problem = (
                f"has a key {key!r} already; choose others with --columns, "
                "or give --overwrite-columns"
            )
        else:
            text = _encode_text(value)
    raw, line_end, line, offset, _, _, dialect = record  # a third of _replace's time
    return Record(raw, line_end, line, offset, text, problem, dialect)


def _encode_text(text: str) -> bytes:
    """UTF-8; bytes of the input that are not valid, and lone surrogates, are kept."""
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


def find_text_key(
    name: str, first: Record | None, wanted: str | None, sample: Sequence[Record] = ()
) -> tuple[str, tuple[str, ...]]:
    """The key of the messages, and warnings: ``wanted``, else a key of the first line.

    Args:
        name: of the input, for messages.
        first: the first line; None if the input is empty.
        sample: the first lines, whose values decide where several keys could be the text.

    Raises:
        InputError: ``wanted`` is None, and the first line has no such key or is bad.
    """
    if wanted is not None or first is None:
        return wanted or "text", ()
    found, problem = ({}, first.problem) if first.problem else parse_object(first.raw)
    if problem:
        raise InputError(
            f"{name}: line {first.line}, byte offset {first.offset}: {problem}; the first "
            "line must show the keys, unless --text-column names the text's"
        )
    keys = list(found)
    objects = [parse_object(record.raw)[0] for record in sample]

    def values(at: int) -> list[str]:
        return [value for one in objects if isinstance(value := one.get(keys[at]), str)]

    def advise() -> str | None:
        nested = find_nested(found)
        return advise_record(name, first, found, nested[0]) if nested else None

    choice = find_text_column(name, keys, None, values, advise)
    return keys[choice.column], choice.warnings


def drop_members(raw: bytes, names: Collection[str]) -> bytes:
    """A valid object without its members of these names; all else byte for byte.

    >>> drop_members(b'{"text": "hello", "label": "spam" , "id": 1}', ["label"])
    b'{"text": "hello", "id": 1}'
    """
    text = raw.decode("utf-8", "surrogateescape")
    at = begin = _skip_space(text, 0) + 1
    kept = []
    while True:
        start = at
        key, at = _decoder.raw_decode(text, _skip_space(text, at))
        at = _skip_space(text, at) + 1  # behind the colon
        _, at = _decoder.raw_decode(text, _skip_space(text, at))
        at = _skip_space(text, at)
        if key not in names:
            kept.append(text[start:at])
        if text[at] == "}":
            break
        at += 1
    return (text[:begin] + ",".join(kept) + text[at:]).encode("utf-8", "surrogateescape")


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches no space, too
    return found.end()


def _encode_json(text: str) -> bytes:
    return json.dumps(text).encode()


def _read_members(raw: bytes) -> dict[str, object]:
    """The members of a valid object; numbers stay text, as they are written."""
    text = raw.decode("utf-8", "surrogateescape")
    return json.loads(text, parse_int=str, parse_float=str)


def _show(value: object) -> str:
    """What is neither a string nor a number, as JSON has it."""
    return json.dumps(value, ensure_ascii=False)


class JsonRowWriter:
    """Writes records as lines: the object's own bytes, with our members before its last brace.

    Args:
        columns: names of our members.
        labels: all that may stand in them.
        line_end: for a last line that has none.
        overwrite: first remove members that have the names of ours.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        labels: Sequence[str],
        line_end: bytes = b"\n",
        overwrite: bool = False,
    ):
        self._columns, self._line_end, self._overwrite = columns, line_end, overwrite
        self._texts = encode_texts(columns, labels, _encode_json)
        names = [_encode_json(name).replace(b"%", b"%%") for name in columns]
        self._members = b"".join(b",%b:%%b" % name for name in names)

    def body(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """The lines of N good records with their N predictions."""
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
    """JSON Lines; a line of the output is the object's own bytes, with our members at its end.

    With ``--columns label``, the line ``{"text": "You won"}`` becomes
    ``{"text": "You won","label":"spam"}``.

    Args:
        source: the opened input.
        input_: what the user says of it.
        columns: names of our members.
        labels: all that may stand in them.
        compress: as for :class:`TextTable`.

    Raises:
        InputError: the key of the messages cannot be found, see :func:`find_text_key`.
        UsageError: an option that only CSV has.
    """

    format = JSONL

    def __init__(
        self,
        source: Source,
        input_: Input,
        columns: tuple[str, ...],
        labels: Sequence[str],
        compress: Callable[[bytes], bytes] | None = None,
    ):
        name, wanted, layout = source.name, input_.text_column, input_.layout
        if layout.encoding.codec != "utf-8":
            kind = layout.encoding.name
            raise UsageError(f"--encoding: JSON Lines is in UTF-8, UTF-16 or UTF-32, not in {kind}")
        if not layout.has_header:
            raise UsageError("--no-header: JSON Lines has no header; leave it out")
        super().__init__(source, layout, LINES, compress)
        self._columns, self._taken = columns, frozenset(() if layout.overwrite else columns)
        with reading(name):
            sample = [] if wanted else self._sample()
            self._bom = self._reader.bom
            first = self._reader.peek()
        what = first and (
            describe_json(name, first.raw)
            or describe_columns(name, parse_object(first.raw)[0], wanted)
        )
        if what:
            raise InputError(f"{name}: {what}")
        self.text_name, self.choice_warnings = find_text_key(name, first, wanted, sample)
        self.text_in_output = self.text_name
        self._names = list(parse_object(first.raw)[0]) if first and not first.problem else []
        check_column_names(name, [], self.text_name, columns)
        line_end = (first and first.line_end) or b"\n"
        self._writer = JsonRowWriter(columns, labels, line_end, layout.overwrite)

    def read(self, n: int) -> list[Record]:
        """See :meth:`Table.read`."""
        records = [
            record if record.problem else parse_record(record, self.text_name, self._taken)
            for record in super().read(n)
        ]
        if self._utf8:
            self._utf8.look_at(records)
        return records

    def advise(self, record: Record) -> str | None:
        """See :meth:`Table.advise`."""
        found = parse_object(record.raw)[0]
        return advise_record(self._source.name, record, found, self.text_name)

    def _advise_cp1252(self) -> str:
        return make_command("iconv -f cp1252 -t utf-8", self._source.name)

    @property
    def column_names(self) -> list[str]:
        return self._names

    def values(self, records: Sequence[Record], column: int) -> list[str | None]:
        """See :meth:`Table.values`."""
        name = self._names[column]
        found = (_read_members(record.raw).get(name) for record in records)
        return [
            value if value is None or isinstance(value, str) else _show(value) for value in found
        ]

    def header(self) -> bytes:
        """See :meth:`Table.header`."""
        return self.pack(self._bom)

    def own_bytes(self, record: Record) -> bytes:
        """See :meth:`Table.own_bytes`."""
        return drop_members(record.raw, self._columns) if self._layout.overwrite else record.raw

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """See :meth:`Table.rows`."""
        return self.pack(self._writer.body(records, predictions))
