"""Label a CSV stream: every record comes out once, in order, with its own bytes and ours."""

import contextlib
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from batch.classifier import Classifier, Predictions
from batch.dialect import Dialect
from batch.errors import InputError, MissingInputError, StorageError
from batch.output import STANDARD_OUTPUT, check_not_input, open_output, resolve_target
from batch.records import Record, RecordReader
from batch.table import Header, encode_field, read_header

# Records that are read, sorted by length, labelled and written together. Large
# enough that batches of equal length fill, small enough to hold.
WINDOW = 4096


@dataclass
class Summary:
    """What a run did; ``records == sum(labels.values())`` when it is complete."""

    text_column: str  # its name
    records: int = 0
    labels: Counter = field(default_factory=Counter)
    truncated: int = 0
    blank_lines: int = 0
    seconds: float = 0.0

    def lines(self, classifier: Classifier, out: str) -> list[str]:
        counts = ", ".join(f"{self.labels[name]:,} {name}" for name in classifier.manifest.labels)
        rate = self.records / self.seconds if self.seconds else 0.0
        session = classifier.session
        lines = [
            f"{_count(self.records, 'record')} in, "
            f"{_count(sum(self.labels.values()), 'row')} out: {counts}",
            f"text column: {self.text_column}",
            f"{rate:,.0f} rows a second on {session.device} in {classifier.precision} "
            f"({_count(session.threads, 'thread')}), "
            f"{self.seconds:.1f} s; {classifier.manifest.model}",
            f"weights: {classifier.manifest.weights}",
        ]
        if self.truncated:
            limit = classifier.manifest.max_length
            lines.append(f"{_count(self.truncated, 'message')} cut to {limit} tokens")
        if self.blank_lines:
            lines.append(f"{_count(self.blank_lines, 'blank line')} skipped")
        if session.note:
            lines.append(f"WARNING: {session.note}")
        partial = classifier.manifest.training.get("data", {}).get("is_partial")
        if partial:
            lines.append("WARNING: the model was trained on an incomplete copy of its data")
        lines.append(f"written: {'standard output' if out == STANDARD_OUTPUT else out}")
        return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def open_input(name: str) -> BinaryIO:
    """Open a file, or standard input for ``-``.

    Raises:
        MissingInputError: it is missing, a folder, or cannot be read.
    """
    if name == STANDARD_OUTPUT:
        if sys.stdin is None:
            raise MissingInputError("standard input is closed")
        return sys.stdin.buffer
    path = Path(name)
    if path.is_dir():
        raise MissingInputError(f"{name} is a folder; give a CSV file")
    try:
        return open(path, "rb")
    except OSError as error:
        raise MissingInputError(f"cannot read {name}: {error.strerror}") from None


def classify_file(
    source: str,
    out: str,
    load_classifier,
    *,
    dialect: Dialect,
    text_column: str | None = None,
    columns: tuple[str, ...] = ("label", "score"),
    progress: bool = True,
    window: int = WINDOW,
) -> tuple[Summary, Classifier]:
    """Label the file ``source`` into ``out``; either may be ``-``.

    ``load_classifier`` is called once header and output are known to be good, so
    that a wrong column costs no model load.

    Raises:
        SpamBatchError: with one sentence on what is wrong; nothing is published then.
    """
    if out != STANDARD_OUTPUT:
        resolve_target(out)
        check_not_input(out, [source])
    with open_input(source) as stream:
        reader = RecordReader(stream, dialect)
        bom = reader.bom
        with _reading(source):
            header = read_header(source, reader, text_column, columns)
        classifier = load_classifier()
        with open_output(out) as file:
            rows = RowWriter(header, dialect, columns, classifier.manifest.labels)
            file.write(bom + rows.header())
            summary = Summary(header.names[header.text_column].strip())
            _label_records(
                source, reader, stream, rows, file, classifier, progress, window, summary
            )
    return summary, classifier


def _label_records(
    source, reader, stream, rows: "RowWriter", file: BinaryIO, classifier, progress, window, summary
) -> None:
    start = time.monotonic()
    with tqdm(
        total=_size_of(stream), unit="B", unit_scale=True, disable=None if progress else True
    ) as bar:
        done = 0
        while records := _read_window(source, reader, window):
            texts = [record.text.decode("utf-8", "replace") for record in records]
            predictions = classifier.classify(texts)
            file.write(rows.body(records, predictions))
            summary.records += len(records)
            summary.labels.update(predictions.labels)
            summary.truncated += int(predictions.truncated.sum())
            bar.update(reader.offset - done)
            done = reader.offset
            bar.set_postfix_str(f"{summary.records / (time.monotonic() - start):,.0f} rows/s")
    summary.blank_lines = reader.blank_lines
    summary.seconds = time.monotonic() - start


def _read_window(source: str, reader: RecordReader, window: int) -> list[Record]:
    """The next records, all of them good.

    Raises:
        InputError: one is bad: file, line, byte and reason.
        StorageError: the input can no longer be read.
    """
    with _reading(source):
        records = reader.read_records(window)
    for record in records:
        if record.problem:
            raise InputError(
                f"{source}: line {record.line}, byte offset {record.offset}: {record.problem}"
            )
    return records


@contextlib.contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn the operating system's errors on the input into one of ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{source}: reading stopped: {reason}") from None


def _size_of(stream: BinaryIO) -> int | None:
    """Size of a regular file in bytes; None for a pipe, whose end nobody knows."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


class RowWriter:
    """Turns records and predictions into output rows: the record's own bytes, then ours."""

    def __init__(
        self, header: Header, dialect: Dialect, columns: tuple[str, ...], labels: list[str]
    ):
        self._header = header
        self._delimiter = dialect.delimiter
        self._columns = columns
        self._labels = {label: encode_field(label, dialect) for label in labels}
        # A last line without an end gets the header's.
        self._line_end = header.record.line_end or b"\n"

    def header(self) -> bytes:
        names = [name.encode("ascii") for name in self._columns]
        return self._delimiter.join([self._header.record.raw, *names]) + self._line_end

    def body(self, records: list[Record], predictions: Predictions) -> bytes:
        cells = {
            "label": lambda: [self._labels[label] for label in predictions.labels],
            "score": lambda: [b"%.6f" % score for score in predictions.scores],
            "tokens": lambda: [b"%d" % count for count in predictions.tokens],
            "truncated": lambda: [b"true" if cut else b"false" for cut in predictions.truncated],
        }
        chosen = (cells[name]() for name in self._columns)
        added = map(self._delimiter.join, zip(*chosen, strict=True))
        delimiter, line_end = self._delimiter, self._line_end
        return b"".join(
            record.raw + delimiter + cell + (record.line_end or line_end)
            for record, cell in zip(records, added, strict=True)
        )
