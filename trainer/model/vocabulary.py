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
    texts = [tokenizer.decode([token]) for token in range(PAD_ID)]
    letters = [text.strip().casefold() for text in texts]
    shapes = [token_shape(text) for text in texts]
    tokens_seen: Counter[int] = Counter()  # messages that have the token
    letters_seen: Counter[str] = Counter()
    for message in messages:
        distinct = {token for token in message if token != PAD_ID}
        tokens_seen.update(distinct)
        letters_seen.update({letters[token] for token in distinct})

    letter_numbers, shape_numbers = {"": 0}, {"padding": 0}
    # The vectors of a row: its own token or None, number of letters, number of shape.
    rows: dict[tuple[int | None, int, int], int] = {(PAD_ID, 0, 0): PAD_ROW}
    token_map = []
    for token in range(PAD_ID):
        shared = letters[token] if letters_seen[letters[token]] >= min_count else ""
        key = (
            token if tokens_seen[token] >= min_count else None,
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
