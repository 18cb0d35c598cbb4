"""Read labelled files with the reader of spam-batch: one record, one label, one text.

What labelling refuses is refused here too, by line and byte; what it reads is read with the
same texts.
"""

import io
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from batch.errors import InputError, MissingInputError
from batch.formats.columns import TEXT_NAMES
from batch.formats.input import Input
from batch.formats.layout import CSV, Layout
from batch.formats.open_table import find_format, inner_ending, open_table
from batch.formats.table import Table
from batch.messages import count, list_columns, show
from batch.reading.dialect import Dialect
from batch.reading.input_stream import InputStream
from batch.reading.opening import open_source
from batch.reading.records import Record, RecordReader
from batch.reading.source import STANDARD_INPUT
from batch.writing.output import STANDARD_OUTPUT
from batch.writing.rejects import NO_REJECTS, Allowance
from trainer.data.labels import DEFAULT_RULES, LabelRules, clean_labels, resolve_conflicts
from trainer.data.notebook import read_as_notebook
from trainer.fetch.assets import DataFile
from trainer.recipe import Recipe

log = logging.getLogger("trainer")

LABEL_NAMES = ("label", "class", "category", "target", "v1")
WINDOW = 4096  # records read at once
HEAD_BYTES = 1 << 16  # looked at to find the delimiter and whether there is a header


DEFAULT_INPUT = Input("")


@dataclass(frozen=True)
class ReadOptions:
    """How labelled files are read. The defaults read what spam-batch reads without options."""

    label_column: str | None = None  # a name, or a number from 1; None: the first usual name
    input: Input = DEFAULT_INPUT  # the options of every file; the name is that of the file
    finds_delimiter: bool = True  # False: the dialect's delimiter was asked for
    allowance: Allowance = NO_REJECTS  # bad records that may be set aside, of all files
    labels: LabelRules = DEFAULT_RULES

    def to_dict(self) -> dict:
        """As ``config.json`` keeps it, to repeat the run."""
        return {
            "label_column": self.label_column,
            "input": self.input.settings(),
            "finds_delimiter": self.finds_delimiter,
            "max_rejects": self.allowance.typed,
            "labels": self.labels.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict) -> "ReadOptions":
        """The inverse of :meth:`to_dict`."""
        return cls(
            values["label_column"],
            Input.of_settings("", values["input"]),
            values["finds_delimiter"],
            Allowance.parse(values["max_rejects"]),
            LabelRules.from_dict(values["labels"]),
        )


# The SMS Spam Collection: label<tab>text, one message a line, and quotes are text.
SMS_INPUT = Input("", Dialect(b"\t", None), Layout(has_header=False), text_column="2")
DEFAULT_OPTIONS = ReadOptions()
SMS_OPTIONS = ReadOptions("1", SMS_INPUT, finds_delimiter=False)


@dataclass(frozen=True)
class LabelledData:
    """The messages of one or more files, and what became of every record.

    ``records`` is ``rejected`` + the sum of ``dropped`` + the rows of ``frame``.
    """

    frame: pd.DataFrame  # columns label and text, str, in the order of the files
    records: int
    rejects: list[tuple[str, Record]] = field(default_factory=list)  # file, bad record
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> records
    glued_lines: int = 0  # of the notebook's reading: lines that it joined to the one before

    @property
    def rejected(self) -> int:
        return len(self.rejects)

    def counts(self) -> dict:
        """For ``metrics.json``; ``labels`` is the number of messages that were kept of each."""
        labels = self.frame["label"].value_counts()
        return {
            "records": self.records,
            "rejected": self.rejected,
            "dropped": self.dropped,
            "kept": len(self.frame),
            "labels": {name: int(labels[name]) for name in sorted(labels.index)},
            "glued_lines": self.glued_lines,
        }

    def sentence(self) -> str:
        """One line for the log: what came in, and what is left."""
        parts = [count(self.records, "record")]
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        parts += [f"{number:,} dropped ({reason})" for reason, number in self.dropped.items()]
        labels = ", ".join(f"{number:,} {name}" for name, number in self.counts()["labels"].items())
        return f"{', '.join(parts)}; {count(len(self.frame), 'message')} kept: {labels}"


@dataclass
class FileRecords:
    """The good records of one file, in order."""

    name: str
    header: tuple[str, str] | None  # names of the label and text columns; None: no header
    labels: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    rejects: list[Record] = field(default_factory=list)
    records: int = 0


def read_messages(data: Sequence[DataFile], options: ReadOptions, recipe: Recipe) -> LabelledData:
    """The messages of ``data``, read as the recipe reads them.

    The SMS Spam Collection has a layout of its own, which no option need say; the notebook's
    split reads it as the notebook does.

    Raises:
        SpamBatchError: see :func:`read_labelled`.
    """
    is_default = replace(options, allowance=NO_REJECTS, labels=DEFAULT_RULES) == DEFAULT_OPTIONS
    if len(data) == 1 and data[0].is_sms and is_default:
        path = data[0].path
        if recipe.split == "book":
            frame = read_as_notebook(path)
            glued = data[0].lines - len(frame)
            return LabelledData(frame, len(frame), glued_lines=glued)
        sms = replace(SMS_OPTIONS, allowance=options.allowance, labels=options.labels)
        return read_labelled([path], sms)
    return read_labelled([file.path for file in data], options)


def read_labelled(paths: Sequence[Path], options: ReadOptions = DEFAULT_OPTIONS) -> LabelledData:
    """Read labelled files; the last file decides where two files label one text differently.

    Raises:
        MissingInputError: a file cannot be read.
        InputError: no such column, too many bad records, or a label that cannot be one.
        UsageError: options that do not go together.
    """
    files = []
    for path in paths:
        files.append(read_file(str(path), options, sum(len(file.rejects) for file in files)))
    rejects = [(file.name, record) for file in files for record in file.rejects]
    records = sum(file.records for file in files)
    options.allowance.check_total(", ".join(map(str, paths)), len(rejects), records)
    rows = pd.DataFrame(
        {
            "label": pd.Series([label for file in files for label in file.labels], dtype=object),
            "text": pd.Series([text for file in files for text in file.texts], dtype=object),
            "file": [number for number, file in enumerate(files) for _ in file.texts],
            "line": [line for file in files for line in file.lines],
        }
    )
    if rows.empty:
        raise InputError(f"{', '.join(map(str, paths))}: there is no labelled record")
    names, headers = [file.name for file in files], [file.header for file in files]
    rows, dropped = clean_labels(rows, names, headers, options.labels)
    rows, replaced = resolve_conflicts(rows, names)
    if replaced:
        dropped["labelled anew by a later file"] = replaced
    frame = rows[["label", "text"]].astype(object).reset_index(drop=True)
    return LabelledData(frame, records, rejects, dropped)


def read_file(name: str, options: ReadOptions, rejects_before: int = 0) -> FileRecords:
    """Every record of one file with its label, as it is written, and its text.

    Raises:
        MissingInputError, InputError, UsageError: see :func:`read_labelled`.
    """
    if name == STANDARD_INPUT or not os.path.isfile(name):
        _refuse_no_file(name)
    with open_source(name) as source:
        given, label_column = _complete(replace(options.input, name=name), options)
        table = open_table(source, given, STANDARD_OUTPUT, (), [])
        label, text = _find_label_column(name, table, label_column, given)
        has_names = table.format == CSV and given.layout.has_header
        header = (table.column_names[label], text) if has_names else None
        found = FileRecords(name, header)
        while records := table.read(WINDOW):
            good = [record for record in records if not record.problem]
            bad = [record for record in records if record.problem]
            before = rejects_before + len(found.rejects)
            options.allowance.check_window(name, before, bad)
            found.rejects += bad
            found.records += len(records)
            found.labels += table.values(good, label)
            found.texts += [record.text.decode("utf-8", "replace") for record in good]
            found.lines += [record.line for record in good]
        source.check_unchanged()
    return found


def _refuse_no_file(name: str) -> None:
    if name == STANDARD_INPUT:
        raise MissingInputError("--data: training reads a file; save standard input to one")
    if os.path.isdir(name):
        raise MissingInputError(f"{name} is a folder; give the name of a file")
    if os.path.exists(name):
        raise MissingInputError(f"{name} is a pipe or a device; save it to a file first")
    raise MissingInputError(f"cannot read {name}: No such file or directory")


def _complete(given: Input, options: ReadOptions) -> tuple[Input, str | None]:
    """The input with the delimiter that its first line has, and the label column.

    A CSV file whose first record has two fields, neither of them a usual column name, has no
    header: it is ``label<delimiter>text``, as the SMS Spam Collection is.
    """
    columns = options.label_column, given.text_column
    if find_format(given.name, given.layout) != CSV:
        return given, columns[0]
    head = _read_head(given)
    if options.finds_delimiter:
        tab = replace(given, dialect=replace(given.dialect, delimiter=b"\t"))
        has_tab = b"\t" in head.split(b"\n")[0]
        # A tab within a column's name does not make it the delimiter.
        if inner_ending(given.name) == ".tsv" or (has_tab and not _has_label(head, given, columns)):
            given = tab
    if columns == (None, None):
        fields = _first_fields(head, given)
        names = {field.strip().lower() for field in fields}
        if not given.layout.has_header and len(fields) == 2:
            return replace(given, text_column="2"), "1"
        if len(fields) == 2 and not names & {*LABEL_NAMES, *TEXT_NAMES}:
            _check_no_header(head, given)
            layout = replace(given.layout, has_header=False)
            return replace(given, layout=layout, text_column="2"), "1"
    return given, columns[0]


def _has_label(head: bytes, given: Input, columns: tuple[str | None, str | None]) -> bool:
    """Whether the first line, cut at the delimiter, has a label column and another one."""
    fields = [field.strip() for field in _first_fields(head, given)]
    if columns[0] is not None:
        return len(fields) > 1 and columns[0] in fields
    return len(fields) > 1 and any(field.lower() in LABEL_NAMES for field in fields)


def _read_head(given: Input) -> bytes:
    with open_source(given.name) as source:
        stream = InputStream(given.name, source.stream, given.layout.encoding)
        head = b""
        while len(head) < HEAD_BYTES and (more := stream.read(HEAD_BYTES - len(head))):
            head += more
    return head


def _first_fields(head: bytes, given: Input) -> list[str]:
    reader = RecordReader(io.BytesIO(head), given.dialect)
    record = next(iter(reader.read_records(1)), None)
    if record is None or record.problem:
        return []
    return [given.layout.encoding.decode(field) for field in record.fields]


def _check_no_header(head: bytes, given: Input) -> None:
    """Refuse a first record whose label no other has: it may be a header of other names.

    Raises:
        InputError: it may be.
    """
    reader = RecordReader(io.BytesIO(head), given.dialect, columns=2)
    labels = [record.fields[0] for record in reader.read_records(100) if not record.problem]
    if len(set(labels)) > 2 and labels.count(labels[0]) == 1:
        raise InputError(
            f"{given.name}: no other record has the first one's label; if it is a header, name "
            "its columns with --label-column and --text-column; if not, type --no-header"
        )


def _find_label_column(
    name: str, table: Table, wanted: str | None, given: Input
) -> tuple[int, str]:
    """The number of the label column, from 0, and the name of the text column.

    Raises:
        InputError: it is not there, there twice, or is the text column.
    """
    names, text = table.column_names, table.text_name
    column = _find_usual(name, names) if wanted is None else _find_named(name, names, wanted)
    if text == names[column].strip():
        raise InputError(
            f"{name}: the column {show(names[column])} cannot be both label and text; "
            "name two with --label-column and --text-column"
        )
    return column, text


def _find_named(name: str, names: list[str], wanted: str) -> int:
    found = [number for number, column in enumerate(names) if column == wanted]
    if len(found) == 1:
        return found[0]
    if not found and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    problem = f"is there {len(found)} times; give its number, from 1" if found else "is not there"
    raise InputError(
        f"{name}: the label column {show(wanted)} {problem}; columns: {list_columns(names)}"
    )


def _find_usual(name: str, names: list[str]) -> int:
    lowered = [column.strip().lower() for column in names]
    for candidate in LABEL_NAMES:
        if lowered.count(candidate) == 1:
            return lowered.index(candidate)
    raise InputError(
        f"{name}: no label column found; columns: {list_columns(names)}; "
        "name it with --label-column"
    )
