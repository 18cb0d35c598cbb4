"""Labelled files as people have them: what ``fit`` reads right, and what is no table."""

import csv
import gzip
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

HAM = [f"ham,see you at {n} for dinner" for n in range(30)]
SPAM = [f"spam,win a prize {n} now" for n in range(30)]
ROWS = ["label,text", *(row for pair in zip(HAM, SPAM, strict=True) for row in pair)]


def join(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


TABLE = join(*ROWS)
TABBED = TABLE.replace(",", "\t")


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
