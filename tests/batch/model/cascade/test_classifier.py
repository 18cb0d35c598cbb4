"""A cascade labels as the slow model in its band, and as the fast one elsewhere."""

import math
import pickle

import numpy as np
import pytest

from batch.model.cascade.classifier import CascadeClassifier
from batch.model.cascade.proof import weigh
from batch.model.classifier import Classifier
from batch.model.decision import UNSURE

TEXTS = [f"message {number} of many" + " more" * (number % 23) for number in range(300)]


@pytest.fixture(scope="module")
def loaded(cascade) -> CascadeClassifier:
    return Classifier.load(cascade, "cpu", 1)


@pytest.fixture(scope="module")
def leanings(loaded, tokenizer, stub_logits) -> np.ndarray:
    """How the fast stub leans, computed by hand: by the root of the length in 16 tokens."""
    encoded = tokenizer.encode_all(TEXTS)
    logits = [stub_logits(ids, shift=0.5) for ids in encoded]
    lengths = [len(ids) for ids in encoded]
    assert len(set(lengths)) > 3
    return np.array(
        [
            (second - first) * math.sqrt(length / 16)
            for (first, second), length in zip(logits, lengths, strict=True)
        ]
    )


def test_the_band_alone_decides_which_model_does(loaded, leanings) -> None:
    found = loaded.classify(TEXTS)
    asked = (leanings >= -1.25) & (leanings < 0.75)
    assert 5 < asked.sum() < 250
    assert found.asked.tolist() == asked.tolist()
    fast, slow = loaded.fast.classify(TEXTS), loaded.slow.classify(TEXTS)
    assert fast.labels != slow.labels
    assert found.labels == slow.labels  # where they differ, the slow one is asked
    expected = np.where(asked, slow.scores, fast.scores)
    assert (found.scores == expected).all()
    assert (found.probabilities[:, 1] == expected).all()
    assert found.reasons == slow.reasons


def test_a_message_is_labelled_alike_alone_repeated_and_in_any_order(loaded) -> None:
    whole = loaded.classify(TEXTS)
    loaded.clear_cache()
    alone = [loaded.classify([text]) for text in TEXTS]
    assert [one.labels[0] for one in alone] == whole.labels
    assert [float(one.scores[0]) for one in alone] == whole.scores.tolist()
    assert [bool(one.asked[0]) for one in alone] == whole.asked.tolist()
    twice = loaded.classify([*reversed(TEXTS), *TEXTS])
    assert twice.labels == whole.labels[::-1] + whole.labels
    assert twice.asked.tolist() == whole.asked.tolist()[::-1] + whole.asked.tolist()
    assert twice.repeated == 2 * len(TEXTS)


def test_windows_that_are_finished_together_are_those_one_by_one(loaded) -> None:
    parts = [TEXTS[:100], TEXTS[50:120], TEXTS[120:], []]
    expected = [loaded.classify(part) for part in parts]
    loaded.clear_cache()
    found = loaded.finish([loaded.begin(loaded.prepare(part)) for part in parts])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.labels == theirs.labels and ours.reasons == theirs.reasons
        assert ours.scores.tolist() == theirs.scores.tolist()
        assert ours.asked.tolist() == theirs.asked.tolist()


def test_the_users_threshold_and_band_hold_for_both(cascade) -> None:
    found = Classifier.load(cascade, "cpu", 1, threshold=0.7, unsure_band=(0.2, 0.9))
    labels, scores = (
        np.array(each) for each in (lambda p: (p.labels, p.scores))(found.classify(TEXTS))
    )
    assert set(labels) == {"ham", "spam", UNSURE}
    assert ((labels == UNSURE) == ((scores >= 0.2) & (scores < 0.9))).all()
    assert ((labels == "spam") == (scores >= 0.9)).all()


def test_more_labels_are_asked_by_the_margin_of_the_two_best(make_cascade, tokenizer) -> None:
    many = {"weights": (-1.0, 0.5, 1.0), "labels": ["a", "b", "c"], "positive_label": None}
    folder = make_cascade(fast=many, slow=many, band=[0.0, 1.0])
    loaded = Classifier.load(folder, "cpu", 1)
    prepared = loaded.fast.prepare(TEXTS)
    loaded.fast.run(prepared)
    ordered = np.sort(prepared.logits.astype(np.float64), axis=1)
    found = loaded.classify(TEXTS)
    assert 5 < found.asked.sum() < 250
    margins = (ordered[:, 2] - ordered[:, 1]) * np.sqrt(prepared.tokens / 16)
    assert found.asked.tolist() == (margins < 1.0).tolist()


def test_the_fast_score_is_calibrated(make_cascade, loaded) -> None:
    cooled = Classifier.load(make_cascade(temperature=2.0), "cpu", 1)
    found, before = cooled.classify(TEXTS), loaded.classify(TEXTS)
    assert found.asked.tolist() == before.asked.tolist()  # the band is of logits
    sure = ~found.asked
    odds = np.log(before.scores[sure] / (1 - before.scores[sure]))
    np.testing.assert_allclose(found.scores[sure], 1 / (1 + np.exp(-odds / 2)), rtol=1e-9)
    assert (found.scores[found.asked] == before.scores[before.asked]).all()


def test_a_long_message_has_to_be_less_sure_to_be_asked() -> None:
    leanings, tokens = np.array([1.0, 1.0, 1.0, -3.0, 2.0]), np.array([4, 16, 64, 64, 256])
    assert weigh(leanings, tokens, 0.0, 0.0).tolist() == leanings.tolist()
    assert weigh(leanings, tokens, 0.0, 0.5).tolist() == [0.5, 1.0, 2.0, -6.0, 8.0]
    assert weigh(leanings, tokens, 2.0, 0.5).tolist() == [1.5, 1.0, 0.0, -8.0, 2.0]
    assert weigh(leanings, tokens, 2.0, 0.25)[[1, 4]].tolist() == [1.0, 2.0]
    assert weigh(leanings, tokens, 0.0, 0.25)[[1, 4]].tolist() == [1.0, 4.0]


def test_a_pickle_loads_the_same_cascade(loaded) -> None:
    copy = pickle.loads(pickle.dumps(loaded))
    assert isinstance(copy, CascadeClassifier)
    assert copy.classify(TEXTS).labels == loaded.classify(TEXTS).labels
    assert (copy.precision, copy.bundle.digest) == ("fp32+fp32", loaded.bundle.digest)
