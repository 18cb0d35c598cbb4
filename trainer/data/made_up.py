"""Texts made of pieces of others, for a teacher to label.

A student that has learned all the text there is still errs where its teacher is unsure. There
the teacher's label of a piece of a message, or of two messages joined, teaches it more.
"""

from collections.abc import Collection, Sequence

import numpy as np

from trainer.data.splits import group_key

UNSURE_SHARE = 1 / 8  # of the texts: those of which the teacher is the least sure
OF_UNSURE = 3 / 4  # of the made-up texts are made of those
TRIES = 3  # for each text: what was made before, or must not be made, is dropped


def make_up(
    texts: Sequence[str], margins: np.ndarray, count: int, seed: int, without: Collection[str]
) -> list[str]:
    """``count`` different texts, or fewer if the pieces do not give so many.

    Each is a text without some of its words, a run of its words, or the beginning of one and the
    end of another.

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
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        among = unsure if random.random_sample() < OF_UNSURE else order
        words = texts[among[random.randint(len(among))]].split(" ")
        other = texts[random.randint(len(texts))].split(" ")
        text = " ".join(_PIECES[random.randint(len(_PIECES))](words, other, random))
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


_PIECES = (_drop_words, _cut_run, _join_two)
