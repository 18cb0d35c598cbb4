"""A loaded bundle: one text, one score, in any company; and what keeps a bundle from loading."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.bundle import GOLDEN, MANIFEST, VERIFY
from batch.classifier import Classifier
from batch.decision import softmax
from batch.errors import BundleError, InternalError
from batch.selftest import GOLDEN_TOLERANCE

CLASSIFIERS = ("classifier", "fixed_length")
TEXTS = (
    *("", " ", "ok", "Do you have time", "<|endoftext|>" * 50, "two\nlines\r\nthree", "\x00\x1a"),
    *("👍🏽" * 9, "שלום", "e" + "\u0301" * 500, "word " * 20_000, "a" * 100_000, " " * 100_000),
)


def refusal(folder, **options) -> str:
    with pytest.raises(BundleError) as error:
        Classifier.load(folder, device="cpu", threads=1, **options)
    return str(error.value)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_are_the_graphs(name, request, tokenizer, stub_score):
    classifier = request.getfixturevalue(name)
    found = classifier.classify(TEXTS)
    for row, text in enumerate(TEXTS):
        ids = tokenizer.encode(text, 33)
        theirs = stub_score(ids[:32])
        assert found.scores[row] == pytest.approx(theirs, abs=1e-12)
        assert found.labels[row] == ("spam" if theirs >= 0.5 else "ham")
        assert found.tokens[row] == min(len(ids), 32)
        assert found.truncated[row] == (len(ids) > 32)
    assert set(found.labels) == {"ham", "spam"}
    assert found.probabilities.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_same_alone_and_in_company(name, request):
    classifier = request.getfixturevalue(name)
    together = classifier.classify(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = classifier.classify([text])
        assert alone.labels == [together.labels[row]]
        assert alone.scores.tolist() == [together.scores[row]]


@given(
    st.lists(st.sampled_from(TEXTS[:10]) | st.text(max_size=80), max_size=30).flatmap(
        lambda texts: st.tuples(st.just(texts), st.permutations(texts))
    )
)
def test_the_same_in_any_order(classifier, drawn):
    texts, shuffled = drawn
    first = classifier.classify(texts)
    score_of = dict(zip(texts, first.scores, strict=True))
    assert [score_of[text] for text in texts] == first.scores.tolist()
    second = classifier.classify(shuffled)
    assert [score_of[text] for text in shuffled] == second.scores.tolist()


def test_no_text(classifier):
    found = classifier.classify([])
    assert found.labels == []
    assert found.scores.shape == found.tokens.shape == found.truncated.shape == (0,)
    assert found.probabilities.shape == (0, 2)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_threshold_is_where_the_positive_label_begins(make_bundle, threshold):
    classifier = Classifier.load(make_bundle(threshold=threshold), "cpu", 1)
    found = classifier.classify([f"message {number}" for number in range(60)])
    wanted = ["spam" if score >= threshold else "ham" for score in found.scores]
    assert found.labels == wanted
    assert len(set(wanted)) == (1 if threshold in (0, 1) else 2)


def test_a_score_on_the_threshold_is_positive(classifier):
    labels, scores, _ = classifier.decide(np.zeros((1, 2), np.float32))
    assert (labels, scores.tolist()) == (["spam"], [0.5])


def test_a_positive_label_that_comes_first(make_bundle):
    folder = make_bundle(labels=["spam", "ham"], threshold=0.9)
    labels, scores, _ = Classifier.load(folder, "cpu", 1).decide(np.array([[3.0, 0], [1, 0]]))
    assert labels == ["spam", "ham"]
    assert scores == pytest.approx([0.952574, 0.731059], abs=1e-6)


def test_the_temperature_divides_the_logits(make_bundle, classifier):
    logits = np.array([[1.0, 3.0], [0.5, -2.5]])
    warm = Classifier.load(make_bundle(temperature=2.0), "cpu", 1)
    assert warm.decide(logits)[1] == pytest.approx(classifier.decide(logits / 2)[1])
    assert warm.decide(logits)[0] == classifier.decide(logits)[0]


def test_more_than_two_classes(make_bundle, stub_logits, tokenizer):
    weights = (-1.0, 1.0, 0.5)
    three = {"weights": weights, "labels": ["ham", "spam", "news"]}
    texts = [f"message {number}" for number in range(20)]
    theirs = softmax(np.array([stub_logits(tokenizer.encode(text), weights) for text in texts]))
    best = [three["labels"][row.argmax()] for row in theirs]

    found = Classifier.load(make_bundle(**three), "cpu", 1).classify(texts)
    assert found.labels == best
    assert found.scores == pytest.approx(theirs[:, 1])

    found = Classifier.load(make_bundle(**three, positive_label=None), "cpu", 1).classify(texts)
    assert found.labels == best
    assert found.scores == pytest.approx(theirs.max(axis=1))


def test_softmax_of_large_logits():
    assert softmax(np.array([[1000.0, 0], [-1000, -1000]])).tolist() == [[1, 0], [0.5, 0.5]]


def test_a_precision_that_is_not_there(bundle):
    assert refusal(bundle, precision="fp16") == f"{bundle}: no precision fp16; it has: fp32"


HINT = "run spam-export verify, or give --allow-unverified"


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (None, "was never verified"),
        ({}, "fp32 was not verified"),
        ({"variants": {"fp16": {"passed": True}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": False}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": "yes"}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": True}}}, "verify.json is of another model.onnx"),
        (
            {"variants": {"fp32": {"passed": True, "sha256": "0" * 64}}},
            "verify.json is of another model.onnx",
        ),
    ],
)
def test_a_bundle_that_was_not_verified(make_bundle, report, problem):
    data = None if report is None else json.dumps(report).encode()
    folder = make_bundle(files={VERIFY: data})
    assert refusal(folder) == f"{folder}: {problem}; {HINT}"
    classifier = Classifier.load(folder, "cpu", 1, allow_unverified=True)
    assert classifier.classify(["Do you have time"]).tokens.tolist() == [4]


def golden(*messages: tuple[str, list[int], list[float]]) -> dict[str, bytes]:
    keys = ("text", "ids", "logits")
    rows = [dict(zip(keys, message, strict=True)) for message in messages]
    return {GOLDEN: json.dumps({"labels": ["ham", "spam"], "messages": rows}).encode()}


def test_golden_ids_that_differ(make_bundle, stub_logits):
    good = ("Do you", [5211, 345], stub_logits([5211, 345]))
    folder = make_bundle(files=golden(good, ("Do you", [5211, 346], good[2])))
    assert refusal(folder) == (
        f"{folder}: golden message 1 gets other token ids here than at export; "
        "the tokenizer is not the model's"
    )


@pytest.mark.parametrize(("by", "shown"), [(0.25, "0.25"), (0.0015, "0.0015"), (np.nan, "nan")])
def test_golden_logits_that_differ(make_bundle, stub_logits, by, shown):
    first, second = stub_logits([5211, 345])
    good = ("Do you", [5211, 345], [first, second])
    bad = ("Do you", [5211, 345], [first, second + by])
    folder = make_bundle(files=golden(good, bad, good))
    assert refusal(folder) == (
        f"{folder}: golden message 1 gets logits that differ from PyTorch's by {shown}, "
        "more than 0.001"
    )


def test_golden_logits_may_differ_by_rounding(make_bundle, stub_logits):
    first, second = stub_logits([5211, 345])
    close = ("Do you", [5211, 345], [first, second + 0.9 * GOLDEN_TOLERANCE])
    assert Classifier.load(make_bundle(files=golden(close)), "cpu", 1)


@pytest.mark.parametrize("data", [b'{"messages": []}', b"{}"])
def test_golden_without_messages(make_bundle, data):
    folder = make_bundle(files={GOLDEN: data})
    assert refusal(folder) == f"{folder}: golden.json has no messages to check with"


def test_golden_without_labels(make_bundle):
    golden = {"messages": [{"text": "", "ids": [], "logits": [0.0, 0.0]}]}
    folder = make_bundle(files={GOLDEN: json.dumps(golden).encode()})
    assert refusal(folder) == f"{folder}: golden.json has no labels to check with"


def test_labels_that_were_exchanged_after_the_export(make_bundle, tmp_path):
    folder = shutil.copytree(make_bundle(), tmp_path / "copy")
    values = json.loads((folder / MANIFEST).read_bytes()) | {"labels": ["spam", "ham"]}
    (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
    assert refusal(folder) == (
        f"{folder}: the labels are ['spam', 'ham'], but ['ham', 'spam'] were exported"
    )


def test_no_golden(make_bundle):
    folder = make_bundle(files={GOLDEN: None})
    assert refusal(folder) == f"{folder}: bundle.json does not list golden.json"


def test_golden_of_another_number_of_classes(make_bundle):
    folder = make_bundle(files=golden(("Do you", [5211, 345], [0.0, 1.0, 2.0])))
    assert refusal(folder) == (
        f"{folder}: golden.json has logits of shape (1, 3), the model gives (1, 2)"
    )


@pytest.mark.parametrize("weights", [(1.0,), (-1.0, 1.0, 0.5)])
def test_a_model_of_another_number_of_classes(make_bundle, weights):
    folder = make_bundle(weights=weights)
    assert refusal(folder) == (
        f"{folder}: the model gives logits of shape (4, {len(weights)}) for 4 messages and 2 labels"
    )


def test_a_model_that_gives_no_number(make_bundle):
    folder = make_bundle(weights=(float("nan"), 1.0))
    with pytest.raises(InternalError) as error:
        Classifier.load(folder, "cpu", 1)
    assert str(error.value) == "the model gave a logit that is not a finite number"
