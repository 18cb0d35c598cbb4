"""Lead a check: read, describe, doubt, write."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from batch.errors import UnavailableError
from batch.messages import show
from batch.model.tokenizer import Tokenizer
from batch.reading.fingerprint import hash_file
from batch.writing.atomic import replace_file
from batch.writing.target import check_not_input, check_replaceable, resolve_path
from trainer.check.describe import (
    class_lines,
    copy_lines,
    length_lines,
    script_lines,
)
from trainer.check.doubts import Doubts, doubt_by_folds, doubt_by_run
from trainer.data.reading import DEFAULT_OPTIONS, SMS_OPTIONS, ReadOptions, read_rows
from trainer.fetch.assets import fetch_bpe
from trainer.fetch.sources import DATA_SHA256
from trainer.run_folder import read_config

SHOWN = 50  # doubted rows that are printed
CONTEXT = 1024  # tokens; of GPT-2
COLUMNS = ("text", "label", "suggested", "score", "file", "line", "byte")


@dataclass(frozen=True)
class CheckOptions:
    """The options of ``spam-train check``."""

    data: tuple[Path, ...]
    reading: ReadOptions = DEFAULT_OPTIONS
    out: Path | None = None
    run: Path | None = None
    max_length: int | None = None  # tokens; None: that of the run, or of GPT-2's context
    bpe: Path | None = None
    cache: Path = Path("data")


def check_lines(options: CheckOptions) -> Iterator[str]:
    """Yield the result line by line, and write ``options.out`` at the end.

    Raises:
        SpamBatchError: a file cannot be read or written, or the run does not know a label.
    """
    target = _check_target(options)
    rows, found = read_rows(options.data, _find_reading(options))
    names = [str(path) for path in options.data]
    yield found.sentence()
    yield from class_lines(rows)
    yield from copy_lines(rows, names)
    yield from length_lines(rows, names, _find_tokenizer(options), _find_limit(options))
    yield from script_lines(rows["text"])
    doubts = doubt_by_run(rows, options.run) if options.run else doubt_by_folds(rows)
    yield doubts.sentence
    for row in doubts.rows.head(SHOWN).itertuples():
        place = f"{names[row.file]}: " if len(names) > 1 else ""
        yield (
            f"  {place}line {row.line}, byte {row.offset}: {show(row.label)}, probably "
            f"{show(row.suggested)} (its own label has the probability {row.score:.3f})"
        )
    if len(doubts.rows) > SHOWN:
        yield f"  and {len(doubts.rows) - SHOWN:,} more"
    if target is not None:
        write_doubts(target, doubts, names)
        yield f"doubted rows: {options.out}"


def _find_reading(options: CheckOptions) -> ReadOptions:
    """The SMS Spam Collection has a layout of its own, which no option need say."""
    hashes = [hash_file(path) for path in options.data if path.is_file()]
    is_sms = options.reading == DEFAULT_OPTIONS and hashes == [DATA_SHA256]
    return SMS_OPTIONS if is_sms else options.reading


def _check_target(options: CheckOptions) -> Path | None:
    """Where the doubted rows go, before anything is computed.

    Raises:
        OutputError: there is a file that this command did not write, or an input.
    """
    if options.out is None:
        return None
    target = resolve_path(str(options.out))
    for path in options.data:
        if path.exists() and target.exists():
            check_not_input(str(options.out), str(path))
    start = (",".join(COLUMNS) + "\r\n").encode()
    check_replaceable(target, start, "is no list of doubted rows; it was left as it is; give "
                      "another --out")  # fmt: skip
    return target


def _find_tokenizer(options: CheckOptions) -> Tokenizer | None:
    """None where there is no tokenizer and none can be fetched: a check works without one."""
    try:
        return Tokenizer.load(fetch_bpe(options.cache, options.bpe).path)
    except UnavailableError:
        return None


def _find_limit(options: CheckOptions) -> int:
    if options.max_length is not None:
        return options.max_length
    return CONTEXT if options.run is None else read_config(options.run).max_length


def write_doubts(target: Path, doubts: Doubts, names: list[str]) -> None:
    """Write the doubted rows as CSV, worst first, whole or not at all."""
    file = io.StringIO(newline="")
    file.write(",".join(COLUMNS) + "\r\n")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    rows: pd.DataFrame = doubts.rows
    for row in rows.itertuples():
        writer.writerow([
            row.text, row.label, row.suggested, f"{row.score:.6f}", names[row.file], row.line,
            row.offset,
        ])  # fmt: skip
    replace_file(target, file.getvalue().encode("utf-8", "replace"), target, ".csv", 0o600)
