"""Outputs that are written directly: standard output, pipes and devices."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

from batch.errors import OutputError
from batch.writing.atomic import storage_errors

STANDARD_OUTPUT = "-"


def is_stream(out: str) -> bool:
    """True for ``-`` and for a pipe or a device, which are written directly."""
    if out == STANDARD_OUTPUT:
        return True
    try:
        mode = os.stat(out).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextlib.contextmanager
def open_stream(out: str) -> Iterator[BinaryIO]:
    """Open standard output, a pipe or a device, unbuffered, for :func:`write_all`.

    Raises:
        OutputError: it cannot be opened.
        StorageError: an I/O error inside the block, such as a full disk.
    """
    if out == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        with storage_errors("standard output"):
            sys.stdout.flush()
            yield getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        return
    try:
        file = open(out, "wb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from None
    with storage_errors(out), file:
        yield file
