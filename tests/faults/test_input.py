"""Inputs that are broken, missing, or change while they are read: section C of the checklist."""

import csv
import io
import os
import subprocess
import time

import pytest

from batch.reading.records import RecordReader

GOOD = [b"1,a,x", b"2,b,x", b"3,c,x"]


def label(case, data: bytes, *args: object, **options) -> subprocess.CompletedProcess:
    (case.folder / "in.csv").write_bytes(data)
    return case.run(*args, **options)


def check_refused(case, done, code: int, message: str) -> None:
    assert (done.returncode, done.stderr.decode()) == (code, f"spam-batch: error: {message}\n")
    assert case.out.read_bytes() == b"the old file\n"
    assert case.names == ["in.csv", "out.csv"]


def test_F23_an_error_at_every_read(make_case, finish, strace, wanted, record_property):
    for number in range(1, 50):
        case = make_case()
        path = case.folder / "in.csv"
        env = {"STUB_BLOCK": 64}
        done = case.run(before=strace("read", f"error=EIO:when={number}", path), env=env)
        if done.returncode == 3:
            break
        assert done.returncode == 74
        said = done.stderr.decode().splitlines()[-1]
        assert said == "spam-batch: error: in.csv: reading stopped: Input/output error"
        case.check_untouched()
        finish(case)
    record_property("runs", number)
    assert number > 15


@pytest.mark.quick
def test_F47_empty(case):
    message = "in.csv: the file is empty; its first line must name the columns"
    check_refused(case, label(case, b""), 65, message)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"id,text,x\n", 0),
        (b"id,text,x", 0),
        (b"id,text,x\n1,a,x", 1),
        (b"id,text,x\n1,a,x\n\n", 1),
    ],
)
def test_F47_ends_of_files(case, data, rows):
    assert label(case, data).returncode == 0
    assert len(case.out.read_bytes().splitlines()) == rows + 1


LONE_QUOTE = (
    "quote at byte 4 of line 3 stands inside a field that does not begin with one, expected "
    "the field in quotes and the quote doubled"
)
BAD = {
    "F54-quote-never-closed": (b'2,"b,x', "quote opened at byte 3 of line 3 is never closed"),
    "F55-text-after-quote": (
        b'2,"b"b,x',
        "quote opened at byte 3 of line 3 is closed at byte 5 of line 3, where text follows it, "
        "expected ',' or the end of the line",
    ),
    "F55-lone-quote": (b'2,b"b,x', LONE_QUOTE),
    "F56-too-few": (b"2,b", "has 2 fields, expected 3"),
    "F56-too-many": (b"2,b,x,y", "has 4 fields, expected 3"),
    "F58-two-errors": (b'2,b"b', LONE_QUOTE),
    "F52-bytes-of-any-kind": (b"\xff\x00\x1b[31m", "has 1 field, expected 3"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_bad_record_is_rejected_and_costs_no_neighbour(case, name, end):
    bad, reason = BAD[name]
    lines = [b"id,text,x", GOOD[0], bad, *GOOD[1:]]
    done = label(case, end.join(lines) + end)
    assert done.returncode == 3, done.stderr
    assert case.out.read_bytes().count(end) == 4
    assert [row.split(b",")[0] for row in case.out.read_bytes().split(end)[1:-1]] == [
        b"1", b"2", b"3"
    ]  # fmt: skip
    assert b"4 records in, 3 rows out, 1 reject" in done.stderr

    offset = len(end.join(lines[:2]) + end)
    reader = RecordReader(io.BytesIO(case.rejects.read_bytes()))
    assert next(reader).fields == [b"line", b"byte_offset", b"reason", b"record"]
    found = [record.fields for record in reader]
    assert found == [[b"3", b"%d" % offset, reason.encode(), bad]]
    text = case.rejects.read_bytes().decode("latin-1")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[1][3].encode("latin-1") == bad


def test_the_first_bad_record_stops_the_run(case):
    done = label(case, b"id,text,x\n1,a,x\n2,b\n", "--max-rejects", 0)
    message = "in.csv: line 3, byte offset 16: has 2 fields, expected 3; to set bad records aside, "
    check_refused(case, done, 65, f"{message}type --max-rejects 10, or 1%")


@pytest.mark.quick
def test_a_run_that_stopped_at_a_bad_record_goes_on_with_a_larger_allowance(case, finish):
    """It stopped in its first window, at its fifth; the rows before are not labelled again."""
    done = case.run("--max-rejects", 1)
    assert done.returncode == 65
    kept, rejected, said = done.stderr.decode().splitlines()
    path = case.part.with_name(case.part.name.replace(".part", ".rejects.part"))
    assert rejected == f"rejected so far: {path}"
    assert kept == (
        f"kept 32 records of {case.folder / 'in.csv'}; the same command resumes from there"
    )
    assert said.startswith("spam-batch: error: in.csv: line 36, byte offset ")
    assert said.endswith("; as many as --max-rejects 1 allows were rejected before it")
    done = finish(case)
    assert b"resuming at line 35 of in.csv, after 32 records\n" in done.stderr


@pytest.mark.quick
def test_a_smaller_allowance_refuses_to_go_on(interrupted, finish):
    done = interrupted.run("--max-rejects", 0)
    said = done.stderr.decode().splitlines()[-1]
    assert said == (
        "spam-batch: error: in.csv: 1 of 8 records were rejected (12.50 %), more than "
        "--max-rejects 0 allows"
    )
    assert done.returncode == 65
    finish(interrupted)


@pytest.mark.parametrize(("share", "code"), [("3%", 65), ("3.2%", 65), ("3.3%", 3), ("100%", 3)])
def test_a_share_is_judged_at_the_end(case, finish, share, code):
    done = case.run("--max-rejects", share)  # 2 of 61 are 3.28 %
    assert done.returncode == code
    if code == 65:
        case.check_untouched()
        assert done.stderr.decode().splitlines()[-1] == (
            "spam-batch: error: in.csv: 2 of 61 records were rejected (3.28 %), more than "
            f"--max-rejects {share} allows"
        )
        done = finish(case, "--max-rejects", "4%")
        assert b"nothing is left to label" in done.stderr


@pytest.mark.quick
def test_rejects_of_an_earlier_run_do_not_stay(case, wanted):
    assert case.run().returncode == 3
    done = label(case, b"text\na\n")
    assert (done.returncode, case.names) == (0, ["in.csv", "out.csv", "out.csv.run.json"])


def test_F59_the_text_column_is_missing(case):
    done = label(case, b"id,\x1b[31m\n1,a\n", "--text-column", "text", env={"STUB_LOADS": "loads"})
    columns = r"columns: 'id', '\x1b[31m'"
    message = f"in.csv: the text column 'text' is not there; {columns}"
    check_refused(case, done, 65, message)


def test_F61_its_own_output(case):
    assert label(case, b"text\na\n").returncode == 0
    done = label(case, case.out.read_bytes(), "--out", "again.csv")
    message = "in.csv: there is a column 'label' already; it would be there twice; "
    assert done.stderr.decode() == (
        f"spam-batch: error: {message}choose others with --columns, or give --overwrite-columns\n"
    )
    assert done.returncode == 65


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1000])
def test_F66_every_block_size(case, finish, block):
    case.env["STUB_BLOCK"] = str(block)
    finish(case)


def begin(case, data: bytes, **env):
    """Starts a run that waits in its first window, which is released once the input has changed."""
    (case.folder / "in.csv").write_bytes(data)
    return case.hold(env={"STUB_WINDOW": 10_000, **env})


@pytest.mark.quick
def test_F67_a_growing_input(case):
    process = begin(case, b"text\na\nb\n")
    with open(case.folder / "in.csv", "ab") as file:
        file.write(b"c\nd")
    case.release()
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 0, said
    assert len(case.out.read_bytes().splitlines()) == 3
    assert (
        "WARNING: in.csv has grown to 12 bytes; only the 9 that it had at the start were labelled\n"
        in said
    )


def test_F67_half_a_line_of_a_growing_input(case):
    process = begin(case, b"text\na\nb")
    with open(case.folder / "in.csv", "ab") as file:
        file.write(b"bb\n")
    case.release()
    said = process.communicate(timeout=120)[1].decode().splitlines()[-1]
    assert said == (
        "spam-batch: error: in.csv: grows while it is read, and its last line was incomplete at "
        "8 bytes; run again when it is complete"
    )
    assert (process.returncode, case.out.read_bytes()) == (65, b"the old file\n")


@pytest.mark.quick
def test_F68_a_truncated_input(case):
    """The reader is in the middle: it must not take the new end for the end."""
    data = b"text\n" + b"a message\n" * 100_000
    process = begin(case, data, STUB_WINDOW=1000, STUB_BLOCK=4096, STUB_COMMIT=600)
    os.truncate(case.folder / "in.csv", 500_000)
    case.release()
    said = process.communicate(timeout=120)[1].decode().splitlines()[-1]
    assert said == (
        "spam-batch: error: in.csv: was cut from 1,000,005 to 500,000 bytes while it was read; "
        "run again"
    )
    assert (process.returncode, case.out.read_bytes()) == (65, b"the old file\n")


def test_F68_a_small_input_truncated_after_it_was_read(case):
    process = begin(case, b"text\na\nb\n")
    os.truncate(case.folder / "in.csv", 5)
    case.release()
    said = process.communicate(timeout=120)[1].decode().strip()
    wanted = "in.csv: was cut from 9 to 5 bytes while it was read; run again"
    assert said == f"spam-batch: error: {wanted}"
    assert (process.returncode, case.out.read_bytes()) == (65, b"the old file\n")


def test_F68_an_overwritten_input(case):
    process = begin(case, b"text\na\nb\n")
    (case.folder / "in.csv").write_bytes(b"text\nc\nd\n")
    case.release()
    said = process.communicate(timeout=120)[1].decode().strip()
    assert said == "spam-batch: error: in.csv: was overwritten while it was read; run again"
    assert (process.returncode, case.out.read_bytes()) == (65, b"the old file\n")
    assert case.names == ["in.csv", "out.csv"]  # nothing to go on from, so the next run is new
    assert case.run().returncode == 0


def test_F69_a_replaced_input(case):
    process = begin(case, b"text\na\nb\n")
    (case.folder / "new.csv").write_bytes(b"text\nc\n")
    os.replace(case.folder / "new.csv", case.folder / "in.csv")
    case.release()
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert [row[:2] for row in case.out.read_bytes().splitlines()] == [b"te", b"a,", b"b,"]


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["pipe", "fifo"])
def test_F70_a_pipe_as_the_input(case, wanted, kind):
    data = (case.folder / "in.csv").read_bytes()
    (case.folder / "in.csv").unlink()
    if kind == "fifo":
        os.mkfifo(case.folder / "in.csv")
        process = case.start()
        (case.folder / "in.csv").write_bytes(data)
    else:
        command = case.command()
        command[command.index("in.csv")] = "-"
        process = subprocess.Popen(
            command, cwd=case.folder, env=case.environment(), stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    said = process.communicate(data if kind == "pipe" else None, timeout=120)[1]
    assert process.returncode == 3, said
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
    assert set(case.names) - {"in.csv"} == {"out.csv", "out.csv.run.json", "out.rejects.csv"}


def test_F70_a_pipe_leaves_nothing_when_it_is_stopped(case):
    command = case.command()
    command[command.index("in.csv")] = "-"
    with subprocess.Popen(
        command, cwd=case.folder, env=case.environment(), stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdin.write(b"text\n" + b"a message\n" * 100_000)
        process.stdin.flush()
        time.sleep(0.5)
        process.terminate()
        said = process.stderr.read()
    assert (process.returncode, said) == (143, b"spam-batch: error: stopped by SIGTERM\n")
    assert case.names == ["in.csv", "out.csv"]


@pytest.mark.parametrize("kind", ["missing", "folder", "unreadable"])
def test_F71_no_input(case, kind, strace):
    path = case.folder / "in.csv"
    path.unlink()
    before = []
    wanted = "cannot read in.csv: No such file or directory"
    if kind == "folder":
        path.mkdir()
        wanted = "in.csv is a folder; to label its files, type --out-dir DIR"
    elif kind == "unreadable":
        path.write_bytes(b"text\n")
        before = strace("openat", "error=EACCES", "in.csv")
        wanted = "cannot read in.csv: Permission denied"
    start = time.monotonic()
    done = case.run(before=before)
    assert time.monotonic() - start < 60  # it would wait for a pipe for ever
    assert done.returncode == 66
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("strace:")]
    assert said == [f"spam-batch: error: {wanted}"]
    assert case.out.read_bytes() == b"the old file\n"


def test_F57_an_over_long_line(case):
    """A line of 70 MB of zeros is too long, and the records behind it are labelled."""
    with open(case.folder / "in.csv", "wb") as file:
        file.write(b"id,text,x\n1,a,x\n")
        file.seek(70 << 20)
        file.write(b"\n2,b,x\n3,b\n")
    done = case.run()
    assert done.returncode == 3, done.stderr
    assert [row[:1] for row in case.out.read_bytes().splitlines()] == [b"i", b"1", b"2"]
    rows = list(RecordReader(io.BytesIO(case.rejects.read_bytes())))
    assert [row.fields[:2] for row in rows[1:]] == [
        [b"3", b"16"], [b"5", b"%d" % ((70 << 20) + 7)]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "   ", "👍🏽", "שלום", "\u200b", "\x1a", "e" + "\u0301" * 9999]
)
def test_F73_odd_texts(case, text):
    done = label(case, b"id,text\n1," + text.encode() + b"\n2,b\n", "--columns", "label,score")
    assert done.returncode == 0, done.stderr
    row = case.out.read_bytes().splitlines()[1].decode()
    assert row.startswith(f"1,{text},")
    assert row.split(",")[-2] in ("ham", "spam") and 0 <= float(row.split(",")[-1]) <= 1
