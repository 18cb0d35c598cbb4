"""spam-batch accuracy: estimates from the random sample, their intervals, and what is refused."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from batch.cli.commands import main
from batch.report.intervals import wilson
from batch.review.accuracy import Sample


@pytest.fixture
def run(tmp_path, monkeypatch, invoke):
    """Runs ``accuracy`` in a folder of its own -> exit status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        command = ("accuracy", "labeled.csv", "--corrections", "corrections.csv", *args)
        result = invoke(main, *command)
        return result.exit_code, result.stdout, result.stderr

    return run


def write(name: str, header: str, rows) -> None:
    with open(name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def write_labeled(labels) -> None:
    write(
        "labeled.csv", "text,label", [(f"message {at}", label) for at, label in enumerate(labels)]
    )


HEADER = "text,label,predicted,score,line,row,why,weight"


def correct(rows) -> None:
    """``rows``: row, what the model said, what a person said, why."""
    columns = [
        (f"message {row - 1}", true, given, "", row + 1, row, why, "")
        for row, given, true, why in rows
    ]
    write("corrections.csv", HEADER, columns)


def test_estimates(run):
    """900 ham and 100 spam; 10 of each were checked, and one ham was spam."""
    write_labeled(["ham"] * 900 + ["spam"] * 100)
    rows = [(at + 1, "ham", "spam" if at == 3 else "ham", "random unsure") for at in range(10)]
    rows += [(901 + at, "spam", "ham" if at < 2 else "spam", "random") for at in range(10)]
    correct([*rows, (500, "ham", "spam", "unsure campaign")])
    status, out, said = run()
    assert (status, said) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "n = 20 random rows: 10 of 900 ham, 10 of 100 spam"
    assert lines[1].startswith("accuracy: 89.00% (")  # 900 * 0.9 + 100 * 0.8
    low, high = wilson(8, 10)
    assert lines[4] == f"precision of spam: 80.00% ({low:.2%} to {high:.2%}; 10 rows)"
    assert lines[5].startswith("recall of spam: 47.06% (")  # 80 of 80 + 90
    assert lines[5].endswith("; 9 rows)")
    assert lines[6] == "not counted: 1 correction of rows that were not chosen at random"


def test_all_rows_checked_leave_no_doubt(run):
    write_labeled(["ham", "spam", "ham"])
    correct([(1, "ham", "ham", "random"), (2, "spam", "spam", "random"),
             (3, "ham", "spam", "random")])  # fmt: skip
    assert run()[1] == (
        "n = 3 random rows: 2 of 2 ham, 1 of 1 spam\n"
        "accuracy: 66.67% (66.67% to 66.67%; 3 rows)\n"
        "precision of ham: 50.00% (50.00% to 50.00%; 2 rows)\n"
        "recall of ham: 100.00% (100.00% to 100.00%; 1 rows)\n"
        "precision of spam: 100.00% (100.00% to 100.00%; 1 rows)\n"
        "recall of spam: 50.00% (50.00% to 50.00%; 2 rows)\n"
    )


def test_unsure_and_labels_that_no_row_has(run):
    write_labeled(["ham", "unsure", "ham", "unsure"])
    correct([(1, "ham", "phishing", "random"), (2, "unsure", "ham", "random")])
    lines = run()[1].splitlines()
    assert lines[0] == "n = 1 random rows: 1 of 2 ham"
    assert lines[3] == "recall of ham: not defined (0 rows)"
    assert lines[4].startswith("recall of phishing: 0.00% (0.00% to ")
    assert lines[5] == "left out: 2 rows labelled unsure"


def test_the_intervals_hold():
    """Of 400 samples, at least 95 in 100 intervals have the true figure, for rare spam, too."""
    generator = np.random.default_rng(5)
    covered = Counter()
    rows = Counter({"ham": 5000, "spam": 200})
    for _ in range(400):
        sample = Sample(rows)
        for given, share in (("ham", 0.01), ("spam", 0.85)):
            hits = int(generator.binomial(100, share))
            sample.found.update({(given, "spam"): hits, (given, "ham"): 100 - hits})
        truths = {
            "accuracy": (0.99 * 5000 + 0.85 * 200) / 5200,
            "recall": 0.85 * 200 / (0.85 * 200 + 0.01 * 5000),
            "precision": 0.85,
        }
        figures = {
            "accuracy": sample.accuracy(),
            "recall": sample.recall("spam"),
            "precision": sample.precision("spam"),
        }
        for name, figure in figures.items():
            covered[name] += figure.low <= truths[name] <= figure.high
    assert min(covered.values()) >= 0.93 * 400, covered
    assert covered["recall"] >= 0.95 * 400


ROW = "message 0,ham,ham,,2,1,random,1\n"
REFUSED = [
    ("", "corrections.csv: has no corrections; columns: 'predicted', 'row', 'why'"),
    (ROW.replace("ham,ham", "ham,spam"), "corrections.csv: row 1 is not labelled 'spam' in "
     "labeled.csv; are the corrections of this file?"),
    (ROW.replace(",1,random", ",9,random"), "corrections.csv: row 9 is not labelled 'ham' in "
     "labeled.csv; are the corrections of this file?"),
    (ROW * 2, "corrections.csv: line 3: the row '1' is there twice"),
    (ROW.replace(",1,random", ",one,random"), "corrections.csv: line 2: the row 'one' is not a "
     "number"),
    (ROW.replace(",1,random", f",{10**30},random"), f"corrections.csv: line 2: the row '{10**30}' "
     "is not a number"),
    (ROW.replace("random", "unsure"), "corrections.csv: no random row labelled 'ham' was "
     "corrected; label some more on the page of spam-batch review"),
    (ROW + "too,few\n", "corrections.csv: 1 record cannot be read; save it again"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_refused(run, data, message):
    write_labeled(["ham", "ham"])
    Path("corrections.csv").write_text(f"{HEADER}\n{data}", encoding="utf-8")
    assert run() == (65, "", f"spam-batch: error: {message}\n")


def test_nothing_but_unsure(run):
    write_labeled(["unsure"])
    correct([(1, "unsure", "ham", "random")])
    assert run()[2] == (
        "spam-batch: error: labeled.csv: has no row with another label than unsure\n"
    )


def test_other_files(run):
    write_labeled(["ham"])
    Path("corrections.csv").write_text("text,label\nx,ham\n", encoding="utf-8")
    assert run()[2] == (
        "spam-batch: error: corrections.csv: the column 'predicted' is not there; columns: "
        "'text', 'label'\n"
    )
