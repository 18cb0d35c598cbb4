"""GPT-2's byte-pair encoding, read from a local file.

Training, export and serving all turn text into ids with :class:`Tokenizer`.
"""

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch.errors import BundleError

PAD_ID = 50256  # <|endoftext|>; encode never returns it

# Splits text into pieces; byte pairs merge only within a piece. This is GPT-2's pattern
# with possessive quantifiers (openai/tiktoken, tiktoken_ext/openai_public.py).
PIECE_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

# The same pattern for texts without two white space characters in a row: it needs neither
# look-ahead nor backtracking, so it is faster.
SIMPLE_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s"

SEPARATOR = "<|endoftext|>"  # between texts that are encoded in one call
LONG_TEXT = 1000  # characters; a text of this length or more is encoded by itself
LONGEST_TOKEN = 128  # bytes; the longest of GPT-2's tokens

# Unicode White_Space, which is the meaning of \\s in PIECE_PATTERN.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD_END = re.compile(f"[^{_SPACE}](?=[{_SPACE}])")
_WIDE_SPACES = [*map(ord, re.findall(f"[{_SPACE}]", "".join(map(chr, range(0x80, 0x3001)))))]
_LONG_GAP = re.compile(f"[{_SPACE}]{{1000,}}")


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of N texts, one after the other.

    Attributes:
        ids: ``(S,)`` uint32; between two texts there may be ids that belong to neither.
        starts: ``(N,)`` int64, where each text begins in ``ids``.
        lengths: ``(N,)`` int64, the number of tokens of each text, after truncation.
        truncated: ``(N,)`` bool, whether the text has more tokens.
    """

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, number: int) -> np.ndarray:
        """The ids of one text."""
        start = self.starts[number]
        return self.ids[start : start + self.lengths[number]]

    @classmethod
    def join(cls, batches: Sequence["TokenBatch"]) -> "TokenBatch":
        """All texts, one batch after the other."""
        ends = np.cumsum([len(batch.ids) for batch in batches])
        starts = [
            batch.starts + end - len(batch.ids) for batch, end in zip(batches, ends, strict=True)
        ]
        return cls(
            np.concatenate([batch.ids for batch in batches]),
            np.concatenate(starts),
            np.concatenate([batch.lengths for batch in batches]),
            np.concatenate([batch.truncated for batch in batches]),
        )

    def take(self, rows: np.ndarray) -> "TokenBatch":
        """The texts with the numbers ``(R,)``."""
        return TokenBatch(self.ids, self.starts[rows], self.lengths[rows], self.truncated[rows])

    def pad(self, rows: np.ndarray, widths: np.ndarray, pad_id: int) -> np.ndarray:
        """Texts ``(R,)`` padded on the right to widths ``(R,)``: ``(sum of widths,)`` int64.

        The texts stand one after the other. Those of one width can be reshaped to a batch.
        """
        ends = np.cumsum(widths)
        steps = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - widths, widths)
        padded = np.full(len(steps), pad_id, dtype=np.int64)
        real = np.flatnonzero(steps < np.repeat(self.lengths[rows], widths))
        padded[real] = self.ids[np.repeat(self.starts[rows], widths)[real] + steps[real]]
        return padded


def read_ranks(data: bytes) -> dict[bytes, int]:
    """Parse a ``.tiktoken`` file: ``base64(token bytes) rank`` on each line.

    Raises:
        BundleError: a line has another form, or ranks are missing.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise BundleError(f"line {number} of the tokenizer file is not 'base64 rank'") from None
    if sorted(ranks.values()) != list(range(PAD_ID)):
        raise BundleError(
            f"the tokenizer file has {len(ranks):,} tokens; GPT-2's has {PAD_ID:,}, "
            f"with the ranks 0 to {PAD_ID - 1}"
        )
    return ranks


class Tokenizer:
    """GPT-2's tokenizer. Threads may share one."""

    def __init__(self, ranks: dict[bytes, int]):
        import tiktoken  # slow to import; a command that only prints help does not need it

        self._encoding, self._simple = (
            tiktoken.Encoding(
                name="gpt2",
                explicit_n_vocab=PAD_ID + 1,
                pat_str=pattern,
                mergeable_ranks=ranks,
                special_tokens={SEPARATOR: PAD_ID},
            )
            for pattern in (PIECE_PATTERN, SIMPLE_PATTERN)
        )

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read ``gpt2.tiktoken`` from disk. Nothing is downloaded or cached."""
        return cls(read_ranks(Path(path).read_bytes()))

    def encode(self, text: str, max_tokens: int | None = None) -> list[int]:
        """The first ``max_tokens`` token ids of ``text``; None: all.

        Special-token text such as ``<|endoftext|>`` is encoded as ordinary text.

        >>> tokenizer.encode("Do you have time")
        [5211, 345, 423, 640]
        """
        if max_tokens is not None:
            text = sufficient_prefix(text, max_tokens)
        if len(text) < LONG_TEXT:
            return self._encoding.encode_ordinary(text)[:max_tokens]
        ids: list[int] = []
        for part in split_long_gaps(text):
            ids += self._encoding.encode_ordinary(part)
        return ids[:max_tokens]

    def encode_all(self, texts: Iterable[str], max_tokens: int | None = None) -> list[list[int]]:
        """:meth:`encode` of each text."""
        return [self.encode(text, max_tokens) for text in texts]

    def encode_batch(self, texts: Sequence[str], max_tokens: int) -> TokenBatch:
        """:meth:`encode` of each text, truncated to ``max_tokens``, in one or two calls.

        The texts are joined with a special token. The encoder splits at special tokens first,
        so each text gets the ids that it has by itself. A text that is long, or contains the
        special token's text, is encoded by itself.
        """
        joined = SEPARATOR.join(texts)
        alone = {row for row, text in enumerate(texts) if len(text) >= LONG_TEXT}
        if joined.count(SEPARATOR) != len(texts) - 1:
            alone |= {row for row, text in enumerate(texts) if SEPARATOR in text}
        gaps = _find_gaps(joined, texts) - alone
        if not texts or not (alone or gaps):
            return self._encode_joined(self._simple, texts, joined, max_tokens)
        simple, with_gaps = list(texts), [texts[row] for row in sorted(gaps)]
        for row in (*gaps, *alone):
            simple[row] = ""
        parts = TokenBatch.join([
            self._encode_joined(self._simple, simple, SEPARATOR.join(simple), max_tokens),
            self._encode_joined(self._encoding, with_gaps, SEPARATOR.join(with_gaps), max_tokens),
            self._encode_alone([texts[row] for row in sorted(alone)], max_tokens),
        ])  # fmt: skip
        places = np.arange(len(texts))
        places[[*sorted(gaps), *sorted(alone)]] = len(texts) + np.arange(len(gaps) + len(alone))
        return parts.take(places)

    def _encode_joined(self, encoding, texts, joined: str, max_tokens: int) -> TokenBatch:
        try:
            ids = encoding.encode_to_numpy(joined, allowed_special={SEPARATOR})
        except UnicodeEncodeError:  # a lone surrogate, which no text read from a file has
            return self._encode_alone(texts, max_tokens)
        cuts = np.flatnonzero(ids == PAD_ID)
        starts = np.concatenate(([0], cuts + 1))[: len(texts)]
        lengths = np.concatenate((cuts, [len(ids)]))[: len(texts)] - starts
        return TokenBatch(ids, starts, np.minimum(lengths, max_tokens), lengths > max_tokens)

    def _encode_alone(self, texts: Sequence[str], max_tokens: int) -> TokenBatch:
        found = [self.encode(text, max_tokens + 1) for text in texts]
        lengths = np.array([len(ids) for ids in found], dtype=np.int64)
        ids = np.array([number for ids in found for number in ids], dtype=np.uint32)
        starts = np.cumsum(lengths) - lengths
        return TokenBatch(ids, starts, np.minimum(lengths, max_tokens), lengths > max_tokens)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; an incomplete character becomes U+FFFD."""
        return self._encoding.decode(list(ids), errors="replace")


def _find_gaps(joined: str, texts: Sequence[str]) -> set[int]:
    """Numbers of the texts with two white space characters in a row; ``joined`` is all of them.

    Comparing arrays of characters is faster than a regular expression.
    """
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    space = (codes == ord(" ")) | (codes - ord("\t") <= ord("\r") - ord("\t"))
    wide = np.flatnonzero(codes > 0x7F)
    space[wide] = np.isin(codes[wide], _WIDE_SPACES)
    places = np.flatnonzero(space[:-1] & space[1:])
    if not len(places):
        return set()
    ends = np.cumsum([len(text) + len(SEPARATOR) for text in texts])
    return set(np.searchsorted(ends, places, side="right").tolist())


def sufficient_prefix(text: str, tokens: int) -> str:
    """A prefix of ``text`` whose first ``tokens`` token ids are those of the whole.

    A piece never has white space after another character, and only white space
    looks ahead. So a text can be cut at the end of a word without a change of
    the ids before the cut. No token is longer than :data:`LONGEST_TOKEN` bytes.
    So the prefix ends at the first end of a word after ``tokens * LONGEST_TOKEN``
    characters.
    """
    enough = tokens * LONGEST_TOKEN
    if len(text) <= enough:
        return text
    match = _WORD_END.search(text, enough)
    return text[: match.end()] if match else text


def split_long_gaps(text: str) -> list[str]:
    """Cut ``text`` so that no part has a very long run of white space before a word.

    The pattern backtracks over such a run, and tiktoken 0.14 overflows its
    stack on a million spaces. A run without its last character is one piece,
    so encoding the parts one by one gives the ids of the whole text.
    """
    parts, start = [], 0
    for match in _LONG_GAP.finditer(text):
        if match.end() < len(text):
            parts += [text[start : match.start()], text[match.start() : match.end() - 1]]
            start = match.end() - 1
    return [*parts, text[start:]]


@functools.lru_cache(maxsize=1)
def make_tokenizer(ranks: bytes) -> Tokenizer:
    """The tokenizer of a ``.tiktoken`` file; the last one is kept, for a cascade's second model.

    Raises:
        BundleError: as :func:`read_ranks`.
    """
    return Tokenizer(read_ranks(ranks))
