"""Rejected records: how many, and the file that gives their bytes back."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, OutputError, UsageError
from batch.reading.record import Record
from batch.reading.records import RecordReader
from batch.writing.names import REJECTS_START, rejects_path
from batch.writing.rejects import NO_REJECTS, Allowance, encode_rejects
from batch.writing.target import resolve_target


def bad(line: int, raw: bytes = b"x", problem: str = "is bad") -> Record:
    return Record(raw, b"\n", line, line * 10, None, problem, None)


@pytest.mark.parametrize(
    ("name", "rejects"),
    [
        ("labeled.csv", "labeled.rejects.csv"),
        ("labeled.2026.csv", "labeled.2026.rejects.csv"),
        ("labeled.tsv", "labeled.tsv.rejects.csv"),
        ("labeled.csv.gz", "labeled.csv.gz.rejects.csv"),
    ],
)
def test_where_they_go(tmp_path, name, rejects):
    assert rejects_path(tmp_path / name) == tmp_path / rejects


@given(st.lists(st.tuples(st.binary(), st.text(max_size=9)), max_size=5))
def test_a_strict_reader_gets_their_bytes_back(records):
    rows = [bad(line, raw, problem) for line, (raw, problem) in enumerate(records)]
    reader = RecordReader(io.BytesIO(REJECTS_START + encode_rejects(rows)))
    assert next(reader).fields == [b"line", b"byte_offset", b"reason", b"record"]
    assert [record.fields for record in reader] == [
        [b"%d" % row.line, b"%d" % row.offset, row.problem.encode(), row.raw] for row in rows
    ]


def test_a_file_that_is_not_ours_is_not_replaced(tmp_path):
    target, path = tmp_path / "out.csv", tmp_path / "out.rejects.csv"
    resolve_target(str(target), "in.csv")
    path.write_bytes(REJECTS_START + b"1,2,3,4\n")
    resolve_target(str(target), "in.csv")
    for make in (lambda: path.write_bytes(b"mine"), lambda: (path.unlink(), path.mkdir())):
        make()
        with pytest.raises(OutputError) as error:
            resolve_target(str(target), "in.csv")
        assert str(error.value) == (
            f"{path} is not a rejects file, and rejects would go there; move it, or give "
            "another --out"
        )


@pytest.mark.parametrize(
    ("typed", "allowance"),
    [
        ("0", NO_REJECTS),
        (" 12 ", Allowance(12, None, "12")),
        ("0.5%", Allowance(None, 0.5, "0.5%")),
        ("100 %", Allowance(None, 100.0, "100 %")),
    ],
)
def test_an_allowance(typed, allowance):
    assert Allowance.parse(typed) == allowance


@pytest.mark.parametrize("typed", ["", "-1", "x", "1.5", "%", "-1%", "101%", "nan%", "inf%", "1%%"])
def test_what_is_no_allowance(typed):
    with pytest.raises(UsageError) as error:
        Allowance.parse(typed)
    assert str(error.value) == (
        f"--max-rejects: {typed!r} is neither a number of records nor a percentage up to 100; "
        "type for example 10 or 0.5%"
    )


def refusal(action, *args) -> str:
    with pytest.raises(InputError) as error:
        action(*args)
    return str(error.value)


@pytest.mark.parametrize("typed", ["0", "0%"])
def test_none_is_allowed(typed):
    allowance = Allowance.parse(typed)
    allowance.check_window("in.csv", 0, [])
    assert refusal(allowance.check_window, "in.csv", 0, [bad(7), bad(8)]) == (
        "in.csv: line 7, byte offset 70: is bad; to set bad records aside, type "
        "--max-rejects 10, or 1%"
    )


def test_some_are_allowed():
    allowance = Allowance.parse("3")
    allowance.check_window("in.csv", 1, [bad(7), bad(8)])
    assert refusal(allowance.check_window, "in.csv", 2, [bad(7), bad(8)]) == (
        "in.csv: line 8, byte offset 80: is bad; as many as --max-rejects 3 allows were rejected "
        "before it"
    )
    allowance.check_total("in.csv", 3, 100)
    assert refusal(allowance.check_total, "in.csv", 4, 1234) == (
        "in.csv: 4 of 1,234 records were rejected (0.32 %), more than --max-rejects 3 allows"
    )


def test_a_share_is_allowed():
    allowance = Allowance.parse("1%")
    allowance.check_window("in.csv", 10**6, [bad(7)])  # the end will tell
    allowance.check_total("in.csv", 10, 1000)
    allowance.check_total("in.csv", 0, 0)
    assert refusal(allowance.check_total, "in.csv", 11, 1000) == (
        "in.csv: 11 of 1,000 records were rejected (1.10 %), more than --max-rejects 1% allows"
    )
