"""The bundle: one folder that is all that is needed to classify.

``bundle.json`` names every other file with its SHA-256 and size, so its own
hash, the *digest*, stands for the whole.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

from batch.errors import BundleError

FORMAT = "spam-batch bundle"
FORMAT_VERSION = 1
MANIFEST = "bundle.json"
TOKENIZER = "gpt2.tiktoken"
GOLDEN = "golden.json"
VERIFY = "verify.json"
EXTERNAL_SUFFIX = ".data"  # of the file that holds the tensors of a model above 2 GB
RUN_CONFIG = "config.json"  # what a run folder has instead of a manifest


@dataclass(frozen=True)
class FileEntry:
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Manifest:
    """What ``bundle.json`` says; see docs/formats.md for each key."""

    labels: list[str]
    positive_label: str | None
    threshold: float  # probability from which a message gets the positive label
    temperature: float  # logits are divided by it before the softmax
    max_length: int  # tokens; longer messages are cut
    fixed_length: bool  # the graph is valid at max_length only
    pooling: str
    pad_id: int
    model: str  # size by name
    weights: str  # one sentence: what the weights are
    variants: dict[str, str]  # precision -> file name
    files: dict[str, FileEntry]
    training: dict = field(default_factory=dict)  # metrics of the run
    made_by: dict = field(default_factory=dict)  # versions, data and weight hashes

    def to_json(self) -> str:
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A manifest with the folder that it describes; files are checked when read."""

    folder: Path
    manifest: Manifest
    digest: str  # SHA-256 of bundle.json

    def read(self, name: str) -> bytes:
        """The bytes of one file, after their size and SHA-256 were checked.

        Raises:
            BundleError: not listed, missing, a link, or not what the manifest says.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{self.folder}: {MANIFEST} does not list {name}")
        path = self.folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path}: missing, or not a regular file")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
        if len(data) != entry.size:
            raise BundleError(f"{path}: has {len(data):,} bytes, {MANIFEST} says {entry.size:,}")
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise BundleError(f"{path}: SHA-256 is {found}, {MANIFEST} says {entry.sha256}")
        return data

    def read_json(self, name: str) -> dict:
        """:meth:`read`, parsed."""
        try:
            return json.loads(self.read(name))
        except ValueError:
            raise BundleError(f"{self.folder / name}: not JSON") from None


def open_bundle(folder: Path | str) -> Bundle:
    """Read and check ``bundle.json``; no other file is opened yet.

    Raises:
        BundleError: no such folder, not a bundle, a newer format, a bad value.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle; make one with: make train export")
    try:
        data = path.read_bytes()
        values = json.loads(data)
    except FileNotFoundError:
        if (folder / RUN_CONFIG).is_file():
            raise BundleError(
                f"{folder} is a run folder, not a bundle; "
                f"make one with: spam-export bundle --run {folder}"
            ) from None
        raise BundleError(f"{folder} has no {MANIFEST}, so it is not a bundle") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise BundleError(f"{path}: not JSON") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: not a {FORMAT}")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version!r}, this spam-batch reads {FORMAT_VERSION}"
        )
    _check_keys(path, values)
    try:
        values["files"] = {
            _check_name(path, name): FileEntry(**entry) for name, entry in values["files"].items()
        }
        manifest = Manifest(**values)
        _check_manifest(path, manifest)
    except TypeError as error:
        raise BundleError(f"{path}: {error}") from None
    return Bundle(folder, manifest, hashlib.sha256(data).hexdigest())


def _check_keys(path: Path, values: dict) -> None:
    known = {key.name: key for key in fields(Manifest)}
    for name, key in known.items():
        if name not in values and key.default_factory is MISSING:
            raise BundleError(f"{path}: the key {name!r} is missing")
    for name, value in values.items():
        if name not in known:
            raise BundleError(f"{path}: the key {name!r} is not known")
        kind = getattr(known[name].type, "__origin__", known[name].type)  # list of list[str]
        if not isinstance(value, float | int if kind is float else kind):
            raise BundleError(f"{path}: {name} is {value!r}, which is not valid")


def _check_name(path: Path, name: str) -> str:
    if name in ("", ".", "..", MANIFEST) or "/" in name or "\\" in name or "\0" in name:
        raise BundleError(f"{path}: {name!r} is not the name of a file inside the bundle")
    return name


def _check_manifest(path: Path, manifest: Manifest) -> None:
    if not manifest.variants:
        raise BundleError(
            f"{path.parent}: no variant of this bundle passed its verification; export it again "
            "with: spam-export bundle"
        )
    problems = {
        "labels": len(manifest.labels) >= 2
        and len(set(manifest.labels)) == len(manifest.labels)
        and all(isinstance(label, str) and label for label in manifest.labels),
        "positive_label": manifest.positive_label in (None, *manifest.labels),
        "threshold": 0 <= manifest.threshold <= 1,
        "temperature": manifest.temperature > 0,
        "max_length": manifest.max_length >= 1,
        "variants": all(name in manifest.files for name in manifest.variants.values()),
        "files": TOKENIZER in manifest.files
        and all(isinstance(entry.size, int) for entry in manifest.files.values()),
    }
    for key, is_good in problems.items():
        if not is_good:
            raise BundleError(f"{path}: {key} is {getattr(manifest, key)!r}, which is not valid")


def file_entries(folder: Path) -> Mapping[str, FileEntry]:
    """Hash and size of every file of a folder but the manifest, by name."""
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            data = path.read_bytes()
            entries[path.name] = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
    return entries
