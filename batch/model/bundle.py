"""The bundle: one folder with everything that classifying needs.

``bundle.json`` lists every other file with its SHA-256 and size, so the hash of
``bundle.json``, the *digest*, identifies the whole bundle.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Container, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.errors import BundleError
from batch.model.bundle_files import (
    EXTERNAL_SUFFIX,
    MANIFEST,
    RUN_CONFIG,
    TOKENIZER,
    FileEntry,
    WatchedFile,
    check_size,
    open_file,
    parse_object,
    read_checked,
    read_file,
)
from batch.model.decision import Decision
from batch.model.external_data import external_files

if TYPE_CHECKING:
    from batch.model.cascade.proof import Proof

FORMAT = "spam-batch bundle"
FORMAT_VERSION = 1
MAX_MANIFEST = 16 * 1024 * 1024  # bytes; a real one has a few thousand


@dataclass(frozen=True)
class Manifest:
    """The contents of ``bundle.json``; docs/formats.md describes each key."""

    labels: list[str]
    positive_label: str | None
    threshold: float  # a message with at least this probability gets the positive label
    temperature: float  # logits are divided by it before the softmax
    max_length: int  # tokens; longer messages are truncated
    fixed_length: bool  # the graph is valid only at max_length
    pooling: str
    pad_id: int
    model: str  # name of the GPT-2 size
    weights: str  # one sentence on where the weights come from
    variants: dict[str, str]  # precision -> file name
    files: dict[str, FileEntry]
    training: dict = field(default_factory=dict)  # metrics of the run
    made_by: dict = field(default_factory=dict)  # versions, data and weight hashes
    unsure_band: list | None = None  # two probabilities; scores between them get the label unsure
    reference: dict = field(default_factory=dict)  # statistics of the training data, for drift

    @property
    def decision(self) -> Decision:
        """How logits become a label, with the threshold, temperature and band of this bundle."""
        band = self.unsure_band
        return Decision(
            self.labels, self.positive_label, self.threshold, self.temperature,
            None if band is None else tuple(band),
        )  # fmt: skip

    def to_json(self) -> str:
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        if self.unsure_band is None:
            del values["unsure_band"]  # so that versions without unsure bands can read the file
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A manifest and the folder that it describes. Each file is checked when it is read."""

    folder: Path
    manifest: Manifest
    digest: str  # SHA-256 of bundle.json
    proof: "Proof | None" = None  # of a cascade; None for any other bundle

    def read(self, name: str) -> bytes:
        """The bytes of one file, after a check of their size and SHA-256.

        Raises:
            BundleError: the file is not listed, missing, a link, or differs from the manifest.
        """
        entry, path = self.manifest.files.get(name), self.folder / name
        if entry is None:
            raise BundleError(f"{self.folder}: {MANIFEST} does not list {name}")
        data = read_checked(path, entry)
        if name in self.manifest.variants.values():
            _check_model(path, data, self.manifest.files)
        return data

    def check(self, name: str) -> None:
        """Check the size and SHA-256 of one file. It is read in blocks, however large it is.

        Raises:
            BundleError: as :meth:`read`.
        """
        file = self.watch(name)
        if file is None:
            raise BundleError(f"{self.folder}: {MANIFEST} does not list {name}")
        file.check_hash()
        if name in self.manifest.variants.values():
            _check_model(file.path, file.map(), self.manifest.files)

    def watch(self, name: str) -> WatchedFile | None:
        """A file that will be mapped into memory, after a check of its size; None if not listed.

        Raises:
            BundleError: the file is missing, a link, or has another size than in the manifest.
        """
        entry, path = self.manifest.files.get(name), self.folder / name
        if entry is None:
            return None
        try:
            file = open_file(path)
        except FileNotFoundError:
            raise BundleError(f"{path}: is missing") from None
        with file:
            status = os.fstat(file.fileno())
            check_size(path, status.st_size, entry)
            return WatchedFile(path, os.dup(file.fileno()), status, entry)

    def read_json(self, name: str) -> dict:
        """One file with the checks of :meth:`read`, parsed as a JSON object."""
        return parse_object(self.folder / name, self.read(name))


def open_bundle(folder: Path | str, expect_digest: str | None = None) -> Bundle:
    """Read and check ``bundle.json``. No other file is opened yet, but for those of a cascade.

    Raises:
        BundleError: there is no such folder, it is not a bundle, has another format version,
            a bad value, a file that is not listed, or another digest than ``expect_digest``.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.is_dir():
        if folder.exists():
            raise BundleError(f"{folder} is not a folder, so it is not a bundle")
        raise BundleError(
            f"{folder}: no such bundle; copy one there, or make one with: "
            f"spam-train fit && spam-export bundle --out {shlex.quote(str(folder))}"
        )
    try:
        data = read_file(path, MAX_MANIFEST)
        values = json.loads(data)
    except FileNotFoundError:
        if (folder / RUN_CONFIG).is_file():
            raise BundleError(
                f"{folder} is a run folder, not a bundle; "
                f"make one with: spam-export bundle --run {folder}"
            ) from None
        raise BundleError(f"{folder} has no {MANIFEST}, so it is not a bundle") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: not JSON") from None
    digest = hashlib.sha256(data).hexdigest()
    if expect_digest is not None and digest != expect_digest.lower():
        raise BundleError(f"{path}: SHA-256 is {digest}, --expect-digest says {expect_digest}")
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: not a {FORMAT}")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version!r}, this spam-batch reads {FORMAT_VERSION}"
        )
    if "kind" in values:
        return _open_kind(folder, values, digest)
    _check_keys(path, values)
    try:
        values["files"] = {
            _check_name(path, name): FileEntry(**entry) for name, entry in values["files"].items()
        }
        manifest = Manifest(**values)
        _check_manifest(path, manifest)
    except TypeError as error:
        raise BundleError(f"{path}: {error}") from None
    check_unlisted(folder, manifest.files)
    return Bundle(folder, manifest, digest)


def _open_kind(folder: Path, values: dict, digest: str) -> Bundle:
    """Open a bundle that says of which kind it is."""
    from batch.model.cascade.folder import KIND, open_cascade  # it imports this module

    if values["kind"] != KIND:
        raise BundleError(f"{folder / MANIFEST}: kind is {values['kind']!r}, which is not known")
    return open_cascade(folder, values, digest)


def _check_model(path: Path, data: bytes | mmap, listed: Mapping[str, FileEntry]) -> None:
    """Check that a model's tensors are in it, or in the listed file with its name and suffix."""
    try:
        others = external_files(data)
    except ValueError:
        raise BundleError(f"{path}: not an ONNX model") from None
    own = path.name + EXTERNAL_SUFFIX
    if others - ({own} & set(listed)):
        raise BundleError(f"{path}: has data in another file, which is not allowed")


def check_unlisted(folder: Path, listed: Container[str]) -> None:
    """Refuse files that are not listed. Hidden files are allowed: nothing here reads them."""
    for name in sorted(os.listdir(folder)):
        if name not in listed and name != MANIFEST and not name.startswith("."):
            raise BundleError(f"{folder}: {MANIFEST} does not list {name}; remove it")


def _check_keys(path: Path, values: dict) -> None:
    known = {key.name: key for key in fields(Manifest)}
    for name, key in known.items():
        if name not in values and key.default is MISSING and key.default_factory is MISSING:
            raise BundleError(f"{path}: the key {name!r} is missing")
    for name, value in values.items():
        if name not in known:
            raise BundleError(f"{path}: the key {name!r} is not known")
        kind: Any = getattr(known[name].type, "__origin__", known[name].type)  # list of list[str]
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
        "unsure_band": _is_band(manifest),
        "max_length": manifest.max_length >= 1,
        "training": isinstance(manifest.training.get("data", {}), dict),
        "reference": check_reference(manifest.reference),
        "variants": all(name in manifest.files for name in manifest.variants.values()),
        "files": TOKENIZER in manifest.files
        and all(
            isinstance(entry.size, int) and entry.size >= 0 for entry in manifest.files.values()
        ),
    }
    for key, is_good in problems.items():
        if not is_good:
            raise BundleError(f"{path}: {key} is {getattr(manifest, key)!r}, which is not valid")


def _is_band(manifest: Manifest) -> bool:
    band = manifest.unsure_band
    if band is None:
        return True
    is_pair = len(band) == 2 and all(type(value) in (int, float) for value in band)
    return is_pair and manifest.decision.find_problem() is None


def check_reference(values: dict) -> bool:
    """True if the ``reference`` of a manifest is empty or usable."""
    try:
        rates = [*values["labels"].values(), *values["scores"], *values["tokens"]] if values else []
        return not values or (
            values["effective_messages"] > 0
            and len(values["token_edges"]) == len(values["tokens"])
            and all(0 <= rate <= 1 for rate in rates)
        )
    except (AttributeError, KeyError, TypeError):
        return False
