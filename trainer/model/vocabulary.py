"""A smaller vocabulary for the starter, which is trained from random weights.

A thousand messages have only a few thousand of GPT-2's 50,257 tokens. Embedding rows
of all other tokens would stay random, and " FREE" would have nothing in common with
"free". So during training a token's row is the sum of up to three vectors: its own, if
enough messages have the token; one shared by all tokens with the same letters (ignoring
space and case); and one shared by all tokens of its *shape*, such as three digits, a
capitalised word, or punctuation. After training the sums become plain rows. Text is
still encoded with GPT-2's BPE; the map from ids to rows is part of the model.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from batch.model.tokenizer import PAD_ID, Tokenizer

PAD_ROW = 0


@dataclass(frozen=True)
class Vocabulary:
    """The embedding row of each BPE id, and the vectors that each of the R rows is a sum of.

    Attributes:
        token_map: ``(50257,)`` int64, the row of each id.
        has_own: ``(R,)`` bool, whether the row has its own vector.
        letters: ``(R,)`` int64, number of the vector shared by letters; 0 for rare letters.
        shape: ``(R,)`` int64, number of the vector shared by shape.
        stand_ins: ``(50257,)`` int64, an id whose row has only the vector of the id's shape.
            Training sometimes replaces an id by it, so that rows of rare tokens learn, too.
    """

    token_map: Tensor
    has_own: Tensor
    letters: Tensor
    shape: Tensor
    stand_ins: Tensor

    @property
    def rows(self) -> int:
        return len(self.has_own)


def token_shape(text: str) -> str:
    """The shape of a token's text: leading space, kind of characters, and length up to a limit.

    >>> token_shape(" 150"), token_shape("WIN"), token_shape("!!")
    (' 3 digits', 'long upper', 'other')
    """
    word = text.strip()
    space = " " if text[:1] == " " and word else ""
    if not word:
        return "white space"
    if word.isdigit():
        return f"{space}{min(len(word), 5)} digits"
    if not word.isalpha():
        return f"{space}{'mixed' if any(map(str.isalnum, word)) else 'other'}"
    case = next(
        (name for name in ("lower", "upper", "title") if getattr(word, f"is{name}")()), "any case"
    )
    return f"{space}{'long' if len(word) > 2 else 'short'} {case}"


def build_vocabulary(
    messages: Iterable[list[int]], tokenizer: Tokenizer, min_count: int
) -> Vocabulary:
    """Rows for all BPE ids; tokens and letters in ``min_count`` messages get a vector."""
    return _make_rows(_Counts(messages, tokenizer), min_count)


def build_vocabulary_of(
    rows: int, messages: Iterable[list[int]], tokenizer: Tokenizer
) -> Vocabulary:
    """The vocabulary of the lowest ``min_count`` that has at most ``rows`` rows.

    It has more where even a single vector for each shape makes more.
    """
    counts = _Counts(messages, tokenizer)
    low, high = 2, max(counts.tokens.values(), default=2) + 1
    while low < high:  # fewer rows the higher the count
        middle = (low + high) // 2
        if _make_rows(counts, middle).rows <= rows:
            high = middle
        else:
            low = middle + 1
    return _make_rows(counts, low)


class _Counts:
    """How many messages have each token, and each text of letters."""

    def __init__(self, messages: Iterable[list[int]], tokenizer: Tokenizer):
        texts = [tokenizer.decode([token]) for token in range(PAD_ID)]
        self.letters_of = [text.strip().casefold() for text in texts]
        self.shapes = [token_shape(text) for text in texts]
        self.tokens: Counter[int] = Counter()
        self.letters: Counter[str] = Counter()
        for message in messages:
            distinct = {token for token in message if token != PAD_ID}
            self.tokens.update(distinct)
            self.letters.update({self.letters_of[token] for token in distinct})


def _make_rows(counts: _Counts, min_count: int) -> Vocabulary:
    letters, shapes = counts.letters_of, counts.shapes
    letter_numbers, shape_numbers = {"": 0}, {"padding": 0}
    # The vectors of a row: its own token or None, number of letters, number of shape.
    rows: dict[tuple[int | None, int, int], int] = {(PAD_ID, 0, 0): PAD_ROW}
    token_map = []
    for token in range(PAD_ID):
        shared = letters[token] if counts.letters[letters[token]] >= min_count else ""
        key = (
            token if counts.tokens[token] >= min_count else None,
            letter_numbers.setdefault(shared, len(letter_numbers)),
            shape_numbers.setdefault(shapes[token], len(shape_numbers)),
        )
        token_map.append(rows.setdefault(key, len(rows)))

    by_row = dict(zip(token_map, range(PAD_ID), strict=True))  # an id for each row
    stand_ins = []
    for token in range(PAD_ID):
        row = rows.get((None, 0, shape_numbers[shapes[token]]))
        stand_ins.append(token if row is None else by_row[row])
    own, letter, shape = zip(*rows, strict=True)
    return Vocabulary(
        token_map=torch.tensor([*token_map, PAD_ROW]),
        has_own=torch.tensor([token is not None for token in own]),
        letters=torch.tensor(letter),
        shape=torch.tensor(shape),
        stand_ins=torch.tensor([*stand_ins, PAD_ID]),
    )


def refine_vocabulary(base_map: Tensor, vocabulary: Vocabulary) -> tuple[Vocabulary, Tensor]:
    """A vocabulary in which two ids share a row only if they do in the base and in ``vocabulary``.

    Args:
        base_map: ``(50257,)`` int64, the row of each id in a pretrained base.

    Returns:
        The vocabulary of R rows, and ``(R,)`` int64, the row of the base that each starts from.
    """
    pairs = torch.stack([base_map, vocabulary.token_map], dim=1)
    # Sorted by the base's rows; its first one is the padding's, so PAD_ROW stays.
    rows, token_map = torch.unique(pairs, dim=0, return_inverse=True)
    of_base, of_data = rows.unbind(dim=1)
    refined = Vocabulary(
        token_map=token_map,
        has_own=vocabulary.has_own[of_data],
        letters=vocabulary.letters[of_data],
        shape=vocabulary.shape[of_data],
        stand_ins=vocabulary.stand_ins,
    )
    return refined, of_base
