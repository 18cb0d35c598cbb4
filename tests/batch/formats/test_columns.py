"""The header, the text column, and our own fields, with each refusal by its whole text."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, UsageError
from batch.formats.advice import CsvAdvice
from batch.formats.columns import (
    COLUMNS,
    encode_texts,
    expand_columns,
    kind_of,
    parse_columns,
)
from batch.formats.csv_table import CsvTable, encode_field, read_header
from batch.formats.input import Input
from batch.formats.layout import DEFAULT_LAYOUT, Layout
from batch.messages import TEXT_NAMES, show
from batch.model.decision import REASONS
from batch.reading.dialect import Dialect
from batch.reading.opening import open_source
from batch.reading.records import RecordReader

ALL = "label, score, probability, tokens, truncated, reason, stage"


def header_of(data: bytes, wanted=None, columns=("label", "score"), dialect=None):
    dialect = dialect or Dialect()
    reader = RecordReader(io.BytesIO(data), dialect)
    advice = CsvAdvice("in.csv", data, dialect, DEFAULT_LAYOUT, wanted)
    return read_header("in.csv", reader, wanted, columns, advice=advice)


def refusal(kind, action, *args, **options) -> str:
    with pytest.raises(kind) as error:
        action(*args, **options)
    return str(error.value)


def test_parse_columns():
    assert parse_columns("label,score") == ("label", "score")
    assert parse_columns(" truncated , label") == ("truncated", "label")
    assert parse_columns(",".join(COLUMNS)) == COLUMNS


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("label,colour", f"there is no 'colour'; choose from {ALL}"),
        ("", f"there is no ''; choose from {ALL}"),
        ("Label", f"there is no 'Label'; choose from {ALL}"),
        ("label,score,label", "'label,score,label' names a column twice"),
    ],
)
def test_columns_that_are_not_ours(value, message):
    assert refusal(UsageError, parse_columns, value) == f"--columns: {message}"


def test_probability_is_a_column_for_each_class():
    columns = ("probability", "label", "score")
    names = ("probability_a,b", "probability_score", "label", "score")
    assert expand_columns(columns, ["a,b", "score"]) == names
    assert [kind_of(name) for name in names] == ["probability", "probability", "label", "score"]


def test_reasons_are_encoded_only_where_they_are_asked_for():
    def refuse_reasons(text: str) -> bytes:
        assert text == "ham"
        return b"ham"

    assert encode_texts(("label",), ["ham"], refuse_reasons) == {"ham": b"ham"}
    found = encode_texts(("reason",), ["ham", "unsure band"], str.encode)
    assert list(found) == ["ham", "unsure band", *(r for r in REASONS if r != "unsure band")]


def test_reads_the_header():
    reader = RecordReader(io.BytesIO(b'id,"a ""text""",TEXT\r\n1,2,hello\r\n'), Dialect())
    header = read_header("in.csv", reader, None, ("label",))
    assert header.names == ["id", 'a "text"', "TEXT"]
    assert header.text_column == 2
    assert (header.record.raw, header.record.line_end) == (b'id,"a ""text""",TEXT', b"\r\n")
    (record,) = reader.read_records(5)
    assert (record.text, record.problem) == (b"hello", None)


@pytest.mark.parametrize("name", TEXT_NAMES)
def test_obvious_names_in_any_case(name):
    assert header_of(f"id, {name.upper()} ,x\n".encode()).text_column == 1


def test_of_a_header_alone_the_most_obvious_name_wins():
    assert header_of(b"v2,message,text,body\n").text_column == 2
    assert header_of(b"v2,message,body\n").text_column == 1


def test_the_name_asked_for_wins():
    assert header_of(b"text,Note,note\n", wanted="note").text_column == 2


@pytest.mark.parametrize(
    ("data", "wanted", "message"),
    [
        (b"", None, "in.csv: the file is empty; its first line must name the columns"),
        (b"\n\r\n", None, "in.csv: the file is empty; its first line must name the columns"),
        (b"\xef\xbb\xbf", None, "in.csv: the file is empty; its first line must name the columns"),
        (
            b'id,"text\n1,x\n',
            None,
            "in.csv: line 1: the header: quote opened at byte 4 of line 1 is never closed; "
            "if quotes are text, type: --no-quote",
        ),
        (
            b"id,TEXT,Note\n",
            "text",
            "in.csv: the text column 'text' is not there; columns: 'id', 'TEXT', 'Note'",
        ),
        (b'{"text": "a"}\n', None, "in.csv: looks like JSON Lines; type: --format jsonl"),
        (
            b"a,b,a\n",
            "a",
            "in.csv: the text column 'a' is there 2 times, as column 1 and 3; "
            "give one of these numbers",
        ),
        (
            b"id,text,Text\n",
            None,
            "in.csv: more than one column could be the text: 'text' (no text), 'Text' (no text); "
            "name one, for example: --text-column text",
        ),
        (
            b"id,note\n",
            None,
            "in.csv: no text column found; columns: 'id', 'note'; name it with --text-column",
        ),
        (
            b"text,score\n",
            None,
            "in.csv: there is a column 'score' already; it would be there twice; "
            "choose others with --columns, or give --overwrite-columns",
        ),
    ],
)
def test_a_header_that_is_refused(data, wanted, message):
    assert refusal(InputError, header_of, data, wanted) == message


def test_our_columns_may_be_there_if_they_are_not_asked_for():
    assert header_of(b"text,score\n", columns=("label",)).names == ["text", "score"]


@pytest.mark.parametrize(
    ("delimiter", "name", "advice"),
    [
        (b",", "id;text", "';' fits; type: --delimiter ';'"),
        (b",", "id\ttext", r"'\t' fits; type: --delimiter '\t'"),
        (b",", "id|text", "'|' fits; type: --delimiter '|'"),
        (b";", "id,text", "',' fits; type: --delimiter ,"),
        (b"\t", "id;a,text", "',' fits; type: --delimiter ,"),
    ],
)
def test_a_wrong_delimiter_gets_advice(delimiter, name, advice):
    message = refusal(InputError, header_of, name.encode() + b"\n", dialect=Dialect(delimiter))
    assert message == f"in.csv: no text column found; the delimiter {advice}"


@pytest.mark.parametrize("names", [["id"], ["a;b", "c"]])
def test_no_advice_where_the_delimiter_is_not_the_problem(names):
    listed = ", ".join(map(repr, names))
    assert refusal(InputError, header_of, ",".join(names).encode() + b"\n") == (
        f"in.csv: no text column found; columns: {listed}; name it with --text-column"
    )


def test_shows_a_name_on_one_line_and_not_too_long():
    assert show("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert show("x" * 60) == repr("x" * 60)
    assert show("x" * 61) == repr("x" * 57 + "...")


def test_bytes_that_are_not_utf8_are_shown():
    assert refusal(InputError, header_of, b"caf\xe9,\x00\n") == (
        "in.csv: no text column found; columns: 'caf\ufffd', '\\x00'; name it with --text-column"
    )


QUOTING = [Dialect(), Dialect(b"\t"), Dialect(b"|", b"'"), Dialect(b";", b'"', b"\\")]


@given(st.text(max_size=20) | st.text("',|;\t\\\"\r\n a", max_size=20), st.sampled_from(QUOTING))
def test_our_fields_are_read_back(value, dialect):
    assert dialect.split(encode_field(value, dialect)) == [value.encode()]


def test_our_fields_are_quoted_only_where_they_must_be():
    assert encode_field("ham", Dialect()) == b"ham"
    assert encode_field("not spam", Dialect()) == b"not spam"
    assert encode_field('"spam", sure', Dialect()) == b'"""spam"", sure"'
    assert encode_field("a,b", Dialect(b";")) == b"a,b"


def test_a_label_that_cannot_be_quoted():
    message = refusal(UsageError, encode_field, "a,b", Dialect(quote=None))
    assert message == "'a,b' cannot be written without a quote character"


def test_a_first_record_without_a_header_is_read_like_any_other(tmp_path):
    """The first line is peeked at for its width; a shard that starts there reads the same."""
    swallowing = b'a,"\n' + b"b,c\n" * 16 + b'"\n'
    for name, data, good in (("good", b'1,"a\nb"\n2,c\n', True), ("bad", swallowing, False)):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(data)
        input_ = Input(str(path), layout=Layout(has_header=False), text_column="2")
        with open_source(str(path)) as source:
            table = CsvTable(source, input_, ("label",), ["ham"])
            assert (table.offset, table.line) == (0, 1)
            records = table.read(100)
            assert (records[0].problem is None) is good
            table.go_to(0, 1)
            assert table.read(100) == records
