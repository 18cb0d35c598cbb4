"""Texts that are not UTF-8 although the input is read as UTF-8: how many, and what they are."""

import codecs
import re
from collections.abc import Sequence

from batch.messages import count
from batch.reading.byte_stream import ByteStream, read_some
from batch.reading.records import Record

_RUN = re.compile(rb"[\x80-\xff]+")
_SIGNS = "£€¢¥§©®°·´¨…–—‘’‚“”„«»‹›¿¡•™ \xa0"  # beside letters, in cp1252
SAMPLE = 100  # texts by which the encoding is guessed


class Utf8Check:
    """Counts the texts that are not UTF-8."""

    def __init__(self) -> None:
        self._has_utf8 = False  # some bytes that are not ASCII are UTF-8
        self._bad, self._first_line = 0, 0
        self._sample: list[bytes] = []

    def look_at(self, records: Sequence[Record]) -> None:
        """Count the records whose text is not UTF-8."""
        for record in records:
            text = record.text
            if not text or text.isascii():
                continue
            try:
                text.decode("utf-8", "surrogatepass")
                self._has_utf8 = True
            except UnicodeDecodeError:
                self._bad += 1
                self._first_line = self._first_line or record.line
                if len(self._sample) < SAMPLE:
                    self._sample.append(text)

    def warning(self, advice: str, unit: str = "line") -> str | None:
        """A sentence, if texts were not UTF-8.

        Args:
            advice: what to type if they are in cp1252.
            unit: what a record's number counts.
        """
        if not self._bad:
            return None
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

    Only from the first block on that is not UTF-8 the texts are checked one by one.
    """

    def __init__(self, stream: ByteStream):
        super().__init__()
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._is_valid = True

    def read(self, n: int) -> bytes:
        """See :class:`ByteStream`."""
        chunk = read_some(self._stream, n)
        if self._is_valid:
            try:
                self._has_utf8 |= not self._decode(chunk, not chunk).isascii()
            except UnicodeDecodeError:
                self._is_valid = False
        return chunk

    def look_at(self, records: Sequence[Record]) -> None:
        """See :meth:`Utf8Check.look_at`."""
        if not self._is_valid:
            super().look_at(records)


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
