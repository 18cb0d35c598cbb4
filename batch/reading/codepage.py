"""Texts that are not UTF-8 although the input is read so, or were encoded twice: how many."""

import codecs
import re
from collections.abc import Sequence

from batch.messages import count
from batch.reading.byte_stream import ByteStream, read_some
from batch.reading.record import Record

_RUN = re.compile(rb"[\x80-\xff]+")
_SIGNS = "£€¢¥§©®°·´¨…–—‘’‚“”„«»‹›¿¡•™ \xa0"  # beside letters, in cp1252
SAMPLE = 100  # texts by which the encoding is guessed
# UTF-8 that was read as cp1252 and written as UTF-8 again: the bytes of "Ã©", "Â£", "â€™".
_TWICE = re.compile(
    rb"\xc3[\x82\x83](?:\xc2[\x80-\xbf]|\xe2[\x80-\x84]|[\xc5\xc6\xcb])"
    rb"|\xc3\xa2\xe2\x82\xac|\xc3\xb0\xc5\xb8"
)
# Undoes it, from standard input; a byte that cp1252 has no character for is kept as it is.
UNDO_TWICE = (
    'python3 -c \'import sys; [sys.stdout.buffer.write(c.encode("cp1252", "ignore") or '
    'c.encode("latin-1")) for line in open(0, encoding="utf-8", newline="") for c in line]\' <'
)
_SIGNS_OF_TWICE = (b"\xc3\x82", b"\xc3\x83", b"\xc3\xa2\xe2\x82\xac", b"\xc3\xb0\xc5\xb8")


class Utf8Check:
    """Counts the texts that are not UTF-8, and those that are UTF-8 of UTF-8."""

    def __init__(self) -> None:
        self._has_utf8 = False  # some bytes that are not ASCII are UTF-8
        self._bad, self._first_line = 0, 0
        self._sample: list[bytes] = []
        self._twice, self._first_twice = 0, 0
        self._can_undo = True  # each text that is not ASCII was encoded twice

    def look_at(self, records: Sequence[Record]) -> None:
        """Count the records whose text is not UTF-8, or is UTF-8 of UTF-8."""
        for record in records:
            text = record.text
            if not text or text.isascii():
                continue
            try:
                decoded = text.decode("utf-8", "surrogatepass")
                self._has_utf8 = True
                if _TWICE.search(text):
                    self._twice += 1
                    self._first_twice = self._first_twice or record.line
                self._can_undo = self._can_undo and _was_encoded_twice(decoded)
            except UnicodeDecodeError:
                self._bad += 1
                self._first_line = self._first_line or record.line
                if len(self._sample) < SAMPLE:
                    self._sample.append(text)

    def warnings(self, advice: str, undo: str, unit: str = "line") -> list[str]:
        """A sentence if texts were not UTF-8, and one if texts were encoded twice.

        Args:
            advice: what to type if they are in cp1252.
            undo: what to type if all of them were encoded twice.
            unit: what a record's number counts.
        """
        found = [self._warn_of_others(advice, unit)] if self._bad else []
        if self._twice:
            what = "looks" if self._twice == 1 else "look"
            found.append(
                f"{count(self._twice, 'text')} {what} as if UTF-8 was read as cp1252 and written "
                f"as UTF-8 again, first in {unit} {self._first_twice}; "
                + (f"type: {undo}" if self._can_undo else "other texts do not; export them anew")
            )
        return found

    def _warn_of_others(self, advice: str, unit: str) -> str:
        has = "has" if self._bad == 1 else "have"
        found = (
            f"{count(self._bad, 'text')} {has} bytes that are not UTF-8 and are read as U+FFFD, "
            f"first in {unit} {self._first_line}"
        )
        if self._has_utf8:
            return f"{found}; other texts are UTF-8, so these are damaged, or of another source"
        if _is_cp1252(self._sample):
            return f"{found}; each byte is a letter in cp1252; type: {advice}"
        return f"{found}; type the right --encoding, for example cp1251 or gb18030"


class CheckedStream(Utf8Check):
    """The bytes of a stream, which are checked in whole blocks.

    Only from the first block on that is not UTF-8, or has bytes of text that was encoded twice,
    the texts are checked one by one.
    """

    def __init__(self, stream: ByteStream):
        super().__init__()
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._is_valid = self._is_once = True

    def read(self, n: int) -> bytes:
        """See :class:`ByteStream`."""
        chunk = read_some(self._stream, n)
        if self._is_valid:
            try:
                self._has_utf8 |= not self._decode(chunk, not chunk).isascii()
            except UnicodeDecodeError:
                self._is_valid = False
        if self._is_once and not chunk.isascii():
            self._is_once = not any(sign in chunk for sign in _SIGNS_OF_TWICE)
            self._can_undo = self._can_undo and not self._is_once
        return chunk

    def look_at(self, records: Sequence[Record]) -> None:
        """See :meth:`Utf8Check.look_at`."""
        if not (self._is_valid and self._is_once):
            super().look_at(records)


def _was_encoded_twice(text: str) -> bool:
    """True if the text is UTF-8 again after what :data:`UNDO_TWICE` does."""
    try:
        b"".join(c.encode("cp1252", "ignore") or c.encode("latin-1") for c in text).decode("utf-8")
    except UnicodeError:
        return False
    return True


def _is_cp1252(texts: Sequence[bytes]) -> bool:
    """True if the bytes are single letters of cp1252 between those of ASCII.

    In Cyrillic, Greek or Chinese text most of these bytes stand in a row.
    """
    runs = [run for text in texts for run in _RUN.findall(text)]
    try:
        letters = b"".join(runs).decode("cp1252")
    except UnicodeDecodeError:
        return False
    alone = sum(len(run) < 3 for run in runs)
    return 2 * alone > len(runs) and all(c.isalpha() or c in _SIGNS for c in letters)
