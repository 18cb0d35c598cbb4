"""Write a file whole or not at all: beside its target, under a lock, then renamed."""

import fcntl
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
from batch.writing.lock import check_lock

logger = logging.getLogger("trainer")


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """Hold the lock of ``target`` and give an empty folder beside it for the time of a block.

    A second caller, in any process, waits. What a killed run left is removed.

    Raises:
        OutputError: the folder of ``target`` cannot be made or written.
        StorageError: an ``OSError`` left the block, for instance a full disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock_path = target.with_name(f".{target.name}.lock")
        lock = _lock(lock_path, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be created: {error.strerror or error}") from error
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        ours = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.part")
        for stale in list(target.parent.iterdir()):
            # We hold the lock, so nobody is writing there any more.
            if ours.fullmatch(stale.name) and stale.is_dir() and not stale.is_symlink():
                shutil.rmtree(stale)
        folder.mkdir()
        yield folder
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock_path.unlink(missing_ok=True)
        os.close(lock)


def _lock(path: Path, target: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            check_lock(path, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another run that fetches %s", target.name)
                fcntl.flock(handle, fcntl.LOCK_EX)
            # The holder before us may have removed the file that we opened.
            if path.exists() and os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass  # removed between the two calls
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def publish(written: Path, target: Path) -> None:
    """Sync ``written`` (same filesystem) and rename it to ``target``.

    What has that name already is somebody's, or is damaged: it is kept under another one.
    """
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    _set_aside(target, written)
    os.replace(written, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _set_aside(target: Path, written: Path) -> None:
    if not target.is_file() or filecmp.cmp(target, written, shallow=False):
        return
    number = 1
    while os.path.lexists(kept := target.with_name(f"{target.name}.{number}")):
        number += 1
    os.rename(target, kept)
    logger.warning("%s was not what is published; it was kept as %s", target, kept.name)


def write_whole(data: bytes, target: Path, scratch: Path) -> None:
    """Publish ``data`` as ``target``; ``scratch`` is the folder that its workspace gave."""
    (scratch / "out").write_bytes(data)
    publish(scratch / "out", target)
