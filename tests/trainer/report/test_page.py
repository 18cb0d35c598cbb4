"""The report: its sections, what it refuses, and what a browser makes of it."""

import csv
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from batch.errors import InputError, MissingInputError, OutputError
from batch.report.html import POLICY
from trainer.report.figures import precision_recall
from trainer.report.page import write_report
from trainer.run_folder import RunConfig

SECTIONS = [
    "Learning curves", "Confusion matrix", "Precision and recall", "Calibration",
    "Message lengths", "Scores", "The worst mistakes", "Settings", "Hashes and versions",
]  # fmt: skip
FIGURES = {"loss", "accuracy", "confusion", "precision-recall", "calibration", "lengths"}
ATTACK = '<script>alert("1")</script><img src=http://example.invalid/x.png> $x$\x01'


def make_run(folder: Path, labels: tuple[str, ...] = ("ham", "spam"), positive="spam") -> Path:
    """A run folder of 40 training, 10 validation and 20 test messages; 2 of the test's are wrong.

    The first test message is an attack, and wrong.
    """
    folder.mkdir()
    counts = {"train": 40, "validation": 10, "test": 20}
    predictions = [["set", "row", "label", "predicted", "score", "tokens"]]
    matrix = np.zeros((len(labels), len(labels)), int)
    for name, count in counts.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["label", "text"])
            for row in range(count):
                wrong = name == "test" and row in (0, 5)
                label = row % len(labels)
                predicted = (label + wrong) % len(labels)
                text = ATTACK if wrong else f"message {row}\r of {name}"
                writer.writerow([labels[label], text])
                sure = 0.99 if row == 0 else 0.75 + row / 200
                score = sure if positive in (None, labels[predicted]) else 1 - sure
                tokens = 3 + row % 7
                predictions.append([name, row, labels[label], labels[predicted], score, tokens])
                if name == "test":
                    matrix[label, predicted] += 1
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(predictions)

    scores = {
        "accuracy": 0.9, "precision": 0.9, "recall": 0.9, "f1": 0.9, "auc": 0.9512,
        "false_positive_rate": None if positive is None else 0.1,
        "intervals": {"accuracy": [0.699, 0.972]},
    }  # fmt: skip
    test = {"messages": 20, "confusion": matrix.tolist(), **scores}
    data = {
        "name": "Made <up>", "origin": "given: x.csv", "sha256": "d" * 64,
        "lines": 70, "rows": 70, "is_partial": False,
    }  # fmt: skip
    metrics = {
        "accuracy": {"train": 1.0, "validation": 0.9, "test": 0.9},
        "messages": counts,
        "truncated": {"train": 1, "validation": 0, "test": 0},
        "weights": "Made of nothing.",
        "data": data,
        "history": {
            "steps": [0, 5, 10], "train_losses": [1.0, 0.5, 0.2],
            "validation_losses": [1.1, 0.6, None], "train_accuracies": [0.5, 1.0],
            "validation_accuracies": [0.5, 0.9], "examples_seen": 80, "seconds": 1.5,
        },
        "scores": {"validation": {"messages": 10, **scores}, "test": test},
        "calibration": {"temperature": 1.5, "ece_before": 0.05, "ece_after": 0.02},
        "threshold": {"value": 0.8, "budget": 0.002},
        "baseline": {"name": "TF-IDF", "test": {**test, "accuracy": 0.85}},
    }  # fmt: skip
    config = RunConfig(
        model={"size": "tiny", "layers": 1}, recipe={"name": "default", "epochs": 2},
        labels=list(labels), positive_label=positive, max_length=8,
        weights={"kind": "random", "origin": "random", "sha256": {"part": "e" * 64},
                 "statement": "Random."},
        data=data, tokenizer_sha256="f" * 64, device="cpu", versions={"torch": "2.6.0"},
    )  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def change_metrics(run: Path, *without: str, **values) -> None:
    path = run / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in metrics.items() if key not in without}
    path.write_text(json.dumps(kept), encoding="utf-8")


def read_report(run: Path) -> str:
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8").replace("\xa0", " ")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "spam")


def test_sections_and_figures(run: Path) -> None:
    page = read_report(run)
    assert re.findall(r"<h2>(.*?)</h2>", page) == SECTIONS
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert set(ids) >= FIGURES
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)
    assert all(f'id="{name}" role="img" aria-label="' in page for name in FIGURES - {"confusion"})


def test_numbers(run: Path) -> None:
    page = read_report(run)
    for text in (
        "70 messages labelled ham, spam: 40 for train, 10 for validation, 20 for test",
        "Test accuracy<b>90.0 %</b><small>69.9 % – 97.2 % (95 % interval)</small>",
        "TF-IDF, the bar to clear<b>85.0 %</b>",
        "The two intervals overlap: these 20 test messages are too few to tell it from the",
        # taken: row 0, which is ham, and rows 11, 13, ... 19
        "At the threshold 0.8 the test set's spam has precision 83.33 %, recall 50.00 % and "
        "false positive rate 10.00 %. It was chosen on validation to take at most 0.20 % of the",
        "error 5.00 % before and 2.00 % after dividing the logits by the temperature 1.5",
        "1 of 70 messages were cut to fit.",
        "2 of 20 test messages were labelled wrong; here are all, the surest first.",
        "messages of your own labelled data",
    ):
        assert text in page, text
    assert page.index("p(spam) = 99.00 %") < page.index("p(spam) = 22.50 %")
    for value in ("d" * 64, "e" * 64, "f" * 64, "2.6.0", "0.9512"):
        assert value in page


def test_messages_are_escaped(run: Path) -> None:
    page = read_report(run)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;img src=http" in page
    assert "\x01" not in page
    assert "Made &lt;up&gt;" in page


def test_nothing_to_fetch(run: Path) -> None:
    page = read_report(run)
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in page
    page = re.sub(r"<blockquote.*?</blockquote>", "", page)
    addresses = re.findall(
        r"""(?:\b(?:src|srcset|href|action|data)\s*=\s*|url\()["']?([^"')]*)""", page
    )
    assert all(address.startswith(("#", "data:")) for address in addresses), addresses
    assert "@import" not in page
    assert str(run.parent) not in page


def test_same_run_same_bytes(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_incomplete_data_is_said(run: Path) -> None:
    assert "Incomplete data" not in read_report(run)
    data = {"name": "SMS Spam Collection", "lines": 5000, "is_partial": True}
    change_metrics(run, data=data)
    page = read_report(run)
    assert '<div class="banner" role="alert"><strong>Incomplete data.</strong>' in page
    assert "an incomplete copy of the SMS Spam Collection: 5,000 lines of 5,574." in page


def test_old_run(run: Path) -> None:
    change_metrics(run, "scores", "calibration", "threshold", "baseline")
    (run / "predictions.csv").unlink()
    page = read_report(run)
    assert re.findall(r"<h2>(.*?)</h2>", page) == SECTIONS
    assert re.findall(r"This run has not recorded (.*?)\.</p>", page) == [
        "a confusion matrix", "a score for each test message", "a calibration",
        "the messages' lengths", "scores beyond the accuracy",
        "what it predicted for each message",
    ]  # fmt: skip
    assert "<b>90.0 %</b><small>no interval recorded</small>" in page
    assert "No baseline was recorded for this run." in page


def test_three_classes_without_positive(tmp_path: Path) -> None:
    page = read_report(make_run(tmp_path / "three", ("a", "b&", "日本 $x$"), None))
    assert "None of the labels is the positive one, so there is no such curve." in page
    assert "b&amp;" in page
    assert "a taken for b&amp;</strong><span>p = 99.00 %" in page
    assert "Probability of the predicted label, test set." in page
    assert "False positive rate</th><td>–" in page


def test_three_classes_with_positive(tmp_path: Path) -> None:
    page = read_report(make_run(tmp_path / "three", ("ham", "promo", "spam"), "spam"))
    assert page.index("ham taken for promo") > 0
    assert 'id="precision-recall"' in page


def test_no_threshold_and_no_mistakes(run: Path) -> None:
    change_metrics(run, "threshold")
    path = run / "predictions.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0]] + [[*r[:3], r[2], *r[4:]] for r in rows[1:]])
    page = read_report(run)
    assert "The positive label is spam. No threshold was recorded." in page
    assert "None of the 20 test messages was labelled wrong." in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("set,row", "set,line", "the header is not set,row,label,predicted,score,tokens"),
        ("test,0,ham", "test,20,ham", "record 51 does not fit test.csv"),
        ("test,0,ham", "test,0,spam", "record 51 does not fit test.csv"),
        ("test,0,ham", "tset,0,ham", "the set 'tset' is none of train, validation, test"),
        (
            "test,0,ham",
            "test,one,ham",
            "invalid literal for int() with base 10: 'one': Error while type casting for column "
            "'row'",
        ),
        ("ham,spam,0.99", "ham,spam,1.5", "record 51 has a score that is not in 0 to 1"),
    ],
)
def test_predictions_that_do_not_fit(run: Path, old: str, new: str, message: str) -> None:
    path = run / "predictions.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        write_report(run)
    assert str(caught.value) == f"{path}: {message}"


def test_what_is_missing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as caught:
        write_report(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a run folder (it has no config.json); make one with: spam-train fit"
    )
    (run / "test.csv").unlink()
    with pytest.raises(MissingInputError) as caught:
        write_report(run)
    assert str(caught.value) == f"cannot read {run / 'test.csv'}: No such file or directory"
    (run / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        write_report(run)
    assert str(caught.value) == (
        f"{run / 'metrics.json'}: not the metrics.json of a run: Expecting property name enclosed "
        "in double quotes: line 1 column 2 (char 1)"
    )
    (run / "metrics.json").unlink()
    with pytest.raises(MissingInputError) as caught:
        write_report(run)
    assert str(caught.value) == f"cannot read {run / 'metrics.json'}: No such file or directory"


def test_report_cannot_be_written(run: Path) -> None:
    (run / "report.html").mkdir()
    with pytest.raises(OutputError) as caught:
        write_report(run)
    assert str(caught.value) == f"cannot write {run / 'report.html'}: Is a directory"


def test_precision_recall_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    positive, scores = rng.integers(0, 2, 200), rng.integers(0, 30, 200) / 30  # with ties
    ours = precision_recall(positive, scores)
    theirs = metrics.precision_recall_curve(positive, scores)
    for mine, other in zip(ours, theirs[:2], strict=True):
        np.testing.assert_allclose(mine, other[:-1][::-1], rtol=0, atol=1e-12)


def test_no_request_leaves_the_page(run: Path, open_page) -> None:
    page = write_report(run)
    dom, asked = open_page(page)
    assert asked == set()
    assert all(f'id="{name}"' in dom for name in FIGURES)

    # The same with an image that is really there: stopped by the policy, else seen by this test.
    text = page.read_text(encoding="utf-8")
    hostile = text.replace("</main>", '<img src="http://example.invalid/x.png"></main>')
    for name, content, expected in (
        ("guarded", hostile, set()),
        ("open", hostile.replace(POLICY, ""), {"http://example.invalid/x.png"}),
    ):
        page = run / f"{name}.html"
        page.write_text(content, encoding="utf-8")
        assert open_page(page)[1] == expected


@pytest.mark.parametrize("width", [400, 1200])
def test_figures_have_a_size(run: Path, width: int, measure_figures) -> None:
    sizes = measure_figures(write_report(run), width)
    assert sizes.pop("overflow") == 0
    assert set(sizes) == FIGURES
    assert min(sizes.values()) > 100, sizes
