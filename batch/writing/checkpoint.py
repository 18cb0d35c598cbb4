"""The checkpoint: how much of an interrupted run counts, and of which input, bundle and options.

docs/formats.md describes the file.
"""

import errno
import hashlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batch.version import __version__
from batch.errors import BundleError, InputError, StorageError, UsageError
from batch.writing.atomic import create_file, sync_folder, write_all
from batch.reading.source import Identity
from batch.drift.histograms import Tally, encode_bytes

FORMAT = "spam-batch checkpoint"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Origin:
    """What must be the same when a run goes on, for its bytes to be the same."""

    source: Identity
    settings: dict[str, str]  # option -> its value, as it is typed
    bundle: str  # the digest
    version: str = __version__

    def check_same(self, now: "Origin", begun: str) -> None:
        """
        Raises:
            InputError: the input has changed.
            UsageError: an option has.
            BundleError: the bundle or this program has.
        """
        if change := self.source.describe_change(now.source):
            raise InputError(f"{begun}, but {change}; start over with --restart")
        if self.bundle != now.bundle:
            raise BundleError(
                f"{begun}, but with the bundle {self.bundle[:12]}, which is {now.bundle[:12]} now; "
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
                f"{begun}, but by spam-batch {self.version}, this is {now.version}; go on with "
                "that version, or start over with --restart"
            )


@dataclass(frozen=True)
class Course:
    """How a run went: what may differ between runs that write the same bytes."""

    started: str = ""  # in UTC, when its first part began
    resumed: int = 0  # how often it went on
    seconds: float = 0.0  # of labelling, all parts together
    device: str = ""
    threads: int = 0
    onnxruntime: str = ""  # version


@dataclass(frozen=True)
class Progress:
    """How far a run is, at the end of a window."""

    offset: int = 0  # of the next record, in the input
    line: int = 1  # its line
    records: int = 0
    rejects: int = 0
    truncated: int = 0
    blank_lines: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # rows of each
    bytes: int = 0  # written, of the output
    sha256: str = ""  # of those bytes
    reject_bytes: int = 0
    reject_sha256: str = ""
    is_complete: bool = False
    tally: Tally = field(default_factory=Tally)
    course: Course = field(default_factory=Course)

    @property
    def rows(self) -> int:
        return sum(self.labels.values())

    @classmethod
    def from_json(cls, values: dict) -> "Progress":
        tally, course = Tally.from_json(values["tally"]), Course(**values["course"])
        return cls(**{**values, "tally": tally, "course": course})


@dataclass(frozen=True)
class Checkpoint:
    origin: Origin
    part: str  # name of the file that holds the rows so far
    progress: Progress


def checkpoint_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.checkpoint.json")


def temporary_name(target: Path, kind: str = "") -> str:
    """A name beside the target that nobody can guess."""
    return f".{target.name}.{secrets.token_hex(8)}{kind}.part"


def write_checkpoint(target: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of ``target``: the old one or the new one is there, and whole."""
    body = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(checkpoint)}
    text = json.dumps({**body, "sha256": _digest(body)}, indent=1, default=encode_bytes) + "\n"
    replace_file(checkpoint_path(target), text.encode("ascii"), target, ".checkpoint")


def replace_file(path: Path, data: bytes, target: Path, kind: str, mode: int = 0o600) -> None:
    """Replace a small file beside ``target``: the old one or the new one is there, and whole."""
    temporary = write_beside(target, data, kind, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_beside(target: Path, data: bytes, kind: str, mode: int) -> Path:
    """A small file beside ``target``, on the disk, whose name nobody can guess."""
    temporary = target.with_name(temporary_name(target, kind))
    file = create_file(temporary, mode)
    try:
        with file:
            write_all(file, data)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def read_checkpoint(target: Path) -> Checkpoint | None:
    """The checkpoint of ``target``, or None if there is none.

    Raises:
        InputError: it is damaged, not ours, or of another format version.
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
        said = values.pop("sha256")
        version = values.pop("format_version") if values["format"] == FORMAT else None
        if version != FORMAT_VERSION and isinstance(version, int):
            raise InputError(
                f"{path}: format version {version}, this spam-batch reads {FORMAT_VERSION}; {hint}"
            )
        if _digest({**values, "format_version": version}) != said:
            raise ValueError
        origin = values["origin"]
        origin = Origin(**{**origin, "source": Identity(**origin["source"])})
        return Checkpoint(origin, values["part"], Progress.from_json(values["progress"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: is damaged; {hint}") from None


def _digest(body: dict) -> str:
    text = json.dumps(body, sort_keys=True, default=encode_bytes)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _read_own_file(path: Path) -> bytes:
    """Read a file that only this user can have written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "not ours")
        return file.read()
