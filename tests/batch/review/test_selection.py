"""Which rows the review page shows, and what the command refuses."""

import csv
import json
import re
import shlex
import stat
from collections import Counter
from pathlib import Path

import pytest

from batch.cli.commands import main


@pytest.fixture
def run(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)

    def run(command: str):
        result = invoke(main, *shlex.split(command))
        return result.exit_code, result.stderr

    return run


def write_labeled(rows, columns="text,label,score") -> None:
    with open("labeled.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])


def read_data() -> dict:
    page = Path("review.html").read_text(encoding="utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    )


def make_rows(ham=900, spam=20) -> list[tuple]:
    words = ["".join(chr(97 + at // 26**place % 26) for place in range(3)) for at in range(ham)]
    rows = [(f"see you {word}", "ham", at / 2000) for at, word in enumerate(words)]
    return rows + [(f"WIN {at} now", "spam", 0.99 - at / 1000) for at in range(spam)]


def test_each_kind(run):
    write_labeled(make_rows())
    changed = "row,line,byte_offset,before,after\n7,8,99,ham,spam\n"
    Path("changed.csv").write_text(changed)
    assert run("review labeled.csv --random 60 --unsure 10 --changed changed.csv") == (
        0, "written: review.html, with 71 rows\n"
    )  # fmt: skip
    assert stat.S_IMODE(Path("review.html").stat().st_mode) == 0o600
    data = read_data()
    assert data["classes"] == [["h", "ham"], ["s", "spam"]]
    rows = data["rows"]
    assert len({row["row"] for row in rows}) == len(rows)
    sample = [row for row in rows if "random" in row["whys"]]
    assert rows[: len(sample)] == sample  # first, so that nobody stops before it
    # As many of each label as there are, and the weights add up to the file.
    assert Counter((row["label"], row["weight"]) for row in sample) == {
        ("ham", 22.5): 40, ("spam", 1.0): 20
    }  # fmt: skip
    assert sum(row["weight"] for row in sample) == 920
    assert len({row["label"] for row in sample[:8]}) == 2  # in random order
    kinds = Counter(why for row in rows for why in row["whys"])
    assert kinds["unsure"] == 10 and kinds["campaign"] == 1 and kinds["changed"] == 1
    campaign = next(row for row in rows if "campaign" in row["whys"])
    assert (campaign["line"], campaign["repeats"], campaign["text"]) == (902, 20, "WIN 0 now")
    # The least sure are those nearest to 0.5, without the others of a campaign.
    assert {row["row"] for row in rows if "unsure" in row["whys"]} == set(range(891, 901))
    assert next(row["row"] for row in rows if "changed" in row["whys"]) == 7
    page = Path("review.html").read_bytes()
    run("review labeled.csv --random 60 --unsure 10 --changed changed.csv")
    assert Path("review.html").read_bytes() == page
    run("review labeled.csv --random 60 --unsure 10 --changed changed.csv --seed 1")
    assert read_data()["rows"][0] != rows[0]


def test_bounds_and_labels_of_the_run_manifest(run, bundle):
    texts = [f"message {at}" for at in range(100)]
    Path("in.csv").write_text("\n".join(["text", *texts]) + "\n")
    run(f"classify in.csv --out labeled.csv --threshold 0.9 --bundle {bundle}")
    run("review labeled.csv --random 0 --campaigns 0 --unsure 1")
    (row,) = read_data()["rows"]
    with open("labeled.csv", newline="") as file:
        margins = [abs(float(row["score"]) - 0.9) for row in csv.DictReader(file)]
    assert abs(row["score"] - 0.9) == pytest.approx(min(margins))
    Path("in.csv").write_text("text\nhello\n")
    run(f"classify in.csv --out labeled.csv --bundle {bundle}")
    run("review labeled.csv --labels phishing,ham")  # one row, and so one label in it
    assert [label for _, label in read_data()["classes"]] == ["ham", "phishing", "spam"]


def test_keys_of_many_labels(run):
    names = ["spam", "scam", "sales", "Sport", "9", "№", "unsure"]
    write_labeled([(name, name) for name in names], "text,label")
    run("review labeled.csv")
    letters = {label: letter for letter, label in read_data()["classes"]}
    assert letters == {"9": "9", "Sport": "s", "sales": "a", "scam": "c", "spam": "p", "№": "b"}


def test_refused(run):
    def refuse(status, message, command="review labeled.csv"):
        assert run(command) == (status, f"spam-batch: error: {message}\n")

    refuse(66, "cannot read labeled.csv: No such file or directory")
    write_labeled([], "text,label")
    refuse(65, "labeled.csv: has no rows to review")
    write_labeled([("a", "b")], "text,class")
    refuse(65, "labeled.csv: the column 'label' is not there; columns: 'text', 'class'; label it "
           "first with: spam-batch classify")  # fmt: skip
    write_labeled([("a", f"x{at}") for at in range(37)], "text,label")
    refuse(2, "there are 37 labels, and a page has keys for 36 at most; review a file with fewer "
           "labels")  # fmt: skip
    write_labeled([("a", f"x{at}") for at in range(1001)], "text,label")
    refuse(65, "labeled.csv: has more than 1,000 different labels; is 'label' the column that "
           "spam-batch wrote?")  # fmt: skip
    write_labeled([("a", "ham", "2")])
    refuse(65, "labeled.csv: line 2: the score is not a number from 0 to 1")
    write_labeled([("a", "ham", "0.2")])
    Path("mine.html").write_text("mine")
    refuse(73, f"{Path('mine.html').resolve()} is not a review page of spam-batch; give another "
           "--out", "review labeled.csv --out mine.html")  # fmt: skip
    refuse(73, "labeled.csv is the input labeled.csv; give another --out",
           "review labeled.csv --out labeled.csv")  # fmt: skip
    command = "review labeled.csv --changed changed.csv"
    refuse(65, "--changed: cannot read changed.csv: No such file or directory", command)
    Path("changed.csv").write_text("line\n1\n")
    refuse(65, "--changed: 'changed.csv' is not a list of spam-batch; make one with: spam-batch "
           "compare --changed", command)  # fmt: skip
    Path("changed.csv").write_text("row,before,after\n1,spam,spam\n")
    refuse(65, "--changed: row 1 has another label than in that list; was it made of this file?",
           command)  # fmt: skip
    Path("changed.csv").write_text("row,before,after\n4,ham,spam\n")
    refuse(65, "--changed: names row 4, and the file has 1 rows; was it made of this file?",
           command)  # fmt: skip
    run("compare labeled.csv labeled.csv --changed list.csv")
    assert run("review labeled.csv --changed list.csv")[0] == 0  # as advised
