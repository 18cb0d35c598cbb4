"""Texts made of pieces of others, for a teacher to label.

A student that has learned all the text there is still errs where its teacher is unsure, and on
words that it has seldom seen. There the teacher's label of a piece of a message, of two messages
joined, or of a message with other words teaches it more.
"""

from collections.abc import Collection, Sequence

import numpy as np

from trainer.data.splits import group_key

UNSURE_SHARE = 1 / 8  # of the texts: those of which the teacher is the least sure
OF_UNSURE = 3 / 4  # of the made-up texts are made of those
REPLACED = 1 / 2  # of the made-up texts have other words
TRIES = 3  # for each text: what was made before, or must not be made, is dropped


def make_up(
    texts: Sequence[str], margins: np.ndarray, count: int, seed: int, without: Collection[str]
) -> list[str]:
    """``count`` different texts, or fewer if the pieces do not give so many.

    Half of them are texts some of whose words are replaced by any of all words, rare ones as
    often as common ones. The others are texts without some of their words, runs of their words,
    and the beginning of one with the end of another.

    Args:
        texts: N texts; none of them is made again.
        margins: ``(N,)``, how sure the teacher is of each.
        without: texts whose near copies are not made either.
    """
    random = np.random.RandomState(seed)  # the same stream in every NumPy
    order = np.argsort(margins, kind="stable")
    unsure = order[: max(1, round(UNSURE_SHARE * len(order)))]
    left_out = {group_key(text) for text in without}
    known, made = set(texts), dict[str, None]()
    all_words = sorted({word for text in texts for word in text.split(" ")})  # the same anywhere
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        among = unsure if random.random_sample() < OF_UNSURE else order
        words = texts[among[random.randint(len(among))]].split(" ")
        other = texts[random.randint(len(texts))].split(" ")
        if random.random_sample() < REPLACED:
            parts = _replace_words(words, all_words, random)
        else:
            parts = _PIECES[random.randint(len(_PIECES))](words, other, random)
        text = " ".join(parts)
        if text.strip() and text not in known and group_key(text) not in left_out:
            made[text] = None
    return list(made)


def _drop_words(words: list[str], other: list[str], random: np.random.RandomState) -> list[str]:
    kept = random.random_sample(len(words)) >= random.uniform(0.1, 0.4)
    return [word for word, is_kept in zip(words, kept.tolist(), strict=True) if is_kept]


def _cut_run(words: list[str], other: list[str], random: np.random.RandomState) -> list[str]:
    length = max(1, int(len(words) * random.uniform(0.4, 0.85)))
    start = random.randint(len(words) - length + 1)
    return words[start : start + length]


def _join_two(words: list[str], other: list[str], random: np.random.RandomState) -> list[str]:
    first, second = (words, other) if random.randint(2) else (other, words)
    begin, end = (int(len(part) * random.uniform(0.3, 0.7)) for part in (first, second))
    return [*first[: max(1, begin)], *second[end:]]


def _replace_words(
    words: list[str], all_words: list[str], random: np.random.RandomState
) -> list[str]:
    is_replaced = random.random_sample(len(words)) < random.uniform(0.1, 0.4)
    return [
        all_words[random.randint(len(all_words))] if replaced else word
        for word, replaced in zip(words, is_replaced.tolist(), strict=True)
    ]


_PIECES = (_drop_words, _cut_run, _join_two)
