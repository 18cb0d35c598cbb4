"""Windows of records: read, encoded and labelled together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from batch.errors import BrokenInputError, InternalError, SpamBatchError
from batch.formats.table import Table
from batch.model.classifier import Classifier, Prepared
from batch.model.decision import Predictions
from batch.reading.records import Record

# Records that are read, sorted by length, labelled and written together. Large
# enough that batches of equal length fill, small enough to hold.
WINDOW = 4096
WINDOW_BYTES = 16 * 1024 * 1024  # held at once, before another format of them is made
LONG_RECORD = 64 * 1024  # bytes on average, from which on records are taken one by one
STEP = 64  # records asked of the reader at a time, at most; 16 cost it a fifth of its speed


@dataclass(frozen=True)
class Window:
    """Records that are labelled together, and where reading stood behind them."""

    records: list[Record]
    good: list[Record]  # those without a problem
    offset: int
    line: int
    blank_lines: int
    prepared: Prepared | None = None  # the good ones' texts, encoded; None if that failed


def read_windows(table: Table, before: int, last: int | None = None) -> Iterator[Window]:
    """All windows of a table that ``before`` records were read of; ``last`` is how many records
    are its, where that is not all."""
    while records := read_window(table, before, last):
        before += len(records)
        good = [record for record in records if not record.problem]
        yield Window(records, good, table.offset, table.line, table.blank_lines)


def encode_windows(windows: Iterable[Window], classifier: Classifier) -> Iterator[Window]:
    """The windows with their texts encoded, which needs no lock of Python's for the most part."""
    for window in windows:
        yield replace(window, prepared=_prepare(classifier, window.good))


def _prepare(classifier: Classifier, records: list[Record]) -> Prepared | None:
    try:
        return classifier.prepare([_text(record) for record in records])
    except BaseException as error:
        if not _is_fault(error):
            raise
        return None  # it fails again where the record is looked for


def read_window(table: Table, before: int, last: int | None = None) -> list[Record]:
    """The next records; how many depends on nothing but their number and lengths.

    Raises:
        BrokenInputError: with the records that were read.
    """
    records: list[Record] = []
    held = 0
    room = WINDOW if last is None else min(WINDOW, last - before)
    while len(records) < room and held < WINDOW_BYTES:
        is_long = held > len(records) * LONG_RECORD
        step = 1 if is_long else min(STEP, max(1, len(records)))
        try:
            more = table.read(min(step, room - len(records)))
        except BrokenInputError as error:
            said = f"records read before it: {before + len(records):,}"
            raise BrokenInputError(f"{error}; {said}") from None
        if not more:
            break
        records += more
        held += sum([len(record.raw) for record in more])
    return records


def classify_window(name: str, classifier: Classifier, window: Window) -> Predictions:
    """Label records; where that fails, find the one that it fails for.

    Raises:
        InternalError: names the record's line, never its text.
    """
    records = window.good
    try:
        prepared = window.prepared or classifier.prepare([_text(record) for record in records])
        return classifier.classify_prepared(prepared)
    except BaseException as error:
        if not _is_fault(error):
            raise
        reason = str(error) if isinstance(error, SpamBatchError) else type(error).__name__
        culprit = _find_culprit(classifier, records)
    where = f"line {culprit.line}, byte offset {culprit.offset}" if culprit else "a batch"
    raise InternalError(f"{name}: the model failed at {where}: {reason}")


def _find_culprit(classifier: Classifier, records: list[Record]) -> Record | None:
    """The record that fails by itself too, looked for in halves; None if none does."""
    while records:
        half = records[: (len(records) + 1) // 2]
        try:
            classifier.classify([_text(record) for record in half])
        except BaseException as error:
            if not _is_fault(error):
                raise
            if len(records) == 1:
                return records[0]
            records = half
        else:
            records = records[len(half) :]
    return None


def _text(record: Record) -> str:
    return record.text.decode("utf-8", "replace")


def _is_fault(error: BaseException) -> bool:
    """False for what asks the run to stop; a panic in tiktoken is no Exception of Python's."""
    if type(error).__module__ == "pyo3_runtime":
        return True
    return isinstance(error, Exception) and not isinstance(error, MemoryError)
