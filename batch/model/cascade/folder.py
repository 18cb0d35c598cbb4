"""The folder of a cascade: two whole bundles, ``fast`` and ``slow``, and what was proved of them.

``bundle.json`` has the digest of each of the two, and the hashes of the other two files. Each of
the two is checked as any bundle is, so all that is known of a bundle holds for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.errors import BundleError, UsageError
from batch.model.bundle import Bundle, Manifest, check_unlisted, open_bundle
from batch.model.bundle_files import (
    GOLDEN,
    MANIFEST,
    FileEntry,
    WatchedFile,
    parse_object,
    read_checked,
)
from batch.model.cascade.proof import PROOF, Proof
from batch.model.decision import SLOW, STAGES

KIND = "cascade"  # value of the key kind in bundle.json; an ordinary bundle has no such key
OWN_FILES = (PROOF, GOLDEN)


@dataclass(frozen=True)
class CascadeBundle(Bundle):
    """A cascade in the place of a bundle.

    ``manifest`` is the slow model's, with both models' names, weights and files, and with what
    the rows of the proof's text got as the reference for drift.
    """

    stages: Mapping[str, Bundle] = field(default_factory=dict)  # fast and slow

    def read(self, name: str) -> bytes:
        stage, inner = self._find(name)
        return stage.read(inner) if stage else super().read(name)

    def check(self, name: str) -> None:
        stage, inner = self._find(name)
        if stage:
            stage.check(inner)
        else:
            super().check(name)

    def watch(self, name: str) -> WatchedFile | None:
        stage, inner = self._find(name)
        return stage.watch(inner) if stage else super().watch(name)

    def _find(self, name: str) -> tuple[Bundle | None, str]:
        folder, _, inner = name.partition("/")
        return (self.stages[folder], inner) if inner else (None, name)


def open_cascade(folder: Path, values: dict, digest: str) -> CascadeBundle:
    """Read ``proof.json`` and the manifests of both bundles.

    Args:
        values: of ``bundle.json``, without its format.

    Raises:
        BundleError: a file was changed or added, or one of the two bundles is another one than
            was proved.
    """
    files = _read_files(folder / MANIFEST, values)
    check_unlisted(folder, {*files, *STAGES})
    path = folder / PROOF
    try:
        proof = Proof.from_json(parse_object(path, read_checked(path, files[PROOF])))
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None
    stages = {name: _open_stage(folder / name, values[name], proof, name) for name in STAGES}
    return CascadeBundle(folder, join_manifests(proof, stages, files), digest, proof, stages)


def open_slow(bundle: Bundle) -> Bundle:
    """The slow model's bundle of a cascade, for a run with it alone.

    Raises:
        UsageError: ``bundle`` is no cascade.
    """
    if not isinstance(bundle, CascadeBundle):
        raise UsageError(f"--slow-only: {bundle.folder} is no cascade; leave it out")
    return bundle.stages[SLOW]


def _read_files(path: Path, values: dict) -> dict[str, FileEntry]:
    wanted = {"kind", "files", *STAGES}
    for name in sorted(wanted ^ set(values)):
        problem = "is missing" if name in wanted else "is not known"
        raise BundleError(f"{path}: the key {name!r} {problem}")
    try:
        files = {name: FileEntry(**entry) for name, entry in values["files"].items()}
    except (AttributeError, TypeError):
        files = {}
    sizes = [entry.size for entry in files.values()]
    if set(files) != set(OWN_FILES) or not all(isinstance(size, int) for size in sizes):
        raise BundleError(f"{path}: files is not valid; a cascade has {' and '.join(OWN_FILES)}")
    return files


def _open_stage(folder: Path, listed: object, proof: Proof, name: str) -> Bundle:
    stage = open_bundle(folder)
    if stage.proof:
        raise BundleError(f"{folder} is itself a cascade; a cascade has two ordinary bundles")
    for digest in (listed, proof.stages[name]):
        if digest != stage.digest:
            raise BundleError(
                f"{folder}: the digest is {stage.digest}, and the cascade was proved with "
                f"{digest}; put that bundle back, or prove these two with: spam-export cascade"
            )
    precision = proof.precisions[name]
    if precision not in stage.manifest.variants:
        raise BundleError(f"{folder}: has no precision {precision}, and the proof was made with it")
    return stage


def join_manifests(
    proof: Proof, stages: Mapping[str, Bundle], files: dict[str, FileEntry]
) -> Manifest:
    """The manifest that stands for both; ``files`` are the cascade's own."""
    fast, slow = (stages[name].manifest for name in STAGES)
    listed = {
        f"{name}/{inner}": entry
        for name, stage in stages.items()
        for inner, entry in stage.manifest.files.items()
    }
    model = slow.variants[proof.precisions["slow"]]
    return replace(
        slow,
        model=f"{fast.model}, unsure ones {slow.model}",
        weights=f"slow: {slow.weights} fast: {fast.weights}",
        variants={proof.precision: f"slow/{model}"},
        files={**files, **listed},
        max_length=min(fast.max_length, slow.max_length),  # for what a person is told
        reference=proof.reference,
    )
