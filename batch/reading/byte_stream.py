"""What every stage of reading takes and gives: an object with ``read(n)``."""

from typing import Protocol


class ByteStream(Protocol):
    """A file, or a stage that changes the bytes of another stream."""

    def read(self, n: int, /) -> bytes | None:
        """Some bytes, about ``n``, and ``b""`` only at the end; None: there are none yet."""


def read_some(stream: ByteStream, n: int) -> bytes:
    """About ``n`` bytes of a stream, and ``b""`` only at its end.

    Raises:
        BlockingIOError: the stream is non-blocking and has no bytes yet.
    """
    chunk = stream.read(n)
    if chunk is None:
        raise BlockingIOError("the input has no bytes yet and would not wait for them")
    return chunk
