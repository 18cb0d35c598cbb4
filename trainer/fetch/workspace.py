"""Write a file completely or not at all: beside its target, under a lock, then renamed."""

import filecmp
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.errors import OutputError, StorageError
from batch.writing.atomic import make_folders, remove_empty, sync_folder
from batch.writing.lock import acquire_lock

logger = logging.getLogger("trainer")


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """Hold the lock of ``target`` during a block and give it an empty folder beside it.

    A second caller, in any process, waits. Folders that a killed run left are removed.

    Raises:
        OutputError: the folder of ``target`` cannot be created or written.
        StorageError: the block raised an ``OSError``, for example because the disk is full.
    """
    try:
        made = make_folders(target.parent)
        lock = target.with_name(f".{target.name}.lock")
        descriptor = _wait_for_lock(lock, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be created: {error.strerror or error}") from error
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        ours = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.part")
        for stale in list(target.parent.iterdir()):
            # This process holds the lock, so no other one writes there now.
            if ours.fullmatch(stale.name) and stale.is_dir() and not stale.is_symlink():
                shutil.rmtree(stale)
        folder.mkdir()
        yield folder
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)
        remove_empty(made)  # if nothing was fetched


def _wait_for_lock(lock: Path, target: Path) -> int:
    try:
        return acquire_lock(lock, 0o666)
    except BlockingIOError:
        logger.info("waiting for another run that is downloading %s", target.name)
        return acquire_lock(lock, 0o666, wait=True)


def publish(written: Path, target: Path) -> None:
    """Sync ``written``, which is on the same filesystem, and rename it to ``target``.

    A file that has that name already may be the user's: it is kept under another name.
    """
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    _set_aside(target, written)
    os.replace(written, target)
    sync_folder(target.parent)


def _set_aside(target: Path, written: Path) -> None:
    if not target.is_file() or filecmp.cmp(target, written, shallow=False):
        return
    number = 1
    while os.path.lexists(kept := target.with_name(f"{target.name}.{number}")):
        number += 1
    os.rename(target, kept)
    logger.warning("%s was not what is published; it was kept as %s", target, kept.name)


def write_whole(data: bytes, target: Path, scratch: Path) -> None:
    """Publish ``data`` as ``target``; ``scratch`` is the folder that ``workspace`` gave."""
    (scratch / "out").write_bytes(data)
    publish(scratch / "out", target)
