"""Estimate how long files take: read and label a sample of them, and write nothing."""

import logging
import resource
import sys
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass

from batch.errors import InputError, MissingInputError, SpamBatchError
from batch.formats.csv_table import CsvTable
from batch.formats.input import Input
from batch.formats.open_table import open_table
from batch.formats.table import Table
from batch.messages import count
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.reading.opening import open_source
from batch.reading.record import Record
from batch.writing.output import STANDARD_OUTPUT

log = logging.getLogger("batch")

SPOTS = 8  # places in a file where records are read
SAMPLE_RECORDS = 100_000  # of all files; shows how long records are and how often texts repeat
SAMPLE_SECONDS = 5.0  # about, for labelling
TORN_LINES = 256  # longest rest of a record at the start of a spot
FIRST_TEXTS = 64  # labelled first, to see how many more there is time for


@dataclass(frozen=True)
class Estimate:
    """The estimate for all files, from a sample."""

    name: str  # of the file, or how many files were read
    records: int  # in the files
    sampled: int
    bad: int  # of the sampled ones
    is_exact: bool  # the records were counted
    new_texts: int  # distinct texts, for which the model runs
    load_seconds: float
    seconds: float  # in all, loading included
    rows_per_second: float
    peak_bytes: int  # of memory
    engine: str  # device, precision, threads, model

    def lines(self) -> list[str]:
        about = "" if self.is_exact else "about "
        share = 100 * (1 - self.new_texts / self.records) if self.records else 0.0
        bad = (
            f"bad records among those read: {self.bad:,}; the first one in a file stops the run, "
            "unless --max-rejects allows it"
        )
        return [
            f"{self.name}: {about}{count(self.records, 'record')} "
            f"({self.sampled:,} read), {share:.0f} % of them with a repeated text",
            f"{self.engine}: {self.rows_per_second:,.0f} rows a second, "
            f"about {_duration(self.seconds)} in all, "
            f"of which {_duration(self.load_seconds)} to load",
            f"memory: {self.peak_bytes / 1e6:,.0f} MB at most",
            *([bad] if self.bad else []),
        ]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def estimate(inputs: Sequence[Input], lazy: LazyClassifier, typed: Container[str] = ()) -> Estimate:
    """Read a sample of each input, label some of it, and extrapolate to all records.

    One of several inputs that cannot be read is left out with a warning, but not one that is
    missing and that the user has ``typed``.

    Raises:
        SpamBatchError: an input or the bundle cannot be used, as for ``classify``.
    """
    start = time.monotonic()
    sampled, records, total, read, is_exact = _sample_files(inputs, typed)
    read_seconds = (time.monotonic() - start) / max(1, read)
    texts = [record.message for record in records if not record.problem]
    if not texts:
        names = ", ".join(input_.name for input_ in inputs)
        raise InputError(f"{names}: no record that can be labelled, so nothing to measure")
    start = time.monotonic()
    classifier = lazy.get()
    load_seconds = time.monotonic() - start
    per_new, per_row = _time_texts(classifier, texts)
    new = _count_new(texts, total)
    work = new * per_new + total * (per_row + read_seconds)
    session = classifier.session
    return Estimate(
        name=sampled[0] if len(sampled) == 1 else f"{len(sampled):,} files",
        records=total,
        sampled=len(records),
        bad=len(records) - len(texts),
        is_exact=is_exact,
        new_texts=new,
        load_seconds=load_seconds,
        seconds=load_seconds + work,
        rows_per_second=total / work,
        peak_bytes=_peak_bytes(),
        engine=f"{lazy.bundle.manifest.model} in {classifier.precision} on {session.device} "
        f"({count(session.threads, 'thread')})",
    )


def _sample_files(
    inputs: Sequence[Input], typed: Container[str]
) -> tuple[list[str], list[Record], int, int, bool]:
    """Names of the files, sampled records, the number in all of those files, the number read, and
    whether all were counted."""
    names: list[str] = []
    records: list[Record] = []
    total, read, is_exact = 0, 0, True
    for input_ in inputs:
        try:
            found, in_file, is_counted = _sample_file(input_, SAMPLE_RECORDS // len(inputs))
        except SpamBatchError as error:
            is_missing = isinstance(error, MissingInputError) and input_.name in typed
            if len(inputs) == 1 or is_missing:
                raise
            log.warning("left out: %s", error)
            continue
        names.append(input_.name)
        records += found
        total += in_file
        read += in_file if is_counted else len(found)
        is_exact = is_exact and is_counted
    return names, records, total, read, is_exact


def _sample_file(input_: Input, most: int) -> tuple[list[Record], int, bool]:
    """Up to ``most`` records, the number in the file, and whether all were counted."""
    with open_source(input_.name) as source:
        # The columns that we add make no difference here.
        return _sample(open_table(source, input_, STANDARD_OUTPUT, (), []), most)


def _sample(table: Table, most: int) -> tuple[list[Record], int, bool]:
    """The same for an open table: records from several places."""
    at_once = max(2, most // SPOTS)  # at least two: at a later place the first one is dropped
    records, start = _read(table, at_once), table.offset
    size = table.size
    if not records or size is None or not isinstance(table, CsvTable):
        # The size of a pipe or of decompressed data is not known, so all records are counted.
        total = len(records)
        while more := table.read(256):
            total += len(more)
            records += more[: max(0, most - len(records))]
        return records, total, True
    if start >= size:
        return records, len(records), True
    first = records[0].offset
    taken = start - first
    for spot in range(1, SPOTS):
        offset = max(start, first + (size - first) * spot // SPOTS)
        table.go_to(offset, 1)
        found = _drop_torn(_read(table, at_once))
        if found:
            taken += table.offset - found[0].offset
            records += found
        start = table.offset
    return records, round((size - first) * len(records) / max(1, taken)), False


def _drop_torn(records: list[Record]) -> list[Record]:
    """Drop the rest of the record in whose middle reading began; it may have several lines."""
    bad = [number for number, record in enumerate(records[:TORN_LINES]) if record.problem]
    return records[max(bad, default=0) + 1 :]


def _read(table: Table, number: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < number and (more := table.read(min(256, number - len(records)))):
        records += more
    return records


def _count_new(texts: list[str], total: int) -> int:
    """Distinct texts in ``total`` records.

    After the sample, new texts are as frequent as in its last quarter.
    """
    seen: set[str] = set()
    marks = []
    for text in texts:
        seen.add(text)
        marks.append(len(seen))
    tail = max(1, len(texts) // 4)
    before = marks[-1 - tail] if len(marks) > tail else 0
    rate = (marks[-1] - before) / tail
    return min(total, round(marks[-1] + rate * max(0, total - len(texts))))


def _time_texts(classifier: Classifier, texts: list[str]) -> tuple[float, float]:
    """Additional seconds for a new text, and seconds for any text."""
    distinct = list(dict.fromkeys(texts))
    step = max(1, len(distinct) // 4096)
    mixed = distinct[::step][:4096]  # from the whole sample, so that the lengths are typical
    first, rest = mixed[:FIRST_TEXTS], mixed[FIRST_TEXTS:]
    seconds = _seconds(classifier, first)
    if rest:
        more = rest[: max(1, int(SAMPLE_SECONDS / seconds * len(first)))]
        seconds, first = _seconds(classifier, more), more
    again = _seconds(classifier, first)
    return (seconds - again) / len(first), again / len(first)


def _seconds(classifier: Classifier, texts: list[str]) -> float:
    start = time.perf_counter()
    classifier.classify(texts)
    return time.perf_counter() - start


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in kilobytes, but not on macOS
