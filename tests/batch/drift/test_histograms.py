"""Figures that add up: the same however the rows are cut into windows."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from batch.drift.histograms import (
    KEPT,
    SCORE_BINS,
    TOKEN_EDGES,
    Histograms,
    count_scores,
    count_tokens,
    encode_bytes,
    hash_texts,
)


def test_it_does_not_depend_on_the_windows_and_is_read_back():
    random = np.random.default_rng(1)
    scores, tokens = random.random(9000), random.integers(0, 1500, 9000)
    texts = [b"%d" % number for number in random.integers(0, 7000, 9000)]
    whole = Histograms().add(scores, tokens, texts)
    found = Histograms()
    for start in range(0, 9000, 700):
        part = slice(start, start + 700)
        found = found.add(scores[part], tokens[part], texts[part])
        found = Histograms.from_json(json.loads(json.dumps(asdict(found), default=encode_bytes)))
    assert found == whole
    assert sum(whole.scores) == sum(whole.tokens) == 9000
    halves = [Histograms().add(scores[at::2], tokens[at::2], texts[at::2]) for at in (0, 1)]
    assert halves[0].merge(halves[1]) == whole


def test_bins():
    assert count_scores(np.array([0.0, 0.0499994, 0.0499996, 0.5, 1.0])).nonzero()[0].tolist() == [
        0, 1, 10, SCORE_BINS - 1
    ]  # fmt: skip
    lengths = np.array([0, 1, 4, 5, 1023, 1024, 5000])
    counts = count_tokens(lengths)
    assert counts[[0, 1, TOKEN_EDGES.index(4), -2, -1]].tolist() == [1, 1, 2, 1, 2]


@pytest.mark.parametrize("different", [0, 1, KEPT - 1, KEPT, 100_000])
def test_different_texts(different):
    texts = [b"message number %d" % (number % max(different, 1)) for number in range(200_000)]
    texts = texts if different else []
    found = Histograms().add(np.zeros(len(texts)), np.zeros(len(texts), int), texts).distinct
    assert found == different if different < KEPT else abs(found / different - 1) < 0.05


def test_hashes_are_the_same_everywhere():
    assert [f"{value:016x}" for value in hash_texts([b"", b"a"]).tolist()] == [
        "0000000000000000", hash_texts([b"a"])[0].tobytes()[::-1].hex()
    ]  # fmt: skip
    many = hash_texts([b"%d" % number for number in range(100_000)])
    assert len(np.unique(many)) == 100_000
