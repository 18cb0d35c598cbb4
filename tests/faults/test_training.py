"""Labelled files as people have them: what ``spam-train fit`` refuses, and what its advice does."""

import csv
import gzip
import io
import json
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from trainer.cli import main

HAM = [f"ham,see you at {n} for dinner" for n in range(30)]
SPAM = [f"spam,win a prize {n} now" for n in range(30)]
NAMES = [f"{first}{second}l" for first in "bdfhjklmnp" for second in "aeiou"]
ROWS = ["label,text", *(row for pair in zip(HAM, SPAM, strict=True) for row in pair)]


def join(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


TABLE = join(*ROWS)
TABBED = TABLE.replace(",", "\t")


@pytest.fixture
def fit(invoke, bpe_file: Path, tmp_path: Path, monkeypatch):
    """Run ``fit`` on files of these contents, in their folder; returns status, stderr, config."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict[str, str | bytes], *args: object):
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            Path(name).write_bytes(data)
        given = [word for name in files for word in ("--data", name)]
        done = invoke(
            main, "fit", "--weights", "random", "--model", "starter", "--bpe", bpe_file,
            "--cache", "cache", "--out", "run", "--epochs", 1, "--device", "cpu", "--quiet",
            "--split", "book",  # these texts differ in a number only, so they are near copies
            *given, *args,
        )  # fmt: skip
        path = Path("run/config.json")
        found = json.loads(path.read_bytes()) if path.exists() else None
        return done.exit_code, done.stderr, found

    return run


# Content, exit status, message, options that the message advises, records that are then kept.
REFUSED = {
    "repeated-header": (
        join(*ROWS, *ROWS), 65,
        "in.csv: line 62 repeats the header (1 such line), as when files are joined with cat; give "
        "the files one by one, each with its own --data, or remove the line", None, 0,
    ),
    "null": (
        join(*ROWS, "NULL,a", "NULL,b"), 65,
        "in.csv: line 62: the label is 'NULL', which stands for no label (2 such records); label "
        "them, or leave them out by naming the classes: --labels ham,spam",
        ["--labels", "ham,spam"], 60,
    ),
    "empty": (
        join(*ROWS, ",a"), 65,
        "in.csv: line 62: the label is empty (1 such record); label them, or leave them out by "
        "naming the classes: --labels ham,spam", ["--labels", "ham,spam"], 60,
    ),
    "postgres": (
        join(*ROWS, "\\N,a"), 65,
        "in.csv: line 62: the label is '\\\\N', which stands for no label (1 such record); label "
        "them, or leave them out by naming the classes: --labels ham,spam",
        ["--labels", "ham,spam"], 60,
    ),
    "mistyped": (
        join(*ROWS, "sapm,a"), 65,
        "in.csv: 1 message labelled 'sapm', fewer than the 10 that a class needs to be in each set "
        "(mistyped?); label more; or leave it out: --labels ham,spam; or keep it as it is: "
        "--min-class 1", ["--labels", "ham,spam"], 60,
    ),
    "one-class": (
        join("label,text", *HAM), 65,
        "in.csv: every label is 'ham'; two classes are needed", None, 0,
    ),
    "case": (
        join(*ROWS, "Spam,a"), 65,
        "in.csv: the labels 'Spam' (1) and 'spam' (30) differ in case only; make them one; 'Spam' "
        "stands first on line 62", None, 0,
    ),
    "message-as-label": (
        join("text,label", *(f"{'word ' * 20}{n},spam" for n in range(5))), 65,
        "in.csv: line 2: the label has 101 characters (5 labels of more than 64); is the label "
        "column the right one? name it with --label-column", ["--label-column", "label"], None,
    ),
    "too-few-fields": (
        join(*ROWS, "bye"), 65,
        "in.csv: line 62, byte offset 1581: has 1 field, expected 2; to set bad records aside, "
        "type --max-rejects 10, or 1%", ["--max-rejects", "10"], 60,
    ),
    "utf-16": (
        TABLE.encode("utf-16"), 65, "in.csv: looks like utf-16; type: --encoding utf-16",
        ["--encoding", "utf-16"], 60,
    ),
    "unclosed-quote": (
        join(*ROWS[:31], 'ham,"hello', *ROWS[31:]), 65,
        "in.csv: line 32, byte offset 786: quote opened at byte 5 of line 32 is never closed; "
        "if quotes are text, type: --no-quote", ["--no-quote"], 61,
    ),
    "backslashes": (
        TABLE.replace("dinner", "dinner, love").replace("ham,", 'ham,"\\"see\\" ').replace(
            "love", 'love"'), 65, None, ["--escape", "\\"], 60,
    ),
    "semicolons": (
        TABLE.replace(",", ";"), 65,
        "in.csv: no text column found; the delimiter ';' fits; type: --delimiter ';'",
        ["--delimiter", ";"], 60,
    ),
}  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_the_advice_works(fit, name: str) -> None:
    data, status, message, advised, kept = REFUSED[name]
    if name == "message-as-label":
        advised_data, message_args = data, ["--label-column", "text", "--text-column", "label"]
        code, said, config = fit({"in.csv": advised_data}, *message_args)
        assert (code, said) == (status, f"spam-train: error: {message}\n")
        return
    code, said, config = fit({"in.csv": data})
    assert (code, config) == (status, None)
    if message is not None:
        assert said == f"spam-train: error: {message}\n"
    if advised is not None:
        assert shlex.join(advised) in said
        code, said, config = fit({"in.csv": data}, *advised)
        assert code == 0, said
        assert config["data"]["kept"] == kept


# Files, warnings, counts of the labels.
READ = {
    "gzip": ({"in.csv.gz": gzip.compress(TABLE.encode())}, "", {"ham": 30, "spam": 30}),
    "tabs": ({"in.txt": TABBED}, "", {"ham": 30, "spam": 30}),
    "jsonl": (
        {"in.jsonl": join(*(json.dumps(dict(zip(("label", "text"), row.split(","), strict=True)))
                            for row in ROWS[1:]))}, "", {"ham": 30, "spam": 30},
    ),
    "spaces": (
        {"in.csv": TABLE.replace("spam,", " spam ,")}, "", {"ham": 30, "spam": 30},
    ),
    "numbers": (
        {"in.csv": TABLE.replace("ham,", "0,").replace("spam,win a prize 1", "1.0,win a prize 1")
                        .replace("spam,", "1,")}, "", {"0": 30, "1": 30},
    ),
    "two-files": ({"a.csv": TABLE, "b.csv": join("label,text", *SPAM[:9])}, "",
                  {"ham": 30, "spam": 39}),
    "corrected": (
        {"a.csv": TABLE, "b.csv": join("label,text", HAM[0].replace("ham,", "spam,"))}, "",
        {"ham": 29, "spam": 31},
    ),
    "two-labels": (
        {"a.csv": TABLE + join(HAM[0].replace("ham,", "spam,"))},
        "WARNING: a.csv: 1 text with two labels; the first on lines 2 and 62; all were kept\n",
        {"ham": 30, "spam": 31},
    ),
    "cp1252": (
        {"in.csv": TABLE.replace("dinner", "diné").encode("cp1252")},
        "WARNING: in.csv: 30 texts have bytes that are not UTF-8 and are read as U+FFFD, first in "
        "line 2; each byte is a letter in cp1252; type: --encoding cp1252\n",
        {"ham": 30, "spam": 30},
    ),
    "two-text-columns": (
        {"in.csv": join("label,text,message", *(f"{row},{n}" for n, row in enumerate(ROWS[1:])))},
        "WARNING: in.csv: the text column was chosen by its values: 'text', of 'text' (4.5 words a "
        "value, 100% distinct), 'message' (0.0 words a value, 100% distinct, numbers); to be sure, "
        "name it with --text-column\n", {"ham": 30, "spam": 30},
    ),
    "alphabetical": (
        {"in.csv": TABLE.replace("ham,", "b,").replace("spam,", "a,")},
        "WARNING: neither 'a' nor 'b' is a usual name of the positive class; taken is 'b', the "
        "second in alphabetical order; to choose, type --positive-label\n", {"a": 30, "b": 30},
    ),
}  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("name", READ)
def test_read_right(fit, name: str) -> None:
    files, warning, labels = READ[name]
    code, said, config = fit(files)
    assert (code, said) == (0, warning)
    data = config["data"]
    assert data["labels"] == labels
    dropped = sum(data["dropped"].values())
    assert data["records"] == data["rejected"] + dropped + data["kept"]
    assert data["kept"] == sum(labels.values())
    metrics = json.loads(Path("run/metrics.json").read_bytes())
    assert metrics["data"] == data


@pytest.mark.quick
@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("ham", "Spam"), "Spam"), (("legit", "Spam"), "Spam"), (("SPAM", "notspam"), "SPAM"),
        (("clean", "junk"), "junk"), (("fraud", "ok"), "fraud"), (("1", "0"), "1"),
        (("phishing", "safe"), "phishing"), (("no", "yes"), "yes"), (("true", "false"), "true"),
    ],
)  # fmt: skip
def test_the_positive_label(fit, labels, positive: str) -> None:
    first, second = labels
    rows = [row.replace("spam,", f"{second},") for row in SPAM]
    files = {"in.csv": join(ROWS[0], *(row.replace("ham,", f"{first},") for row in HAM), *rows)}
    code, said, config = fit(files)
    assert (code, said, config["positive_label"]) == (0, "", positive)
    code, said, config = fit(files, "--positive-label", positive.swapcase())
    assert (code, config["positive_label"]) == (0, positive)


@pytest.mark.quick
def test_a_text_is_read_whole(fit) -> None:
    """A NUL ends no text, and a quote in a TSV does not glue lines."""
    fit({"in.csv": TABLE.replace("dinner", "dinner\0tonight")})
    texts = []
    for name in ("train", "validation", "test"):
        with open(f"run/{name}.csv", encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    assert sum("dinner\0tonight" in text for text in texts) == 30
    code, said, config = fit({"in.tsv": TABBED.replace("you", 'you say "hi" or')}, "--no-quote")
    assert code == 0, said
    assert config["data"]["kept"] == 60


def make_zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, TABLE)
    return file.getvalue()


@pytest.mark.quick
def test_archives_and_spreadsheets(fit) -> None:
    code, said, _ = fit({"one.zip": make_zip("in.csv")})
    command = "unzip -p one.zip > one.fixed.csv"
    assert (code, said) == (
        65, f"spam-train: error: one.zip: is a zip archive; type: {command}\n"
    )  # fmt: skip
    if shutil.which("unzip"):
        subprocess.run(command, shell=True, check=True, timeout=60)
        assert fit({"one.fixed.csv": Path("one.fixed.csv").read_bytes()})[:2] == (0, "")


NO_TABLES = {
    "in.xlsx": (
        make_zip("[Content_Types].xml"),
        "is a workbook, not text; save it as CSV (UTF-8) and give that",
    ),
    "in.json": (
        b'[{"label": "ham", "text": "a"},\n{"label": "spam", "text": "b"}]\n',
        "is a JSON array, not JSON Lines; type: jq -c '.[]' in.json > in.jsonl",
    ),
    "in.csv": (
        b"<!DOCTYPE html>\n<html>\n",
        "is an HTML page, not a table (a login page?); download the data again",
    ),
    "in.txt": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "is a pointer of Git LFS, not the data; type: git lfs pull",
    ),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_named(fit, name: str) -> None:
    data, message = NO_TABLES[name]
    assert fit({name: data}) == (65, f"spam-train: error: {name}: {message}\n", None)


@pytest.mark.quick
def test_rejects_are_kept_and_counted(fit) -> None:
    data = join(*ROWS, "one", "ham,two,three", *SPAM[:4], "NULL,x")
    code, said, config = fit({"in.csv": data}, "--max-rejects", "2", "--labels", "spam,ham")
    assert (code, said) == (0, "")
    assert {key: config["data"][key] for key in ("records", "rejected", "dropped", "kept")} == {
        "records": 67, "rejected": 2, "dropped": {"not among --labels": 1}, "kept": 64,
    }  # fmt: skip
    assert Path("run/rejects.csv").read_bytes() == (
        b'file,line,byte_offset,reason,record\n"in.csv",62,1581,"has 1 field, expected 2","one"\n'
        b'"in.csv",63,1585,"has 3 fields, expected 2","ham,two,three"\n'
    )
    report = Path("run/report.html").read_text(encoding="utf-8")
    for fact in ("67", "1 (not among --labels)", "64: 34 spam, 30 ham"):
        assert fact in report
    fit({"in.csv": TABLE})
    assert not Path("run/rejects.csv").exists()


@pytest.mark.quick
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            join(*ROWS[:51], *(row.replace("ham,", "ham\u200b,") for row in ROWS[51:])),
            "in.csv: the labels 'ham' (25) and 'ham\\u200b' (5) differ in what cannot be seen "
            "only; make them one; 'ham\\u200b' stands first on line 52",
        ),
        (
            TABLE.replace("ham,", "re\u0301,").replace("win a prize 1", "x")
            + join(*(f"r\u00e9,{n}" for n in range(3))),
            "in.csv: the labels 're\\u0301' (30) and 'r\\xe9' (3) differ in what cannot be seen "
            "only; make them one; 'r\\xe9' stands first on line 62",
        ),
        (
            TABLE.replace("ham,", "['ham'],").replace("spam,", "['spam'],"),
            "in.csv: line 2: the labels are lists (60 such records), such as \"['ham']\"; write "
            "one label a record, without brackets",
        ),
        (
            TABLE.replace("label,text", "text,label").replace("text,label", "label,text,label")
            .replace("dinner", "dinner,x").replace(" now", ",x"),
            "in.csv: the columns 1 and 3 are called 'label'; choose one, for example: "
            "--label-column 1",
        ),
        (
            TABLE.replace("spam,", "win $$,").replace("ham,", "it's,") + join(",x"),
            "in.csv: line 62: the label is empty (1 such record); label them, or leave them out by "
            "naming the classes: --labels 'it'\"'\"'s,win $$'",
        ),
        (
            TABLE.replace("ham,", "none,"),
            "in.csv: line 2: the label is 'none', which stands for no label (30 such records); "
            "label them, or leave them out by naming the classes: --labels none,spam",
        ),
    ],
)  # fmt: skip
def test_labels_that_are_a_slip(fit, data: str, message: str) -> None:
    code, said, _ = fit({"in.csv": data})
    assert (code, said) == (65, f"spam-train: error: {message}\n")


@pytest.mark.quick
def test_balancing_that_leaves_most_out_is_told_and_the_advice_uses_all(fit) -> None:
    files = {"in.csv": TABLE + join(*(f"ham,home by {n}" for n in range(700)))}
    code, said, _ = fit(files, "--balance")
    assert (code, said) == (
        0, "WARNING: balancing uses only 60 of 760 messages, because there are only 30 labelled "
        "'spam'; --no-balance uses all\n",
    )  # fmt: skip
    for advised in (["--no-balance"], []):
        code, said, _ = fit(files, *advised)
        assert (code, said) == (0, "")
        metrics = json.loads(Path("run/metrics.json").read_bytes())
        assert sum(metrics["messages"].values()) == 760


@pytest.mark.quick
def test_near_copies_alone_are_refused_and_the_advice_works(fit) -> None:
    code, said, _ = fit({"in.csv": TABLE}, "--split", "grouped")
    assert (code, said) == (
        65, "spam-train: error: 2 different messages (case, digits and punctuation aside) are too "
        "few: the validation set would be empty; give more data, or type --split book to split at "
        "random\n",
    )  # fmt: skip
    assert fit({"in.csv": TABLE}, "--split", "book")[:2] == (0, "")


@pytest.mark.quick
def test_a_label_of_near_copies_is_told_and_the_advice_works(fit) -> None:
    table = join("label,text", *(f"ham,see you at {name}'s" for name in NAMES), *SPAM)
    code, said, config = fit({"in.csv": table}, "--split", "grouped")
    assert (code, said) == (
        0, "".join(
            f"WARNING: no {name} message is labelled 'spam', whose messages are few or near copies "
            "of each other; give more data, or type --split book to split at random\n"
            for name in ("validation", "test")
        ),
    )  # fmt: skip
    assert config["recipe"]["split"] == "grouped"
    assert fit({"in.csv": table}, "--split", "book")[:2] == (0, "")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("ham", "spam", "missing"), [(43, 7, []), (40, 3, ["test"]), (20, 1, ["validation", "test"])]
)
def test_a_handful_of_one_label_trains_as_advised(fit, ham: int, spam: int, missing) -> None:
    table = join(
        "label,text",
        *(f"ham,see you at {name}'s" for name in NAMES[:ham]),
        *(f"spam,win a prize of {name} now" for name in NAMES[:spam]),
    )
    grouped = ["--split", "grouped"]
    code, said, _ = fit({"in.csv": table}, *grouped)
    messages = "1 message" if spam == 1 else f"{spam} messages"
    assert (code, said) == (
        65, f"spam-train: error: in.csv: {messages} labelled 'spam', fewer than the 10 that a "
        "class needs to be in each set (mistyped?); label more, or type --min-class 1 to train on "
        "it as it is\n",
    )  # fmt: skip
    code, said, _ = fit({"in.csv": table}, *grouped, "--min-class", 1)
    assert code == 0, said
    told = "WARNING: no {} message is labelled 'spam', whose messages are few or near copies"
    assert [line.split(" of each")[0] for line in said.splitlines()] == list(
        map(told.format, missing)
    )
    metrics = json.loads(Path("run/metrics.json").read_bytes())
    assert sum(metrics["messages"].values()) == ham + spam
    assert metrics["threshold"]["value"] == 0.5


@pytest.mark.quick
def test_a_class_called_none_is_kept_if_it_is_named(fit) -> None:
    code, said, config = fit({"in.csv": TABLE.replace("ham,", "none,")}, "--labels", "none,spam")
    assert (code, said, config["data"]["labels"]) == (0, "", {"none": 30, "spam": 30})


@pytest.mark.quick
def test_suggested_labels_are_typed_as_a_shell_takes_them(fit) -> None:
    data = TABLE.replace("spam,", "win $$,").replace("ham,", "it's,") + join(",x")
    _, said, _ = fit({"in.csv": data})
    advised = shlex.split(said[said.index("--labels") :])
    code, _, config = fit({"in.csv": data}, *advised)
    assert (code, config["data"]["labels"]) == (0, {"it's": 30, "win $$": 30})
