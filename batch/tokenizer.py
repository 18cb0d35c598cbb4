"""GPT-2's byte-pair encoding, read from a local file.

The one function that turns text into ids: training, export and serving all
call :meth:`Tokenizer.encode`.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from pathlib import Path

from batch.errors import BundleError

PAD_ID = 50256  # <|endoftext|>; encode never yields it

# Splits text into the pieces within which byte pairs merge. GPT-2's pattern,
# with possessive quantifiers (openai/tiktoken, tiktoken_ext/openai_public.py).
PIECE_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

LONGEST_TOKEN = 128  # bytes; the longest of GPT-2's tokens

# Unicode White_Space, which is what \\s means in PIECE_PATTERN.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD_END = re.compile(f"[^{_SPACE}](?=[{_SPACE}])")
_LONG_GAP = re.compile(f"[{_SPACE}]{{1000,}}")


def read_ranks(data: bytes) -> dict[bytes, int]:
    """Parse a ``.tiktoken`` file: one ``base64(token bytes) rank`` a line.

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
    """Text to token ids, as GPT-2 does it; safe to share between threads."""

    def __init__(self, ranks: dict[bytes, int]):
        import tiktoken  # slow to import; a command that only prints help has no use for it

        self._encoding = tiktoken.Encoding(
            name="gpt2",
            explicit_n_vocab=PAD_ID + 1,
            pat_str=PIECE_PATTERN,
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": PAD_ID},
        )

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read ``gpt2.tiktoken`` from disk; nothing is downloaded or cached."""
        return cls(read_ranks(Path(path).read_bytes()))

    def encode(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Token ids of ``text``, the first ``max_tokens`` of them if that is given.

        Special-token text such as ``<|endoftext|>`` is ordinary text here.

        >>> tokenizer.encode("Do you have time")
        [5211, 345, 423, 640]
        """
        if max_tokens is not None:
            text = sufficient_prefix(text, max_tokens)
        if len(text) < 1000:
            return self._encoding.encode_ordinary(text)[:max_tokens]
        ids: list[int] = []
        for part in split_long_gaps(text):
            ids += self._encoding.encode_ordinary(part)
        return ids[:max_tokens]

    def encode_all(self, texts: Iterable[str], max_tokens: int | None = None) -> list[list[int]]:
        """:meth:`encode` of each text."""
        return [self.encode(text, max_tokens) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; a cut character becomes U+FFFD."""
        return self._encoding.decode(list(ids), errors="replace")


def sufficient_prefix(text: str, tokens: int) -> str:
    """A prefix of ``text`` whose first ``tokens`` token ids are those of the whole.

    A piece never runs from a character that is not white space into one that
    is, and only white space looks ahead. So where a word ends the text can be
    cut: the ids left of the cut stay what they were. As no token is longer than
    :data:`LONGEST_TOKEN` bytes, the first word end after that many characters a
    token leaves enough of them.
    """
    enough = tokens * LONGEST_TOKEN
    if len(text) <= enough:
        return text
    match = _WORD_END.search(text, enough)
    return text[: match.end()] if match else text


def split_long_gaps(text: str) -> list[str]:
    """Cut ``text`` so that no part has a very long white-space run before a word.

    The pattern backtracks over such a run, and tiktoken 0.14 overflows its
    stack on a million spaces. All of a run but its last character is one piece,
    so encoding the parts one by one gives the ids of the whole.
    """
    parts, start = [], 0
    for match in _LONG_GAP.finditer(text):
        if match.end() < len(text):
            parts += [text[start : match.start()], text[match.start() : match.end() - 1]]
            start = match.end() - 1
    return [*parts, text[start:]]
