"""Read a labelled file once, and collect the data of the report."""

import logging
from dataclasses import dataclass, replace

from batch.errors import InputError, UsageError
from batch.formats.advice import HEAD_BYTES, CsvAdvice
from batch.formats.csv_table import find_column, read_header
from batch.formats.labelled import parse_score
from batch.formats.layout import DEFAULT_LAYOUT, MAX_RECORD_BYTES
from batch.formats.open_table import CSV, SHOWN, find_format
from batch.formats.preamble import read_preamble
from batch.formats.text_table import sample_records
from batch.messages import list_columns, show
from batch.reading.dialect import Dialect
from batch.reading.encoding import UTF_8, Encoding
from batch.reading.input_stream import InputStream
from batch.reading.opening import open_source
from batch.reading.records import RecordReader
from batch.reading.source import Source, reading
from batch.report.findings import Findings
from batch.report.timeline import parse_time

WINDOW = 1024  # records read at once
MOST_LABELS = 1000

log = logging.getLogger("batch")


@dataclass(frozen=True)
class ReportOptions:
    """The file to report on, and the options of ``spam-batch report``."""

    source: str  # a path, or - for standard input
    out: str
    dialect: Dialect
    encoding: Encoding = UTF_8
    text_column: str | None = None
    date_column: str | None = None
    positive_label: str | None = None  # None: spam
    show_text: bool = False


def read_labelled(options: ReportOptions) -> Findings:
    """Read the file ``options.source``.

    Raises:
        UsageError: it is not CSV.
        InputError: it does not have the form that ``spam-batch classify`` writes.
        MissingInputError: it cannot be read.
    """
    format_ = find_format(options.source, DEFAULT_LAYOUT)
    if format_ != CSV:
        raise UsageError(f"{options.source} is {SHOWN[format_]}; spam-batch report reads CSV")
    with open_source(options.source) as source, reading(source.name):
        return _read(options, source)


def _read(options: ReportOptions, source: Source) -> Findings:
    name, decode = source.name, options.encoding.decode
    stream = InputStream(name, source.stream, options.encoding)
    preamble = read_preamble(name, stream, options.dialect, DEFAULT_LAYOUT)
    dialect, start = preamble.dialect, len(preamble.raw)
    wanted = options.text_column
    head = stream.peek(HEAD_BYTES)
    layout = replace(DEFAULT_LAYOUT, encoding=options.encoding)
    advice = CsvAdvice(name, head, dialect, layout, wanted, preamble, has_no_header_option=False)
    sample = [] if wanted else sample_records(stream, dialect, MAX_RECORD_BYTES)
    reader = RecordReader(stream, dialect, offset=start, line=2 if start else 1)
    header = read_header(name, reader, wanted, (), layout, sample, advice)
    for warning in () if wanted else header.warnings:  # of a named column: --no-header, not ours
        log.warning("WARNING: %s: %s", name, warning)
    names = [decode(field) for field in header.record.fields]
    label_at = find_column(name, names, "label", "; label it first with: spam-batch classify")
    score_at = find_column(name, names, "score") if "score" in names else None
    date = options.date_column
    date_at = None if date is None else find_column(name, names, date)
    found = Findings(
        name, options.positive_label or "spam", score_at is not None, date, options.show_text
    )
    while records := reader.read_records(WINDOW):
        for record in records:
            if record.text is None:  # a bad record
                found.bad += 1
                found.first_bad = found.first_bad or f"line {record.line} {record.problem}"
                continue
            fields = record.fields
            label = decode(fields[label_at])
            score = None if score_at is None else parse_score(name, record.line, fields[score_at])
            found.add(label, score, decode(record.text), record.line)
            if date_at is not None:
                when = parse_time(decode(fields[date_at]))
                found.undated += when is None
                if when is not None:
                    found.timeline.add(when, label == found.positive)
        if len(found.labels) > MOST_LABELS:
            raise InputError(
                f"{name}: has more than {MOST_LABELS:,} different labels; is 'label' the column "
                "that spam-batch wrote?"
            )
    if options.positive_label and options.positive_label not in found.labels:
        listed = list_columns(sorted(found.labels))
        raise InputError(
            f"{name}: no row is labelled {show(options.positive_label)}; labels: {listed}"
        )
    return found
