"""The sets of a run folder: what is written is read back, and a torn file is told."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, MissingInputError
from trainer.data.sets import SPLITS, read_split, write_split

# A file holds no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))
rows = st.lists(st.tuples(st.sampled_from(["ham", "spam", 'a,"b"']), texts), max_size=8)


@given(rows=rows)
def test_split_files_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("split")
    nasty = ["NA", "", "a\rb", "a\r\nb\n", 'say "hi"', "\ufeff", "1.0", "\x1a", "\r", " x ", "a\0b"]
    frame = pd.DataFrame([*rows, *(("ham", text) for text in nasty)], columns=["label", "text"])
    write_split(folder, {name: frame for name in SPLITS})
    for name in SPLITS:
        assert read_split(folder, name).to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (
            b"",
            "{path}: is not as the run wrote it: the file is empty; its first line must name the "
            "columns",
        ),
        (
            b"label,body\nham,a\n",
            "{path}: is not as the run wrote it: the text column 'text' is not there; "
            "columns: 'label', 'body'",
        ),
        (
            b'label,text\nham,"a',
            "{path}: is not as the run wrote it: line 2: quote opened at byte 5 of line 2 is "
            "never closed",
        ),
    ],
)
def test_a_split_that_is_not_as_it_was_written(tmp_path: Path, data, message: str) -> None:
    path = tmp_path / "test.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MissingInputError if data is None else InputError) as caught:
        read_split(tmp_path, "test")
    assert str(caught.value) == message.format(path=path)
