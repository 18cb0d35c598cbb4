"""GPT-2's BPE in its two forms: tiktoken's ranks, and ``vocab.bpe`` with ``encoder.json``.

Hugging Face has the second form under the names ``merges.txt`` and ``vocab.json``.
"""

import base64
import functools
import itertools
import json

from batch.errors import InputError
from batch.model.tokenizer import PAD_ID, SEPARATOR, read_ranks

# The published files show a byte as a character: printable bytes as themselves, the other bytes
# as the characters from 256 on.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
LETTERS = {byte: chr(byte) for byte in _PRINTABLE}
LETTERS |= {byte: chr(256 + index) for index, byte in enumerate(_OTHERS)}
_BYTES = {letter: byte for byte, letter in LETTERS.items()}


def merge_ranks(vocab_bpe: bytes, encoder_json: bytes) -> bytes:
    """The text of gpt2.tiktoken: ``base64(token bytes) rank`` in the order of ranks.

    The first 256 tokens are the bytes, printable ones first. Each merge adds one token.
    encoder.json must give every token the same rank. tiktoken has this function, too
    (``tiktoken/load.py``, ``data_gym_to_mergeable_bpe_ranks``), but there it writes a copy
    of both files to the folder for temporary files.

    Raises:
        InputError: the files are damaged or do not agree.
    """
    try:
        tokens = [bytes([byte]) for byte in (*_PRINTABLE, *_OTHERS)]
        for line in vocab_bpe.decode("utf-8").split("\n")[1:]:  # the first line is a version
            if line:
                left, right = line.split(" ")
                tokens.append(bytes(_BYTES[letter] for letter in left + right))
        ranks = {token: rank for rank, token in enumerate(tokens)}
        encoder = json.loads(encoder_json)
        end = encoder.pop(SEPARATOR, len(tokens))
        numbered = {bytes(_BYTES[c] for c in name): rank for name, rank in encoder.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("vocab.bpe or encoder.json is damaged") from error
    if end != len(tokens) or len(ranks) != len(tokens) or numbered != ranks:
        raise InputError("encoder.json does not agree with the merges of vocab.bpe")
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())


@functools.lru_cache(maxsize=1)  # it takes seconds
def split_ranks(ranks: bytes) -> tuple[bytes, bytes]:
    """The inverse of :func:`merge_ranks`: ``vocab.bpe`` and ``encoder.json`` of a gpt2.tiktoken.

    A token of rank R is made from the two tokens that the merges before R leave of its bytes.

    Raises:
        BundleError: ``ranks`` is not a gpt2.tiktoken.
    """
    rank_of = read_ranks(ranks)
    tokens = sorted(rank_of, key=rank_of.__getitem__)
    names = ["".join(LETTERS[byte] for byte in token) for token in tokens]
    lines = ["#version: 0.2"]
    for rank in range(256, len(tokens)):
        left, right = _merge_below(tokens[rank], rank, rank_of)
        lines.append(f"{names[rank_of[left]]} {names[rank_of[right]]}")
    encoder = {name: rank for rank, name in enumerate(names)} | {SEPARATOR: PAD_ID}
    return ("\n".join(lines) + "\n").encode(), json.dumps(encoder).encode()


def _merge_below(token: bytes, limit: int, rank_of: dict[bytes, int]) -> list[bytes]:
    """The parts of ``token`` after all merges with a rank below ``limit``, lowest first."""
    parts = [bytes([byte]) for byte in token]
    while True:
        pairs = [rank_of.get(left + right, limit) for left, right in itertools.pairwise(parts)]
        lowest = min(pairs, default=limit)
        if lowest >= limit:
            return parts
        at = pairs.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
