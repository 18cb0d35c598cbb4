"""The files of a bundle, opened and checked against the manifest's sizes and hashes."""

import errno
import hashlib
import os
import stat
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batch.errors import BundleError

MANIFEST = "bundle.json"


TOKENIZER = "gpt2.tiktoken"


GOLDEN = "golden.json"


VERIFY = "verify.json"


EXTERNAL_SUFFIX = ".data"  # of the file that holds the tensors of a large model


RUN_CONFIG = "config.json"  # what a run folder has instead of a manifest


@dataclass(frozen=True)
class FileEntry:
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class WatchedFile:
    """A file whose bytes are hashed and mapped, not copied; did they stay what they were?

    Writing to a file changes its times, which the system keeps to the nanosecond.
    """

    path: Path
    descriptor: int  # kept open, so that it stays this file whatever becomes of its name
    status: os.stat_result
    entry: FileEntry

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.descriptor)

    def check_hash(self) -> None:
        """
        Raises:
            BundleError: its bytes are not what the manifest says, or cannot be read.
        """
        try:
            with open(self.descriptor, "rb", closefd=False) as file:
                found = hashlib.file_digest(file, "sha256")
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be read: {error.strerror}") from None
        _check_hash(self.path, found, self.entry)

    def check_in_place(self) -> None:
        """It had its name, and nobody wrote to it, while it was mapped.

        Raises:
            BundleError: it had not, or somebody did.
        """
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            found = None
        keys = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
        if any(getattr(found, key, None) != getattr(self.status, key) for key in keys):
            raise BundleError(f"{self.path}: was replaced while it was loaded; run again")

    def check_unchanged(self) -> None:
        """
        Raises:
            BundleError: somebody wrote to it.
        """
        found = os.fstat(self.descriptor)
        if (found.st_size, found.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise BundleError(
                f"{self.path}: was written to while it was in use, so the labels cannot be "
                "trusted; replace a bundle as a whole, and run again with --restart"
            )


def _read_file(path: Path, limit: int) -> bytes:
    """The first ``limit + 1`` bytes of a file that is nothing but a file of this folder.

    Raises:
        FileNotFoundError: it is not there.
        BundleError: it is a link, a device or the like, or cannot be read.
    """
    with _open_file(path) as file:
        try:
            return file.read(limit + 1)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def _open_file(path: Path) -> BinaryIO:
    """As :func:`_read_file`, before anything is read."""
    try:
        # Neither through a link, nor waiting for the writer of a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{path}: is not a regular file")
            if found.st_nlink > 1:
                raise BundleError(f"{path}: has another name elsewhere (a hard link); copy it")
            return open(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise BundleError(f"{path}: {reason}") from None


def _check_size(path: Path, size: int, entry: FileEntry) -> None:
    if size != entry.size:
        raise BundleError(f"{path}: has {size:,} bytes, {MANIFEST} says {entry.size:,}")


def _check_hash(path: Path, found, entry: FileEntry) -> None:
    if found.hexdigest() != entry.sha256:
        raise BundleError(f"{path}: SHA-256 is {found.hexdigest()}, {MANIFEST} says {entry.sha256}")


def file_entries(folder: Path) -> Mapping[str, FileEntry]:
    """Hash and size of every file of a folder but the manifest, by name."""
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                entries[path.name] = FileEntry(found, os.fstat(file.fileno()).st_size)
    return entries
