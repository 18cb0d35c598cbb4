"""A file's contents, by which they are known again: size and SHA-256, and when it was written."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from batch.errors import MissingInputError


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

    @classmethod
    def of(cls, path: str | Path, name: str | None = None) -> "Fingerprint":
        """Read it all.

        Raises:
            OSError: it cannot be read.
            MissingInputError: the same, of a file in a store.
        """
        from batch.remote import hash_remote, is_uri, stat_remote  # which needs this module

        if is_uri(str(path)):
            return cls(name or str(path), *stat_remote(str(path)), hash_remote(str(path)))
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(name or str(path), found.st_size, found.st_mtime_ns, digest)

    def is_of(self, path: str | Path) -> bool:
        """True if ``path`` still has these contents; read only where its time is another."""
        from batch.remote import is_uri, stat_remote

        try:
            if is_uri(str(path)):
                size, mtime_ns = stat_remote(str(path))
            else:
                found = os.stat(path)
                size, mtime_ns = found.st_size, found.st_mtime_ns
            if size != self.size:
                return False
            return mtime_ns == self.mtime_ns or self.of(path).sha256 == self.sha256
        except (OSError, MissingInputError):
            return False
