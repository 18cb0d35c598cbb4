"""Replace an output, its rejects and its run manifest, so that a killed mending can be finished.

All three are written beside the old ones first. The output gets its name, then the rejects, then
the manifest. Whoever is killed in between leaves a new manifest without a name, which says what
output and what rejects belong to it.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from batch.errors import InputError, MissingInputError
from batch.reading.fingerprint import Fingerprint
from batch.run.run_manifest import RunManifest, read_manifest_file
from batch.writing.atomic import (
    LEFTOVER,
    remove_leftovers,
    storage_errors,
    sync_folder,
    temporary_name,
    uninterrupted,
    write_beside,
)
from batch.writing.names import REJECTS_START, manifest_path, rejects_path
from batch.writing.part_file import PartFile, is_written

_MANIFEST, _REJECTS = ".run", ".rejects"  # kinds of a temporary name


class Replacement:
    """The three files in the making.

    Args:
        target: path of the output.
        out: the output as the user typed it, for messages.
    """

    def __init__(self, target: Path, out: str):
        self._target, self._out = target, out
        remove_leftovers(target, keep=())
        with storage_errors(out):
            self._part = PartFile.create(target.with_name(temporary_name(target)), 0o600)
            shutil.copymode(target, self._part.path)
        self._rejects: PartFile | None = None

    def add(self, rows: bytes, rejects: bytes = b"") -> None:
        """Append rows of the output and of the rejects file.

        Raises:
            StorageError: they cannot be written.
        """
        with storage_errors(self._out):
            self._part.write(rows)
            if rejects and self._rejects is None:
                path = self._target.with_name(temporary_name(self._target, _REJECTS))
                self._rejects = PartFile.create(path, 0o600)
                self._rejects.write(REJECTS_START)
            if self._rejects:
                self._rejects.write(rejects)

    def publish(
        self, describe: Callable[[Fingerprint, Fingerprint | None], RunManifest]
    ) -> RunManifest:
        """Give the files their names; ``describe`` makes the manifest of the other two.

        Raises:
            StorageError: they cannot be written.
        """
        with storage_errors(self._out):
            rejects = None
            if self._rejects:
                rejects = _close(self._rejects, rejects_path(self._target).name)
            manifest = describe(_close(self._part, self._target.name), rejects)
            text = manifest.to_json().encode("ascii")
            path = write_beside(self._target, text, _MANIFEST, 0o600)
            shutil.copymode(manifest_path(self._target), path)
            with uninterrupted():
                os.replace(self._part.path, self._target)
                sync_folder(self._target.parent)
                _give_names(self._target, path, self._rejects.path if self._rejects else None)
        return manifest

    def drop(self) -> None:
        """Remove what was written, unless the output has its name already."""
        if not self._part.path.exists():
            return
        for part in filter(None, (self._part, self._rejects)):
            with contextlib.suppress(OSError):
                part.close()
                part.path.unlink()


def _close(part: PartFile, name: str) -> Fingerprint:
    part.sync()
    part.close()
    return Fingerprint(name, part.size, os.stat(part.path).st_mtime_ns, part.sha256)


def _give_names(target: Path, manifest: Path, rejects: Path | None) -> None:
    """The last steps: the output has its name already."""
    if rejects:
        os.replace(rejects, rejects_path(target))
    else:
        rejects_path(target).unlink(missing_ok=True)
    os.replace(manifest, manifest_path(target))
    sync_folder(target.parent)


def finish_killed(target: Path) -> RunManifest | None:
    """Finish a mending that was killed after the output got its name; None if none was.

    Raises:
        StorageError: the files cannot be renamed.
    """
    left = [path for path in target.parent.iterdir() if (m := LEFTOVER.fullmatch(path.name))
            and m[1] == target.name]  # fmt: skip
    for path in left:
        if not path.name.endswith(f"{_MANIFEST}.part"):
            continue
        try:
            manifest = read_manifest_file(path)
        except (InputError, MissingInputError):
            continue
        if not (manifest.mended and _has(target, manifest.output)):
            continue
        wanted, rejects = manifest.rejects, None
        if wanted and not _has(rejects_path(target), wanted):
            rejects = next((other for other in left if _has(other, wanted)), None)
            if rejects is None:
                continue
        with storage_errors(target):
            _give_names(target, path, rejects or (rejects_path(target) if wanted else None))
        return manifest
    return None


def _has(path: Path, wanted: Fingerprint) -> bool:
    return is_written(path, wanted.size, wanted.sha256)
