"""Write an output so that a killed run can resume, and nobody ever sees half of it.

Rows and rejects go to part files. At a commit point the part files are synced, then the
checkpoint is replaced, which says how many of their bytes count. A run that resumes cuts off
what a part file has beyond that.

At the end the files get their names in this order. The old run manifest is removed. The rejects
get their name, then the output, so that whoever sees the new output sees its rejects, too. The
new run manifest gets its name. The checkpoint is removed.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from batch.errors import InputError, OtherFormatError, OutputError, StorageError
from batch.messages import count
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import take_fingerprint
from batch.writing.atomic import (
    remove_leftovers,
    storage_errors,
    sync_folder,
    temporary_name,
    uninterrupted,
    write_beside,
)
from batch.writing.checkpoint import Checkpoint, ResumeKey, read_checkpoint, write_checkpoint
from batch.writing.names import REJECTS_START, checkpoint_path, manifest_path, rejects_path
from batch.writing.part_file import PartFile, is_written
from batch.writing.progress import Progress

log = logging.getLogger("batch")


class Journal:
    """The part files and the checkpoint of one output. The caller holds the lock of ``target``.

    A run calls the methods in this order; ``resume`` is True where a checkpoint was found::

        if not journal.resume(restart=False):
            journal.start(header, Progress())
        journal.add(progress, rows, rejects)  # for each window
        journal.commit()  # from time to time
        journal.publish(finish, describe)  # or journal.stop() after an error
        journal.close()

    Args:
        target: path of the output.
        out: the output as the user typed it, for messages.
        resume_key: what a later run must have in common with this one to resume it; None if
            none can, as the input is a pipe.

    Attributes:
        progress: how far the run is; :meth:`add` replaces it.
        was_resumed: True if this run resumes an interrupted one.
    """

    def __init__(self, target: Path, out: str, resume_key: ResumeKey | None):
        self.target, self.resume_key = target, resume_key
        self.progress = Progress()
        self.was_resumed = False
        self._out = out
        self._part: PartFile | None = None
        self._rejects: PartFile | None = None
        self._committed: Progress | None = None
        self._is_sound = True  # no write to the disk has failed
        self._is_finished = False  # the part file holds all rows

    def start(self, header: bytes, progress: Progress) -> None:
        """Create the part file and write ``header`` to it.

        Raises:
            OutputError: it cannot be created.
        """
        remove_leftovers(self.target, keep=())
        path = self.target.with_name(temporary_name(self.target))
        try:
            self._part = PartFile.create(path, 0o666)
        except OSError as error:
            raise OutputError(f"cannot create a file in {path.parent}: {error.strerror}") from None
        self.add(progress, header, b"")

    def resume(self, restart: bool, drops_stale: bool = False) -> bool:
        """Resume from the checkpoint, if there is one.

        Args:
            restart: remove the checkpoint first.
            drops_stale: remove the checkpoint if its key or format does not match; return False.

        Returns:
            True if an interrupted run was found; then ``progress`` is the one of that run.

        Raises:
            InputError: the checkpoint or a part file is damaged, or the input has changed.
            UsageError: an option has changed.
            BundleError: the bundle or this program has changed.
        """
        path = checkpoint_path(self.target)
        if restart:
            with storage_errors(path):
                path.unlink(missing_ok=True)
        try:
            saved = read_checkpoint(self.target)
        except OtherFormatError:
            if not drops_stale:
                raise
            another = "an interrupted run of another version of spam-batch is not resumed"
            log.warning("%s: %s; starting over", self._out, another)
            with storage_errors(path):
                path.unlink()
            return False
        if saved is None:
            return False
        part = self.target.with_name(saved.part)
        is_published = self._is_published(saved, part)
        begun = f"{self._out}: an interrupted run is kept in {path}"
        try:
            if self.resume_key is None:
                path_read = saved.resume_key.input.path
                raise InputError(
                    f"{begun}, which read {path_read}; resume with that input, or start over with "
                    "--restart"
                )
            saved.resume_key.check_resumable(self.resume_key, begun)
        except Exception:
            if not (is_published or drops_stale):
                raise
            if not is_published:
                stale = "the checkpoint of an interrupted run is out of date; starting over"
                log.info("%s: %s", self._out, stale)
            with storage_errors(path):  # if published, only the checkpoint of that run was left
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
        remove_leftovers(self.target, keep=(part, rejects) if done.reject_bytes else (part,))
        sums = (done.reject_bytes, done.reject_sha256)
        # A run that was killed between the two renames has given the rejects their name.
        has_name = done.is_complete and is_written(rejects_path(self.target), *sums)
        if done.reject_bytes and (rejects.exists() or not has_name):
            self._rejects = PartFile.reopen(rejects, *sums)
        self._part = PartFile.reopen(part, done.bytes, done.sha256)

    @staticmethod
    def _rejects_part(part: Path) -> Path:
        return part.with_name(part.name.removesuffix(".part") + ".rejects.part")

    def add(self, progress: Progress, rows: bytes, rejects: bytes) -> None:
        """Write the rows of a window and its rejects.

        Args:
            progress: at the end of the window; the journal adds the sizes and the hashes.
            rows: as :meth:`Table.rows` returns them.
            rejects: as :func:`encode_rejects` returns them.

        Raises:
            StorageError: they cannot be written.
        """
        part = self._part
        assert part is not None  # since start or resume
        with self._writing():
            part.write(rows)
            if rejects:
                if self._rejects is None:
                    self._rejects = PartFile.create(self._rejects_part(part.path), 0o600)
                    self._rejects.write(REJECTS_START)
                self._rejects.write(rejects)
        self.progress = replace(
            progress,
            bytes=part.size,
            sha256=part.sha256,
            reject_bytes=self._rejects.size if self._rejects else 0,
            reject_sha256=self._rejects.sha256 if self._rejects else "",
        )

    def commit(self) -> None:
        """Store ``progress``, so that a run which is killed later resumes from it.

        Raises:
            StorageError: the disk fails. A failed sync is never repeated, since a second one may
                succeed although the data is lost.
        """
        progress = self.progress
        if progress == self._committed or not (self.resume_key or progress.is_complete):
            return
        part = self._part
        assert part is not None  # since start or resume
        self._is_sound = False  # until all of it has succeeded
        with self._writing():
            part.sync()
            if self._rejects:
                self._rejects.sync()
            if self.resume_key:
                checkpoint = Checkpoint(self.resume_key, part.path.name, progress)
                write_checkpoint(self.target, checkpoint)
                self._committed = progress
        self._is_sound = True

    def publish(
        self,
        finish: Callable[[Path], Path],
        describe: Callable[[Fingerprint, Fingerprint | None], str],
    ) -> None:
        """Give the output, its rejects and the run manifest their names.

        Args:
            finish: makes the output of the part file that holds all rows, as
                :meth:`Table.finish`. It is called again if a run was killed before the rename.
            describe: makes the text of the run manifest of the fingerprints of the output and
                of the rejects.

        Raises:
            StorageError: a file cannot be renamed; then the part file stays.
        """
        if self._part:
            self.progress = replace(self.progress, is_complete=True)
            self.commit()
            self._is_finished = True
            with self._writing(f"; all rows are in {self._part.path}"):
                self._part.close()
                part, output = self._part.path, finish(self._part.path)
                manifest = self._write_manifest(output, describe)
                try:
                    with uninterrupted():
                        self._rename(output, manifest)
                        self._part = None
                        self._remove_checkpoint()
                        part.unlink(missing_ok=True)  # if it was not the output itself
                finally:
                    manifest.unlink(missing_ok=True)
        else:
            remove_leftovers(self.target, keep=())
            path = manifest_path(self.target)
            if not path.exists():  # the run was killed after the output got its name
                with self._writing():
                    os.replace(self._write_manifest(self.target, describe), path)
            self._remove_checkpoint()

    def _write_manifest(
        self, output: Path, describe: Callable[[Fingerprint, Fingerprint | None], str]
    ) -> Path:
        """Write and sync the run manifest; it has a temporary name yet."""
        done, name, rejects = self.progress, self.target.name, None
        if self._part and output != self._part.path:
            written = take_fingerprint(output, name)
        else:
            written = Fingerprint(name, done.bytes, os.stat(output).st_mtime_ns, done.sha256)
        if done.reject_bytes:
            path = self._rejects.path if self._rejects else rejects_path(self.target)
            sums = (done.reject_bytes, os.stat(path).st_mtime_ns, done.reject_sha256)
            rejects = Fingerprint(rejects_path(self.target).name, *sums)
        text = describe(written, rejects)
        return write_beside(self.target, text.encode("ascii"), ".run", 0o666)

    def _remove_checkpoint(self) -> None:
        path = checkpoint_path(self.target)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # the output is complete, and the next run sees that
            log.warning("%s cannot be removed: %s", path, error.strerror)

    def _rename(self, output: Path, manifest: Path) -> None:
        path = rejects_path(self.target)
        manifest_path(self.target).unlink(missing_ok=True)  # of the old output
        if self._rejects:
            self._rejects.close()
            os.replace(self._rejects.path, path)
            sync_folder(path.parent)
        elif not self.progress.reject_bytes:
            path.unlink(missing_ok=True)  # of an earlier run
        os.replace(output, self.target)
        try:
            os.replace(manifest, manifest_path(self.target))
        except OSError as error:  # the output is complete
            path = manifest_path(self.target)
            log.warning("%s cannot be written: %s", path, error.strerror)
        sync_folder(self.target.parent)

    def stop(self, keep: bool = True) -> None:
        """End a run early: keep what a later run can resume from, or else leave nothing.

        Args:
            keep: False if the input cannot be trusted, so that no run may resume.
        """
        if not keep and self._part:
            self._remove_checkpoint()
        elif self._is_sound and self._part and self.resume_key and self.progress.records:
            with contextlib.suppress(StorageError, MemoryError):
                self.commit()
        if not self._part:
            return
        try:  # The disk knows best: a signal may have interrupted a commit.
            saved = read_checkpoint(self.target)
        except InputError:
            saved = None
        except StorageError:
            return
        if saved:
            records, path = count(saved.progress.records, "record"), saved.resume_key.input.path
            log.warning("kept %s of %s; the same command resumes from there", records, path)
            if saved.progress.reject_bytes and self._rejects:
                log.warning("rejected so far: %s", self._rejects.path)
            return
        if not (keep and self._is_finished):
            for part in filter(None, (self._part, self._rejects)):
                with contextlib.suppress(OSError):
                    part.path.unlink()

    def close(self) -> None:
        """Close the part files."""
        for part in filter(None, (self._part, self._rejects)):
            with contextlib.suppress(OSError):
                part.close()

    @contextlib.contextmanager
    def _writing(self, more: str = "") -> Iterator[None]:
        """Turn an OSError into a StorageError that ends in ``more``, and remember it."""
        try:
            with storage_errors(self._out):
                yield
        except StorageError as error:
            self._is_sound = False
            raise StorageError(f"{error}{more}") from None
