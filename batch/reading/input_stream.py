"""An input as text: decompressed and, where its encoding needs it, converted to UTF-8.

A compressed stream that ends early or is damaged is an error, never the end of the input. An
input that is not text (a workbook, a zip archive, UTF-16 without ``--encoding``) is an error
that tells the user what to type instead.
"""

from collections.abc import Callable

from batch.errors import BrokenInputError, InputError
from batch.reading.byte_stream import ByteStream, read_some
from batch.reading.compression import READ_SIZE, Compression, DecompressedStream, find_compression
from batch.reading.encoding import (
    UTF_8,
    Encoding,
    Transcoder,
    detect_encoding,
    find_byte_order,
)
from batch.reading.foreign import describe_foreign

HEAD_SIZE = 4096  # bytes by which a stream is recognised


class _Headed:
    """A stream with bytes put before it, which were read from it already, and perhaps an error."""

    def __init__(self, head: bytes, stream: ByteStream, error: Exception | None = None):
        self._head, self._stream, self._error = head, stream, error

    def read(self, n: int) -> bytes | None:
        if self._head:
            found, self._head = self._head[:n], self._head[n:]
            return found
        if self._error:
            raise self._error
        return self._stream.read(n)


class InputStream:
    """The text of a file, decompressed and in an encoding that contains ASCII.

    The first ``read`` finds out how the file is compressed.

    Args:
        name: of the file, for messages.
        open_at: returns the bytes of the file from an offset on. It is called once, for 0, if
            ``offset`` is 0.
        encoding: of the text.
        offset: where to begin, in bytes of what ``read`` returns.

    Attributes:
        encoding: after the first ``read``, with the byte order.
        compression: after the first ``read``, that of the file; None if it has none.

    Raises, in ``read``:
        InputError: the file is not text, is in another encoding, cut off, or damaged.
    """

    def __init__(
        self,
        name: str,
        open_at: Callable[[int], ByteStream],
        encoding: Encoding = UTF_8,
        offset: int = 0,
    ):
        self.name, self.encoding = name, encoding
        self.compression: Compression | None = None
        self._open_at, self._offset = open_at, offset
        self._stream: ByteStream | None = None

    def read(self, n: int) -> bytes:
        """Up to about ``n`` bytes, and ``b""`` only at the end."""
        if self._stream is None:
            self._stream = self._begin()
        return read_some(self._stream, n)

    def peek(self, n: int) -> bytes:
        """The next ``n`` bytes, which stay the next ones; fewer only before the end or an error.

        An error behind the first byte is raised by the :meth:`read` that comes to it.
        """
        if self._stream is None:
            self._stream = self._begin()
        head, fault = bytearray(), None
        try:
            while len(head) < n and (chunk := read_some(self._stream, n - len(head))):
                head += chunk
        except Exception as error:
            if not head:
                raise
            fault = error
        self._stream = _Headed(bytes(head), self._stream, fault)
        return bytes(head[:n])

    def restore(self, data: bytes) -> bytes:
        """Whole rows, which are in ``encoding.codec``, in the encoding of the file."""
        if not self.encoding.is_transcoded:
            return data
        return data.decode("utf-8").encode(self.encoding.name)

    def _begin(self) -> ByteStream:
        stream = self._open_at(0)
        head = _read_head(stream)
        stream = _Headed(head, stream)
        self.compression = find_compression(head)
        if self.compression:
            stream = DecompressedStream(self.name, stream, self.compression)
            head = _read_head(stream)
            if inner := find_compression(head):
                raise InputError(
                    f"{self.name}: holds {inner.name} data within {self.compression.name}; "
                    "decompress it once first"
                )
            stream = _Headed(head, stream)
        check_is_text(self.name, head, self.encoding)
        if self.encoding.is_transcoded:
            self.encoding = find_byte_order(self.name, head, self.encoding)
            stream = Transcoder(self.name, stream, self.encoding)
        elif self._offset and not self.compression:
            return self._open_at(self._offset)
        return self._skip(stream)

    def _skip(self, stream: ByteStream) -> ByteStream:
        left = self._offset
        while left:
            found = read_some(stream, min(left, READ_SIZE))
            if not found:
                raise InputError(f"{self.name}: ends before byte offset {self._offset:,}")
            if len(found) > left:  # the transcoder may return more
                stream = _Headed(found[left:], stream)
            left -= min(left, len(found))
        return stream


def _read_head(stream: ByteStream) -> bytes:
    head = b""
    try:
        while len(head) < HEAD_SIZE and (chunk := read_some(stream, HEAD_SIZE - len(head))):
            head += chunk
    except BrokenInputError:  # the next read raises it again
        if not head:
            raise
    return head


def check_is_text(name: str, head: bytes, encoding: Encoding = UTF_8) -> None:
    """Refuse an input that is not text in ``encoding``, by its first bytes.

    Raises:
        InputError: it is of another kind, see :func:`describe_foreign`, or UTF-16 or UTF-32
            without ``--encoding``.
    """
    if what := describe_foreign(name, head):
        raise InputError(f"{name}: {what}")
    found = detect_encoding(head)
    if found and not encoding.name.startswith(found[:6]):
        raise InputError(f"{name}: looks like {found}; type: --encoding {found}")
