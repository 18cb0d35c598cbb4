"""A file's contents, by which they are known again: size and SHA-256, and when it was written."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """A file's contents. With its size and time the same they are taken to be, too."""

    name: str | None  # None: it came through a pipe
    size: int  # bytes
    mtime_ns: int | None
    sha256: str
