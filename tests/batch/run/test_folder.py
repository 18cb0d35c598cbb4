"""Many files into a folder: found, named, skipped when done, and one fault stops no other."""

import gzip
import logging
import os

from batch.run import folder
from batch.run.summary import PARTIAL, level_of

TABLE = b"id,text\n1,Do you have time\n"
LABELLED = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"


def test_a_folder_then_the_same_folder_with_one_more(run, loads, write, read):
    write("in/b.csv", "in/a.csv")
    write("in/c.csv.gz", data=gzip.compress(TABLE))
    write("in/.hidden.csv", "in/a.rejects.csv", "in/notes.txt")
    os.mkdir("in/d.csv")
    one = "1 record in, 1 row out: 1 ham, 0 spam"
    left_out = (
        "in: 1 file left out (notes.txt), because the ending is not one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet, .pq; to label such a file, give its name"
    )
    assert run("in", "--out-dir", "out") == (
        0,
        [left_out, f"in/a.csv: {one}", f"in/b.csv: {one}", f"in/c.csv.gz: {one}",
         "weights: none, the graph is a sum", "3 files: 3 labelled, 0 skipped, 0 failed"],
    )  # fmt: skip
    assert loads == ["loaded"]
    assert read("out/a.csv") == read("out/b.csv") == LABELLED
    assert gzip.decompress(read("out/c.csv.gz")) == LABELLED
    assert sorted(os.listdir("out")) == [
        "a.csv", "a.csv.run.json", "b.csv", "b.csv.run.json", "c.csv.gz", "c.csv.gz.run.json"
    ]  # fmt: skip
    write("in/b.jsonl", data=b'{"text":"a, b"}\n')
    assert run("in", "--out-dir", "out") == (
        0,
        [left_out, "in/a.csv: was labelled already", "in/b.csv: was labelled already",
         "in/b.jsonl: 1 record in, 1 row out: 0 ham, 1 spam", "in/c.csv.gz: was labelled already",
         "weights: none, the graph is a sum", "4 files: 1 labelled, 3 skipped, 0 failed"],
    )  # fmt: skip
    assert len(loads) == 2


def test_what_is_left_out_of_a_folder_is_labelled_by_its_name(run, write):
    write("in/a.csv", "in/a.txt", "in/b.dat.gz", "in/a.csv.run.json")
    said = run("in", "--out-dir", "out")[1]
    assert said[0] == (
        "in: 2 files left out (a.txt, ...), because the ending is not one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet, .pq; to label such a file, give its name"
    )
    os.unlink("in/b.dat.gz")
    assert run("in", "in/a.txt", "--out-dir", "out")[1] == [
        "in/a.csv: was labelled already", "in/a.txt: 1 record in, 1 row out: 1 ham, 0 spam",
        "weights: none, the graph is a sum", "2 files: 1 labelled, 1 skipped, 0 failed",
    ]  # fmt: skip


def test_nothing_to_do_loads_no_model(run, loads, write):
    write("in/a.csv")
    run("in/a.csv", "--out-dir", "out")
    run("in/a.csv", "--out-dir", "out", "--quiet")
    assert loads == ["loaded"]
    assert run("in/a.csv", "--out-dir", "out", "--force")[1][-1] == (
        "1 file: 1 labelled, 0 skipped, 0 failed"
    )
    assert len(loads) == 2


def test_one_bad_file_does_not_stop_the_others(run, write):
    write("in/a.csv", data=b"id,note\n1,a\n")
    write("in/b.csv", data=TABLE + b"2\n")
    write("in/c.csv")
    exit_code, said = run("in", "none.csv", "--out-dir", "out", "--columns", "label,score")
    assert (exit_code, said) == (
        66,
        [
            "error: in/a.csv: no text column found; columns: 'id', 'note'; "
            "name it with --text-column",
            "error: in/b.csv: line 3, byte offset 27: has 1 field, expected 2; to set bad records "
            "aside, type --max-rejects 10, or 1%",
            "in/c.csv: 1 record in, 1 row out: 1 ham, 0 spam",
            "error: cannot read none.csv: No such file or directory",
            "weights: none, the graph is a sum",
            "4 files: 1 labelled, 0 skipped, 3 failed",
        ],
    )
    assert [name for name in sorted(os.listdir("out")) if not name.startswith(".")] == [
        "c.csv", "c.csv.run.json"
    ]  # fmt: skip


def test_rejects_are_told_each_time(run, write):
    write("in/a.csv", data=TABLE + b"2\n")
    write("in/b.csv")
    args = ("in", "--out-dir", "out", "--max-rejects", 1)
    exit_code, said = run(*args)
    assert exit_code == 3
    assert said[:2] == [
        "in/a.csv: 2 records in, 1 row out, 1 reject: 1 ham, 0 spam",
        f"in/a.csv: rejected: {os.path.realpath('out')}/a.rejects.csv",
    ]
    exit_code, said = run(*args)
    assert (exit_code, said[0]) == (3, "in/a.csv: was labelled already, with 1 rejected")


def test_quiet_says_what_a_person_should_see(run, write):
    write("in/a.csv", data=TABLE + b"2\n")
    args = ("in", "--out-dir", "out", "--max-rejects", 1, "--quiet")
    rejects = f"in/a.csv: rejected: {os.path.realpath('out')}/a.rejects.csv"
    assert run(*args) == (3, [rejects])
    assert run(*args) == (3, ["in/a.csv: was labelled already, with 1 rejected"])


def test_quiet_says_nothing_of_an_incomplete_model():
    assert level_of(PARTIAL) == level_of("written: out.csv") == logging.INFO
    assert level_of("WARNING: anything else") == logging.WARNING


def test_one_file_without_memory_stops_no_other(run, classifier, monkeypatch, write):
    write("in/a.csv", data=b"text\nlarge\n")
    write("in/b.csv")
    real = type(classifier).classify_prepared

    def classify(self, prepared):
        if "large" in prepared.distinct:
            raise MemoryError
        return real(self, prepared)

    monkeypatch.setattr(type(classifier), "classify_prepared", classify)
    status, lines = run("in", "--out-dir", "out")
    assert (status, lines[0]) == (
        71,
        "error: in/a.csv: out of memory; free memory and type the same command, which resumes the "
        "run; or type --restart with --max-record-bytes 1000000 if records are long, --device cpu "
        "if the GPU's memory is short, or --precision int8 if the bundle has it; with --engine "
        "ray, type fewer --workers",
    )
    assert lines[-1] == "2 files: 1 labelled, 0 skipped, 1 failed"
    monkeypatch.setattr(type(classifier), "classify_prepared", real)
    assert run("in", "--out-dir", "out")[0] == 0


def test_the_worst_status_of_several():
    statuses = [70, 71, 74, 73, 78, 2, 75, 66, 65, 3, 0]
    assert sorted(statuses, key=folder.WORST_FIRST.index) == statuses
