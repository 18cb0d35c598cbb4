"""Threshold and band, from the bundle or typed, and each refusal by its whole text."""

import csv
import io
import json
import os
import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from batch.cli.commands import main
from batch.errors import BundleError, UsageError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import MANIFEST
from batch.model.classifier import Classifier
from batch.model.decision import Decision
from batch.model.rules import Rules, parse_band

TWO = Decision(["ham", "spam"], "spam", 0.5, 1.0)


def score_logits(*scores: float) -> np.ndarray:
    """Logits that have these probabilities of the second of two classes."""
    return np.log([[1 - score, score] for score in scores])


def test_the_band_from_its_start_to_below_its_end():
    chosen = Decision(["ham", "spam"], "spam", 0.5, 1.0, (0.25, 0.75))
    logits = score_logits(0.25 - 1e-9, 0.25 + 1e-9, 0.5, 0.75 - 1e-9, 0.75 + 1e-9)
    best, _, _ = chosen.decide(logits)
    assert best.tolist() == [0, 2, 2, 2, 1]
    assert chosen.given == ["ham", "spam", "unsure"]
    assert chosen.reasons(best) == [
        "score<threshold", *["unsure band"] * 3, "score>=threshold"
    ]  # fmt: skip
    even, _, _ = Decision(["ham", "spam"], "spam", 0.5, 1.0, (0.5, 0.6)).decide(np.zeros((1, 2)))
    assert even.tolist() == [2]
    until, _, _ = Decision(["ham", "spam"], "spam", 0.5, 1.0, (0.4, 0.5)).decide(np.zeros((1, 2)))
    assert until.tolist() == [1]
    assert chosen.margins(score_logits(0.2, 0.5, 0.9)) == pytest.approx([0.05, 0.25, 0.15])


def test_a_positive_label_that_comes_first():
    chosen = Decision(["alert", "none"], "alert", 0.5, 1.0, (0.25, 0.75))
    best, _, _ = chosen.decide(score_logits(0.9, 0.5, 0.1))
    assert best.tolist() == [1, 2, 0]
    assert chosen.reasons(best) == ["score<threshold", "unsure band", "score>=threshold"]


def test_reasons_without_a_threshold():
    for chosen in (
        Decision(["a", "b", "spam"], "spam", 0.5, 1.0),
        Decision(["a", "b"], None, 0.5, 1.0),
    ):
        assert chosen.reasons(np.array([0, 1])) == ["highest probability"] * 2


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0.01, 0.99)))
def test_reason_and_label_agree(low, threshold, high, scores):
    band = (low, high)
    chosen = Decision(["ham", "spam"], "spam", threshold, 1.0, band)
    if not low <= threshold <= high or low == high:
        assert chosen.find_problem()
        return
    assert chosen.find_problem() is None
    logits = score_logits(*scores) if scores else np.zeros((0, 2))
    best, found, _ = chosen.decide(logits)
    for number, score, reason in zip(best, found, chosen.reasons(best), strict=True):
        if low <= score < high:
            assert (number, reason) == (2, "unsure band")
        else:
            assert number == (score >= threshold) == (score >= high)
            assert reason == ("score>=threshold" if number else "score<threshold")


@pytest.mark.parametrize(
    ("typed", "band"), [("0.35,0.65", (0.35, 0.65)), (" 0 , 1 ", (0.0, 1.0)), ("none", None)]
)
def test_parse_band(typed, band):
    assert parse_band(typed) == band


@pytest.mark.parametrize("typed", ["", "0.35", "0.35,", "0.2,0.3,0.4", "a,b", "0.35;0.65"])
def test_what_is_no_band(typed):
    with pytest.raises(UsageError) as error:
        parse_band(typed)
    assert str(error.value) == (
        f"--unsure-band {typed!r} is neither two probabilities nor none; type for example: "
        "--unsure-band 0.35,0.65"
    )


AROUND = "give a band that contains it, another threshold, or none as the band"
BOTH = (
    "the first number must be less than the second, and both must be from 0 to 1; give for "
    "example 0.35,0.65"
)
NEEDS = "needs two labels, one of them the positive label; there"


@pytest.mark.parametrize(
    ("rules", "manifest", "message"),
    [
        ({"threshold": 1.5}, {}, "threshold 1.5 is not a probability; give one from 0 to 1"),
        ({"threshold": -1}, {}, "threshold -1.0 is not a probability; give one from 0 to 1"),
        (
            {"threshold": float("nan")}, {},
            "threshold nan is not a probability; give one from 0 to 1",
        ),
        ({"unsure_band": (0.6, 0.4)}, {}, f"unsure band 0.6,0.4: {BOTH}"),
        ({"unsure_band": (0.5, 0.5)}, {}, f"unsure band 0.5,0.5: {BOTH}"),
        ({"unsure_band": (0.5, 1.1)}, {}, f"unsure band 0.5,1.1: {BOTH}"),
        ({"unsure_band": (0.5, float("nan"))}, {}, f"unsure band 0.5,nan: {BOTH}"),
        (
            {"unsure_band": (0.6, 0.9)}, {},
            f"the threshold 0.5 is outside the unsure band 0.6,0.9; {AROUND}",
        ),
        (
            {"threshold": 0.8}, {"unsure_band": [0.35, 0.65]},
            f"the threshold 0.8 is outside the unsure band 0.35,0.65; {AROUND}",
        ),
        (
            {"threshold": 0.8}, {"labels": ["a", "b", "spam"]},
            f"a threshold {NEEDS} are 3 labels; leave it out",
        ),
        (
            {"threshold": 0.8}, {"positive_label": None},
            f"a threshold {NEEDS} is no positive label; leave it out",
        ),
        (
            {"unsure_band": (0.4, 0.6)}, {"labels": ["a", "b", "spam"]},
            f"an unsure band {NEEDS} are 3 labels; leave it out",
        ),
        (
            {"unsure_band": (0.4, 0.6)}, {"positive_label": None},
            f"an unsure band {NEEDS} is no positive label; leave it out",
        ),
        (
            {"unsure_band": (0.4, 0.6)}, {"labels": ["unsure", "spam"]},
            "unsure band: one of the labels is 'unsure', and its rows could not be told "
            "apart from the rows in the band; leave the band out",
        ),
        ({"long": "middle"}, {}, "long is 'middle'; choose from head, tail, windows"),
        (
            {"unsure_band": 0.5}, {},
            "unsure_band is 0.5; give two probabilities, None, or 'bundle'",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(make_bundle, rules, manifest, message):
    folder = make_bundle(**manifest)
    with pytest.raises(UsageError) as error:
        Classifier.load(folder, "cpu", 1, **rules)
    assert str(error.value) == message


def test_the_bundles_band_is_the_default(make_bundle):
    manifest = open_bundle(make_bundle(unsure_band=[0.35, 0.65])).manifest
    assert Rules().decision(manifest).unsure_band == (0.35, 0.65)
    assert Rules(0.8, None).decision(manifest) == Decision(["ham", "spam"], "spam", 0.8, 1.0)
    assert Rules(0.8, (0.7, 0.9)).settings(manifest) == {
        "--threshold": "0.8", "--unsure-band": "0.7,0.9", "--long": "head"
    }  # fmt: skip


def test_a_bundle_without_a_band_does_not_speak_of_it(bundle):
    assert b"unsure" not in (bundle / MANIFEST).read_bytes()
    assert open_bundle(bundle).manifest.unsure_band is None


@pytest.mark.parametrize(
    ("band", "others"),
    [
        ([0.6, 0.4], {}), ([0.4], {}), (["a", "b"], {}), ([False, True], {}), ([0.6, 0.9], {}),
        ([0.4, 0.6], {"labels": ["unsure", "spam"]}), ([0.4, 0.6], {"positive_label": None}),
        ("0.4,0.6", {}), ({}, {}),
    ],
)  # fmt: skip
def test_a_band_that_no_bundle_may_have(make_bundle, band, others):
    folder = make_bundle(unsure_band=band, **others)
    with pytest.raises(BundleError) as error:
        open_bundle(folder)
    assert str(error.value) == f"{folder / MANIFEST}: unsure_band is {band!r}, which is not valid"


def test_a_pickle_keeps_the_rules(make_bundle):
    folder = make_bundle(unsure_band=[0.35, 0.65])
    loaded = Classifier.load(folder, "cpu", 1, threshold=0.2, unsure_band=None, long="tail")
    again = pickle.loads(pickle.dumps(loaded))
    assert (again.decision, again.truncation) == (loaded.decision, "tail")


@pytest.fixture
def run(make_bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch`` with the stub bundle in an empty folder; gives status, output, log."""
    monkeypatch.chdir(tmp_path)
    folder = make_bundle()

    def run(command, *args, bundle=folder, **options):
        args = [command, *map(str, args), "--bundle", str(bundle), "--device", "cpu"]
        result = CliRunner().invoke(main, args, **options)
        return result.exit_code, result.stdout, result.stderr.splitlines()

    return run


TABLE = b'id,text\n1,Do you have time\n2,"a, b"\n'  # scores 0.017986 and 0.998499


def test_every_column(run, tmp_path):
    columns = "label,score,probability,tokens,truncated,reason"
    status, found, _ = run("classify", "-", "--out", "-", "--columns", columns, input=TABLE)
    assert (status, found) == (
        0,
        "id,text,label,score,probability_ham,probability_spam,tokens,truncated,reason\n"
        "1,Do you have time,ham,0.017986,0.982014,0.017986,4,false,score<threshold\n"
        '2,"a, b",spam,0.998499,0.001501,0.998499,3,false,score>=threshold\n',
    )


def test_threshold_and_band_in_the_output_and_the_summary(run, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    args = ("classify", "in.csv", "--out", "out.csv", "--columns", "label,reason")
    status, _, said = run(*args, "--unsure-band", "0.01,0.6")
    assert (status, said[0]) == (0, "2 records in, 2 rows out: 0 ham, 1 spam, 1 unsure")
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1:] == [
        b"1,Do you have time,unsure,unsure band", b'2,"a, b",spam,score>=threshold'
    ]  # fmt: skip
    status, _, said = run(*args, "--unsure-band", "0.02,0.6", "--log-format", "json")
    assert json.loads(said[0])["counts"]["labels"] == {"ham": 1, "spam": 1, "unsure": 0}
    status, _, said = run(*args, "--threshold", "0.01")
    assert (status, said[0]) == (0, "2 records in, 2 rows out: 0 ham, 2 spam")


def test_one_message(run):
    message = ("text", "Do you have time")
    assert run(*message, "--threshold", "0.01") == (0, "spam\t0.017986\n", [])
    assert run(*message, "--unsure-band", "0.01,0.6") == (0, "unsure\t0.017986\n", [])
    head = run("text", "Do you " + "have time " * 40)
    tail = run("text", "Do you " + "have time " * 40, "--long", "tail")
    assert head[0] == tail[0] == 0 and head[1] != tail[1]


def test_estimate_knows_what_windows_cost(run, tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_bytes(TABLE)
    modes, real = [], Classifier.load

    def load(*args, **options):
        modes.append(options["long"])
        return real(*args, **options)

    monkeypatch.setattr(Classifier, "load", load)
    assert run("estimate", "in.csv", "--long", "windows")[0] == 0
    assert modes == ["windows"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--threshold", "2"), "threshold 2.0 is not a probability; give one from 0 to 1"),
        (
            ("--threshold", "0.9", "--unsure-band", "0.1,0.2"),
            f"the threshold 0.9 is outside the unsure band 0.1,0.2; {AROUND}",
        ),
    ],
)
def test_a_refusal_is_told_once(run, tmp_path, args, message):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(TABLE)
    os.mkdir("out")
    for command in (("classify", "a.csv", "b.csv", "--out-dir", "out"), ("text", "hello")):
        assert run(*command, *args) == (2, "", [f"spam-batch: error: {message}"])
    assert os.listdir("out") == []


def test_what_was_labelled_by_other_rules_is_labelled_again(run, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    os.mkdir("out")
    args = ("classify", "in.csv", "--out-dir", "out")
    run(*args)
    assert run(*args, "--threshold", "0.5")[2][-1] == "1 file: 0 labelled, 1 skipped, 0 failed"
    for other in (("--threshold", "0.8"), ("--unsure-band", "0.4,0.6"), ("--long", "tail")):
        assert run(*args, *other)[2][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"


@pytest.mark.parametrize(
    ("option", "value", "before"),
    [
        ("--threshold", "0.8", "0.5"), ("--unsure-band", "0.4,0.6", "none"),
        ("--long", "windows", "head"), ("--columns", "label,reason", "label,score"),
    ],
)  # fmt: skip
def test_an_interrupted_run_goes_on_by_the_same_rules(
    run, tmp_path, monkeypatch, option, value, before
):
    (tmp_path / "in.csv").write_bytes(TABLE + b"3\n")  # it ends at a bad record
    monkeypatch.setattr("batch.run.windows.WINDOW", 1)
    monkeypatch.setattr("batch.run.classify.COMMIT_SECONDS", 0)
    args = ("classify", "in.csv", "--out", "out.csv")
    assert run(*args)[0] == 65
    kept = os.path.realpath(".out.csv.checkpoint.json")
    assert run(*args, option, value) == (
        2, "",
        [f"spam-batch: error: out.csv: an interrupted run is kept in {kept}, but {option} was "
         f"{before!r} and is {value!r} now; give it as before, or start over with --restart"],
    )  # fmt: skip
    assert run(*args, "--max-rejects", "1", "--threshold", "0.5")[0] == 3


def test_info_shows_the_band(make_bundle):
    folder = make_bundle(unsure_band=[0.35, 0.65])
    result = CliRunner().invoke(main, ["info", str(folder)])
    line = "  unsure band      scores from 0.35 to below 0.65 get the label unsure"
    assert result.stdout.splitlines()[6] == line
    result = CliRunner().invoke(main, ["info", str(folder), "--json"])
    assert json.loads(result.stdout)["unsure_band"] == [0.35, 0.65]


@pytest.mark.parametrize("labels", [["ham, or so", 'the "spam"'], ["é\n", "spam"]])
def test_names_of_classes_that_need_quotes(run, make_bundle, labels):
    folder = make_bundle(labels=labels, positive_label=labels[1])
    args = ("classify", "-", "--out", "-", "--columns", "probability", "--quiet")
    _, found, _ = run(*args, bundle=folder, input=TABLE)
    names = [f"probability_{label}" for label in labels]
    rows = list(csv.reader(io.StringIO(found, newline=""), strict=True))
    assert rows[0] == ["id", "text", *names]
    assert rows[1][2:] == ["0.982014", "0.017986"]
    taken = run(*args, bundle=folder, input=found.encode())
    assert taken == (
        65, "",
        [f"spam-batch: error: -: there is a column {names[0]!r} already; it would "
         "be there twice; choose others with --columns, or give --overwrite-columns"],
    )  # fmt: skip
    again = run(*args, "--overwrite-columns", bundle=folder, input=found.encode())
    assert again[1] == found


def test_reasons_that_need_quotes(run):
    table = TABLE.replace(b",", b"<")
    args = ("classify", "-", "--out", "-", "--columns", "reason", "--quiet", "--delimiter", "<")
    assert run(*args, input=table)[1].splitlines()[1] == '1<Do you have time<"score<threshold"'
    assert run(*args, "--no-quote", input=table) == (
        2, "",
        ["spam-batch: error: 'score<threshold' cannot be written without a quote character"],
    )  # fmt: skip
