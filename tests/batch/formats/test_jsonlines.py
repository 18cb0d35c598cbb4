"""JSON Lines: objects kept byte for byte with ours inside, and each bad line by its reason."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError
from batch.formats.jsonlines import (
    LINES,
    JsonRowWriter,
    drop_members,
    find_text_key,
    parse_object,
    parse_record,
)
from batch.model.decision import Predictions
from batch.reading.records import RecordReader

OURS = ("label", "score", "tokens", "truncated")


def predict(n: int) -> Predictions:
    return Predictions(
        ["ham", 'sp"äm'] * (n // 2) + ["ham"] * (n % 2),
        np.arange(n) / 8,
        np.zeros((n, 2)),
        np.arange(n),
        np.arange(n) % 2 == 0,
    )


def test_probabilities_and_reasons():
    columns = ("probability_50% é", "probability_ham", "reason", "label")
    line = b'{"text":"a"}'
    labels = ["50% é", "ham"]
    found = Predictions(
        ["ham"], np.zeros(1), np.array([[0.25, 0.75]]), np.ones(1), np.zeros(1, dtype=bool),
        reasons=["score<threshold"],
    )  # fmt: skip
    body = JsonRowWriter(columns, labels).body(read(line), found)
    assert json.loads(body) == {
        "text": "a", "probability_50% é": 0.25, "probability_ham": 0.75,
        "reason": "score<threshold", "label": "ham",
    }  # fmt: skip
    (taken,) = read(b'{"text":"a","probability_ham":1}', taken=columns)
    assert taken.problem == (
        "has a key 'probability_ham' already; choose others with --columns, "
        "or give --overwrite-columns"
    )


def read(data: bytes, text_key: str = "text", taken=(), **options):
    lines = RecordReader(io.BytesIO(data), LINES, **options).read_records(10**6)
    return [line if line.problem else parse_record(line, text_key, taken) for line in lines]


def label(data: bytes, columns=OURS, overwrite=False) -> list[bytes]:
    records = read(data, taken=() if overwrite else columns)
    assert not any(record.problem for record in records)
    writer = JsonRowWriter(columns, ["ham", 'sp"äm'], overwrite=overwrite)
    return writer.body(records, predict(len(records))).splitlines(keepends=True)


def test_our_keys_stand_before_the_closing_brace():
    assert label(b'{"id":1,"text":"a"}\r\n {"text": "b}" } \t\n{"text":"c"}') == [
        b'{"id":1,"text":"a","label":"ham","score":0.000000,"tokens":0,"truncated":true}\r\n',
        b' {"text": "b}" ,"label":"sp\\"\\u00e4m","score":0.125000,"tokens":1,"truncated":false}'
        b" \t\n",
        b'{"text":"c","label":"ham","score":0.250000,"tokens":2,"truncated":true}\n',
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[]", "is not a JSON object"),
        (b"1", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"   ", "is not valid JSON, at byte 4"),
        (b'{"text": "a"', "is not valid JSON, at byte 13"),
        (b'{"text": "a"} {"text": "b"}', "is not valid JSON, at byte 15"),
        (b'{"text": "a"},', "is not valid JSON, at byte 14"),
        (b"{'text': 'a'}", "is not valid JSON, at byte 2"),
        ('{"é": 1, text: "a"}'.encode(), "is not valid JSON, at byte 11"),
        (b'{"\xff": 1, text: "a"}', "is not valid JSON, at byte 10"),
        (b'{"text": "a\tb"}', "is not valid JSON, at byte 12"),
        (b'{"text": "a\\x"}', "is not valid JSON, at byte 12"),
        (b'{"text": "a", "id": 01}', "is not valid JSON, at byte 22"),
        (b'{"text": "a", "id": NaN}', "is not valid JSON, which has no NaN and no Infinity"),
        (b'{"text": "a", "id": -Infinity}', "is not valid JSON, which has no NaN and no Infinity"),
        (b'{"text": "a", "text": "b"}', "has a key twice"),
        (b'{"text": "a", "t\\u0065xt": "b"}', "has a key twice"),
        (b'{"text": "a", "x": [{"y": 1, "y": 1}]}', "has a key twice"),
        (b"{}", "has no key 'text'"),
        (b'{"Text": "a"}', "has no key 'text'"),
        (b'{"text": null}', "has no string as its 'text'"),
        (b'{"text": 12}', "has no string as its 'text'"),
        (b'{"text": ["a"]}', "has no string as its 'text'"),
        (
            b'{"text": "a", "score": 1}',
            "has a key 'score' already; choose others with --columns, or give --overwrite-columns",
        ),
        (b'{"text": "a", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "is nested more than 200 deep"),
        (b"[" * 100_000, "is nested more than 200 deep"),
        (b'{"a":' * 100_000, "is nested more than 200 deep"),
    ],
)
def test_a_bad_line_costs_no_neighbour(line, problem):
    data = b'{"text": "before"}\n\n' + line + b'\n{"text": "after"}'
    first, bad, last = read(data, taken=("score", "label"))
    assert (first.text, last.text) == (b"before", b"after")
    assert (bad.raw, bad.line, bad.offset) == (line, 3, 20)
    assert (bad.text, bad.problem) == (None, problem)


def test_good_lines_that_look_odd():
    for line, text in (
        (b'{"text": ""}', b""),
        (b'\t{ "text"\t:"a" } ', b"a"),
        (b'{"text": "a", "id": ' + b"9" * 5000 + b"}", b"a"),
        (b'{"text": "a", "x": ' + b"[" * 199 + b"]" * 199 + b"}", b"a"),
        (b'{"text": "' + b"[{" * 500 + b'"}', b"[{" * 500),
        (b'{"text": "\\"' + b"[{" * 500 + b'\\\\"}', b'"' + b"[{" * 500 + b"\\"),
        (b'{"text": "\\u00e9\\ud83d\\ude00\\u0000"}', "é😀\0".encode()),
        ('{"text": "\u2028\x85\x1c"}'.encode().replace(b"\x1c", b"x"), "\u2028\x85x".encode()),
        (b'{"text": "a\xffb"}', b"a\xffb"),  # no UTF-8: the model sees U+FFFD
        (b'{"text": "\\ud800"}', b"\xed\xa0\x80"),
    ):
        (record,) = read(line, taken=OURS)
        assert (record.text, record.problem) == (text, None)


def test_over_long_lines_are_bad_and_kept_in_part():
    data = b'{"text": "' + b"a" * 10_000 + b'"}\n{"text": "b"}\n'
    bad, good = read(data, max_record_bytes=5000)
    assert bad.problem == "is 10012 bytes long, at most 5000 are allowed"
    assert (len(bad.raw), good.text, good.offset) == (4096, b"b", 10_013)


def test_a_field_of_ten_megabytes():
    (record,) = read(b'{"text": "' + b"a" * 10_000_000 + b'"}\n')
    assert len(record.text) == 10_000_000


@pytest.mark.parametrize("unit", [b'\\"', b"[", b'"', b'{"a":"\\', b'["'])
def test_hostile_lines_take_linear_time(unit):
    """Half a million of them take a moment; what looked back at each would take minutes."""
    (record,) = read(b'{"text":"' + unit * 500_000)
    assert record.problem is not None


def find(data: bytes, wanted: str | None = None) -> str:
    sample = RecordReader(io.BytesIO(data), LINES).read_records(100)
    return find_text_key("in.jsonl", sample[0] if sample else None, wanted, sample)[0]


def test_the_key_of_the_messages():
    assert find(b'{"id": 1, "Body": "a"}\n') == "Body"
    assert find(b'{"message": 9001, "body": "see you"}\n{"message": null}') == "body"
    assert find(b'{"body": "a"}\n', "note") == "note"
    assert find(b"nothing\n", "note") == "note"
    assert find(b"") == "text"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b'{"id": 1, "note": "a"}',
            "no text column found; columns: 'id', 'note'; name it with --text-column",
        ),
        (b"{}", "no text column found; columns: ; name it with --text-column"),
        (
            b"\n[1]\n",
            "line 2, byte offset 1: is not a JSON object; the first line must show the keys, "
            "unless --text-column names the text's",
        ),
        (
            b'{"text": "a", "Text": "b"}',
            "more than one column could be the text: 'text' (1.0 words a value, 100% distinct), "
            "'Text' (1.0 words a value, 100% distinct); name one, for example: --text-column text",
        ),
    ],
)
def test_no_key_of_the_messages(data, message):
    with pytest.raises(InputError) as error:
        find(data)
    assert str(error.value) == f"in.jsonl: {message}"


def test_members_are_dropped_and_the_rest_is_kept():
    for line, kept in (
        (b'{"text":"a"}', b'{"text":"a"}'),
        (b'{"label": "x", "text": "a"}', b'{ "text": "a"}'),
        (b'{"text": "a", "label": {"b": [1, "}"]} }  ', b'{"text": "a"}  '),
        (
            b' {"score":1e5,"text" : "a" ,"l\\u0061bel":null,"z":"\xff"}',
            b' {"text" : "a" ,"z":"\xff"}',
        ),
        (b'{"text": {"label": 1}, "label":"x"}', b'{"text": {"label": 1}}'),
    ):
        assert drop_members(line, OURS) == kept


def test_our_columns_written_anew():
    first = label(b'{"id": 1, "text": "a", "x": 1}\n{"text": "b"}\n')
    again = label(b"".join(first), overwrite=True)
    assert again == first
    assert label(b'{"label": 5, "text": "a"}', ("label",), True) == [
        b'{ "text": "a","label":"ham"}\n'
    ]


plain = st.text(max_size=6) | st.text('ab"\\\r\n\u2028é\0{}[],:', max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=5,
)
objects = st.builds(
    lambda members, text: {**members, "text": text},
    st.dictionaries(plain.filter(lambda key: key not in OURS), values, max_size=4),
    plain,
)


@given(
    st.lists(
        st.tuples(objects, st.booleans(), st.sampled_from([(",", ":"), (" , ", " :")])),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.sampled_from([1, 2, 7, 1 << 18]),
    st.booleans(),
)
def test_what_the_json_module_writes_comes_back(rows, line_end, block_size, whole):
    lines = [
        json.dumps(
            row,
            ensure_ascii=escaped,
            separators=marks,
        ).encode()
        for row, escaped, marks in rows
    ]
    data = line_end.join(lines) + line_end * whole
    records = read(data, taken=OURS, block_size=block_size)
    assert [record.problem for record in records] == [None] * len(rows)
    assert [record.text.decode() for record in records] == [row["text"] for row, *_ in rows]
    assert b"".join(record.raw + record.line_end for record in records) == data
    writer = JsonRowWriter(OURS, ["ham", 'sp"äm'])
    out = writer.body(records, predict(len(records)))
    found = read(out)
    for theirs, ours, (row, *_) in zip(lines, found, rows, strict=True):
        assert ours.raw.startswith(theirs[:-1])
        assert {**row, **dict.fromkeys(OURS)}.keys() == json.loads(ours.raw).keys()
        assert json.loads(drop_members(ours.raw, OURS)) == row
    assert [drop_members(record.raw, OURS) for record in found] == lines


@given(st.binary(max_size=80) | st.text('{}[]",:text ab1\\\n', max_size=60).map(str.encode))
def test_anything_is_read_alike_at_any_block_size(data):
    whole = read(data)
    for block_size in (1, 3, 16):
        assert read(data, block_size=block_size) == whole
    for record in whole:
        if record.problem is None:
            assert record.text == json.loads(record.raw.decode("utf-8", "replace"))["text"].encode()


@given(st.binary(max_size=60))
def test_no_problem_shows_the_line(data):
    members, problem = parse_object(data)
    assert problem is None or (problem.startswith(("is not", "has a key twice")) and not members)
