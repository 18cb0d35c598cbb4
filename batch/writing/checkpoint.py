"""The checkpoint: the progress of an interrupted run, and what must be the same to resume it.

docs/formats.md describes the file.
"""

import errno
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from batch.drift.histograms import encode_bytes
from batch.errors import (
    BundleError,
    InputError,
    OtherFormatError,
    OutputError,
    StorageError,
    UsageError,
)
from batch.reading.source import Identity
from batch.version import __version__
from batch.writing.atomic import replace_file
from batch.writing.names import checkpoint_path
from batch.writing.progress import Progress

FORMAT = "spam-batch checkpoint"
FORMAT_VERSION = 3
_START = f'{{\n "format": "{FORMAT}"'.encode()


@dataclass(frozen=True)
class ResumeKey:
    """What must be the same for a run to resume, since the bytes of the output depend on it."""

    input: Identity
    settings: dict[str, str]  # option -> its value, as it is typed
    bundle: str  # SHA-256 of bundle.json
    version: str = __version__  # of spam-batch

    def check_resumable(self, now: "ResumeKey", begun: str) -> None:
        """Compare the key of an interrupted run, ``self``, with the one of the run that resumes it.

        >>> file = Identity("/in.csv", 10, 1, 2, "ab")
        >>> before = ResumeKey(file, {"--columns": "label"}, "0123")
        >>> now = ResumeKey(file, {"--columns": "score"}, "0123")
        >>> before.check_resumable(now, "out.csv: kept")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        batch.errors.UsageError: out.csv: kept, but --columns was 'label' and is 'score' now; ...

        Args:
            begun: start of the message, which says where the interrupted run is kept.

        Raises:
            InputError: the input has changed.
            UsageError: an option has changed.
            BundleError: the bundle or the version of spam-batch has changed.
        """
        if change := self.input.describe_change(now.input):
            raise InputError(f"{begun}, but {change}; start over with --restart")
        if self.bundle != now.bundle:
            raise BundleError(
                f"{begun}, but its bundle was {self.bundle[:12]} and is {now.bundle[:12]} now; "
                "give that bundle, or start over with --restart"
            )
        for option in {**self.settings, **now.settings}:
            before, after = self.settings.get(option), now.settings.get(option)
            if before != after:
                raise UsageError(
                    f"{begun}, but {option} was {before!r} and is {after!r} now; give it as "
                    "before, or start over with --restart"
                )
        if self.version != now.version:
            raise BundleError(
                f"{begun}, but by spam-batch {self.version}, this is {now.version}; resume with "
                "that version, or start over with --restart"
            )


@dataclass(frozen=True)
class Checkpoint:
    """What the file holds."""

    resume_key: ResumeKey
    part: str  # name of the part file, which holds the rows so far
    progress: Progress


def check_checkpoint_path(target: Path) -> None:
    """Refuse to take for a checkpoint, and with ``--restart`` to remove, what is none.

    Raises:
        OutputError: there is such a file.
    """
    path = checkpoint_path(target)
    try:
        data = _read_own_file(path)
    except OSError:
        return  # none, or what read_checkpoint refuses
    if data[: len(_START)] != _START[: len(data)]:  # cut short it is ours, too
        raise OutputError(
            f"{path} is not a checkpoint of spam-batch, and that of this run would go there; "
            "move it, or give another --out"
        )


def write_checkpoint(target: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of ``target``. At any time the old one or the new one is there, whole.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    body = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(checkpoint)}
    text = json.dumps({**body, "sha256": _digest(body)}, indent=1, default=encode_bytes) + "\n"
    replace_file(checkpoint_path(target), text.encode("ascii"), target, ".checkpoint")


def read_checkpoint(target: Path) -> Checkpoint | None:
    """The checkpoint of ``target``, or None if there is none.

    Raises:
        OtherFormatError: it has another format version.
        InputError: it is damaged, or of another user.
        StorageError: it cannot be read.
    """
    path = checkpoint_path(target)
    hint = "start over with --restart"
    try:
        data = _read_own_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EPERM):
            raise InputError(f"{path}: is not a regular file of this user; {hint}") from None
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        values = json.loads(data)
        stored_digest = values.pop("sha256")
        version = values.pop("format_version") if values["format"] == FORMAT else None
        if version != FORMAT_VERSION and isinstance(version, int):
            raise OtherFormatError(
                f"{path}: format version {version}, this spam-batch reads {FORMAT_VERSION}; {hint}"
            )
        if _digest({**values, "format_version": version}) != stored_digest:
            raise ValueError
        key = values["resume_key"]
        resume_key = ResumeKey(**{**key, "input": Identity(**key["input"])})
        return Checkpoint(resume_key, values["part"], Progress.from_json(values["progress"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: is damaged; {hint}") from None


def _digest(body: dict) -> str:
    text = json.dumps(body, sort_keys=True, default=encode_bytes)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _read_own_file(path: Path) -> bytes:
    """Read a regular file that belongs to this user."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "not a file of this user")
        return file.read()
