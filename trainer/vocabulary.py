"""A smaller vocabulary for a model that is trained from nothing.

A message set of a thousand texts shows a few thousand of GPT-2's 50,257 tokens.
Rows of the embedding that no message ever trains would stay random. Here every
token outside the kept ones shares a trained row with those of its *shape*: three
digits, a capitalised word, punctuation. Text is still encoded with GPT-2's BPE:
the map from ids to rows is part of the model.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from batch.tokenizer import Tokenizer
from trainer.model import PAD_ID, VOCAB_SIZE

PAD_ROW = 0


@dataclass(frozen=True)
class Vocabulary:
    """Which row of the embedding each BPE id has.

    Attributes:
        token_map: ``(50257,)`` int64, the row of each id.
        rows: number of rows.
        stand_ins: ``(50257,)`` int64, an id whose row is that of the id's shape; training
            now and then puts it in the id's place, so that the shared rows learn too.
    """

    token_map: Tensor
    rows: int
    stand_ins: Tensor


def token_shape(text: str) -> str:
    """The shape of a token's text: leading space, kind of characters, length up to a limit.

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
    """Give ids that at least ``min_count`` messages hold a row each, the others one a shape."""
    counts = Counter(token for message in messages for token in set(message))
    kept = sorted(t for t, count in counts.items() if count >= min_count and t != PAD_ID)
    shapes = [token_shape(tokenizer.decode([token])) for token in range(PAD_ID)]
    shape_rows = {shape: row for row, shape in enumerate(sorted(set(shapes)), PAD_ROW + 1)}
    token_map = torch.tensor([shape_rows[shape] for shape in shapes] + [PAD_ROW])
    first_kept = PAD_ROW + 1 + len(shape_rows)
    token_map[torch.tensor(kept, dtype=torch.int64)] = torch.arange(
        first_kept, first_kept + len(kept)
    )

    rare: dict[str, int] = {}  # for each shape, the first id that is not kept
    is_kept = set(kept)
    for token, shape in enumerate(shapes):
        if token not in is_kept:
            rare.setdefault(shape, token)
    stand_ins = torch.tensor([rare.get(shape, t) for t, shape in enumerate(shapes)] + [PAD_ID])
    assert token_map.shape == stand_ins.shape == (VOCAB_SIZE,)
    return Vocabulary(token_map, first_kept + len(kept), stand_ins)
