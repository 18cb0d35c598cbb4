"""A file's contents, by which they are known again: size and SHA-256, and when it was written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fingerprint:
    """A file's contents. With its size and time the same they are taken to be, too."""

    name: str | None  # None: it came through a pipe
    size: int  # bytes
    mtime_ns: int | None
    sha256: str
