"""What an output was made of, in a small file beside it: the next night's run skips it then.

docs/formats.md describes the file.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batch import __version__
from batch.checkpoint import replace_file
from batch.errors import MissingInputError
from batch.remote import hash_remote, is_uri, stat_remote

FORMAT = "spam-batch done"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Fingerprint:
    """A file's contents. With its size and time the same they are taken to be, too."""

    size: int  # bytes
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> "Fingerprint":
        if is_uri(str(path)):
            return cls(*stat_remote(str(path)), hash_remote(str(path)))
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(found.st_size, found.st_mtime_ns, digest)

    def is_of(self, path: str | Path) -> bool:
        """True if ``path`` still has these contents; read only where its time is another."""
        try:
            if is_uri(str(path)):
                size, mtime_ns = stat_remote(str(path))
            else:
                found = os.stat(path)
                size, mtime_ns = found.st_size, found.st_mtime_ns
            if size != self.size:
                return False
            return mtime_ns == self.mtime_ns or self.of(path).sha256 == self.sha256
        except (OSError, MissingInputError):
            return False


@dataclass(frozen=True)
class Done:
    """``rejects`` were set aside when ``output`` was made of ``input``."""

    bundle: str  # the digest
    options: dict[str, str]
    input: Fingerprint
    output: Fingerprint
    rejects: int
    version: str = __version__
    counts: dict = field(default_factory=dict)  # as Summary.counts has them

    def is_of(self, source: str, out: str, bundle: str, options: dict[str, str]) -> bool:
        """True if labelling ``source`` into ``out`` would write what is there."""
        now = (bundle, options, __version__)
        is_asked_for = (self.bundle, self.options, self.version) == now
        return is_asked_for and self.input.is_of(source) and self.output.is_of(out)


def done_path(out: str) -> Path:
    path = Path(out)
    return path.with_name(f".{path.name}.done.json")


def write_done(out: str, done: Done) -> None:
    """Replace the file beside ``out``."""
    body = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(done)}
    text = json.dumps(body, indent=1) + "\n"
    replace_file(done_path(out), text.encode("ascii"), Path(out), ".done")


def read_done(out: str) -> Done | None:
    """What the file beside ``out`` says; None if it says nothing that we know."""
    try:
        values = json.loads(done_path(out).read_bytes())
        if (values.pop("format"), values.pop("format_version")) != (FORMAT, FORMAT_VERSION):
            return None
        prints = {key: Fingerprint(**values.pop(key)) for key in ("input", "output")}
        return Done(**values, **prints)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
