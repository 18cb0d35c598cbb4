"""Parquet: rows in order, schema and values kept, ours behind, whatever the row groups."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.errors import InputError
from batch.formats import parquet
from batch.formats.input import Input
from batch.formats.layout import Layout
from batch.formats.parquet import ParquetTable
from batch.model.decision import Predictions

OURS = ("label", "score", "tokens", "truncated")
LABELS = ["ham", 'sp"ä,m']


def make(texts, row_group_size=4, **columns) -> bytes:
    table = pa.table({"id": pa.array(range(len(texts)), pa.int32()), "text": texts, **columns})
    table = table.replace_schema_metadata({"made by": "a test"})
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, row_group_size=row_group_size, compression="zstd", write_page_checksum=True
    )
    return buffer.getvalue()


TEXTS = ["a", "", "c\n\r\n", "£👍", None, "x" * 5000, None, "h", "i", "j"]


def open_table(data: bytes, columns=OURS, text_column=None, overwrite=False) -> ParquetTable:
    given = Input("in.parquet", layout=Layout(overwrite=overwrite), text_column=text_column)
    return ParquetTable(io.BytesIO(data), given, columns, LABELS)


def predict(records) -> Predictions:
    """What depends on the text alone."""
    sizes = np.array([len(record.text) for record in records], dtype=np.int64)
    scores = sizes / 7 % 1
    return Predictions(
        [LABELS[size % 2] for size in sizes], scores, np.zeros((len(sizes), 2)), sizes, sizes > 100
    )


def test_probabilities_and_reasons(tmp_path):
    columns = ("reason", "probability_ham", f"probability_{LABELS[1]}", "label")
    data = make(["a", "b"])
    table = open_table(data, columns)
    found = Predictions(
        LABELS[::-1], np.zeros(2), np.array([[0.25, 0.75], [1, 0]]), np.ones(2), np.zeros(2),
        reasons=["unsure band", "highest probability"],
    )  # fmt: skip
    (tmp_path / "out.part").write_bytes(table.rows(table.read(2), found))
    whole = pq.read_table(table.finish(tmp_path / "out.part"))
    assert whole.column("reason").to_pylist() == ["unsure band", "highest probability"]
    assert whole.column(columns[1]).to_pylist() == [0.25, 1]
    assert whole.column(columns[2]).to_pylist() == [0.75, 0]
    assert whole.column("label").to_pylist() == LABELS[::-1]
    assert str(whole.schema.field(columns[1]).type) == "double"


def label(data: bytes, tmp_path, window=3, stop=None, **options):
    """Label it in windows; ``stop`` goes on with a new table after so many of them."""
    table = open_table(data, **options)
    part = tmp_path / ".out.part"
    rows, windows = table.header(), 0
    while records := table.read(window):
        good = [record for record in records if not record.problem]
        rows += table.rows(good, predict(good))
        windows += 1
        if windows == stop:
            offset, line = table.offset, table.line
            table = open_table(data, **options)
            table.go_to(offset, line)
    part.write_bytes(rows)
    whole = table.finish(part)
    assert part.read_bytes() == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", ".out.whole.part"]
    return whole.read_bytes()


def test_the_columns_are_kept_and_ours_stand_behind(tmp_path):
    data = make(TEXTS)
    found = pq.ParquetFile(io.BytesIO(label(data, tmp_path)))
    theirs = pq.read_table(io.BytesIO(data))
    kept = theirs.filter(theirs["text"].is_valid())
    ours = found.read()
    assert ours.select(["id", "text"]).equals(kept.select(["id", "text"]))
    assert ours.schema.names == ["id", "text", *OURS]
    assert ours.schema.metadata == {b"made by": b"a test"}
    assert [str(ours.schema.field(name).type) for name in OURS] == [
        "string",
        "double",
        "int64",
        "bool",
    ]
    sizes = [len(text.encode()) for text in kept["text"].to_pylist()]
    assert ours["label"].to_pylist() == [LABELS[size % 2] for size in sizes]
    assert ours["score"].to_pylist() == [float(f"{size / 7 % 1:.6f}") for size in sizes]
    assert ours["tokens"].to_pylist() == sizes
    assert ours["truncated"].to_pylist() == [size > 100 for size in sizes]
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("slice_rows", [1, 3, 1 << 16])
@pytest.mark.parametrize("row_group_size", [1, 4, 100])
def test_the_same_bytes_whatever_the_windows_and_interruptions(
    tmp_path, monkeypatch, slice_rows, row_group_size
):
    monkeypatch.setattr(parquet, "SLICE_ROWS", slice_rows)
    data = make(TEXTS, row_group_size)
    whole = label(data, tmp_path)
    for window, stop in ((1, None), (100, None), (1, 1), (3, 2), (4, 1), (5, 2)):
        assert label(data, tmp_path, window, stop) == whole


def test_a_null_is_a_bad_record():
    records = open_table(make(TEXTS)).read(100)
    problems = [
        (record.line, record.offset, record.problem) for record in records if record.problem
    ]
    assert problems == [(5, 4, "has null as its 'text'"), (7, 6, "has null as its 'text'")]
    assert [record.text for record in records if not record.problem][:3] == [b"a", b"", b"c\n\r\n"]
    assert (records[4].raw, records[4].text) == (b"", None)


@pytest.mark.parametrize("rows", [0, 3])
def test_no_rows_or_only_nulls(tmp_path, rows):
    data = make(pa.array([None] * rows, pa.string()))
    found = pq.read_table(io.BytesIO(label(data, tmp_path)))
    assert (found.num_rows, found.schema.names) == (0, ["id", "text", *OURS])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_kinds_of_strings(tmp_path, kind):
    data = make(pa.array(TEXTS).cast(kind))
    assert [record.text for record in open_table(data).read(2)] == [b"a", b""]
    found = pq.read_table(io.BytesIO(label(data, tmp_path)))
    assert found.schema.field("text").type == kind
    assert found["text"].to_pylist() == [text for text in TEXTS if text is not None]


def test_other_columns_of_any_kind(tmp_path):
    columns = {
        "list": [[1], None, []] * 3,
        "struct": [{"a": 1, "text": "b"}] * 9,
        "time": pa.array(range(9), pa.timestamp("ns", "UTC")),
        "money": pa.array(range(9), pa.int64()).cast(pa.decimal128(30, 2)),
        "": pa.array([b"\xff"] * 9),
        "a.b": pa.array([True] * 9),
    }
    data = make(["a"] * 9, **columns)
    ours, theirs = (pq.read_table(io.BytesIO(d)) for d in (label(data, tmp_path), data))
    assert ours.select(theirs.schema.names).equals(theirs)


def test_a_text_that_is_no_utf_8(tmp_path):
    column = pa.array([b"a\xffb", b"c"]).view(pa.string())
    data = make(column)
    assert [record.text for record in open_table(data).read(5)] == [b"a\xffb", b"c"]
    found = pq.read_table(io.BytesIO(label(data, tmp_path)))
    assert found["text"].cast(pa.binary()).to_pylist() == [b"a\xffb", b"c"]


def test_columns_of_ours_are_written_anew(tmp_path):
    once = label(make(TEXTS[:4]), tmp_path)
    assert label(once, tmp_path, overwrite=True) == once


def test_a_codec_that_none_asked_for(tmp_path):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), buffer, compression="none")
    found = pq.ParquetFile(io.BytesIO(label(buffer.getvalue(), tmp_path)))
    assert found.metadata.row_group(0).column(0).compression == "UNCOMPRESSED"


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            make(["a"]),
            {"text_column": "note"},
            "the text column 'note' is not there; columns: 'id', 'text'",
        ),
        (
            make(["a"]),
            {"text_column": "id"},
            "the text column 'id' holds int32, not strings; name another with --text-column",
        ),
        (
            make([[1]]),
            {},
            "the text column 'text' is a list of int64; make one text of each list first",
        ),
        (
            make(["a"], score=[1]),
            {},
            "there is a column 'score' already; it would be there twice; "
            "choose others with --columns, or give --overwrite-columns",
        ),
        (
            make(["a"], label=["b"]),
            {"text_column": "label", "overwrite": True},
            "the text column 'label' would be overwritten; "
            "choose others with --columns, or rename it",
        ),
        (b"", {}, "is not Parquet, or is damaged or cut off"),
        (b"id,text\n1,a\n", {}, "is not Parquet, or is damaged or cut off"),
        (make(TEXTS)[:-1], {}, "is not Parquet, or is damaged or cut off"),
        (make(TEXTS)[4:], {}, "is not Parquet, or is damaged or cut off"),
    ],
)
def test_what_is_refused(data, options, message):
    with pytest.raises(InputError) as error:
        open_table(data, **options).read(100)
    assert str(error.value) == f"in.parquet: {message}"


@pytest.mark.parametrize("column", [0, 1])
def test_a_damaged_page_is_never_published(tmp_path, column):
    data = bytearray(make(["message " * 20] * 50, 50))
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start + chunk.total_compressed_size - 1] ^= 0xFF
    with pytest.raises(InputError) as error:
        label(bytes(data), tmp_path, text_column="text")
    assert str(error.value) == "in.parquet: is not Parquet, or is damaged or cut off"


def test_an_input_that_the_disk_does_not_give():
    class Broken(io.BytesIO):
        def read(self, n=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError) as error:
        ParquetTable(Broken(make(TEXTS)), Input("in.parquet"), OURS, LABELS)
    assert error.value.errno == 5
