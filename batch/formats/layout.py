"""How an input is read and its rows are written, apart from the dialect."""

from dataclasses import dataclass

from batch.reading.encoding import UTF_8, Encoding

CSV, JSONL, PARQUET = FORMATS = ("csv", "jsonl", "parquet")
MAX_RECORD_BYTES = 64 << 20  # unless --max-record-bytes says otherwise


@dataclass(frozen=True)
class Layout:
    """How an input is read and how its rows are written, apart from the dialect."""

    format: str | None = None  # one of FORMATS; None: the input's name decides
    encoding: Encoding = UTF_8
    has_header: bool = True
    overwrite: bool = False  # replace columns of the input that have the names of ours
    max_record_bytes: int = MAX_RECORD_BYTES  # a longer record is bad
    delimiter_is_given: bool = False  # a line sep= must not name another one


DEFAULT_LAYOUT = Layout()
