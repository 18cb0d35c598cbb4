"""Labelled files as other programs export them: what training says of each, and what helps."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

import trainer.run
import trainer.run_steps
from trainer.cli import main
from trainer.data.reading import LabelledData, read_messages

HAM = [f"ham,see you at {n} for dinner" for n in range(30)]
SPAM = [f"spam,win a prize {n} now" for n in range(30)]
ROWS = [row for pair in zip(HAM, SPAM, strict=True) for row in pair]


def join(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


TABLE = join("label,text", *ROWS)
FASTTEXT = join(*(f"__label__{row.replace(',', ' ', 1)}" for row in ROWS))
LINES = join(*(json.dumps(dict(zip(("label", "text"), row.split(","), strict=True)))
               for row in ROWS))  # fmt: skip
ONE_HOT = join("text,ham,spam", *(f"{row.split(',')[1]},{row[0] == 'h':d},{row[0] == 's':d}"
                                  for row in ROWS))  # fmt: skip


@pytest.fixture
def fit(invoke, bpe_file: Path, tmp_path: Path, monkeypatch):
    """Run ``fit`` on files of these contents, up to the training; returns status, stderr, data."""
    monkeypatch.chdir(tmp_path)
    ready: list[LabelledData] = []

    def read(*args) -> LabelledData:
        ready.append(read_messages(*args))
        return ready[-1]

    def stop(*_) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(trainer.run, "read_messages", read)
    monkeypatch.setattr(trainer.run_steps, "_train_with_checkpoint", stop)

    def run(files: dict[str, str | bytes], *args: object):
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            Path(name).write_bytes(data)
        given = [word for name in files for word in ("--data", name)]
        done = invoke(
            main, "fit", "--weights", "random", "--model", "starter", "--bpe", bpe_file,
            "--cache", "cache", "--out", "run", "--quiet", "--split", "book", *given, *args,
        )  # fmt: skip
        messages = ready.pop() if ready else None
        return done.exit_code, done.stderr, messages if done.exit_code == 0 else None

    return run


def type_it(shell: str) -> dict[str, bytes]:
    """Run a shell command; returns the file that it wrote."""
    subprocess.run(["bash", "-euo", "pipefail", "-c", shell], check=True, timeout=60)
    name = shlex.split(shell)[-1]
    return {name: Path(name).read_bytes()}


FROM_FASTTEXT = r"sed 's/^[^_]*__label__\([^[:space:]]*\)[[:space:]]*/\1\t/' in.txt > in.tsv"


@pytest.mark.quick
@pytest.mark.parametrize(
    "data",
    [
        FASTTEXT, f"\ufeff{FASTTEXT}", FASTTEXT.replace("\n", "\r\n"),
        FASTTEXT.replace("see", 'see, "'), FASTTEXT.replace("ham ", "ham\t"),
    ],
    ids=["plain", "bom", "crlf", "quotes", "tabs"],
)  # fmt: skip
def test_fasttext(fit, data: str) -> None:
    code, said, _ = fit({"in.txt": data})
    assert (code, said) == (
        65, "spam-train: error: in.txt: is in fastText's form, a line of __label__NAME and the "
        f"text; type: {FROM_FASTTEXT}, and then --no-header --no-quote\n",
    )  # fmt: skip
    code, said, found = fit(type_it(FROM_FASTTEXT), "--no-header", "--no-quote")
    assert (code, said, found.counts()["labels"]) == (0, "", {"ham": 30, "spam": 30})


@pytest.mark.quick
def test_fasttext_with_several_labels_in_a_line(fit) -> None:
    assert fit({"in.txt": FASTTEXT + "__label__ham __label__friend hello\n"})[:2] == (
        65, "spam-train: error: in.txt: is in fastText's form, a line of __label__NAME and the "
        "text, but line 61 has several labels; leave one in each\n",
    )  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize(
    ("data", "columns", "example", "labels"),
    [
        (ONE_HOT, "'text', 'ham', 'spam'", "spam", {"0": 30, "1": 30}),
        (
            TABLE.replace("ham,", "False,").replace("spam,", "True,").replace("label", "is_spam"),
            "'is_spam', 'text'", "is_spam", {"False": 30, "True": 30},
        ),
    ],
)  # fmt: skip
def test_a_column_for_each_class(fit, data, columns, example, labels) -> None:
    assert fit({"in.csv": data})[:2] == (
        65, f"spam-train: error: in.csv: no label column found; columns: {columns}; name it with "
        f"--label-column, for example: --label-column {example}\n",
    )  # fmt: skip
    code, said, found = fit({"in.csv": data}, "--label-column", example)
    assert (code, said, found.counts()["labels"]) == (0, "", labels)


MANY = join(*(f"ham|spam,hello {n}" for n in range(12)))


@pytest.mark.quick
def test_several_labels_in_a_cell(fit) -> None:
    warning = (
        "WARNING: in.csv: line 62: the label is 'ham|spam', as if one record had several (12 such "
        "records); each such label is a class of its own; "
    )
    code, said, found = fit({"in.csv": TABLE + MANY})
    advised = "to leave such records out, type: --labels ham,spam\n"
    assert (code, said.splitlines(True)[0]) == (0, warning + advised)
    assert found.counts()["labels"] == {"ham": 30, "ham|spam": 12, "spam": 30}
    code, said, found = fit({"in.csv": TABLE + MANY}, "--labels", "ham,spam")
    assert (code, said, found.counts()["labels"]) == (0, "", {"ham": 30, "spam": 30})
    code, said, _ = fit({"in.csv": TABLE.replace("spam,", "ham;spam,")})
    assert (code, said.splitlines()[0]) == (
        0, "WARNING: in.csv: line 3: the label is 'ham;spam', as if one record had several (30 "
        "such records); each such label is a class of its own; write one label a record",
    )  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("in.csv", TABLE + "Label,Text\n", 62),
        ("in.csv", TABLE + " label , TEXT\n", 62),
        ("in.csv", TABLE + "\ufefflabel,text\n", 62),
        ("in.jsonl", LINES + '{"text": "text", "label": "label"}\n', 61),
    ],
)
def test_a_header_in_another_hand(fit, name: str, data: str, line: int) -> None:
    assert fit({name: data})[:2] == (
        65, f"spam-train: error: {name}: line {line} repeats the header (1 such line), as when "
        "files are joined with cat; give the files one by one, each with its own --data, or "
        "remove the line\n",
    )  # fmt: skip


@pytest.mark.quick
def test_one_of_several_files_with_another_delimiter(fit) -> None:
    """An option would be for all files, so the advice is a command for this one."""
    files = {"a.csv": TABLE, "b.csv": "\ufeff" + TABLE.replace(",", ";")}
    command = r"sed '1s/^\xEF\xBB\xBF//;1s/^/sep=;\n/' b.csv > b.fixed.csv"
    assert fit(files)[:2] == (
        65, "spam-train: error: b.csv: no text column found; the delimiter ';' fits; type: "
        f"{command}\n",
    )  # fmt: skip
    code, said, found = fit({"a.csv": TABLE, **type_it(command)})
    assert (code, said, found.counts()["labels"]) == (0, "", {"ham": 60, "spam": 60})


@pytest.mark.quick
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_one_of_several_files_in_another_encoding(fit, encoding: str) -> None:
    accented = TABLE.replace("dinner", "diné")
    code, said, _ = fit({"a.csv": accented, "b.csv": accented.encode(encoding)})
    command = f"iconv -f {encoding} -t utf-8 b.csv > b.fixed.csv"
    if encoding == "cp1252":
        assert (code, said) == (
            0, "WARNING: b.csv: 30 texts have bytes that are not UTF-8 and are read as U+FFFD, "
            f"first in line 2; each byte is a letter in cp1252; type: {command}\n",
        )  # fmt: skip
    else:
        assert (code, said) == (
            65, f"spam-train: error: b.csv: looks like utf-16; type: {command}\n"
        )  # fmt: skip
    code, said, found = fit({"a.csv": accented, **type_it(command)})
    assert (code, said, found.counts()["labels"]) == (0, "", {"ham": 60, "spam": 60})
    assert sum("diné" in text for text in found.frame["text"]) == 60


@pytest.mark.quick
def test_texts_that_excel_cut(fit) -> None:
    cut = ["ham," + "x " * 16383 + "x", "spam," + "\U0001f642" * 16383 + "x"]
    assert fit({"in.csv": TABLE + join(*cut, cut[0][:-1])})[:2] == (
        0, "WARNING: in.csv: 2 texts of 32,767 characters, the most that a cell of Excel holds, "
        "first in line 62; the rest may be cut off; export from the source\n",
    )  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("NA", "'NA'"), ("(null)", "'(null)'"), ("[null]", "'[null]'"), ("?", "'?'"),
        ("undefined", "'undefined'"), ("#REF!", "'#REF!'"), ("-----", "'-----'"), ("[]", "'[]'"),
        ("''", '"\'\'"'), ("\u200b", "'\\u200b'"), ('""""', "'\"'"),
    ],
)  # fmt: skip
def test_what_stands_for_no_label(fit, label: str, shown: str) -> None:
    data = TABLE + join(*(f"{label},hello {n}" for n in range(20)))
    assert fit({"in.csv": data})[:2] == (
        65, f"spam-train: error: in.csv: line 62: the label is {shown}, which stands for no label "
        "(20 such records); label them, or leave them out by naming the classes: --labels "
        "ham,spam\n",
    )  # fmt: skip
    code, said, found = fit({"in.csv": data}, "--labels", "ham,spam")
    assert (code, said, found.counts()["labels"]) == (0, "", {"ham": 30, "spam": 30})


@pytest.mark.quick
def test_labels_that_are_objects(fit) -> None:
    data = LINES.replace('"ham"', '{"label": "ham"}').replace('"spam"', '{"label": "spam"}')
    assert fit({"in.jsonl": data})[:2] == (
        65, "spam-train: error: in.jsonl: line 1: the labels are objects (60 such records), such "
        'as \'{"label": "ham"}\'; write one label a record, without braces\n',
    )  # fmt: skip


@pytest.mark.quick
def test_numbers_that_are_equal_in_any_form(fit) -> None:
    data = TABLE.replace("ham,", "0.0,").replace("spam,", "1e0,") + join("1.0,bye", "-0,hi")
    code, said, found = fit({"in.csv": data})
    assert (code, said, found.counts()["labels"]) == (0, "", {"-0": 31, "1.0": 31})


@pytest.mark.quick
def test_the_counts_of_several_files_add_up(fit) -> None:
    """Rejects, left-out labels, corrected labels and duplicates, in three formats."""
    again = '{"label": "ham"}\n{"label": "spam", "text": "see you at 0 for dinner"}\n'
    files = {
        "a.csv": TABLE + join("one", "ham,a,b", "NULL,x", "other,y"),
        "b.jsonl": LINES + again,
        "c.tsv": join("text\tlabel", "win a prize 3 now\tham", "x"),
    }
    code, said, found = fit(files, "--max-rejects", "4", "--labels", "ham,spam")
    assert (code, said) == (
        0, "WARNING: b.jsonl: 1 text with two labels; the first on lines 1 and 62; all were kept\n"
    )  # fmt: skip
    assert found.counts() == {
        "records": 128, "rejected": 4, "kept": 120,
        "dropped": {"not among --labels": 2, "labelled anew by a later file": 2},
        "labels": {"ham": 61, "spam": 59}, "glued_lines": 0,
    }  # fmt: skip
    assert 128 == 4 + 2 + 2 + 120
    assert found.sentence() == (
        "128 records, 4 rejected, 2 dropped (not among --labels), 2 dropped (labelled anew by a "
        "later file); 120 messages kept: 61 ham, 59 spam"
    )
