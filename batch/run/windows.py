"""Windows of records: read, encoded and labelled together."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from batch.errors import BrokenInputError, InternalError, SpamBatchError, is_out_of_memory
from batch.formats.table import Table
from batch.model.cascade.classifier import Begun, CascadeClassifier
from batch.model.classifier import Classifier, Prepared
from batch.model.decision import Predictions
from batch.reading.record import Record

# Records that are read, sorted by length, labelled and written together: enough to fill
# batches of equal length, and few enough for the memory.
WINDOW = 4096
WINDOW_BYTES = 16 * 1024 * 1024  # of records in a window
HELD_WINDOWS = 16  # of a cascade, at most, until its slow model has full batches
LONG_RECORD = 64 * 1024  # bytes on average; longer records are read one by one
STEP = 64  # most records in one call of the reader; 16 made reading a fifth slower


@dataclass(frozen=True)
class Window:
    """Records that are labelled together, and the position of the reader after them."""

    records: list[Record]
    good: list[Record]  # those without a problem
    offset: int
    line: int
    blank_lines: int
    prepared: Prepared | None = None  # texts of the good records, encoded; None if that failed

    @property
    def messages(self) -> list[str]:
        """The texts of the good records."""
        return [record.message for record in self.good]


def read_windows(table: Table, before: int, last: int | None = None) -> Iterator[Window]:
    """All remaining windows of a table.

    Args:
        before: the number of records that were read before.
        last: the number of records to read in all, including ``before``; None: all.
    """
    while records := read_window(table, before, last):
        before += len(records)
        good = [record for record in records if not record.problem]
        yield Window(records, good, table.offset, table.line, table.blank_lines)


def encode_windows(windows: Iterable[Window], classifier: Classifier) -> Iterator[Window]:
    """The windows with their texts encoded. Most of the encoding does not hold Python's lock."""
    for window in windows:
        yield replace(window, prepared=_prepare(classifier, window))


def _prepare(classifier: Classifier, window: Window) -> Prepared | None:
    try:
        return classifier.prepare(window.messages)
    except BaseException as error:
        if not _is_fault(error):
            raise
        return None  # classify_window fails again, and finds the record


def read_window(table: Table, before: int, last: int | None = None) -> list[Record]:
    """The next records. Their number depends only on the records before and their lengths.

    Raises:
        BrokenInputError: the text has the number of records read before the fault.
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
            number = before + len(records)
            raise BrokenInputError(f"{error}; records read before it: {number:,}") from None
        if not more:
            break
        records += more
        held += sum([len(record.raw) for record in more])
    return records


def label_windows(
    name: str, classifier: Classifier, windows: Iterable[Window]
) -> Iterator[tuple[Window, Predictions]]:
    """Each window with the predictions of its good records, in order.

    Of a cascade, several windows are held, so that the messages that its slow model is asked for
    fill whole batches. The predictions are the same.

    Raises:
        InternalError: as :func:`classify_window`.
    """
    if not isinstance(classifier, CascadeClassifier):
        for window in windows:
            yield window, classify_window(name, classifier, window)
        return
    held: list[Window] = []
    begun: list[Begun] = []
    size = 0  # bytes of the records that are held
    for window in windows:
        held.append(window)
        size += sum(len(record.raw) for record in window.records)
        with _ignoring_faults():  # _finish meets it again
            begun.append(classifier.begin(window.prepared or classifier.prepare(window.messages)))
        is_whole = len(begun) == len(held)
        is_much = len(held) == HELD_WINDOWS or size >= WINDOW_BYTES
        if not is_whole or is_much or classifier.fills_batches(begun):
            yield from _finish(name, classifier, held, begun)
            held, begun, size = [], [], 0
    yield from _finish(name, classifier, held, begun)


def _finish(
    name: str, classifier: CascadeClassifier, held: list[Window], begun: list[Begun]
) -> Iterator[tuple[Window, Predictions]]:
    """The windows with their predictions; one by one if that fails, to find the record."""
    found: list[Predictions] = []
    if len(begun) == len(held):
        with _ignoring_faults():
            found = classifier.finish(begun)
    if len(found) == len(held):
        yield from zip(held, found, strict=True)
    else:
        for window in held:
            yield window, classify_window(name, classifier, window)


def classify_window(name: str, classifier: Classifier, window: Window) -> Predictions:
    """Label the good records of a window. If that fails, find the record that fails.

    Raises:
        InternalError: the text has the record's line, never the record's text.
    """
    records = window.good
    try:
        prepared = window.prepared or classifier.prepare(window.messages)
        return classifier.classify_prepared(prepared)
    except BaseException as error:
        if not _is_fault(error):
            raise
        reason = str(error) if isinstance(error, SpamBatchError) else type(error).__name__
        culprit = _find_culprit(classifier, records)
    where = f"line {culprit.line}, byte offset {culprit.offset}" if culprit else "a batch"
    raise InternalError(f"{name}: the model failed at {where}: {reason}")


def _find_culprit(classifier: Classifier, records: list[Record]) -> Record | None:
    """The record that also fails alone, found by bisection; None if no record does."""
    while records:
        half = records[: (len(records) + 1) // 2]
        try:
            classifier.classify([record.message for record in half])
        except BaseException as error:
            if not _is_fault(error):
                raise
            if len(records) == 1:
                return records[0]
            records = half
        else:
            records = records[len(half) :]
    return None


@contextlib.contextmanager
def _ignoring_faults() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not _is_fault(error):
            raise


def _is_fault(error: BaseException) -> bool:
    """False for exceptions that stop the run, such as a signal or a lack of memory."""
    # A panic in tiktoken is a BaseException, but not an Exception.
    if type(error).__module__ == "pyo3_runtime":
        return True
    return isinstance(error, Exception) and not is_out_of_memory(error)
