"""What identifies the contents of a file: size and SHA-256."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """The contents of a file. They count as unchanged while its size and its time are the same."""

    name: str | None  # a path or a URI; None: the bytes came through a pipe
    size: int  # bytes
    mtime_ns: int | None  # time of the last change; None for a pipe
    sha256: str  # 64 hexadecimal digits
