"""spam-batch mend: rejects that a person has mended get their places in the output."""

import csv
import gzip
import hashlib
import json
import os
import shlex
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.errors import StorageError
from batch.mend import publish
from batch.mend.mend import Mending

TABLE = (
    b'id,text\r\n1,Do you have time\r\n2,too,many\r\n\r\n3,"a, b"\r\n4,"open\r\n5,Call now\r\n'
    b"6,also,too,many"
)
WHOLE = (
    b'id,text\r\n1,Do you have time\r\n2,"too,many"\r\n\r\n3,"a, b"\r\n4,"op\r\nen"\r\n5,Call now'
    b"\r\n6,also too many"
)
MENDED = {b"2,too,many": b'2,"too,many"', b'4,"open': b'4,"op\r\nen"',
          b"6,also,too,many": b"6,also too many"}  # fmt: skip

QUOTE = (
    "quote at byte 5 of line 6 stands inside a field that does not begin with one, expected the "
    "field in quotes and the quote doubled"
)


@pytest.fixture
def run(tmp_path, monkeypatch, invoke, bundle):
    """Runs a command in a folder of its own -> exit status and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *args, bundle=bundle):
        result = invoke(main, command, *args, "--bundle", bundle)
        return result.exit_code, result.stderr

    return run


@pytest.fixture
def label(run):
    def label(data=TABLE, *args, name="in.csv", out="out.csv"):
        Path(name).write_bytes(data)
        status, said = run("classify", name, "--out", out, "--max-rejects", 9, *args)
        assert status in (0, 3), said

    return label


def edit(rejects="out.rejects.csv", copy="mended.csv", changes=MENDED) -> None:
    """What a person does in an editor."""
    with open(rejects, encoding="latin-1", newline="") as file:
        header, *rows = csv.reader(file)
    known = {old.decode("latin-1"): new.decode("latin-1") for old, new in changes.items()}
    for row in rows:
        row[3] = known.get(row[3], row[3])
    with open(copy, "w", encoding="latin-1", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def assert_sound(run, out="out.csv", *args) -> None:
    status, said = run("audit", out, *args)
    assert (status, said) == (0, "")


def read_manifest(out="out.csv") -> dict:
    return json.loads(Path(f"{out}.run.json").read_bytes())


def test_all_of_them(run, label):
    label(WHOLE)
    wanted, counts = Path("out.csv").read_bytes(), read_manifest()
    label()
    edit()
    assert run("mend", "out.csv", "--rejects", "mended.csv") == (
        0,
        "3 of 3 rejects mended: 1 ham, 2 spam\nwritten: out.csv\n",
    )
    assert Path("out.csv").read_bytes() == wanted
    assert not Path("out.rejects.csv").exists()
    now = read_manifest()
    for key in ("scores", "tokens", "drift", "table", "bundle", "options"):
        assert now[key] == counts[key], key
    assert now["counts"] == counts["counts"]
    assert now["rejects"] is None and "mended" in now["run"]
    digest = hashlib.sha256(b'2,"too,many"').hexdigest()
    assert now["mended"][0] == {"line": 3, "byte_offset": 29, "sha256": digest}
    assert [entry["line"] for entry in now["mended"]] == [3, 6, 8]
    assert_sound(run)
    assert sorted(os.listdir()) == ["in.csv", "mended.csv", "out.csv", "out.csv.run.json"]


def test_who_may_read_the_files_stays_so(run, label):
    label()
    edit()
    names = ("out.csv", "out.csv.run.json")
    for name, mode in zip(names, (0o640, 0o600), strict=True):
        os.chmod(name, mode)
    assert run("mend", "out.csv", "--rejects", "mended.csv")[0] == 0
    assert [os.stat(name).st_mode & 0o777 for name in names] == [0o640, 0o600]


def test_one_by_one_in_the_rejects_file_itself(run, label):
    label()
    edit(copy="out.rejects.csv", changes={b"2,too,many": b"2,too many", b'4,"open': b'4,op"en'})
    Path("once.csv").write_bytes(Path("out.rejects.csv").read_bytes())
    assert run("mend", "out.csv", "--rejects", "out.rejects.csv") == (
        3,
        "1 of 3 rejects mended: 1 ham\n"
        f"still bad: line 6, byte offset 53: {QUOTE}\n"
        "still bad: line 8, byte offset 74: has 4 fields, expected 2\nwritten: out.csv\n",
    )
    assert_sound(run)
    # What was tried is kept, with what is wrong with it now.
    rows = list(csv.reader(Path("out.rejects.csv").read_text().splitlines()))
    assert rows[1] == ["6", "53", QUOTE, '4,op"en']
    edit(copy="once.csv", rejects="once.csv", changes={b'4,op"en': b"4,open"})
    Path("once.csv").write_bytes(Path("once.csv").read_bytes().replace(b"6,also,too,", b"6,"))
    assert run("mend", "out.csv", "--rejects", "once.csv")[0] == 0
    assert_sound(run)
    texts = [row[1] for row in csv.reader(Path("out.csv").read_text().splitlines())]
    assert texts == ["text", "Do you have time", "too many", "a, b", "open", "Call now", "many"]


def test_nothing_mended_changes_nothing(run, label):
    label()
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    assert run("mend", "out.csv", "--rejects", "out.rejects.csv") == (
        3,
        "0 of 3 rejects mended\n"
        "still bad: line 3, byte offset 29: has 3 fields, expected 2\n"
        "still bad: line 6, byte offset 53: quote opened at byte 3 of line 6 is never closed\n"
        "still bad: line 8, byte offset 74: has 4 fields, expected 2\nout.csv is as it was\n",
    )
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_many_that_are_still_bad():
    from batch.reading.record import Record

    bad = Record(b"", b"", 1, 0, None, "is bad", None)
    assert Mending("out.csv", left=[bad] * 12).lines()[-2:] == [
        "still bad: 2 more", "out.csv is as it was"
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_other_forms(run, label, ending):
    """JSON Lines; other encodings; compressed; columns of ours replaced; no header."""
    lines = b'{"text": "Do you have time"}\nno object\n{"text": 3}\n{"text":"You won"}\n'
    label(lines, name="in.jsonl", out=f"out.jsonl{ending}")
    changes = {b"no object": b'{"text": "Call now"}'}
    edit(f"out.jsonl{ending}.rejects.csv", changes=changes)
    status, said = run("mend", f"out.jsonl{ending}", "--rejects", "mended.csv")
    assert (status, said.splitlines()[1]) == (
        3, "still bad: line 3, byte offset 39: has no string as its 'text'"
    )  # fmt: skip
    assert_sound(run, f"out.jsonl{ending}")
    data = Path(f"out.jsonl{ending}").read_bytes()
    shown = (gzip.decompress(data) if ending else data).splitlines()
    assert [json.loads(line)["text"] for line in shown] == [
        "Do you have time", "Call now", "You won"
    ]  # fmt: skip
    table = "label,text\nx,José\nx,zu,viel\nx,très bien\n"
    for encoding in ("latin-1", "utf-16"):
        label(table.encode(encoding), "--encoding", encoding, "--overwrite-columns",
              out=f"out.csv{ending}")  # fmt: skip
        edit(f"out.csv{ending}.rejects.csv" if ending else "out.rejects.csv",
             changes={b"x,zu,viel": b"x,zu viel"})  # fmt: skip
        assert run("mend", f"out.csv{ending}", "--rejects", "mended.csv")[0] == 0
        assert_sound(run, f"out.csv{ending}")
        data = Path(f"out.csv{ending}").read_bytes()
        text = (gzip.decompress(data) if ending else data).decode(encoding)
        wanted = ["text", "José", "zu viel", "très bien"]
        assert [line.split(",")[0].lstrip("\ufeff") for line in text.splitlines()] == wanted


def test_many_rows(run, label):
    rows = [b"%d,text %d%b\n" % (at, at, b",more" * (at % 700 == 5)) for at in range(5000)]
    label(b"id,text\n" + b"".join(rows))
    changes = {row.rstrip(): row.replace(b",more", b"").rstrip() for row in rows[705:3000]}
    edit(changes=changes)
    status, said = run("mend", "out.csv", "--rejects", "mended.csv")
    assert (status, said.split(" mended")[0]) == (3, "4 of 8 rejects")
    assert_sound(run)


def test_an_audit_sees_another_record_in_a_mended_place(run, label, invoke, bundle):
    label()
    edit()
    run("mend", "out.csv", "--rejects", "mended.csv")
    result = invoke(main, "audit", "out.csv", "--bundle", bundle)
    assert "6 rows begin with their records of the input, 3 of them as mended" in result.output
    path, values = Path("out.csv"), read_manifest()
    data = path.read_bytes().replace(b"6,also too many", b"6,also too mamy")
    path.write_bytes(data)
    values["output"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    Path("out.csv.run.json").write_text(json.dumps(values, indent=1))
    result = invoke(main, "audit", "out.csv", "--bundle", bundle)
    assert "failed    records: line 8 is not line 8 as it was mended" in result.output


def test_killed_between_two_names(run, label, monkeypatch):
    """The same command finishes it, however many of the names were given."""
    for rename in (2, 3):
        label()
        edit(changes={b"2,too,many": b"2,too many"})
        done = []

        def replace(source, target, rename=rename, done=done):
            done.append(source)
            if len(done) == rename:
                raise OSError(5, "Input/output error")
            os.rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(publish.os, "replace", replace)
            status, said = run("mend", "out.csv", "--rejects", "mended.csv")
            assert status == StorageError.exit_code, said
        assert run("audit", "out.csv")[0] == 65
        command = ("mend", "out.csv", "--rejects", "mended.csv")
        assert run(*command) == (
            3,
            "finished a mending that was killed: out.csv; type the same command for further "
            "records\n",
        )
        assert_sound(run)
        assert run(*command)[0] == 3
        assert_sound(run)


def change_header(old: bytes, new: bytes) -> None:
    path = Path("mended.csv")
    path.write_bytes(path.read_bytes().replace(old, new, 1))


SHAPE = "line, byte_offset and record, with commas, as the rejects file has them"
NAMES = "columns: 'line', 'byte_offset', 'reason'"
BAD_FILES = [
    (b"", f"mended.csv: the file is empty; it needs the columns {SHAPE}"),
    (b'"line\n1', "mended.csv: line 1 quote opened at byte 1 of line 1 is never closed; it needs "
     f"the columns {SHAPE}"),
    (b"line,byte_offset,reason\n", "mended.csv: the column 'record' is not there; "
     f"{NAMES}; it needs {SHAPE}"),
    (b"line,byte_offset,record\n3,29\n", "mended.csv: line 2 has 2 fields, expected 3; repair "
     "that line"),
    (b"line,byte_offset,record\n3,x,a\n", "mended.csv: line 2: line and byte_offset are not "
     "numbers; copy them from the rejects file"),
    (b"line,byte_offset,record\n" + b"3" * 5000 + b",29,a\n", "mended.csv: line 2: line and "
     "byte_offset are not numbers; copy them from the rejects file"),
    (b"line,byte_offset,record\n\xc2\xb2,29,a\n", "mended.csv: line 2: line and byte_offset are "
     "not numbers; copy them from the rejects file"),
    (b"line,byte_offset,record\n3,29,a\n3,29,b\n", "mended.csv: line 3: the record of line 3, "
     "byte offset 29, is there twice; keep one"),
    (b'line,byte_offset,record\n3,30,"2,b"\n', "mended.csv: no reject of out.csv is at line 3, "
     "byte offset 30; line and byte_offset must stay as they were"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD_FILES)
def test_files_that_are_no_rejects_file(run, label, data, message):
    label()
    before = Path("out.csv").read_bytes()
    Path("mended.csv").write_bytes(data)
    assert run("mend", "out.csv", "--rejects", "mended.csv") == (
        65, f"spam-batch: error: {message}\n"
    )  # fmt: skip
    assert Path("out.csv").read_bytes() == before
    assert_sound(run)


def test_what_is_refused(run, label, bundle, make_bundle, tmp_path):
    def refuse(status: int, message: str, *args, **options) -> None:
        command = ("mend", "out.csv", "--rejects", "out.rejects.csv", *args)
        assert run(*command, **options) == (status, f"spam-batch: error: {message}\n")

    refuse(66, "cannot read out.csv: it is no file; give an output of classify")
    label(b"text\nhello\n")
    nothing = "out.csv has no rejects; there is nothing to mend\n"
    assert run("mend", "out.csv", "--rejects", "none.csv") == (0, nothing)
    label()
    other = make_bundle(threshold=0.9)
    digests = [hashlib.sha256((f / "bundle.json").read_bytes()).hexdigest()
               for f in (other, bundle)]  # fmt: skip
    refuse(78, f"{other} has the digest {digests[0]}, the run's had {digests[1]}; give the run's "
           "bundle with --bundle", bundle=other)  # fmt: skip
    os.rename("in.csv", "moved.csv")
    refuse(65, f"out.csv: {tmp_path}/in.csv is missing, or is not the input of the run; name it "
           "with --input")  # fmt: skip
    edit()
    assert run("mend", "out.csv", *shlex.split("--rejects mended.csv --input moved.csv"))[0] == 0
    label()
    Path("out.csv").write_bytes(Path("out.csv").read_bytes() + b"7,x,ham,0.1\n")
    refuse(65, "out.csv has changed since its run; mend the output as it was, or label the input "
           "again")  # fmt: skip
    label()
    Path("_manifest.json").touch()
    refuse(2, "out.csv belongs to a run on many machines; mend the input, and label it again")
    os.unlink("_manifest.json")
    edit()
    assert run("mend", "out.csv", "--rejects", "mended.csv")[0] == 0


def test_mended_twice_in_another_way(run, label):
    label()
    edit(changes={b"2,too,many": b"2,too many"})
    run("mend", "out.csv", "--rejects", "mended.csv")
    edit("mended.csv", changes={b"2,too many": b"2,to many", **MENDED})
    assert run("mend", "out.csv", "--rejects", "mended.csv") == (
        65,
        "spam-batch: error: mended.csv: the record of line 3, byte offset 29, was mended already, "
        "in another way; leave it out, or label the input again\n",
    )
    assert_sound(run)


def test_parquet_and_pipes(run, label, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": ["hello", None]}), "in.parquet")
    run("classify", "in.parquet", "--out", "out.parquet", "--max-rejects", 1)
    assert run("mend", "out.parquet", "--rejects", "out.parquet.rejects.csv") == (
        2,
        "spam-batch: error: out.parquet is Parquet, whose only bad records are rows without a "
        "text; fill in the texts of the input, and label it again\n",
    )
    label()
    path, values = Path("out.csv.run.json"), read_manifest()
    values["input"]["name"] = None
    path.write_text(json.dumps(values, indent=1))
    assert run("mend", "out.csv", "--rejects", "out.rejects.csv") == (
        2,
        "spam-batch: error: out.csv: its input came through a pipe; give it as a file with "
        "--input\n",
    )
    edit()
    assert run("mend", "out.csv", "--rejects", "mended.csv", "--input", "in.csv")[0] == 0
