"""Check a finished bundle's variants against PyTorch again: ``spam-export verify``."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from batch.errors import BundleError, InputError, OutputError, SpamBatchError, is_out_of_memory
from batch.model.bundle import Bundle, open_bundle
from batch.model.bundle_files import (
    CARD,
    EXTERNAL_SUFFIX,
    MANIFEST,
    TOKENIZER,
    VERIFY,
    file_entries,
)
from batch.model.inference import wanted_device
from batch.model.selftest import read_verified
from batch.reading.fingerprint import hash_file
from exporter.bundle import swap_folders, write_bundle_card
from exporter.convert.structure import Structure, read_structure
from exporter.convert.variants import remove_variant
from exporter.scratch import scratch_folder
from exporter.trained_run import Source, TrainedRun, read_source
from exporter.variant_check import VariantCheck, gate_of, report_of, verify_file
from trainer.huggingface.names import KIND
from trainer.run_folder import WEIGHTS, write_json


@dataclass(frozen=True)
class FileCheck:
    """One variant of a bundle: what its file says of itself, and what it computes."""

    structure: Structure | None  # None for a file that is not ONNX
    verified: VariantCheck
    found: list[str]  # problems of its files and of the manifest

    def problems(self) -> list[str]:
        """One sentence for each failed check; empty if all passed."""
        structure = self.structure.problems if self.structure else []
        return self.found + structure + self.verified.problems()


def verify_bundle(
    folder: Path, source: Source, device: str = "auto", progress: bool = True
) -> list[FileCheck]:
    """Check every variant of a bundle again, and rewrite ``verify.json`` if its contents change.

    A variant that fails is removed from the bundle.

    Raises:
        BundleError: ``folder`` is not a bundle, another of its files was changed, or the device
            is not available.
        InputError: the bundle was not made from ``run``.
    """
    bundle = open_bundle(folder)
    wanted_device(device)
    variants = tuple(bundle.manifest.variants.values())
    for name in bundle.manifest.files:
        if name != VERIFY and not name.startswith(variants):
            bundle.check(name)  # the new manifest repeats its hash
    weights = bundle.manifest.made_by.get("weights")
    is_transformers = isinstance(weights, dict) and weights.get("kind") == KIND
    what, option = ("folder", "--from-hf") if is_transformers else ("run", "--run")
    if is_transformers == isinstance(source, Path):
        kind = "transformers" if is_transformers else "run"
        raise InputError(f"{folder} was made from a {kind} folder; give that folder with {option}")
    trained = read_source(source, progress)
    if bundle.manifest.made_by.get("model_sha256") != hash_file(trained.folder / WEIGHTS):
        raise InputError(
            f"{trained.folder} is not the {what} that {folder} was made from (its weights "
            f"differ); give that {what} with {option}"
        )
    results = [
        _verify_variant(bundle, trained, precision, device, progress)
        for precision in bundle.manifest.variants
    ]
    _rewrite(bundle, trained, results)
    return results


def _verify_variant(
    bundle: Bundle, trained: TrainedRun, precision: str, device: str, progress: bool
) -> FileCheck:
    name, folder = bundle.manifest.variants[precision], bundle.folder
    found = _manifest_problems(bundle, trained)
    structure = gate = check = None
    try:
        bundle.check(name)
        if tensors := bundle.watch(name + EXTERNAL_SUFFIX):
            tensors.check_hash()
    except BundleError as error:
        found.append(str(error))
    try:
        structure = read_structure(folder / name, trained.config, precision)
        gate = None if precision == "fp32" else gate_of(trained, folder, precision, device)
        check = verify_file(trained, folder, precision, device, progress)
    except SpamBatchError as error:
        if is_out_of_memory(error):
            raise  # it says nothing about the variant
        found.append(str(error))
    kept = _kept_before(bundle, precision)
    return FileCheck(structure, VariantCheck(precision, check, gate, kept), found)


def _manifest_problems(bundle: Bundle, trained: TrainedRun) -> list[str]:
    """Where the manifest differs from the run; the threshold may, because users can change it."""
    manifest, config = bundle.manifest, trained.config
    pairs = {
        "labels": (manifest.labels, config.labels),
        "positive_label": (manifest.positive_label, config.positive_label),
        "temperature": (manifest.temperature, trained.decision.temperature),
        "max_length": (manifest.max_length, config.max_length),
        "fixed_length": (manifest.fixed_length, config.model_config.is_fixed_length),
        "pooling": (manifest.pooling, config.model["pooling"]),
        "pad_id": (manifest.pad_id, config.model["pad_id"]),
        "tokenizer": (manifest.files[TOKENIZER].sha256, config.tokenizer_sha256),
    }
    return [
        f"{MANIFEST} says {key} {found!r}, the run {expected!r}"
        for key, (found, expected) in pairs.items()
        if found != expected
    ]


def _report_before(bundle: Bundle) -> dict:
    try:
        read_verified(bundle)
        return bundle.read_json(VERIFY)
    except BundleError:
        return {}  # it is missing, or a killed run left another one; it is rewritten


def _kept_before(bundle: Bundle, precision: str) -> list[str]:
    return _report_before(bundle).get("variants", {}).get(precision, {}).get("kept_fp32", [])


def _without_speeds(report: dict) -> dict:
    """A copy without the measured speeds, which differ each time."""
    copy = json.loads(json.dumps(report))
    for entry in copy.get("variants", {}).values():
        for part in (entry, entry.get("check") or {}):
            for key in ("batch_tokens", "rows_per_second"):
                part.pop(key, None)
    return copy


def _rewrite(bundle: Bundle, trained: TrainedRun, results: list[FileCheck]) -> None:
    """Write verify.json, remove failed variants, and list the remaining files in the manifest.

    That is done in a copy, which then takes the bundle's place in one step: a run that starts
    meanwhile finds the one or the other.
    """
    pairs = [(result.verified, result.problems()) for result in results]
    report = report_of(trained.rows, bundle.folder, pairs)
    if _without_speeds(report) == _without_speeds(_report_before(bundle)):
        return  # only speeds differ: the bundle keeps its digest
    folder, manifest = Path(os.path.realpath(bundle.folder)), bundle.manifest
    problem = f"cannot replace {folder}"
    advice = "copy the bundle to another folder, and verify it there"
    with scratch_folder(folder, problem, advice) as scratch:
        shutil.copytree(folder, scratch, symlinks=True, dirs_exist_ok=True)
        for path in (scratch, *scratch.iterdir()):
            with contextlib.suppress(PermissionError):  # only root can keep another's ownership
                owner = (folder / path.relative_to(scratch)).stat()
                os.chown(path, owner.st_uid, owner.st_gid)
        write_json(scratch / VERIFY, report)
        variants = dict(manifest.variants)
        for verified, problems in pairs:
            if problems:
                remove_variant(scratch, verified.precision)
                del variants[verified.precision]
        if CARD in manifest.files:
            passed = [verified for verified, problems in pairs if not problems]
            write_bundle_card(scratch, trained, passed)
        files = {
            name: entry
            for name, entry in file_entries(scratch).items()
            if name in manifest.files or name == VERIFY
        }
        changed = replace(manifest, variants=variants, files=files)
        (scratch / MANIFEST).write_text(changed.to_json(), encoding="utf-8")
        try:
            swap_folders(scratch, folder)
        except OSError as error:  # a mount point cannot be renamed
            raise OutputError(f"{problem}: {error.strerror}; {advice}") from None
