"""spam-batch compare: what it counts, its gate, its page, and what it refuses."""

import csv
import math
import re
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.compare import findings
from batch.report.html import POLICY
from batch.report.intervals import mcnemar, wilson

ATTACK = "<script>alert(1)</script>"
INPUT = ["Do you have time", "a, b", "You won", "Call now", ATTACK, "See you", "José?"]


@pytest.fixture
def run(tmp_path, monkeypatch, invoke):
    """Runs ``compare`` in a folder of its own -> exit status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        result = invoke(main, "compare", *args)
        return result.exit_code, result.stdout, result.stderr

    return run


def write(name: str, labels, scores=None, texts=INPUT, truth=None, days=None) -> None:
    with open(name, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        columns = {"text": texts, "truth": truth, "received": days, "label": labels,
                   "score": scores}  # fmt: skip
        kept = {key: values for key, values in columns.items() if values}
        writer.writerows([list(kept), *zip(*kept.values(), strict=True)])


def read_rows(name: str) -> list[dict]:
    return list(csv.DictReader(Path(name).read_text(encoding="utf-8").splitlines()))


@pytest.fixture
def two():
    """Two labelled files: rows 3 and 5 change, the third by a hair, the fifth by far."""
    first = ["ham", "ham", "ham", "spam", "spam", "ham", "ham"]
    second = ["ham", "ham", "spam", "spam", "ham", "ham", "ham"]
    truth = ["ham", "ham", "spam", "spam", "spam", "", "ham"]
    days = [f"2026-11-2{day}" for day in range(1, 7)] + ["soon"]

    def make():
        write("old.csv", first, [0.1, 0.2, 0.48, 0.9, 0.95, 0.1, 0.3], truth=truth, days=days)
        write("new.csv", second, [0.1, 0.2, 0.53, 0.9, 0.05, 0.1, 0.3])

    return make


def test_two_files(run, two):
    two()
    status, out, said = run(
        "old.csv", "new.csv", "--truth", "truth", "--date-column", "received", "--changed",
        "changed.csv", "--out", "page.html",
    )  # fmt: skip
    assert (status, said) == (0, "written: changed.csv\nwritten: page.html\n")
    low, high = wilson(5, 6)
    assert out == (
        "7 rows, 2 with another label (28.57 %)\n"
        "  ham to spam: 1\n"
        "  spam to ham: 1\n"
        "scores: moved by 0.1357 on average, by 0.9000 at most, on line 6\n"
        f"before: 5 of 6 as truth says, 83.33% ({low:.2%} to {high:.2%})\n"
        f"after: 5 of 6 as truth says, 83.33% ({low:.2%} to {high:.2%})\n"
        "right alone: 1 before, 1 after; McNemar's test: p = 1\n"
    )
    rows = list(csv.reader(Path("changed.csv").read_text().splitlines()))
    assert rows[0] == ["row", "line", "byte_offset", "before", "after", "score_before",
                       "score_after"]  # fmt: skip
    data = Path("old.csv").read_bytes()
    assert [int(row[2]) for row in rows[1:]] == [data.index(b"You won"), data.index(b"<script")]
    assert rows[1][:2] + rows[1][3:] == ["3", "4", "ham", "spam", "0.480000", "0.530000"]
    page = Path("page.html").read_text().replace("\xa0", " ")
    assert "You won" not in page and "alert" not in page  # no text without --show-text
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "What changes", "Which is right", "Where the scores moved", "Over time", "Changed rows"
    ]  # fmt: skip
    assert "Left out: 1 row without a date" in page
    assert "28.57 %" in page and 'id="moves"' in page and 'id="time"' in page


def test_the_page_keeps_the_first_rows_and_the_list_has_all(run, two, monkeypatch):
    two()
    monkeypatch.setattr(findings, "MOST_SHOWN", 1)
    run("old.csv", "new.csv", "--changed", "changed.csv", "--out", "page.html")
    assert [row["line"] for row in read_rows("changed.csv")] == ["4", "6"]
    page = Path("page.html").read_text().replace("\xa0", " ")
    assert ", the first 1 here." in page


def test_show_text_is_escaped(run, two):
    two()
    run("old.csv", "new.csv", "--show-text", "--changed", "changed.csv", "--out", "page.html")
    page = Path("page.html").read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script" not in page and POLICY in page
    assert read_rows("changed.csv")[1]["text"] == ATTACK
    assert run("old.csv", "new.csv", "--out", "page.html")[0] == 0  # ours is replaced


@pytest.mark.parametrize(("allowed", "status"), [("2", 0), ("1", 1), ("30%", 0), ("28.5%", 1)])
def test_gate(run, two, allowed, status):
    two()
    found = run("old.csv", "new.csv", "--max-changed", allowed)
    assert found[0] == status
    assert found[2] == (
        f"2 of 7 labels change, more than --max-changed {allowed} allows\n" if status else ""
    )


def test_two_bundles(run, make_bundle, invoke):
    """The same as labelling with both and comparing the outputs; there the lines are other ones."""
    first, second = make_bundle(), make_bundle(threshold=0.9)
    texts = [f"message {at}" for at in range(200)]
    Path("in.csv").write_text("id,text\n" + "".join(f"{t},{t}\n\n" for t in texts) + "bad\n")
    status, out, _ = run(first, second, "in.csv", "--out", "page.html", "--changed", "one.csv")
    assert status == 0
    for name, bundle in (("old.csv", first), ("new.csv", second)):
        command = ("classify", "in.csv", "--out", name, "--max-rejects", 1, "--bundle", bundle)
        invoke(main, *command)
    lines = out.splitlines()
    other = run("old.csv", "new.csv", "--changed", "two.csv")[1].splitlines()
    assert re.fullmatch(r"200 rows, \d+ with another label \(.* %\)", lines[0])
    assert lines[:3] == other[:3]
    assert lines[1].startswith("  spam to ham: ")
    # The scores are the same, so a label changes between the thresholds alone.
    assert lines[3] == other[3] == "scores: moved by 0.0000 on average"
    assert lines[4] == "left out: 1 record, which cannot be read"
    rows = [read_rows(name) for name in ("one.csv", "two.csv")]
    assert [row["row"] for row in rows[0]] == [row["row"] for row in rows[1]]
    assert all(0.5 <= float(row["score_after"]) < 0.9 for row in rows[0])
    assert int(rows[0][0]["line"]) == 2 * int(rows[0][0]["row"])  # blank lines count
    near = re.search(r"near the threshold: (\d+) of (\d+)", out)
    assert near is not None
    margins = [float(row["score_before"]) for row in rows[0]]
    assert int(near[1]) == sum(s - 0.5 <= 0.1 and 0.9 - s <= 0.1 for s in margins)
    assert "Near: neither model was further than 0.1" in Path("page.html").read_text()


def test_other_formats(run):
    for name in ("old", "new"):
        lines = [f'{{"text": "{at}", "label": "{name if at else "ham"}"}}\n' for at in range(3)]
        Path(f"{name}.jsonl").write_text("".join(lines))
    status, out, _ = run("old.jsonl", "new.jsonl")
    assert (status, out.splitlines()) == (
        0, ["3 rows, 2 with another label (66.67 %)", "  old to new: 2"]
    )  # fmt: skip


def test_what_is_refused(run, two, make_bundle):
    two()
    bundle = make_bundle()

    def refuse(status, message, *args):
        assert run(*args) == (status, "", f"spam-batch: error: {message}\n")

    refuse(2, f"{bundle} and {bundle} are folders; to compare two bundles, give an input after "
           "them, for example: spam-batch compare models/old models/new inbox.csv",
           bundle, bundle)  # fmt: skip
    refuse(2, f"{bundle} and new.csv: one is a folder and the other is not; give two bundles and "
           "an input, or two labelled files", bundle, "new.csv")  # fmt: skip
    three = "old.csv and new.csv are no bundles, so old.csv is one file too many; give two "
    three += "labelled files, or two bundles and an input"
    refuse(2, three, "old.csv", "new.csv", "old.csv")
    assert run("old.csv", "new.csv")[0] == 0  # as advised
    assert run(bundle, bundle, "old.csv")[0] == 0
    refuse(2, "--max-changed: 'few' is neither a number of rows nor a percentage up to 100; type "
           "for example 10 or 0.5%", "old.csv", "new.csv", "--max-changed", "few")  # fmt: skip
    assert run("old.csv", "new.csv", "--max-changed", "10")[0] == 0
    refuse(66, "cannot read none.csv: No such file or directory", "none.csv", "new.csv")
    refuse(65, "old.csv: no value of 'received' is the label of its row; labels: 'ham', 'spam'; "
           "name the column of the true labels with --truth",
           "old.csv", "new.csv", "--truth", "received")  # fmt: skip
    refuse(65, "old.csv: the column 'day' is not there; columns: 'text', 'truth', 'received', "
           "'label', 'score'", "old.csv", "new.csv", "--date-column", "day")  # fmt: skip
    Path("page.html").write_text("mine")
    refuse(73, f"{Path('page.html').resolve()} is not a page of spam-batch; give another --out",
           "old.csv", "new.csv", "--out", "page.html")  # fmt: skip
    refuse(73, f"{Path('page.html').resolve()} is not a list of spam-batch; give another "
           "--changed", "old.csv", "new.csv", "--changed", "page.html")  # fmt: skip
    refuse(2, "--out and --changed are both both.html; give two names", "old.csv", "new.csv",
           "--out", "both.html", "--changed", "./both.html")  # fmt: skip
    refuse(2, "--out -: a page goes to a file; give a name", "old.csv", "new.csv", "--out", "-")
    refuse(2, "--changed -: a list goes to a file; give a name", "old.csv", "new.csv",
           "--changed", "-")  # fmt: skip
    assert not Path("both.html").exists() and not Path("-").exists()
    refuse(73, "old.csv is the input old.csv; give another --out", "old.csv", "new.csv",
           "--out", "old.csv")  # fmt: skip
    write("new.csv", ["ham"] * 6, texts=INPUT[1:])
    refuse(65, "old.csv and new.csv: line 2 of the one and line 2 of the other have different "
           "texts; are they of the same input?", "old.csv", "new.csv")  # fmt: skip
    write("new.csv", ["ham"] * 6, texts=INPUT[:6])
    refuse(65, "old.csv and new.csv have different numbers of rows; are they of the same input?",
           "old.csv", "new.csv")  # fmt: skip
    Path("old.csv").write_text("text,label\n")
    refuse(65, "old.csv: has no rows to compare", "old.csv", "old.csv")
    write("old.csv", [str(at) for at in range(1001)], texts=["a"] * 1001)
    refuse(65, "old.csv: has more than 1,000 different labels; is 'label' the column that "
           "spam-batch wrote?", "old.csv", "old.csv")  # fmt: skip


@pytest.mark.parametrize(("pair", "p"), [((1, 8), 0.0390625), ((0, 0), 1.0), ((5, 5), 1.0)])
def test_mcnemar(pair, p):
    assert mcnemar(*pair) == p


def test_mcnemar_is_scipys_binomial_test():
    stats = pytest.importorskip("scipy.stats")
    for pair in ((3, 17), (400, 470), (499, 501), (900, 1100), (4000, 4400)):
        theirs = stats.binomtest(pair[0], sum(pair)).pvalue
        assert math.isclose(mcnemar(*pair), theirs, rel_tol=1e-9), pair
