"""Open an input by its name: a local file, standard input, or a file of a store."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batch.errors import MissingInputError
from batch.reading.fingerprint import Fingerprint
from batch.reading.remote import RemoteSource, hash_remote, is_uri, open_remote, stat_remote
from batch.reading.source import STANDARD_INPUT, Source


@contextlib.contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Open a file, or standard input for ``-``.

    Raises:
        MissingInputError: it is missing, a folder, or cannot be read.
    """
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise MissingInputError("standard input is closed")
        # Raw, since a buffered read would wait until the buffer is full.
        buffer: Any = sys.stdin.buffer
        yield Source(name, getattr(buffer, "raw", buffer))
        return
    if is_uri(name):
        with open_remote(name) as remote_file:
            yield RemoteSource(name, remote_file)
        return
    if os.path.isdir(name):
        raise MissingInputError(f"{name} is a folder; give the name of a file")
    try:
        file = open(name, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise MissingInputError(f"cannot read {name}: {error.strerror}") from None
    with file:
        yield Source(name, file)


def take_fingerprint(path: str | Path, name: str | None = None) -> Fingerprint:
    """The fingerprint of a file, all of which is read.

    Args:
        name: stored in the fingerprint in place of ``path``.

    Raises:
        OSError: a local file cannot be read.
        MissingInputError: a file of a store cannot be read.
    """
    shown = name or str(path)
    if is_uri(str(path)):
        return Fingerprint(shown, *stat_remote(str(path)), hash_remote(str(path)))
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Fingerprint(shown, found.st_size, found.st_mtime_ns, digest)


def still_has(path: str | Path, known: Fingerprint) -> bool:
    """True if the contents of the file are still ``known``. Only if its time differs it is read."""
    try:
        if is_uri(str(path)):
            size, mtime_ns = stat_remote(str(path))
        else:
            found = os.stat(path)
            size, mtime_ns = found.st_size, found.st_mtime_ns
        if size != known.size:
            return False
        return mtime_ns == known.mtime_ns or take_fingerprint(path).sha256 == known.sha256
    except (OSError, MissingInputError):
        return False
