"""The text cache is exact, bounded, and safe between threads."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batch.model.text_cache import ENTRY_BYTES, TextCache


def figures(texts):
    """Logits, tokens and truncation that tell of the text which they belong to."""
    numbers = np.array([int(text) for text in texts])
    return np.stack([numbers, -numbers], axis=1).astype(np.float32), numbers, numbers % 2 == 1


def check(cache, texts) -> np.ndarray:
    known, logits, tokens, truncated = cache.look_up(texts)
    expected = figures(texts)
    for found, wanted in zip((logits, tokens, truncated), expected, strict=True):
        assert (found[known] == wanted[known]).all()
    return known


@given(st.lists(st.lists(st.integers(0, 300), unique=True, max_size=40), max_size=40))
def test_what_is_known_is_right(rounds):
    cache = TextCache(2, generation_bytes=20 * ENTRY_BYTES)
    for numbers in rounds:
        texts = [str(number) for number in numbers]
        known = check(cache, texts)
        new = [text for text, is_known in zip(texts, known, strict=True) if not is_known]
        cache.add(new, *figures(new))
        assert check(cache, new).all()


def test_two_generations_are_the_bound():
    cache = TextCache(2, generation_bytes=10 * ENTRY_BYTES)
    for number in range(1000):
        cache.add([str(number)], *figures([str(number)]))
    known = check(cache, [str(number) for number in range(1000)])
    assert known[-10:].all()
    assert 10 <= known.sum() <= 30


def test_a_text_that_is_added_twice():
    cache = TextCache(2)
    for texts in (["1", "2"], ["2", "3"], ["4"]):
        cache.add(texts, *figures(texts))
    assert check(cache, ["1", "2", "3", "4", "5"]).tolist() == [True] * 4 + [False]


def test_threads():
    cache = TextCache(2, generation_bytes=500 * ENTRY_BYTES)
    failures = []

    def work(start):
        try:
            for first in range(start, start + 3000, 7):
                texts = [str(number) for number in range(first, first + 20)]
                check(cache, texts)
                cache.add(texts, *figures(texts))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 500, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
