"""What labelling reads, training reads: any table, in any format, with broken records in it."""

import bz2
import gzip
import io
import json
import lzma
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.layout import Layout
from batch.formats.open_table import open_table
from batch.reading.dialect import Dialect
from batch.reading.encoding import parse_encoding
from batch.reading.opening import open_source
from batch.writing.rejects import Allowance
from trainer.data.reading import ReadOptions, read_file

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
TEXTS = st.text(st.sampled_from("aé£“ ,;\t|\"'\\\r\n\0\ufeff無🙂=0"), max_size=8)
ROWS = st.lists(st.tuples(st.sampled_from(["ham", " spam", "0", ""]), TEXTS), max_size=8)
BROKEN = st.lists(
    st.tuples(st.integers(0, 8), st.text(st.sampled_from('a",;\t|\\\0{}[]'), max_size=9)),
    max_size=4,
)


@dataclass(frozen=True)
class Table:
    """A file, the options that read it, and the texts that were written into its records."""

    ending: str
    data: bytes
    given: Input
    texts: list[str] | None  # None: it has broken records


def insert(lines: list[str], broken: list[tuple[int, str]]) -> None:
    for at, line in broken:
        lines.insert(1 + at, line)  # never above the header


@st.composite
def csv_tables(draw) -> Table:
    delimiter = draw(st.sampled_from(",;\t|"))
    quote, escape = draw(st.sampled_from([('"', None), ("'", None), ('"', "\\"), (None, None)]))
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    has_header, broken = draw(st.booleans()), draw(BROKEN)
    rows, texts = [("label", "text")] * has_header + draw(ROWS), []
    lines = []
    for label, drawn in rows:
        text = drawn.encode("cp1252", "ignore").decode("cp1252") if codec == "cp1252" else drawn
        field = text
        if quote is None:  # what would be a special byte is left out
            text = field = "".join(c for c in text if c not in delimiter + "\r\n")
        elif escape:
            field = (
                f"{quote}{text.replace(escape, 2 * escape).replace(quote, escape + quote)}{quote}"
            )
        else:
            field = f"{quote}{text.replace(quote, 2 * quote)}{quote}"
        lines.append(f"{label}{delimiter}7{delimiter}{field}")
        texts.append(text)
    insert(lines, broken)
    data = "".join(line + end for line in lines).encode(codec)
    dialect = Dialect(
        delimiter.encode(), quote and quote.encode(), escape and escape.encode()
    )  # fmt: skip
    encoding = parse_encoding("utf-8" if codec == "utf-8-sig" else codec)
    given = Input("", dialect, Layout("csv", encoding, has_header), "3")
    return Table(".csv", data, given, None if broken else texts[has_header:])


@st.composite
def json_tables(draw) -> Table:
    rows, broken, is_ascii = draw(ROWS), draw(BROKEN), draw(st.booleans())
    given = Input("", text_column="text")
    lines = [
        json.dumps({"label": label, "id": 7, "text": text}, ensure_ascii=is_ascii)
        for label, text in [("ham", "first"), *rows]
    ]
    insert(lines, broken)
    data = "".join(f"{line}\n" for line in lines).encode()
    return Table(".jsonl", data, given, None if broken else ["first", *(text for _, text in rows)])


@st.composite
def parquet_tables(draw) -> Table:
    rows = [*draw(ROWS), *[("ham", None)] * draw(st.integers(0, 1))]
    texts = [text for _, text in rows]
    kind = draw(st.sampled_from([pa.string(), pa.large_string(), pa.binary()]))
    values = [t.encode() if t is not None and kind == pa.binary() else t for t in texts]
    columns = {"label": pa.array([label for label, _ in rows], pa.string())}
    file = io.BytesIO()
    pq.write_table(pa.table(columns | {"text": pa.array(values, kind)}), file)
    given = Input("", text_column="text")
    return Table(".parquet", file.getvalue(), given, None if None in texts else texts)


@given(table=csv_tables() | json_tables() | parquet_tables(), pack=st.sampled_from([*PACK]))
def test_any_table_is_read_as_in_labelling(tmp_path_factory, table: Table, pack: str) -> None:
    """Texts, labels, lines and rejects, record for record; or the same refusal."""
    pack = "" if table.ending == ".parquet" else pack
    path = tmp_path_factory.mktemp("reading") / f"in{table.ending}{pack}"
    path.write_bytes(PACK[pack](table.data))
    name, label = str(path), "label" if table.given.layout.has_header else "1"
    label = "1" if table.ending == ".csv" else label
    theirs = Input(name, *(getattr(table.given, key) for key in ("dialect", "layout")),
                   table.given.text_column)  # fmt: skip
    options = ReadOptions(label, table.given, False, Allowance.parse("100%"))
    try:
        with open_source(name) as source:
            labelling = open_table(source, theirs, "-", (), [])
            records = [record for part in iter(lambda: labelling.read(3), []) for record in part]
    except InputError as error:
        try:
            read_file(name, options)
        except InputError as ours:
            assert str(ours) == str(error)
            return
        raise AssertionError(f"training reads what labelling refuses: {error}") from error
    found = read_file(name, options)
    good = [record for record in records if not record.problem]
    assert found.records == len(records)
    assert found.rejects == [record for record in records if record.problem]
    assert found.lines == [record.line for record in good]
    texts = [record.text.decode("utf-8", "replace") for record in good]
    assert found.texts == texts
    assert len(found.labels) == len(texts)
    if table.texts is not None:  # and they are what was written
        assert texts == table.texts
        assert not found.rejects
