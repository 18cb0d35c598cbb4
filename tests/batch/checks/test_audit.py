"""spam-batch audit: what it catches, and what it says it cannot check."""

import gzip
import json
import os
import shutil
import threading

import pytest
from click.testing import CliRunner

from batch.cli.commands import main

TABLE = b'id,text\n1,Do you have time\n2,"a, b"\n3,too,many\n4,You won\n5,Call now\n'
JSONL = b'{"text": "Do you have time" }\n{"text": "a, b"}\nno object\n{"text":"You won"}\n'
NAMES = ["output", "rejects", "input", "rows", "labels", "scores", "records", "bundle", "sample"]


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        return CliRunner().invoke(main, [str(arg) for arg in args])

    return run


@pytest.fixture
def label(invoke, bundle):
    def run(source="in.csv", out="out.csv", data=TABLE, *args):
        with open(source, "wb") as file:
            file.write(data)
        command = ("classify", source, "--out", out, "--bundle", bundle, "--max-rejects", 1)
        result = invoke(*command, "--device", "cpu", *args)
        assert result.exit_code in (0, 3), result.stderr

    return run


@pytest.fixture
def audit(invoke, bundle):
    """Returns the exit status, and what failed or was not checked: check -> sentence."""

    def run(out="out.csv", *args, folder=bundle):
        given = () if folder is None else ("--bundle", folder)
        result = invoke("audit", out, *given, "--format", "json", *args)
        findings = json.loads(result.stdout)
        if result.exit_code:
            failed = sum(finding["state"] == "failed" for finding in findings)
            assert result.stderr == (
                f"spam-batch: error: {out}: {failed} of {len(findings)} checks failed; "
                "something has changed since the run\n"
            )
        said = {f["check"]: (f["state"], f["said"]) for f in findings if f["state"] != "ok"}
        return result.exit_code, said

    return run


def change(name: str, old: bytes, new: bytes) -> None:
    with open(name, "rb") as file:
        data = file.read()
    assert old in data
    with open(name, "wb") as file:
        file.write(data.replace(old, new, 1))


def forge(name: str = "out.csv") -> None:
    """Give a changed output the hash that the manifest wants of it: the other checks see it."""
    import hashlib

    with open(f"{name}.run.json", encoding="utf-8") as file:
        values = json.load(file)
    with open(name, "rb") as file:
        data = file.read()
    values["output"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with open(f"{name}.run.json", "w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)


def test_a_whole_one(label, invoke, bundle, tmp_path):
    label()
    result = invoke("audit", "out.csv", "--bundle", bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", f"{name}:"] for name in NAMES]
    assert lines[3] == "ok        rows: 4"
    assert lines[6] == "ok        records: 4 rows begin with their records of the input"
    assert lines[8] == "ok        sample: 4 rows get the same labels and scores again"


@pytest.mark.parametrize(
    ("source", "out", "data", "args"),
    [
        ("in.jsonl", "out.jsonl", JSONL, ()),
        ("in.csv.gz", "out.csv.zst", gzip.compress(TABLE), ()),
        ("in.csv", "out.csv", TABLE, ("--threshold", "0.9", "--unsure-band", "0.01,0.99")),
        (
            "in.jsonl",
            "out.jsonl",
            JSONL,
            ("--columns", "label,score,probability,reason", "--long", "windows"),
        ),
        ("in.csv", "out.jsonl.csv", TABLE.replace(b"id", b"label"), ("--overwrite-columns",)),
        ("in.csv", "out.csv", TABLE[8:], ("--no-header", "--text-column", "2")),
        ("in.csv", "out.csv", TABLE.decode().encode("utf-16"), ("--encoding", "utf-16")),
        ("in.csv", "out.csv", TABLE, ("--columns", "tokens,score,label")),
        (
            "in.csv",
            "out.csv",
            b'id,text\n1,"Hi, Anna\n' + b"Yours, Bob\n" * 16 + b'Bye"\n2,ok\n',
            ("--trust-quotes",),
        ),
    ],
)
def test_every_format(label, audit, source, out, data, args):
    label(source, out, data, *args)
    assert audit(out) == (0, {})


def test_parquet(label, audit, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"x": [1.5, float("nan"), 2.0], "text": ["Do you have time", None, "a"]})
    parquet.write_table(table, tmp_path / "made")
    label("in.parquet", "out.parquet", (tmp_path / "made").read_bytes())
    assert audit("out.parquet") == (0, {})
    found = parquet.read_table("out.parquet")
    parquet.write_table(found.set_column(0, "x", pa.array([1.5, 3.0])), "out.parquet")
    forge("out.parquet")
    assert audit("out.parquet") == (
        65, {"records": ("failed", "row 2 does not have the values of its input record")}
    )  # fmt: skip


def test_a_changed_byte(label, audit):
    label()
    change("out.csv", b"time", b"Time")
    code, said = audit()
    assert code == 65
    state, sentence = said.pop("output")
    assert state == "failed" and "/out.csv has the SHA-256 " in sentence
    assert said["records"] == ("failed", "line 2 does not begin with line 2 of the input")


def test_a_lost_row(label, audit):
    label()
    change("out.csv", b"4,You won,", b"")
    code, said = audit()
    assert code == 65 and "bytes, the run's had" in said["output"][1]
    label()
    with open("out.csv", "rb") as file:
        lines = file.read().splitlines(keepends=True)
    with open("out.csv", "wb") as file:
        file.write(b"".join(lines[:-1]))
    forge()
    code, said = audit()
    assert said["rows"] == ("failed", "3; the run wrote 4")
    assert said["records"] == ("failed", "the input has 1 record after that of the last row")


def test_a_changed_label(label, audit):
    label()
    change("out.csv", b"time,ham", b"time,spam")
    forge()
    code, said = audit()
    assert code == 65
    assert said["labels"][0] == "failed" and "; the run wrote " in said["labels"][1]
    assert said["sample"] == (
        "failed", "1 of 4 rows get another label or score now, the first on line 2"
    )  # fmt: skip
    assert audit("out.csv", "--sample", 0)[1]["sample"] == ("unchecked", "no row was asked for")


def test_a_changed_score(label, audit):
    label()
    change("out.csv", b"0.017986", b"0.517986")
    forge()
    assert sorted(audit()[1]) == ["sample", "scores"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            b"0.017986",
            b"often",
            "a row does not have the form that spam-batch writes; read before it: 0 rows",
        ),
        (
            b'\n2,"a, b"',
            b'\n2,x,y,"a, b"',
            "line 3 has 6 fields, expected 4; read before it: 1 row",
        ),
    ],
)
def test_rows_that_cannot_be_read(label, audit, old, new, problem):
    label()
    change("out.csv", old, new)
    forge()
    unread = ("unchecked", "the rows cannot be read to the end")
    code, said = audit("out.csv", "--sample", 0)
    del said["sample"]
    assert (code, said) == (
        65, {"rows": ("failed", problem), "labels": unread, "scores": unread, "records": unread}
    )  # fmt: skip


def test_a_row_of_no_record(label, audit):
    label()
    with open("out.csv", "r+b") as file:
        lines = file.readlines()
        file.write(lines[-1])
    forge()
    code, said = audit()
    assert (code, said["rows"]) == (65, ("failed", "5; the run wrote 4"))
    assert said["records"] == ("failed", "line 6 has no record in the input")


def test_bad_records_that_were_not_rejected(label, audit):
    label()
    with open("out.csv.run.json", encoding="utf-8") as file:
        values = json.load(file)
    values["counts"]["rejects"] = 7
    with open("out.csv.run.json", "w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
    said = ("failed", "the input has 1 bad record, and the run had 7 rejects")
    assert audit() == (65, {"records": said})


def test_an_input_that_came_through_a_pipe(label, audit, invoke, bundle, tmp_path):
    os.mkfifo("fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(TABLE,))
    writer.start()
    args = ("--out", "out.csv", "--bundle", bundle, "--device", "cpu", "--max-rejects", 1)
    assert invoke("classify", "fifo", *args).exit_code == 3
    writer.join()
    assert audit() == (
        0, {"input": ("unchecked", "the input came through a pipe"),
            "records": ("unchecked", "the run's input is missing or has changed")},
    )  # fmt: skip


def test_a_swapped_bundle(label, audit, make_bundle, tmp_path):
    label()
    other = make_bundle(threshold=0.9)
    code, said = audit(folder=other)
    assert code == 65 and said["bundle"][1].startswith(f"{other} has the digest ")
    assert said["sample"] == ("unchecked", "not labelled again without the run's bundle")
    assert audit(folder=None) == (
        0, {"bundle": ("unchecked", "models/spam does not exist; give the run's bundle with "
                       "--bundle"),
            "sample": ("unchecked", "not labelled again without the run's bundle")},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["none", "out.csv", "."])
def test_a_typed_bundle_that_is_none_is_what_classify_says(label, invoke, name):
    label()
    result = invoke("audit", "out.csv", "--bundle", name)
    wanted = invoke("classify", "in.csv", "--out", "new.csv", "--bundle", name)
    assert (result.exit_code, result.stdout) == (wanted.exit_code, wanted.stdout) == (78, "")
    assert result.stderr == wanted.stderr
    assert (
        result.stderr.removeprefix("spam-batch: error: ")
        == {
            "none": "none: no such bundle; copy one there, or make one with: spam-train fit && "
            "spam-export bundle --out none\n",
            "out.csv": "out.csv is not a folder, so it is not a bundle\n",
            ".": ". has no bundle.json, so it is not a bundle\n",
        }[name]
    )


def test_a_damaged_bundle(label, audit, bundle, tmp_path):
    label()
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    change(str(folder / "gpt2.tiktoken"), b"IQ==", b"IR==")
    assert "SHA-256 is " in audit(folder=folder)[1]["bundle"][1]


def test_rejects_and_input(label, audit, tmp_path):
    label()
    change("out.rejects.csv", b"too", b"two")
    change("in.csv", b"time", b"tine")
    code, said = audit()
    assert code == 65
    assert said["rejects"][1].startswith(f"{tmp_path}/out.rejects.csv has the SHA-256 ")
    assert said["input"][1].startswith(f"{tmp_path}/in.csv has the SHA-256 ")
    assert said["records"] == ("unchecked", "the run's input is missing or has changed")
    (tmp_path / "in.csv").rename(tmp_path / "moved.csv")
    (tmp_path / "out.rejects.csv").unlink()
    code, said = audit()
    assert code == 0
    assert said["input"] == ("unchecked", f"{tmp_path}/in.csv no longer exists")
    change("moved.csv", b"tine", b"time")
    assert sorted(audit("out.csv", "--input", "moved.csv")[1]) == ["rejects"]


def test_without_our_columns(label, audit):
    label("in.csv", "out.csv", TABLE, "--columns", "tokens")
    assert audit() == (
        0, {"labels": ("unchecked", "the output has no column label"),
            "scores": ("unchecked", "the output has no column score"),
            "sample": ("unchecked", "the output has neither label nor score")},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("none.csv", "cannot read none.csv: No such file or directory"),
        ("none/out.csv", "cannot read none/out.csv: No such file or directory"),
        (".", ". is a folder; give the name of a file"),
        ("in.csv", "{}/in.csv: has no run manifest, in.csv.run.json, beside it; spam-batch "
         "classify writes one with each output"),
    ],
)  # fmt: skip
def test_66(label, invoke, tmp_path, out, message):
    label()
    result = invoke("audit", out)
    assert result.exit_code == 66
    assert result.stderr == f"spam-batch: error: {message.format(tmp_path)}\n"
