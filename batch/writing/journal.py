"""The output in the making: rows in part files, and a checkpoint of how many of them count.

At a commit point the data is synced first, then the checkpoint is replaced. What a part
file has beyond its checkpoint was never counted, and is cut off when a run goes on. The
names come last: rejects, then the output, so that who sees the new output sees its
rejects too; then the run manifest, whose predecessor went before; then the checkpoint goes.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batch.errors import InputError, OutputError, StorageError
from batch.messages import count
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import take_fingerprint
from batch.writing.atomic import (
    storage_errors,
    sync_folder,
    temporary_name,
    uninterrupted,
    write_beside,
)
from batch.writing.checkpoint import Checkpoint, Origin, read_checkpoint, write_checkpoint
from batch.writing.names import (
    REJECTS_START,
    checkpoint_path,
    manifest_path,
    rejects_path,
)
from batch.writing.part_file import PartFile, is_written
from batch.writing.progress import Progress

log = logging.getLogger("batch")


class Journal:
    """Rows and rejects on their way to ``target``; its lock must be held.

    Args:
        origin: what a later run must have in common to go on; None if none can.

    Attributes:
        progress: how far it is; replaced at each :meth:`add`.
        was_resumed: an interrupted run goes on.
    """

    def __init__(self, target: Path, out: str, origin: Origin | None):
        self.target, self.origin = target, origin
        self.progress = Progress()
        self.was_resumed = False
        self._out = out  # as it was typed
        self._part: PartFile | None = None
        self._rejects: PartFile | None = None
        self._committed: Progress | None = None
        self._is_sound = True  # nothing failed on the way to the disk
        self._is_finished = False  # the part file is the whole output

    def start(self, header: bytes, progress: Progress) -> None:
        """Begin a new part file.

        Raises:
            OutputError: it cannot be created.
        """
        self._remove_leftovers(keep=())
        path = self.target.with_name(temporary_name(self.target))
        try:
            self._part = PartFile.create(path, 0o666)
        except OSError as error:
            raise OutputError(f"cannot create a file in {path.parent}: {error.strerror}") from None
        self.add(progress, header, b"")

    def resume(self, restart: bool, drops_stale: bool = False) -> bool:
        """Go on from the checkpoint, if there is one; with ``restart``, remove it instead.

        With ``drops_stale``, remove one of another input, bundle, version or options.

        Raises:
            InputError: the checkpoint or a part file is damaged, or the input has changed.
            UsageError: an option has changed.
            BundleError: the bundle or this program has changed.
        """
        path = checkpoint_path(self.target)
        if restart:
            with storage_errors(path):
                path.unlink(missing_ok=True)
        saved = read_checkpoint(self.target)
        if saved is None:
            return False
        part = self.target.with_name(saved.part)
        is_published = self._is_published(saved, part)
        begun = f"{self._out}: an interrupted run is kept in {path}"
        try:
            if self.origin is None:
                raise InputError(
                    f"{begun}, which read {saved.origin.source.path}; go on with that input, or "
                    "start over with --restart"
                )
            saved.origin.check_same(self.origin, begun)
        except Exception:
            if not (is_published or drops_stale):
                raise
            if not is_published:
                stale = "what an interrupted run kept is out of date; starting over"
                log.info("%s: %s", self._out, stale)
            with storage_errors(path):  # of a run that had ended, only its checkpoint was left
                path.unlink()
            return False
        self.progress = self._committed = saved.progress
        self.was_resumed = True
        if is_published:
            self._is_finished = True
            return True
        self._reopen(part, saved.progress)
        return True

    def _is_published(self, saved: Checkpoint, part: Path) -> bool:
        done = saved.progress
        return (
            done.is_complete
            and not part.exists()
            and is_written(self.target, done.bytes, done.sha256)
        )

    def _reopen(self, part: Path, done: Progress) -> None:
        rejects = self._rejects_part(part)
        self._remove_leftovers(keep=(part, rejects) if done.reject_bytes else (part,))
        sums = (done.reject_bytes, done.reject_sha256)
        # Killed between the two renames: the rejects have their name.
        has_name = done.is_complete and is_written(rejects_path(self.target), *sums)
        if done.reject_bytes and (rejects.exists() or not has_name):
            self._rejects = PartFile.reopen(rejects, *sums)
        self._part = PartFile.reopen(part, done.bytes, done.sha256)

    @staticmethod
    def _rejects_part(part: Path) -> Path:
        return part.with_name(part.name.removesuffix(".part") + ".rejects.part")

    def add(self, progress: Progress, rows: bytes, rejects: bytes) -> None:
        """Write the rows of a window and its rejects; ``progress`` is what they amount to.

        Raises:
            StorageError: they cannot be written.
        """
        with self._writing():
            self._part.write(rows)
            if rejects:
                if self._rejects is None:
                    self._rejects = PartFile.create(self._rejects_part(self._part.path), 0o600)
                    self._rejects.write(REJECTS_START)
                self._rejects.write(rejects)
        self.progress = replace(
            progress,
            bytes=self._part.size,
            sha256=self._part.sha256,
            reject_bytes=self._rejects.size if self._rejects else 0,
            reject_sha256=self._rejects.sha256 if self._rejects else "",
        )

    def commit(self) -> None:
        """Make sure that a run which is killed from here on goes on from ``progress``.

        Raises:
            StorageError: the disk does not take it. A failed sync is never repeated: a
                second one may succeed although the data is lost.
        """
        progress = self.progress
        if progress == self._committed or not (self.origin or progress.is_complete):
            return
        self._is_sound = False  # until all of it has succeeded
        with self._writing():
            self._part.sync()
            if self._rejects:
                self._rejects.sync()
            if self.origin:
                checkpoint = Checkpoint(self.origin, self._part.path.name, progress)
                write_checkpoint(self.target, checkpoint)
                self._committed = progress
        self._is_sound = True

    def publish(
        self,
        finish: Callable[[Path], Path],
        describe: Callable[[Fingerprint, Fingerprint | None], str],
    ) -> None:
        """Give the output, its rejects and the run manifest their names.

        ``finish`` makes the file that gets the output's name of the part file that holds
        all rows; it is called again if a run was killed before the rename. ``describe`` makes
        the manifest of output and rejects.

        Raises:
            StorageError: they cannot be renamed; then the part file stays.
        """
        if self._part:
            self.progress = replace(self.progress, is_complete=True)
            self.commit()
            self._is_finished = True
            with self._writing(f"; all rows are in {self._part.path}"):
                self._part.close()
                part, whole = self._part.path, finish(self._part.path)
                note = self._write_manifest(whole, describe)
                try:
                    with uninterrupted():
                        self._rename(whole, note)
                        self._part = None
                        self._remove_checkpoint()
                        part.unlink(missing_ok=True)  # where it is not what was renamed
                finally:
                    note.unlink(missing_ok=True)
        else:
            self._remove_leftovers(keep=())
            path = manifest_path(self.target)
            if not path.exists():  # killed behind the output's rename
                with self._writing():
                    os.replace(self._write_manifest(self.target, describe), path)
            self._remove_checkpoint()

    def _write_manifest(self, whole: Path, describe) -> Path:
        """The run manifest, on the disk but without its name; ``whole`` is the output."""
        done, name, rejects = self.progress, self.target.name, None
        if self._part and whole != self._part.path:
            output = take_fingerprint(whole, name)
        else:
            output = Fingerprint(name, done.bytes, os.stat(whole).st_mtime_ns, done.sha256)
        if done.reject_bytes:
            path = self._rejects.path if self._rejects else rejects_path(self.target)
            sums = (done.reject_bytes, os.stat(path).st_mtime_ns, done.reject_sha256)
            rejects = Fingerprint(rejects_path(self.target).name, *sums)
        text = describe(output, rejects)
        return write_beside(self.target, text.encode("ascii"), ".run", 0o666)

    def _remove_checkpoint(self) -> None:
        path = checkpoint_path(self.target)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # the output stands; the next run sees that, too
            log.warning("%s cannot be removed: %s", path, error.strerror)

    def _rename(self, whole: Path, note: Path) -> None:
        path = rejects_path(self.target)
        manifest_path(self.target).unlink(missing_ok=True)  # it is of the old output
        if self._rejects:
            self._rejects.close()
            os.replace(self._rejects.path, path)
            sync_folder(path.parent)
        elif not self.progress.reject_bytes:
            path.unlink(missing_ok=True)  # an earlier run's
        os.replace(whole, self.target)
        try:
            os.replace(note, manifest_path(self.target))
        except OSError as error:  # the output stands
            path = manifest_path(self.target)
            log.warning("%s cannot be written: %s", path, error.strerror)
        sync_folder(self.target.parent)

    def stop(self, keep: bool = True) -> None:
        """Something ended the run: keep what a later one can go on from, or leave nothing."""
        if not keep and self._part:
            self._remove_checkpoint()
        elif self._is_sound and self._part and self.origin and self.progress.records:
            with contextlib.suppress(StorageError, MemoryError):
                self.commit()
        if not self._part:
            return
        try:  # What counts is what is on the disk: a signal may have come in between.
            saved = read_checkpoint(self.target)
        except InputError:
            saved = None
        except StorageError:
            return
        if saved:
            records, path = count(saved.progress.records, "record"), saved.origin.source.path
            log.warning("kept of %s: %s; the same command goes on from there", path, records)
            if saved.progress.reject_bytes and self._rejects:
                log.warning("rejected so far: %s", self._rejects.path)
            return
        if not (keep and self._is_finished):
            for part in filter(None, (self._part, self._rejects)):
                with contextlib.suppress(OSError):
                    part.path.unlink()

    def close(self) -> None:
        for part in filter(None, (self._part, self._rejects)):
            with contextlib.suppress(OSError):
                part.close()

    @contextlib.contextmanager
    def _writing(self, more: str = ""):
        try:
            with storage_errors(self._out):
                yield
        except StorageError as error:
            self._is_sound = False
            raise StorageError(f"{error}{more}") from None

    def _remove_leftovers(self, keep: tuple[Path, ...]) -> None:
        """Remove what killed runs left: part files of this target that nobody will ask for."""
        name = re.compile(
            re.escape(f".{self.target.name}.")
            + r"[0-9a-f]{16}(\.rejects|\.checkpoint|\.whole|\.run)?\.part"
        )
        with contextlib.suppress(OSError), os.scandir(self.target.parent) as entries:
            for entry in entries:
                if not name.fullmatch(entry.name) or Path(entry.path) in keep:
                    continue
                if entry.stat(follow_symlinks=False).st_uid == os.geteuid() and not entry.is_dir():
                    os.unlink(entry.path)
                    log.info("removed %s, which a killed run had left", entry.path)
