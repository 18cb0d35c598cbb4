"""How an input is laid out, its dialect apart."""

from dataclasses import dataclass

from batch.reading.encoding import UTF_8, Encoding

CSV, JSONL, PARQUET = FORMATS = ("csv", "jsonl", "parquet")
MAX_RECORD_BYTES = 64 << 20


@dataclass(frozen=True)
class Layout:
    """How an input is read and how its rows are written, its dialect apart."""

    format: str | None = None  # one of FORMATS; None: by the input's name
    encoding: Encoding = UTF_8
    has_header: bool = True
    overwrite: bool = False  # replace columns of the input that have the names of ours
    max_record_bytes: int = MAX_RECORD_BYTES  # a longer record is bad


DEFAULT_LAYOUT = Layout()
