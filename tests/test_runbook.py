"""docs/runbook.md, followed to the letter: its words appear, and what it says to type helps.

Each row of the page's tables of causes has a case here, so a message that is changed without
the page fails, and so does a new row without a case.
"""

import gzip
import re
import shlex
import shutil
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.model.classifier import Classifier

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
GOOD = b"id,text\n1,hello\n2,bye\n"
LATIN = "id,text\n1,caf\xe9\n".encode("latin-1")
BAD = b'id,text\n1,hello\n2,"not" closed\n'
# Words of the page -> input, its own options, options that the page says to type, exit status
# then. None: another input is needed.
INPUTS = {
    "the header:": (b'id,"te\nx', "", "--max-rejects 10", 65),
    "line N, byte offset M": (BAD, "", "--max-rejects 10", 3),
    "fits; type: --delimiter": (b"id;text\n1;hello\n", "", "--delimiter ';'", 0),
    "looks like a record, not like the names": (
        b"1,hello you\n2,bye\n", "", "--no-header --text-column 2", 0,
    ),
    "than --max-rejects": (BAD, "--max-rejects 1%", "--max-rejects 10", 3),
    "as many as --max-rejects": (BAD + b'3,"x" y\n', "--max-rejects 1", "--max-rejects 2", 3),
    "no text column found": (b"id,note\n1,hello\n", "", "--text-column note", 0),
    "more than one column could be the text": (
        b"text,body\nsee you,see me\n", "", "--text-column body", 0,
    ),
    "holds numbers, not messages": (
        b"message,note\n" + b"9001,hello\n" * 10, "", "--text-column note", 0,
    ),
    "is not there; columns:": (GOOD, "--text-column body", None, None),
    "there is a column 'label' already": (
        b"text,label\nhello,ham\n", "", "--overwrite-columns", 0,
    ),
    "looks like utf-16": (GOOD.decode().encode("utf-16"), "", "--encoding utf-16", 0),
    "not valid": (b"id,text\n1,caf\xff\n", "--encoding shift_jis", None, None),
    "has no byte order mark": (GOOD, "--encoding utf-16", None, None),
    "the file is empty": (b"", "", None, None),
    "looks like JSON Lines": (b'{"text": "hello"}\n', "", "--format jsonl --out out.jsonl", 0),
    "is a Parquet file": (b"PAR1" + bytes(20), "", None, None),
    "is not Parquet, or is damaged": (
        b"PAR1" + bytes(20), "--format parquet --out o.parquet", None, None,
    ),
    "is a workbook": (b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml", "", None, None),
    "is a zip archive": (b"PK\x03\x04" + bytes(26) + b"inbox.csv", "", None, None),
    "ends too early": (gzip.compress(GOOD * 99)[:-9], "", None, None),
    "data is damaged": (gzip.compress(GOOD * 99)[:-8] + bytes(8), "", None, None),
    "is followed by something else": (gzip.compress(GOOD) + b"more", "", None, None),
}  # fmt: skip
# Made by other tests: tests/faults, tests/batch/reading, tests/batch/model. They are only looked
# for in the code.
ELSEWHERE = {
    "grows while it is read", "was cut", "was overwritten", "was not verified",
    "was never verified", "logits that differ", "is not installed", "is missing",
    "but by spam-batch", "device cuda", "is not a regular file of this user", "hard link",
    "format version", "is not known", "cannot be read", "other token ids", "belongs to another",
}  # fmt: skip
# The operating system's words, and a name that the code puts in.
NOT_IN_THE_CODE = {
    "Permission denied", "Read-only file system", "No space left on device", "bundle.json says",
    "load the model on cuda", "checkpoint.json: is not a regular file of this user",
}  # fmt: skip


@pytest.fixture
def classify(stub, stub_bundle, invoke, tmp_path, monkeypatch):
    """``classify(options)`` labels ``in.csv`` with a stub -> exit status and the last line."""
    monkeypatch.setattr(Classifier, "load", stub.StubClassifier.load)
    monkeypatch.setattr("batch.run.windows.WINDOW", 1)
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_bytes(GOOD)

    def run(options: str = "", out: str = "out.csv", bundle=stub_bundle) -> tuple[int, str]:
        words = ["classify", "in.csv", "--out", out, "--bundle", bundle, *shlex.split(options)]
        result = invoke(main, *words)
        return result.exit_code, result.stderr.splitlines()[-1]

    return run


def words_of(section: str) -> set[str]:
    """What the first cells of a section's tables quote."""
    text = PAGE.split(f"\n## {section}")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", text.split("| the line has |")[1], re.M)
    return {words for cell in cells for words in re.findall(r"`(.*?)`", cell)}


@pytest.mark.parametrize("words", INPUTS)
def test_65(words: str, classify) -> None:
    content, given, repair, status = INPUTS[words]
    Path("in.csv").write_bytes(content)
    found, line = classify(given)
    assert found == 65
    assert re.search(re.escape(words).replace("N,", r"\d+,").replace("M", r"\d+"), line)
    if repair is not None:
        assert classify(repair)[0] == status


def test_65_an_interrupted_run(classify) -> None:
    Path("in.csv").write_bytes(BAD)
    assert classify()[0] == 65
    checkpoint = Path(".out.csv.checkpoint.json")
    kept = checkpoint.read_text(encoding="utf-8")
    checkpoint.write_text(kept.replace('"records": 1', '"records": 2'), encoding="utf-8")
    status, line = classify()
    assert status == 65 and "checkpoint.json: is damaged" in line
    other = kept.replace('"format_version": 3', '"format_version": 2')
    checkpoint.write_text(other, encoding="utf-8")
    status, line = classify()
    assert status == 65 and "checkpoint.json: format version" in line
    checkpoint.write_text(kept, encoding="utf-8")
    (part,) = Path().glob(".out.csv.*.part")
    part.rename("gone")
    status, line = classify()
    assert status == 65 and "so the interrupted run cannot resume" in line
    Path("gone").rename(part)
    Path("in.csv").write_bytes(GOOD + b"3,new\n")
    status, line = classify()
    assert status == 65 and "an interrupted run is kept in" in line
    assert classify("--restart")[0] == 0
    assert not checkpoint.exists()


def test_a_bad_record_of_an_interrupted_run(classify) -> None:
    """The same command with the options of the page resumes."""
    Path("in.csv").write_bytes(BAD)
    assert classify()[0] == 65
    assert classify("--max-rejects 10")[0] == 3


def test_73(classify) -> None:
    Path("folder").mkdir()
    for out, words in (
        ("nowhere/out.csv", "does not exist; make it first"),
        ("folder", "is a folder"),
        ("in.csv", "is the input"),
    ):
        status, line = classify(out=out)
        assert status == 73 and words in line
    Path(".out.csv.lock").write_text("mine", encoding="utf-8")
    status, line = classify()
    assert status == 73 and "is not a" in line
    Path(".out.csv.lock").unlink()
    assert classify()[0] == 0


def test_73_a_deleted_run_manifest(stub, stub_bundle, invoke, classify) -> None:
    """The output is not labelled again until it is moved, or --force is given."""
    Path("dumps").mkdir()
    Path("out").mkdir()
    Path("dumps", "a.csv").write_bytes(GOOD)
    words = ("classify", "dumps", "--out-dir", "out", "--bundle", stub_bundle)
    assert invoke(main, *words).exit_code == 0
    Path("out", "a.csv.run.json").unlink()
    result = invoke(main, *words)
    assert result.exit_code == 73 and "is there, and has no" in result.stderr
    assert invoke(main, *words, "--force").exit_code == 0


def test_78(classify, stub, tmp_path) -> None:
    for name in ("empty", "more", "other", "run", "linked"):
        (tmp_path / name).mkdir()
    stub.write_bundle(tmp_path / "more")
    stub.write_bundle(tmp_path / "other", threshold=0.6)
    (tmp_path / "more" / "note.txt").write_text("x", encoding="utf-8")
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    for file in (tmp_path / "other").iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    for bundle, options, words in (
        ("run", "", "is a run folder"),
        ("linked", "", "is a link"),
        ("nothing", "", "no such bundle"),
        ("empty", "", "has no bundle.json"),
        ("more", "", "does not list"),
        ("other", "--expect-digest 00", "--expect-digest says"),
    ):
        status, line = classify(options, bundle=bundle)
        assert status == 78 and words in line
    Path("in.csv").write_bytes(BAD)
    assert classify()[0] == 65
    status, line = classify(bundle="other")
    assert status == 78 and "but its bundle was" in line
    shutil.copytree("linked", "copied")  # as cp -rL does
    assert classify("--restart --max-rejects 1", bundle="copied")[0] == 3


def test_every_cause_has_a_case() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    words = words_of("65") | words_of("73") | words_of("78")
    assert len(words) > 30
    assert [missing for missing in words if f'"{missing}"' not in source] == []
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "batch").rglob("*.py"))
    assert [words for words in ELSEWHERE if words not in code] == []
