"""Read a rejects file, or a copy of it, after a person has changed records in it."""

import re

from batch.errors import InputError
from batch.formats.csv_table import find_column
from batch.reading.encoding import UTF_8
from batch.reading.input_stream import InputStream
from batch.reading.opening import open_source
from batch.reading.records import RecordReader
from batch.reading.source import reading

_NUMBER = re.compile(rb"[0-9]{1,18}")
_COLUMNS = ("line", "byte_offset", "record")
_SHAPE = "line, byte_offset and record, with commas, as the rejects file has them"


def read_mended(name: str) -> dict[tuple[int, int], bytes]:
    """Line and byte offset of each record -> its bytes now. Rows that were taken out are absent.

    Raises:
        InputError: the file has not the form of a rejects file.
        MissingInputError: it cannot be read.
    """
    with open_source(name) as source, reading(name):
        reader = RecordReader(InputStream(name, source.stream, UTF_8))
        header = next(reader, None)
        if header is None:
            raise InputError(f"{name}: the file is empty; it needs the columns {_SHAPE}")
        if header.problem:
            raise InputError(f"{name}: line 1 {header.problem}; it needs the columns {_SHAPE}")
        names = [field.decode("utf-8", "replace") for field in header.fields]
        at = [find_column(name, names, wanted, f"; it needs {_SHAPE}") for wanted in _COLUMNS]
        reader.expect(len(names), at[2])
        found: dict[tuple[int, int], bytes] = {}
        for record in reader:
            if record.problem:
                raise InputError(f"{name}: line {record.line} {record.problem}; repair that line")
            line, offset, raw = (record.fields[number] for number in at)
            if not (_NUMBER.fullmatch(line) and _NUMBER.fullmatch(offset)):
                raise InputError(
                    f"{name}: line {record.line}: line and byte_offset are not numbers; copy them "
                    "from the rejects file"
                )
            key = int(line), int(offset)
            if key in found:
                raise InputError(
                    f"{name}: line {record.line}: the record of line {key[0]}, byte offset "
                    f"{key[1]}, is there twice; keep one"
                )
            found[key] = raw
    return found
