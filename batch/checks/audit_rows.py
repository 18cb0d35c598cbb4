"""Read a labelled file again: the bytes of the input, and the values of our columns."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.jsonlines import drop_members
from batch.formats.layout import JSONL, PARQUET
from batch.formats.open_table import open_table
from batch.formats.text_table import TextTable
from batch.reading.record import Record
from batch.reading.source import Source
from batch.run.run_manifest import RunManifest
from batch.writing.output import STANDARD_OUTPUT

WINDOW = 1024  # records read in one step
OURS_BYTES = 1 << 16  # bytes that our columns may add to a record


class AuditedFile:
    """The output of a run, or its input, opened with the options in the run manifest.

    Args:
        is_output: the file has our columns after those of the input.
    """

    def __init__(
        self,
        source: Source,
        manifest: RunManifest,
        is_output: bool,
        out: str = STANDARD_OUTPUT,
        labels: Sequence[str] = (),
    ):
        """
        Args:
            out, labels: of :func:`open_table`, if rows are to be written.

        Raises:
            SpamBatchError: the file cannot be read in its format.
        """
        self.name = source.name
        self.format, self.columns = manifest.table["format"], tuple(manifest.table["columns"])
        given = Input.of_settings(source.name, manifest.options)
        columns, layout = self.columns, replace(given.layout, format=self.format)
        given = replace(given, layout=layout)
        if is_output:
            longest = layout.max_record_bytes + OURS_BYTES
            given = replace(
                given,
                layout=replace(layout, overwrite=False, max_record_bytes=longest),
                text_column=manifest.table["text_column"],
                span=None,
            )
            columns = ()
        self.table = open_table(source, given, out, columns, labels)
        self._dialect, self._layout = given.dialect, given.layout
        if isinstance(self.table, TextTable):  # a line above the header may name the delimiter
            self._dialect = self.table.dialect
        self._limit: int | None = None  # number of records to read; None: all
        if given.span:
            self.table.go_to(given.span.offset, given.span.line)
            self._limit = given.span.records

    def read(self) -> Iterator[Record]:
        """All records, good and bad; for the input of one shard, those of the shard."""
        windows = iter(lambda: self.table.read(WINDOW), [])
        return islice(chain.from_iterable(windows), self._limit)

    def rows(self) -> Iterator[tuple[Record, bytes, dict[str, str]]]:
        """Each record of the output, its bytes without our columns, and their values.

        Raises:
            InputError: a row that is a bad record.
        """
        parquet = self.parquet_rows(self.columns) if self.format == PARQUET else None
        for record in self.read():
            if record.problem:
                raise InputError(f"line {record.line} {record.problem}")
            if parquet is not None:
                values = {name: str(value) for name, value in next(parquet).items()}
                yield record, record.raw, values
            elif self.format == JSONL:
                found = json.loads(record.raw)
                ours = {name: str(found.get(name)) for name in self.columns}
                yield record, drop_members(record.raw, self.columns), ours
            else:
                decode, added = self._layout.encoding.decode, len(self.columns)
                raw = self._dialect.split_raw(record.raw)
                own = self._dialect.delimiter.join(raw[:-added])
                texts = map(decode, record.fields[-added:])
                yield record, own, dict(zip(self.columns, texts, strict=True))

    def parquet_rows(self, columns: Collection[str], without: bool = False) -> Iterator[dict]:
        """The values of a Parquet file's rows in ``columns``, or in all others."""
        from pyarrow import parquet

        file = parquet.ParquetFile(self.name)
        names = [name for name in file.schema_arrow.names if (name in columns) != without]
        for batch in file.iter_batches(WINDOW, columns=names):
            yield from batch.to_pylist()


def find_other_parquet(given: AuditedFile, output: AuditedFile) -> int | None:
    """The first row, from 0, that differs from its input record; None if no row does."""
    before, after = (file.parquet_rows(output.columns, without=True) for file in (given, output))
    from batch.formats.parquet import ParquetTable

    assert isinstance(given.table, ParquetTable)
    text = given.table.text_key
    labelled = (row for row in before if row[text] is not None)
    for number, (one, other) in enumerate(zip_longest(labelled, after)):
        if repr(one) != repr(other):  # nan == nan is False
            return number
    return None
