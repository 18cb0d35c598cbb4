"""A scratch folder for a benchmark; the next benchmark removes what a killed one left."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from batch.errors import OutputError
from batch.writing.lock import acquire_lock

PREFIX = "spam-batch-benchmark-"
LOCK = f"{PREFIX}lock"  # an empty file that is locked while its benchmark runs


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder in the system's folder for temporary files, removed after the block."""
    for stale in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_stale(stale)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        lock = acquire_lock(Path(name) / LOCK)
        try:
            yield Path(name)
        finally:
            os.close(lock)


def _remove_stale(folder: Path) -> None:
    """Remove a folder of the same user that has our lock, if no benchmark holds that."""
    lock = folder / LOCK
    with contextlib.suppress(OSError, OutputError):
        is_ours = folder.stat(follow_symlinks=False).st_uid == os.geteuid()
        if not is_ours or folder.is_symlink() or lock.is_symlink() or not lock.is_file():
            return
        descriptor = acquire_lock(lock)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
