"""A loaded bundle: one text, one score, in any company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import BundleError, InternalError, UsageError
from batch.model.classifier import Classifier
from batch.model.decision import softmax
from batch.model.inference import usable_cpus

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


def test_one_string_is_no_list_of_messages(classifier):
    with pytest.raises(TypeError) as error:
        classifier.classify("abc")
    assert str(error.value) == "texts is one string, expected a list of them"


def test_what_is_no_string_is_named(classifier):
    with pytest.raises(TypeError) as error:
        classifier.classify(["a", b"secret"])
    assert str(error.value) == "texts[1] is of type bytes, expected str"
    assert len(classifier.classify(iter("ab")).labels) == 2


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_threshold_is_where_the_positive_label_begins(make_bundle, threshold):
    classifier = Classifier.load(make_bundle(threshold=threshold), "cpu", 1)
    found = classifier.classify([f"message {number}" for number in range(60)])
    wanted = ["spam" if score >= threshold else "ham" for score in found.scores]
    assert found.labels == wanted
    assert len(set(wanted)) == (1 if threshold in (0, 1) else 2)


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


def test_a_precision_that_is_not_there(bundle):
    message = f"{bundle}: has no precision fp16; choose from: fp32"
    assert refusal(bundle, precision="fp16") == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu'; choose from auto, cpu, cuda"),
        ({"device": None}, "device is None; choose from auto, cpu, cuda"),
        ({"device": "tpu", "precision": "fp32"}, "device is 'tpu'; choose from auto, cpu, cuda"),
        ({"threads": 0}, "threads is 0; give a number from 1 on, or None"),
        ({"threads": -2}, "threads is -2; give a number from 1 on, or None"),
        ({"threads": "2"}, "threads is '2'; give a number from 1 on, or None"),
    ],
)
def test_arguments_that_the_command_line_refuses_too(bundle, options, message):
    with pytest.raises(UsageError) as error:
        Classifier.load(bundle, **options)
    assert str(error.value) == message


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


def test_a_starter_takes_one_thread_unless_more_are_asked(make_bundle) -> None:
    starter, other = make_bundle(model="starter"), make_bundle()
    assert Classifier.load(starter, "cpu").session.threads == 1
    assert Classifier.load(starter, "cpu", 2).session.threads == 2
    assert Classifier.load(other, "cpu").session.threads == usable_cpus()
