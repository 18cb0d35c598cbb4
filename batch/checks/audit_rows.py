"""The rows of a labelled file, read again: what was the input's, and what we put there."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice, zip_longest

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.jsonlines import drop_members
from batch.formats.layout import JSONL, PARQUET
from batch.formats.open_table import open_table
from batch.reading.records import Record
from batch.reading.source import Source
from batch.run.run_manifest import RunManifest
from batch.writing.output import STANDARD_OUTPUT

WINDOW = 1024  # records read at once
OURS_BYTES = 1 << 16  # that our columns may add to a record


class AuditedFile:
    """The output of a run, or its input, opened as the run's manifest says.

    Args:
        is_output: with our columns, behind those that the input has.
    """

    def __init__(self, source: Source, manifest: RunManifest, is_output: bool):
        """
        Raises:
            SpamBatchError: it cannot be read as what it should be.
        """
        self._manifest, self._is_output = manifest, is_output
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
        self._dialect, self._layout, self._source = given.dialect, given.layout, source
        self.table = open_table(source, given, STANDARD_OUTPUT, columns, [])
        self._count = None  # of the records to read; None: all
        if given.span:
            self.table.go_to(given.span.offset, given.span.line)
            self._count = given.span.records

    def read(self) -> Iterator[Record]:
        """Every record, good or bad; of the input of one part of a file, that part's."""
        windows = iter(lambda: self.table.read(WINDOW), [])
        return islice(chain.from_iterable(windows), self._count)

    def rows(self) -> Iterator[tuple[Record, bytes, dict[str, str]]]:
        """Of the output: each record, its bytes without ours, and the values of our columns.

        Raises:
            InputError: a record that no row of ours can be.
        """
        values = self._parquet_values() if self.format == PARQUET else None
        for record in self.read():
            if record.problem:
                raise InputError(f"line {record.line} {record.problem}")
            if values is not None:
                yield record, record.raw, next(values)
            elif self.format == JSONL:
                found = json.loads(record.raw)
                ours = {name: str(found.get(name)) for name in self.columns}
                yield record, drop_members(record.raw, self.columns), ours
            else:
                decode, count = self._layout.encoding.decode, len(self.columns)
                raw = self._dialect.split_raw(record.raw)
                own = self._dialect.delimiter.join(raw[:-count])
                fields = map(decode, record.fields[-count:])
                yield record, own, dict(zip(self.columns, fields, strict=True))

    def _parquet_values(self) -> Iterator[dict[str, str]]:
        from pyarrow import parquet

        file = parquet.ParquetFile(self._source.name)
        for batch in file.iter_batches(WINDOW, columns=list(self.columns)):
            for row in batch.to_pylist():
                yield {name: str(value) for name, value in row.items()}


def find_other_parquet(given: AuditedFile, output: AuditedFile) -> int | None:
    """The first row, from 0, of the output whose columns of the input are others; None if none."""
    ours = set(output.columns)
    before, after = (_parquet_rows(file, ours) for file in (given, output))
    text = given.table.text_name
    labelled = (row for row in before if row[text] is not None)
    for number, (one, other) in enumerate(zip_longest(labelled, after)):
        if repr(one) != repr(other):  # nan is not itself
            return number
    return None


def _parquet_rows(file: AuditedFile, ours: set[str]) -> Iterator[dict]:
    from pyarrow import parquet

    opened = parquet.ParquetFile(file._source.name)
    names = [name for name in opened.schema_arrow.names if name not in ours]
    for batch in opened.iter_batches(WINDOW, columns=names):
        yield from batch.to_pylist()
