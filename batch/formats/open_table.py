"""Which format a file has, by its name or by what the user says, and how it is opened."""

from pathlib import PurePath

from batch.reading.dialect import Dialect
from batch.errors import InputError, UsageError
from batch.writing.output import is_stream
from batch.formats.csv_table import CsvTable
from batch.reading.source import STANDARD_INPUT, Source
from batch.reading.compression import compression_of_name, find_compression
from batch.formats.layout import Layout

CSV, JSONL, PARQUET = ("csv", "jsonl", "parquet")
ENDINGS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".parquet": PARQUET,
    ".pq": PARQUET,
}
SHOWN = {CSV: "CSV", JSONL: "JSON Lines", PARQUET: "Parquet"}


def inner_ending(name: str) -> str:
    """The ending of a file's name, that of its compression apart, in small letters.

    >>> inner_ending("Dump.TSV.gz")
    '.tsv'
    """
    if found := compression_of_name(name):
        name = name[: -len(found.ending)]
    return PurePath(name).suffix.lower()


def find_format(name: str, layout: Layout) -> str:
    """The format of an input; what says nothing is CSV."""
    return layout.format or ENDINGS.get(inner_ending(name), CSV)


def check_output(source: str, out: str, layout: Layout) -> None:
    """Refuse an output whose name promises what it would not be.

    Raises:
        UsageError: another format than the input's, or Parquet on a pipe or compressed again.
    """
    format_ = find_format(source, layout)
    promised = ENDINGS.get(inner_ending(out), format_)
    if promised != format_:
        raise UsageError(
            f"--out {out} is named as {SHOWN[promised]}, but {source} is read as "
            f"{SHOWN[format_]}, and the output has the input's format; give another name, or "
            f"--format {promised}"
        )
    if format_ != PARQUET:
        return
    if source == STANDARD_INPUT or is_stream(out):
        raise UsageError("Parquet is neither read from a pipe nor written to one; give files")
    if found := compression_of_name(out):
        raise UsageError(
            f"--out {out}: Parquet is compressed inside; give a name without {found.ending}"
        )


def open_table(
    source: Source,
    out: str,
    dialect: Dialect,
    text_column: str | None,
    columns: tuple[str, ...],
    labels: list[str],
    layout: Layout,
):
    """The table in ``source``, which writes what ``out`` is to be.

    Raises:
        InputError: it cannot be read as what it should be.
        UsageError: its options do not go together.
    """
    format_ = find_format(source.name, layout)
    compression = compression_of_name(out)
    compress = compression.compress if compression else None
    if format_ == CSV:
        table = CsvTable(source, dialect, text_column, columns, labels, layout, compress)
    elif format_ == JSONL:
        from batch.formats.jsonlines import JsonTable

        table = JsonTable(source, text_column, columns, labels, layout, compress)
    else:
        from batch.formats.parquet import ParquetTable

        file = source.open_seekable()
        if found := find_compression(source.head()):
            raise InputError(f"{source.name}: is {found.name} data; decompress it first")
        table = ParquetTable(source.name, file, text_column, columns, labels, layout.overwrite)
    table.settings["--format"] = format_
    return table
