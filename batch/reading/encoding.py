"""Encodings of the input: read as its own bytes where ASCII stays ASCII, else by way of UTF-8.

In UTF-8 and in every encoding that adds 128 characters to ASCII, one byte each (latin-1,
cp1252, ...), a delimiter, quote or line end is the byte that it looks like: such input is
never changed, and only the message is decoded. All others (UTF-16, Shift-JIS, GBK, ...) are
turned into UTF-8 on the way in and back on the way out. Each piece is turned back at once and
compared, so what does not survive that is an error and no silent change.
"""

import codecs
import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from batch.errors import BrokenInputError, InputError, UsageError

# An encoding with a byte order mark, and the concrete ones that the mark stands for.
BYTE_ORDERS = {"utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}
# In the order in which they must be tried: UTF-32's begins with UTF-16's.
MARKS = {
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# Name, bytes of a character, which of them is ASCII's, how many of the others must be NUL.
_SHAPES = (
    ("utf-32-le", 4, 0, 0.75),
    ("utf-32-be", 4, 3, 0.75),
    ("utf-16-le", 2, 0, 0.5),
    ("utf-16-be", 2, 1, 0.5),
)
# Their bytes mean something else after an escape sequence, so a piece cannot be turned back alone.
_STATEFUL = ("hz", "idna", "iso2022", "punycode", "raw_unicode_escape", "unicode_escape", "utf-7")


@dataclass(frozen=True)
class Encoding:
    """What ``--encoding`` says, by Python's name for it."""

    name: str = "utf-8"

    @cached_property
    def is_transcoded(self) -> bool:
        """False where the input's own bytes are read."""
        return self.name != "utf-8" and not _adds_to_ascii(self.name)

    @property
    def codec(self) -> str:
        """The encoding of the bytes that a reader sees and a writer joins."""
        return "utf-8" if self.is_transcoded else self.name

    def decode(self, data: bytes) -> str:
        """Text of what a reader saw; what is not valid becomes U+FFFD."""
        return data.decode(self.codec, "replace")

    def encode(self, text: str) -> bytes:
        """Our own text, for the output.

        Raises:
            UsageError: the input's encoding has no such character.
        """
        try:
            text.encode(self.name)
            return text.encode(self.codec)
        except UnicodeEncodeError:
            raise UsageError(f"{text!r} cannot be written in {self.name}") from None


UTF_8 = Encoding()


def parse_encoding(value: str) -> Encoding:
    """The encoding of that name, in any of its spellings.

    Raises:
        UsageError: Python knows none, or it is not one that can be read here.
    """
    try:
        info = codecs.lookup(value)
        name = "utf-8" if info.name == "utf-8-sig" else info.name
        is_text = "a".encode(name).decode(name) == "a"
    except (LookupError, ValueError, TypeError, OSError):
        raise UsageError(
            f"--encoding: there is no {value!r}; for example utf-8, utf-16, latin-1, cp1252"
        ) from None
    if not is_text or name.startswith(_STATEFUL):
        raise UsageError(
            f"--encoding: {value!r} has bytes whose meaning depends on those before them; "
            "convert the input to UTF-8 first"
        )
    return Encoding(name)


def _adds_to_ascii(name: str) -> bool:
    ascii_bytes = bytes(range(128))
    if ascii_bytes.decode(name, "replace") != ascii_bytes.decode("ascii"):
        return False
    # Every pair of high bytes, each of which would be one character of a double-byte encoding.
    pairs = bytes(byte for a in range(128, 256) for b in range(128, 256) for byte in (a, b))
    return len(pairs.decode(name, "replace")) == len(pairs)


def find_byte_order(name: str, head: bytes, encoding: Encoding) -> Encoding:
    """``encoding`` with its byte order, from the mark at the start of the input.

    Raises:
        InputError: there is no mark and no order was given, or it is that of another.
    """
    family = next((key for key in BYTE_ORDERS if encoding.name.startswith(key)), None)
    if family is None:
        return encoding
    orders = BYTE_ORDERS[family]
    marked = next((order for order in orders if head.startswith(MARKS[order])), None)
    if encoding.name == family and marked is None:
        raise InputError(
            f"{name}: has no byte order mark; type: --encoding {orders[0]}, "
            f"or --encoding {orders[1]}"
        )
    if encoding.name in orders and marked not in (None, encoding.name):
        raise InputError(f"{name}: starts with the mark of {marked}; type: --encoding {marked}")
    return Encoding(marked or encoding.name)


def detect_encoding(head: bytes) -> str | None:
    """The name of the UTF-16 or UTF-32 that ``head``, the start of an input, is in, if it is."""
    for name, mark in MARKS.items():
        if head.startswith(mark):
            return name.removesuffix("-le").removesuffix("-be")
    start = head[:64]
    if len(start) < 8:
        return None
    # Without a mark: most characters of a header are ASCII, whose other bytes are NUL.
    for name, width, own, share in _SHAPES:
        others = bytes(byte for at, byte in enumerate(start) if at % width != own)
        if all(start[own::width]) and others.count(0) >= share * len(others):
            return name
    return None


def read_some(stream: BinaryIO, n: int) -> bytes:
    """Up to ``n`` bytes of a stream, and ``b""`` only at its end.

    Raises:
        BlockingIOError: it is non-blocking and has no bytes yet.
    """
    chunk = stream.read(n)
    if chunk is None:
        raise BlockingIOError("the input has no bytes yet and would not wait for them")
    return chunk


class Transcoder:
    """A binary stream of UTF-8, from one in another encoding; a mark becomes U+FEFF.

    Raises, in ``read``:
        BrokenInputError: bytes that are not valid, or do not come back the same, and where.
    """

    def __init__(self, name: str, stream: BinaryIO, encoding: Encoding):
        self._name, self._stream, self._encoding = name, stream, encoding.name
        self._decoder = codecs.getincrementaldecoder(encoding.name)()
        self._done = 0  # bytes of the stream that were turned into text
        self._fault: BrokenInputError | None = None  # raised after the text before it

    def read(self, n: int) -> bytes:
        """Up to three times ``n`` bytes, and ``b""`` only at the end."""
        while not self._fault:
            chunk = read_some(self._stream, n)
            data = self._decoder.getstate()[0] + chunk
            try:
                text = self._decoder.decode(chunk, final=not chunk)
                valid = len(data) - len(self._decoder.getstate()[0])
            except UnicodeDecodeError as error:
                valid = error.start
                text = data[:valid].decode(self._encoding)
                self._fault = self._refuse(self._done + valid)
            same = _count_same(text, data[:valid], self._encoding)
            if same < valid:
                self._fault = self._refuse(self._done + same)
                text = data[:same].decode(self._encoding)
            self._done += same
            if text or not (chunk or self._fault):
                return text.encode("utf-8")
        raise self._fault

    def _refuse(self, at: int) -> BrokenInputError:
        return BrokenInputError(
            f"{self._name}: byte offset {at}: not valid {self._encoding}; "
            "type the right --encoding, or mend the input"
        )


def _count_same(text: str, data: bytes, encoding: str) -> int:
    """How many of the bytes that ``text`` was decoded from it gives when it is encoded."""
    with contextlib.suppress(UnicodeEncodeError):
        if text.encode(encoding) == data:
            return len(data)
    at = 0
    for character in text:
        own = character.encode(encoding, "ignore")
        if not own or not data.startswith(own, at):
            break
        at += len(own)
    return at
