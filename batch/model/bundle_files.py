"""The files of a bundle, opened and checked against the manifest's sizes and hashes."""

import errno
import hashlib
import json
import mmap
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
CARD = "README.md"
EXTERNAL_SUFFIX = ".data"  # a large model's tensors are in a file with the model's name and this
RUN_CONFIG = "config.json"  # a run folder has this file, a bundle has not


@dataclass(frozen=True)
class FileEntry:
    """What the manifest records of one file."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class WatchedFile:
    """A file that is hashed and mapped into memory, not copied, so later writes are detected.

    Writing to a file changes its modification time, which the system keeps in nanoseconds.
    """

    path: Path
    descriptor: int  # stays open, so it refers to this file even after a rename or deletion
    status: os.stat_result
    entry: FileEntry

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.descriptor)

    def check_hash(self) -> None:
        """Compare the file's SHA-256 with the manifest's.

        Raises:
            BundleError: it differs, or the file cannot be read.
        """
        try:
            with open(self.descriptor, "rb", closefd=False) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be read: {error.strerror}") from None
        check_hash(self.path, found, self.entry)

    def map(self) -> mmap.mmap | bytes:
        """The bytes of the file, of which the system reads those that are looked at."""
        if not self.entry.size:
            return b""  # cannot be mapped
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)

    def check_in_place(self) -> None:
        """Check that nobody replaced or wrote to the file while it was mapped.

        Raises:
            BundleError: somebody did.
        """
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            found = None
        keys = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
        if any(getattr(found, key, None) != getattr(self.status, key) for key in keys):
            raise BundleError(f"{self.path}: was replaced while it was loaded; run again")

    def check_unchanged(self) -> None:
        """Check that nobody wrote to the file since it was opened.

        Raises:
            BundleError: somebody did.
        """
        found = os.fstat(self.descriptor)
        if (found.st_size, found.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise BundleError(
                f"{self.path}: was written to while it was in use, so the labels cannot be "
                "trusted; replace a bundle as a whole, and run again with --restart"
            )


def read_file(path: Path, limit: int) -> bytes:
    """The first ``limit + 1`` bytes of a regular file.

    Raises:
        FileNotFoundError: there is no such file.
        BundleError: it is a link or a device, has a second name, or cannot be read.
    """
    with open_file(path) as file:
        try:
            return file.read(limit + 1)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def open_file(path: Path) -> BinaryIO:
    """Open a file with the checks of :func:`read_file`, which also lists what is raised."""
    try:
        # Do not follow a link, and do not wait for the writer of a named pipe.
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


def read_checked(path: Path, entry: FileEntry) -> bytes:
    """The bytes of a file, after a check of their size and SHA-256.

    Raises:
        BundleError: they are others, or as :func:`read_file`.
    """
    try:
        data = read_file(path, entry.size)
    except FileNotFoundError:
        raise BundleError(f"{path}: is missing") from None
    check_size(path, len(data) if len(data) == entry.size else path.stat().st_size, entry)
    check_hash(path, hashlib.sha256(data).hexdigest(), entry)
    return data


def parse_object(path: Path, data: bytes) -> dict:
    """The JSON object of a file.

    Raises:
        BundleError: it is none.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: not JSON") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path}: not a JSON object")
    return values


def check_size(path: Path, size: int, entry: FileEntry) -> None:
    if size != entry.size:
        raise BundleError(f"{path}: has {size:,} bytes, {MANIFEST} says {entry.size:,}")


def check_hash(path: Path, found: str, entry: FileEntry) -> None:
    if found != entry.sha256:
        raise BundleError(f"{path}: SHA-256 is {found}, {MANIFEST} says {entry.sha256}")


def file_entries(folder: Path) -> Mapping[str, FileEntry]:
    """Hash and size of every file in a folder except the manifest, by name."""
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                entries[path.name] = FileEntry(found, os.fstat(file.fileno()).st_size)
    return entries
