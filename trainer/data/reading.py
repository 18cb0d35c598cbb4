"""Read labelled files with the reader of spam-batch: one record, one label, one text.

What labelling refuses is refused here too, by line and byte; what it reads is read with the
same texts.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from batch.errors import InputError, MissingInputError
from batch.formats.input import Input
from batch.formats.layout import Layout
from batch.formats.open_table import open_table
from batch.messages import count
from batch.reading.dialect import Dialect
from batch.reading.foreign import make_command
from batch.reading.opening import open_source
from batch.reading.record import Record
from batch.reading.source import STANDARD_INPUT
from batch.writing.output import STANDARD_OUTPUT
from batch.writing.rejects import NO_REJECTS, Allowance
from trainer.data.columns import complete_input, find_label_column
from trainer.data.labels import (
    DEFAULT_RULES,
    SHOWN_LABELS,
    LabelRules,
    clean_labels,
    resolve_conflicts,
)
from trainer.data.notebook import read_as_notebook
from trainer.fetch.assets import DataFile
from trainer.recipe import Recipe

log = logging.getLogger("trainer")

WINDOW = 4096  # records read at once
CELL = 32_767  # characters of UTF-16 that a cell of Excel holds, at most
DEFAULT_INPUT = Input("")
_OPTION = re.compile(r"type: (--delimiter|--encoding) (\S+)")


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

    def join(self, other: "LabelledData") -> "LabelledData":
        """Both, one behind the other."""
        dropped = Counter(self.dropped) + Counter(other.dropped)
        return LabelledData(
            pd.concat([self.frame, other.frame], ignore_index=True),
            self.records + other.records,
            self.rejects + other.rejects,
            dict(dropped),
            self.glued_lines + other.glued_lines,
        )

    def sentence(self) -> str:
        """One line for the log: what came in, and what is left."""
        parts = [count(self.records, "record")]
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        parts += [f"{number:,} dropped ({reason})" for reason, number in self.dropped.items()]
        if self.glued_lines:
            parts.append(f"{count(self.glued_lines, 'line')} glued, as the notebook reads")
        found = self.frame["label"].value_counts()
        labels = [f"{found[name]:,} {name}" for name in sorted(found.index[:SHOWN_LABELS])]
        if len(found) > SHOWN_LABELS:
            labels.append(f"and {len(found) - SHOWN_LABELS:,} more labels")
        return f"{', '.join(parts)}; {count(len(self.frame), 'message')} kept: {', '.join(labels)}"


@dataclass
class FileRecords:
    """The good records of one file, in order."""

    name: str
    labels: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # of the records' first bytes
    rejects: list[Record] = field(default_factory=list)
    records: int = 0
    headers: list[int] = field(default_factory=list)  # lines that repeat the header
    advice: str | None = None  # what to type so that the first bad record is good
    warnings: list[str] = field(default_factory=list)

    def refuse_headers(self) -> None:
        if self.headers:
            raise InputError(
                f"{self.name}: line {self.headers[0]} repeats the header "
                f"({count(len(self.headers), 'such line')}), as when files are joined with cat; "
                "give the files one by one, each with its own --data, or remove the line"
            )


def read_messages(data: Sequence[DataFile], options: ReadOptions, recipe: Recipe) -> LabelledData:
    """The messages of ``data``, read as the recipe reads them.

    The SMS Spam Collection has a layout of its own, which no option need say; the notebook's
    split reads it as the notebook does.

    Raises:
        SpamBatchError: see :func:`read_labelled`.
    """
    if reads_sms(data, options):
        path = data[0].path
        if recipe.split == "book":
            frame = read_as_notebook(path)
            glued = data[0].lines - len(frame)
            return LabelledData(frame, len(frame), glued_lines=glued)
        sms = replace(SMS_OPTIONS, allowance=options.allowance, labels=options.labels)
        return read_labelled([path], sms)
    return read_labelled([file.path for file in data], options)


def reads_sms(data: Sequence[DataFile], options: ReadOptions) -> bool:
    """Whether ``data`` is the SMS Spam Collection alone, in the layout that is known of it."""
    is_default = replace(options, allowance=NO_REJECTS, labels=DEFAULT_RULES) == DEFAULT_OPTIONS
    return len(data) == 1 and data[0].is_sms and is_default


def read_labelled(paths: Sequence[Path], options: ReadOptions = DEFAULT_OPTIONS) -> LabelledData:
    """Read labelled files; the last file decides where two files label one text differently.

    Raises:
        MissingInputError: a file cannot be read.
        InputError: no such column, too many bad records, or a label that cannot be one.
        UsageError: options that do not go together.
    """
    rows, found = read_rows(paths, options)
    rows, replaced = resolve_conflicts(rows, [str(path) for path in paths])
    if replaced:
        found.dropped["labelled anew by a later file"] = replaced
    frame = rows[["label", "text"]].astype(object).reset_index(drop=True)
    return replace(found, frame=frame)


def read_rows(paths: Sequence[Path], options: ReadOptions) -> tuple[pd.DataFrame, LabelledData]:
    """Every good record: ``label``, ``text``, ``file`` (a number), ``line`` and ``offset`` (bytes).

    Also what became of the others; its frame is that of all records.

    Raises:
        SpamBatchError: see :func:`read_labelled`.
    """
    files: list[FileRecords] = []
    is_one = len(paths) == 1
    for path in paths:
        before = sum(len(file.rejects) for file in files)
        try:
            file = read_file(str(path), options, before)
        except InputError as error:
            raise type(error)(_advise_file(str(error), str(path), is_one)) from None
        # A text that is misread would teach the model the fault, so --quiet does not hide this.
        for warning in file.warnings:
            log.warning("WARNING: %s: %s", path, _advise_file(warning, str(path), is_one))
        files.append(file)
    for file in files:
        file.refuse_headers()
    rejects = [(file.name, record) for file in files for record in file.rejects]
    records = sum(file.records for file in files)
    name = ", ".join(map(str, paths))
    advised = [(file.name, file.advice) for file in files if file.advice]
    advice = f"{advised[0][0]}: {advised[0][1]}" if advised else None
    options.allowance.check_total(name, len(rejects), records, advice)
    rows = pd.DataFrame(
        {
            "label": pd.Series([label for file in files for label in file.labels], dtype=object),
            "text": pd.Series([text for file in files for text in file.texts], dtype=object),
            "file": [number for number, file in enumerate(files) for _ in file.texts],
            "line": [line for file in files for line in file.lines],
            "offset": [offset for file in files for offset in file.offsets],
        }
    )
    if rows.empty:
        raise InputError(f"{name}: there is no labelled record")
    rows, dropped = clean_labels(rows, [file.name for file in files], options.labels)
    return rows, LabelledData(rows, records, rejects, dropped)


def read_file(name: str, options: ReadOptions, rejects_before: int = 0) -> FileRecords:
    """Every record of one file with its label, as it is written, and its text.

    Raises:
        MissingInputError, InputError, UsageError: see :func:`read_labelled`.
    """
    if name == STANDARD_INPUT or not os.path.isfile(name):
        _refuse_no_file(name)
    with open_source(name) as source:
        given, label_column = complete_input(
            replace(options.input, name=name), options.label_column, options.finds_delimiter
        )
        table = open_table(source, given, STANDARD_OUTPUT, (), [])
        label = find_label_column(name, table, label_column)
        for note in table.notes:
            log.info("%s: %s", name, note)
        found = FileRecords(name)
        while records := table.read(WINDOW):
            good = [record for record in records if not record.problem]
            bad = [record for record in records if record.problem]
            before = rejects_before + len(found.rejects)
            options.allowance.check_window(name, before, bad, table.advise)
            if bad and not found.rejects and (advice := table.advise(bad[0])):
                found.advice = f"line {bad[0].line}: {advice}"
            found.rejects += bad
            labels = table.values(good, label)
            texts = [record.message for record in good]
            headers = {record.line for record in table.repeated_headers(good)}
            names = _fold_header(table.column_names[label]), _fold_header(table.text_name)
            for record, *values in zip(good, labels, texts, strict=True):
                if record.line in headers or names == tuple(map(_fold_header, values)):
                    found.headers.append(record.line)
            found.records += len(records)
            found.labels += labels
            found.texts += texts
            found.lines += [record.line for record in good]
            found.offsets += [record.offset for record in good]
        source.check_unchanged()
    found.warnings += [*table.choice_warnings, *table.warnings(), *filter(None, [found.advice])]
    if cut := [line for line, text in zip(found.lines, found.texts, strict=True) if _is_cut(text)]:
        found.warnings.append(
            f"{count(len(cut), 'text')} of {CELL:,} characters, the most that a cell of Excel "
            f"holds, first in line {cut[0]}; the rest may be cut off; export from the source"
        )
    return found


def _fold_header(value: str | None) -> str:
    return (value or "").strip("\ufeff \t").casefold()


def _is_cut(text: str) -> bool:
    return len(text) <= CELL and len(text.encode("utf-16-le", "surrogatepass")) == 2 * CELL


def _advise_file(sentence: str, name: str, is_one: bool) -> str:
    """Advice for one of several files: a command, since an option is for all of them."""
    if is_one or not (found := _OPTION.search(sentence)):
        return sentence
    option, value = found.groups()
    command = f"iconv -f {value} -t utf-8"
    if option == "--delimiter":
        mark = value.strip("'")
        command = rf"sed '1s/^\xEF\xBB\xBF//;1s/^/sep={mark}\n/'"
    return (
        f"{sentence[: found.start()]}type: {make_command(command, name)}{sentence[found.end() :]}"
    )


def _refuse_no_file(name: str) -> None:
    if name == STANDARD_INPUT:
        raise MissingInputError("--data: training reads a file; save standard input to one")
    if os.path.isdir(name):
        raise MissingInputError(f"{name} is a folder; give the name of a file")
    if os.path.exists(name):
        raise MissingInputError(f"{name} is a pipe or a device; save it to a file first")
    raise MissingInputError(f"cannot read {name}: No such file or directory")
