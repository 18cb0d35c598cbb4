"""The three sets of a run, as CSV files in its folder."""

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from batch.errors import InputError
from batch.formats.input import Input
from batch.reading.dialect import DEFAULT_DIALECT
from batch.reading.record import Record
from batch.writing.names import REJECTS_START
from batch.writing.rejects import Allowance, encode_rejects
from trainer.data.reading import ReadOptions, read_file

REJECTS = "rejects.csv"
SPLITS = ("train", "validation", "test")


def write_split(folder: Path, parts: dict[str, pd.DataFrame]) -> None:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv``; every field is quoted.

    Quoting all fields keeps a bare carriage return in a message whole, which
    Python's csv module before 3.11.9 would leave unquoted.
    """
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False, quoting=csv.QUOTE_ALL, encoding="utf-8")


def write_rejects(folder: Path, rejects: Sequence[tuple[str, Record]]) -> None:
    """Write ``rejects.csv``: the bad records of the data, each with its file; none, no file."""
    if not rejects:
        return
    with open(folder / REJECTS, "wb") as file:
        file.write(b"file," + REJECTS_START)
        for name, record in rejects:
            quoted = os.fsencode(name).replace(b'"', b'""')
            file.write(b'"%b",%b' % (quoted, encode_rejects([record])))


def read_split(folder: Path, name: str) -> pd.DataFrame:
    """Read back one of the three files of :func:`write_split`: columns ``label``, ``text``.

    Raises:
        MissingInputError: there is none.
        InputError: it is not as it was written.
    """
    path = folder / f"{name}.csv"
    dialect = replace(DEFAULT_DIALECT, trusts_quotes=True)
    given = Input("", dialect, text_column="text")
    problem = f"{path}: is not as the run wrote it"
    try:
        found = read_file(str(path), ReadOptions("label", given, False, Allowance(None, 100.0)))
    except InputError as error:
        raise InputError(f"{problem}: {str(error).removeprefix(f'{path}: ')}") from None
    if found.rejects:
        first = found.rejects[0]
        raise InputError(f"{problem}: line {first.line}: {first.problem}")
    return pd.DataFrame({"label": found.labels, "text": found.texts}, dtype=object)
