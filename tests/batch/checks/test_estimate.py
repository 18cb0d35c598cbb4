"""How long a file will take: what is said, and what it is made of."""

import gzip
import re

import pytest
from click.testing import CliRunner

from batch.checks.estimate import Estimate, _count_new
from batch.cli.commands import main


@pytest.fixture
def run(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def estimate(data: bytes, name: str = "in.csv", *args: str):
        (tmp_path / name).write_bytes(data)
        command = ["estimate", name, "--bundle", str(bundle), "--threads", "1", *args]
        return CliRunner().invoke(main, command)

    return estimate


def table(rows: int) -> bytes:
    return b"id,text\n" + b"".join(b"%d,message number %d\n" % (n, n) for n in range(rows))


def test_a_small_file_is_counted(run, tmp_path):
    done = run(table(50))
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "in.csv: 50 records (50 read), 0 % of them with a repeated text"
    assert re.fullmatch(
        r"stub in fp32 on cpu \(1 thread\): [\d,]+ rows a second, about \d+\.\d s in all, "
        r"of which \d+\.\d s to load",
        lines[1],
    )
    assert re.fullmatch(r"memory: [\d,]+ MB at most", lines[2])
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]  # nothing is written


def test_a_large_file_is_sampled(run, monkeypatch):
    monkeypatch.setattr("batch.checks.estimate.SAMPLE_RECORDS", 800)
    done = run(table(20_000))
    found = re.match(r"in.csv: about ([\d,]+) records \(([\d,]+) read\)", done.stdout)
    records, read = (int(value.replace(",", "")) for value in found.groups())
    assert records == pytest.approx(20_000, rel=0.05)
    assert 700 <= read <= 800


def test_a_place_within_a_message_is_no_bad_record(run, monkeypatch):
    monkeypatch.setattr("batch.checks.estimate.SAMPLE_RECORDS", 800)
    row = b'%d,"Dear all,\n' + b"one line, more\n" * 30 + b'bye",x\n'
    data = b"id,text,more\n" + b"".join(row % number for number in range(2000))
    done = run(data)
    found = re.match(r"in.csv: about ([\d,]+) records", done.stdout)
    assert int(found[1].replace(",", "")) == pytest.approx(2000, rel=0.05)
    assert "bad" not in done.stdout


def test_columns_of_ours_do_not_matter(run):
    done = run(b"text,label\na,b\n")
    assert done.stdout.startswith("in.csv: 1 record (1 read)")


def test_repeated_texts(run):
    done = run(b"text\n" + b"the same\n" * 400 + b"another\n")
    assert "401 records (401 read), 100 % of them with a repeated text" in done.stdout


def test_a_compressed_file_is_counted(run):
    done = run(gzip.compress(table(300)), "in.csv.gz")
    assert done.stdout.startswith("in.csv.gz: 300 records (300 read)")


def test_a_folder_is_added_up(run, tmp_path, bundle, monkeypatch):
    monkeypatch.setattr("batch.checks.estimate.SAMPLE_RECORDS", 800)
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_bytes(table(10_000))
    (tmp_path / "in" / "c.csv.gz").write_bytes(gzip.compress(table(1000)))
    (tmp_path / "in" / "notes.txt").write_bytes(b"")
    command = ["estimate", "in", "--bundle", str(bundle), "--threads", "1"]
    done = CliRunner().invoke(main, command)
    found = re.match(r"3 files: about ([\d,]+) records \(([\d,]+) read\)", done.stdout)
    records, read = (int(value.replace(",", "")) for value in found.groups())
    assert records == pytest.approx(21_000, rel=0.05)
    assert 700 <= read <= 800
    assert done.stderr == (
        "in: 1 file left out (notes.txt), because the ending is not one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet, .pq; to label such a file, give its name\n"
    )


def test_of_many_files_each_is_looked_into(run, tmp_path, bundle, monkeypatch):
    monkeypatch.setattr("batch.checks.estimate.SAMPLE_RECORDS", 3)
    for number in range(5):
        (tmp_path / f"{number}.csv").write_bytes(table(40))
    command = ["estimate", "*.csv", "--bundle", str(bundle), "--threads", "1"]
    found = re.match(r"5 files: about (\d+) records", CliRunner().invoke(main, command).stdout)
    assert int(found[1]) == pytest.approx(200, rel=0.1)


def test_one_of_many_that_cannot_be_read(run, tmp_path, bundle):
    (tmp_path / "a.csv").write_bytes(table(40))
    (tmp_path / "b.csv").write_bytes(b"")
    command = ["estimate", "*.csv", "--bundle", str(bundle), "--threads", "1"]
    done = CliRunner().invoke(main, command)
    assert done.stdout.startswith("a.csv: 40 records (40 read)")
    assert (done.exit_code, done.stderr) == (
        0,
        "left out: b.csv: the file is empty; its first line must name the columns\n",
    )


def test_a_file_that_is_missing(tmp_path, bundle, monkeypatch):
    """One that was typed ends the command; one of a folder that goes meanwhile is left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_bytes(table(20))
    command = ["estimate", "in", "nope.csv", "--bundle", str(bundle), "--threads", "1"]
    done = CliRunner().invoke(main, command)
    said = "cannot read nope.csv: No such file or directory\n"
    assert (done.exit_code, done.stdout) == (66, "")
    assert done.stderr == f"spam-batch: error: {said}"
    names = ["in/a.csv", "in/b.csv", "nope.csv"]
    monkeypatch.setattr("batch.run.inputs.find_inputs", lambda _: names)
    del command[2]
    done = CliRunner().invoke(main, command)
    assert done.stdout.startswith("2 files: 40 records (40 read)")
    assert (done.exit_code, done.stderr) == (0, f"left out: {said}")


def test_a_name_is_no_line_of_ours(run):
    done = run(table(3), name="in\nWARNING: all is lost\x1b[2J.csv")
    assert done.stdout.splitlines()[0] == (
        r"in\nWARNING: all is lost\x1b[2J.csv: 3 records (3 read), 0 % of them with a repeated text"
    )


def test_standard_input(bundle):
    command = ["estimate", "-", "--bundle", str(bundle), "--threads", "1"]
    done = CliRunner().invoke(main, command, table(3))
    assert done.stdout.startswith("-: 3 records (3 read)")


def test_nothing_to_measure(run):
    done = run(b"id,text\n")
    assert done.exit_code == 65
    assert done.stderr == (
        "spam-batch: error: in.csv: no record that can be labelled, so nothing to measure\n"
    )


def test_new_texts_beyond_the_sample():
    assert _count_new(["a", "b", "c", "d"], 100) == 100  # all new to the end
    assert _count_new(["a", "b", "a", "b", "a", "b", "a", "b"], 1000) == 2
    assert _count_new(["a"], 1) == 1


def test_durations():
    found = Estimate("in.csv", 10**7, 10, 2, False, 10**7, 1.0, 36_000.0, 278.0, 2 * 10**8, "x")
    assert found.lines() == [
        "in.csv: about 10,000,000 records (10 read), 0 % of them with a repeated text",
        "x: 278 rows a second, about 10 h 0 min in all, of which 1.0 s to load",
        "memory: 200 MB at most",
        "bad records among those read: 2; the first one in a file stops the run, unless "
        "--max-rejects allows it",
    ]
