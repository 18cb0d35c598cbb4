"""Find the format of an input, by its name or by ``--format``, and open it as a table."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from batch.errors import InputError, UsageError
from batch.formats.csv_table import CsvTable
from batch.formats.input import Input
from batch.formats.layout import CSV, JSONL, PARQUET, Layout
from batch.formats.table import Table
from batch.reading.compression import compression_of_name, find_compression
from batch.reading.source import STANDARD_INPUT, Source
from batch.writing.output import is_stream
from batch.writing.rejects import Allowance

WINDOW = 4096  # records read at once
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
    """The ending of a file's name in lower case, without that of its compression.

    >>> inner_ending("Dump.TSV.gz")
    '.tsv'
    """
    if found := compression_of_name(name):
        name = name[: -len(found.ending)]
    return PurePath(name).suffix.lower()


def find_format(name: str, layout: Layout) -> str:
    """The format of an input: ``--format``, else by its name, else CSV.

    A folder's ``.json`` files are left out, as they are seldom messages. One that is given by
    its name is read as JSON Lines, and never as CSV.
    """
    ending = inner_ending(name)
    return layout.format or ENDINGS.get(ending, JSONL if ending == ".json" else CSV)


def check_output(input_: Input, out: str) -> None:
    """Refuse an output whose name does not fit what it will hold.

    Raises:
        UsageError: the name is of another format than the input's, or Parquet would go
            to or come from a pipe, or be compressed twice.
    """
    name, format_ = input_.name, find_format(input_.name, input_.layout)
    promised = ENDINGS.get(inner_ending(out), format_)
    if promised != format_:
        # An input whose name says nothing may well be of the other format.
        is_known = input_.layout.format or inner_ending(name) in (*ENDINGS, ".json")
        rest = "" if is_known else f", or, if it is {SHOWN[promised]}, --format {promised}"
        raise UsageError(
            f"--out {out} is named as {SHOWN[promised]}, but {name} is read as {SHOWN[format_]}, "
            f"and the output has the input's format; give another name{rest}"
        )
    if format_ != PARQUET:
        return
    if name == STANDARD_INPUT or is_stream(out):
        raise UsageError("Parquet is neither read from a pipe nor written to one; give files")
    if found := compression_of_name(out):
        raise UsageError(
            f"--out {out}: Parquet is compressed inside; give a name without {found.ending}"
        )


def open_table(
    source: Source, input_: Input, out: str, columns: tuple[str, ...], labels: Sequence[str]
) -> Table:
    """Read an opened input as a table.

    Args:
        source: the opened input.
        input_: what the user says of it.
        out: name of the output; its ending says how rows are compressed.
        columns: names of the columns that we add.
        labels: all labels that may stand in them.

    Raises:
        InputError: the input cannot be read in its format.
        UsageError: the options do not fit the format.
    """
    format_ = find_format(source.name, input_.layout)
    compression = compression_of_name(out)
    compress = compression.compress if compression else None
    if format_ == CSV:
        return CsvTable(source, input_, columns, labels, compress)
    if format_ == JSONL:
        from batch.formats.jsonlines import JsonTable

        return JsonTable(source, input_, columns, labels, compress)
    from batch.formats.parquet import ParquetTable

    file = source.open_seekable()
    if found := find_compression(source.head()):
        raise InputError(f"{source.name}: is {found.name} data; decompress it first")
    return ParquetTable(file, input_, columns, labels)


def read_message_windows(
    table: Table, name: str, allowance: Allowance, rejects: int = 0
) -> Iterator[tuple[list[str], int]]:
    """The messages of a table, a window at a time, and how many bad records each window has.

    Args:
        name: of the input, for errors.
        rejects: how many records were bad before, in other inputs.

    Raises:
        InputError: more bad records than allowed.
    """
    while records := table.read(WINDOW):
        bad = [record for record in records if record.problem]
        allowance.check_window(name, rejects, bad, table.advise)
        rejects += len(bad)
        yield [record.message for record in records if not record.problem], len(bad)
