"""Encodings of the input: which are read as they are, and which by way of UTF-8.

UTF-8 is read as it is. So is every encoding that adds 128 characters of one byte to ASCII
(latin-1, cp1252, ...): in it a delimiter, a quote or a line end is always the same byte as in
ASCII. Such input is never changed; only the message is decoded.

All other encodings (UTF-16, Shift-JIS, GBK, ...) are converted to UTF-8 when they are read and
back when rows are written. Each piece is converted back at once and compared with the input. If
it differs, that is an error, so no byte changes silently.
"""

import codecs
import contextlib
from dataclasses import dataclass
from functools import cached_property

from batch.errors import BrokenInputError, InputError, UsageError
from batch.reading.byte_stream import ByteStream, read_some

# An encoding with a byte order mark, and the two encodings that the mark decides between.
BYTE_ORDERS = {"utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}
# To be tried in this order: the mark of UTF-32 begins with that of UTF-16.
MARKS = {
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# For ASCII text: name, bytes of a character, index of the byte that is not NUL, and the least
# share of the other bytes that must be NUL.
_SHAPES = (
    ("utf-32-le", 4, 0, 0.75),
    ("utf-32-be", 4, 3, 0.75),
    ("utf-16-le", 2, 0, 0.5),
    ("utf-16-be", 2, 1, 0.5),
)
# The meaning of their bytes depends on those before, so a piece cannot be converted back alone.
_STATEFUL = ("hz", "idna", "iso2022", "punycode", "raw_unicode_escape", "unicode_escape", "utf-7")


@dataclass(frozen=True)
class Encoding:
    """The value of ``--encoding``, by the name of its codec in Python."""

    name: str = "utf-8"

    @cached_property
    def is_transcoded(self) -> bool:
        """True if the input is read by way of UTF-8, false if it is read as it is."""
        return self.name != "utf-8" and not _adds_to_ascii(self.name)

    @property
    def codec(self) -> str:
        """The encoding of the records, which a reader gets and a writer returns."""
        return "utf-8" if self.is_transcoded else self.name

    def decode(self, data: bytes) -> str:
        """The text of bytes of a record; bytes that are not valid become U+FFFD."""
        return data.decode(self.codec, "replace")

    def encode(self, text: str) -> bytes:
        """A text of ours as bytes of a record.

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
    # Every pair of high bytes: in a double-byte encoding many of them would be one character.
    pairs = bytes(byte for a in range(128, 256) for b in range(128, 256) for byte in (a, b))
    return len(pairs.decode(name, "replace")) == len(pairs)


def find_byte_order(name: str, head: bytes, encoding: Encoding) -> Encoding:
    """``encoding`` with its byte order, from the mark at the start of the input.

    Raises:
        InputError: there is neither a mark nor an order in ``encoding``, or they differ.
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
    """The name of the encoding if the input that starts with ``head`` is in UTF-16 or UTF-32."""
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


class Transcoder:
    """The bytes of a stream in another encoding, as UTF-8; a byte order mark becomes U+FEFF.

    Raises, in ``read``:
        BrokenInputError: bytes are not valid, or are not the same when they are converted back.
    """

    def __init__(self, name: str, stream: ByteStream, encoding: Encoding):
        self._name, self._stream, self._encoding = name, stream, encoding.name
        self._decoder = codecs.getincrementaldecoder(encoding.name)()
        self._done = 0  # bytes of the stream that were converted
        self._fault: BrokenInputError | None = None  # raised after the text before it

    def read(self, n: int) -> bytes:
        """Up to three times ``n`` bytes, since UTF-8 may be longer; ``b""`` only at the end."""
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
            "type the right --encoding, or repair the input"
        )


def _count_same(text: str, data: bytes, encoding: str) -> int:
    """How many bytes of ``data`` are the same once ``text``, its decoded form, is encoded."""
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
