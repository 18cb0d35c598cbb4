"""Reading, balancing and splitting: the notebook's own rows; every refusal by its whole text."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, MissingInputError, UsageError
from trainer.data.labelled_file import (
    SPLITS,
    Columns,
    balance,
    default_positive_label,
    read_labelled,
    read_split,
    split,
    write_split,
)
from trainer.recipe import RECIPES, Recipe

BOOK = RECIPES["book"]


def read_bytes(folder: Path, data: bytes, columns: Columns | None = None) -> list[tuple[str, str]]:
    path = folder / "messages.csv"
    path.write_bytes(data)
    frame = read_labelled(path, columns or Columns())
    assert list(frame.columns) == ["label", "text"]
    return list(frame.itertuples(index=False, name=None))


def frame_of(**counts: int) -> pd.DataFrame:
    """As many messages of each label, each with a text of its own."""
    rows = [(label, f"{label} {i}") for label, count in counts.items() for i in range(count)]
    return pd.DataFrame(rows, columns=["label", "text"])


def notebook_split(path: Path) -> list[pd.DataFrame]:
    """The notebook's cells from ``read_csv`` to ``random_split``."""
    df = pd.read_csv(path, sep="\t", header=None, names=["label", "text"])
    spam, ham = df[df["label"] == "spam"], df[df["label"] == "ham"]
    df = pd.concat([ham.sample(spam.shape[0], random_state=123), spam])
    df = df.sample(frac=1, random_state=123).reset_index(drop=True)
    train_end = int(len(df) * 0.7)
    validation_end = train_end + int(len(df) * 0.1)
    return [df[:train_end], df[train_end:validation_end], df[validation_end:]]


class TestBook:
    """On the real file, the figures that the notebook prints."""

    def test_counts(self, sms_file: Path) -> None:
        frame = read_labelled(sms_file)
        assert len(frame) == 5572
        assert frame["label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}
        balanced = balance(frame, BOOK.split_seed)
        assert balanced["label"].value_counts().to_dict() == {"ham": 747, "spam": 747}
        parts = split(balanced, BOOK)
        assert {name: len(part) for name, part in parts.items()} == {
            "train": 1045,
            "validation": 149,
            "test": 300,
        }

    def test_rows_equal_the_notebooks(self, sms_file: Path, tmp_path: Path) -> None:
        ours = split(balance(read_labelled(sms_file), BOOK.split_seed), BOOK)
        theirs = notebook_split(sms_file)
        write_split(tmp_path, ours)
        for name, their_part in zip(SPLITS, theirs, strict=True):
            assert ours[name].to_dict("list") == their_part.to_dict("list")
            assert read_split(tmp_path, name).to_dict("list") == their_part.to_dict("list")


class TestRead:
    @pytest.mark.parametrize(
        "data",
        [
            b"ham\thi, you\nspam\tcall\n",
            b"label,text\nham,\"hi, you\"\nspam,call\n",
            b"id,Text,CLASS\n1,\"hi, you\",ham\n2,call,spam\n",
            b"\xef\xbb\xbfv1,v2,,\nham,\"hi, you\",,\nspam,call,,\n",
            b"label,text\r\nham,\"hi, you\"\r\nspam,call",
            b"label,text\rham,\"hi, you\"\rspam,call\r",
            b"label,text\n\nham,\"hi, you\"\n\nspam,call\n\n",
            b"message\tcategory\nhi, you\tham\ncall\tspam\n",
            b"\"label\",\"text\",\"a\nb\"\nham,\"hi, you\",\nspam,call,\n",
        ],
        ids=["sms", "csv", "names", "bom", "crlf", "cr", "blank", "tsv", "quoted-header"],
    )  # fmt: skip
    def test_layouts(self, tmp_path: Path, data: bytes) -> None:
        assert read_bytes(tmp_path, data) == [("ham", "hi, you"), ("spam", "call")]

    def test_columns_by_name_and_three_classes(self, tmp_path: Path) -> None:
        data = b"text;body;queue\nx;too dear;billing\ny;no net;tech\nz;hello;other\n"
        columns = Columns(label="queue", text="body", delimiter=";")
        expected = [("billing", "too dear"), ("tech", "no net"), ("other", "hello")]
        assert read_bytes(tmp_path, data, columns) == expected

    def test_texts_are_kept(self, tmp_path: Path) -> None:
        data = (
            b'label,text\na,NA\nb,\na,"x\r\ny"\nb,"x\ry"\na,"say ""hi"""\nb,null\na,007\n'
            b"b, spaced \na,\xff\nb\n"
        )
        texts = [text for _, text in read_bytes(tmp_path, data)]
        expected = ["NA", "", "x\r\ny", "x\ry", 'say "hi"', "null", "007", " spaced ", "\ufffd", ""]
        assert texts == expected

    def test_long_message(self, tmp_path: Path) -> None:
        text = "word " * 100_000  # Python's csv module stops at 131,072 characters
        data = f'label,text\nham,"{text}"\nspam,x\n'.encode()
        assert read_bytes(tmp_path, data) == [("ham", text), ("spam", "x")]


class TestRefusals:
    """Each by its whole text; ``{path}`` is the file."""

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "{path}: the file is empty or starts with a blank line"),
            (b"\r\nham,a\n", "{path}: the file is empty or starts with a blank line"),
            (b"label,text\n", "{path}: there is no record after the header"),
            (
                b"id,queue,body\n1,a,b\n",
                "no label column found; columns: 'id', 'queue', 'body'; "
                "name it with --label-column",
            ),
            (
                b"text,queue\na,b\n",
                "no label column found; columns: 'text', 'queue'; name it with --label-column",
            ),
            (
                b"label,review\na,b\n",
                "no text column found; columns: 'label', 'review'; name it with --text-column",
            ),
            (
                b"label,label,text\na,b,c\n",
                "no label column found; columns: 'label', 'label', 'text'; "
                "name it with --label-column",
            ),
            (
                b"label,text\nham,a\n ,b\n,c\n",
                "{path}: record 2 has an empty label (2 such)",
            ),
            (
                b"label,text\nham,a\nham,b\n",
                "{path}: every label is 'ham'; two classes are needed",
            ),
            (
                b"label,text\nham,a\nHam,b\nspam,c\n",
                "{path}: the labels 'Ham' and 'ham' differ in case or spaces only; make them one",
            ),
            (
                b"label,text\nspam,a\nham,b\nspam ,c\n",
                "{path}: the labels 'spam' and 'spam ' differ in case or spaces only; "
                "make them one",
            ),
            (
                b"label,text\nham,hi, you\nspam,b\n",
                "{path}: the first record has more fields than the header; "
                "put a text with ',' in it between quotes",
            ),
            (
                b"label,text\nham,a\nspam,b, c\n",
                "{path}: Error tokenizing data. C error: Expected 2 fields in line 3, saw 3",
            ),
            (
                b"ham\ta\nspam\tb\tc\n",
                "{path}: Error tokenizing data. C error: Expected 2 fields in line 2, saw 3",
            ),
            (
                b'label,text\nham,"a\nspam,b\n',
                "{path}: Error tokenizing data. C error: EOF inside string starting at row 1",
            ),
            (
                b"label,text\n" + b"".join(b"%d,a\n" % i for i in range(1001)),
                "{path}: 1,001 different labels; is the label column the right one?",
            ),
        ],
        ids=lambda value: repr(value[:24]),
    )
    def test_bad_file(self, tmp_path: Path, data: bytes, message: str) -> None:
        expected = message.format(path=tmp_path / "messages.csv")
        with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
            read_bytes(tmp_path, data)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (
                Columns(label="queue"),
                "the label column 'queue' is not there; columns: 'label', 'text', 'label'",
            ),
            (
                Columns(label="label"),
                "the label column 'label' appears twice; columns: 'label', 'text', 'label'",
            ),
            (
                Columns(label="text"),
                "{path}: the column 'text' cannot be both label and text",
            ),
        ],
    )
    def test_bad_column(self, tmp_path: Path, columns: Columns, message: str) -> None:
        expected = message.format(path=tmp_path / "messages.csv")
        with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
            read_bytes(tmp_path, b"label,text,label\nham,a,x\nspam,b,y\n", columns)

    @pytest.mark.parametrize("delimiter", ["ab", '"', "\n"])
    def test_bad_delimiter(self, tmp_path: Path, delimiter: str) -> None:
        expected = f"--delimiter {delimiter!r} must be one character, and no quote"
        with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
            read_bytes(tmp_path, b"label,text\nham,a\nspam,b\n", Columns(delimiter=delimiter))

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        for path, reason in (
            (tmp_path / "none.csv", "No such file or directory"),
            (tmp_path, "Is a directory"),
        ):
            with pytest.raises(MissingInputError) as caught:
                read_labelled(path)
            assert str(caught.value) == f"cannot read {path}: {reason}"

    def test_too_few_messages(self) -> None:
        expected = "^4 messages are too few: the validation set would be empty$"
        with pytest.raises(InputError, match=expected):
            split(frame_of(ham=2, spam=2), BOOK)

    def test_class_without_training_message(self) -> None:
        frame = frame_of(ham=30, spam=30, zebra=1)
        for seed in range(100):
            recipe = Recipe("book", "last_position", split_seed=seed)
            shuffled = frame.sample(frac=1, random_state=seed)["label"].tolist()
            if "zebra" not in shuffled[:42]:
                break
        expected = "^no training message is labelled 'zebra'; give more data$"
        with pytest.raises(InputError, match=expected):
            split(frame, recipe)


class TestBalanceAndSplit:
    def test_three_classes_are_cut_to_the_smallest(self) -> None:
        frame = frame_of(a=9, b=30, c=12)
        balanced = balance(frame, 123)
        assert balanced["label"].tolist() == ["b"] * 9 + ["c"] * 9 + ["a"] * 9
        assert balanced["text"].is_unique
        assert set(balanced["text"]) <= set(frame["text"])
        assert balanced["text"].tolist() == balance(frame, 123)["text"].tolist()
        assert balanced["text"].tolist() != balance(frame, 124)["text"].tolist()

    def test_every_message_is_in_one_part(self) -> None:
        frame = frame_of(ham=40, spam=17)
        parts = split(frame, BOOK)
        assert tuple(parts) == SPLITS
        assert [len(part) for part in parts.values()] == [39, 5, 13]
        texts = [text for part in parts.values() for text in part["text"]]
        assert Counter(texts) == Counter(frame["text"])


# Lone surrogates cannot be decoded from a file, and pandas ends a field at a NUL.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
rows = st.lists(st.tuples(st.sampled_from(["ham", "spam", 'a,"b"']), texts), max_size=8)


@given(rows=rows)
def test_split_files_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("split")
    nasty = ["NA", "", "a\rb", "a\r\nb\n", 'say "hi"', "\ufeff", "1.0", "\x1a", "\r", " x "]
    frame = pd.DataFrame([*rows, *(("ham", text) for text in nasty)], columns=["label", "text"])
    write_split(folder, {name: frame for name in SPLITS})
    for name in SPLITS:
        assert read_split(folder, name).to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["ham", "spam"], "spam"),
        (["eggs", "ham", "spam"], "spam"),
        (["no", "yes"], "yes"),
        (["a", "b", "c"], None),
    ],
)
def test_default_positive_label(labels: list[str], positive: str | None) -> None:
    assert default_positive_label(labels) == positive


def test_a_header_of_unknown_names_is_not_taken_for_a_message(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("sentiment,review\ngood,fine\nbad,poor\ngood,nice\nbad,awful\n")
    with pytest.raises(InputError) as caught:
        read_labelled(path)
    assert str(caught.value) == (
        f"{path}: no other record has the first one's label; if it is a header, name its "
        "columns with --label-column and --text-column"
    )


def test_a_message_in_the_first_line_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("ham,see you,at the bridge at seven and bring the usual things please\n")
    with pytest.raises(InputError) as caught:
        read_labelled(path)
    assert str(caught.value) == (
        "no label column found; columns: 3 (they look like data, so they are not shown); "
        "name it with --label-column"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b"", "{path}: No columns to parse from file"),
        (b"label,body\nham,a\n", "{path}: it has not the columns label and text"),
        (
            b'label,text\nham,"a',
            "{path}: Error tokenizing data. C error: EOF inside string starting at row 1",
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
