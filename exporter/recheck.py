"""``spam-export verify``: a bundle's variants against PyTorch, here and now."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from batch.errors import BundleError, InputError, SpamBatchError
from batch.model.bundle import Bundle, open_bundle
from batch.model.bundle_files import EXTERNAL_SUFFIX, MANIFEST, TOKENIZER, VERIFY, file_entries
from batch.model.inference import wanted_device
from batch.reading.fingerprint import hash_file
from exporter.convert.structure import Structure, read_structure
from exporter.convert.variants import remove_variant
from exporter.trained_run import TrainedRun
from exporter.variant_check import Verified, gate_of, report_of, verify_file
from trainer.run_folder import WEIGHTS, write_json


@dataclass(frozen=True)
class Recheck:
    """One variant: what its file says of itself, and what it computes."""

    structure: Structure | None  # None of a file that is not ONNX
    verified: Verified
    found: list[str]  # of its files and the manifest, and why it could not be run

    def problems(self) -> list[str]:
        structure = self.structure.problems if self.structure else []
        return self.found + structure + self.verified.problems()


def recheck(folder: Path, run: Path, device: str = "auto", progress: bool = True) -> list[Recheck]:
    """Check every variant of a bundle again; ``verify.json`` is written anew if it says more.

    A variant that falls short is removed from the bundle.

    Raises:
        BundleError: not a bundle, another file of it was changed, or no such device here.
        InputError: ``run`` is not what it was made from.
    """
    bundle = open_bundle(folder)
    wanted_device(device)
    variants = tuple(bundle.manifest.variants.values())
    for name in bundle.manifest.files:
        if name != VERIFY and not name.startswith(variants):
            bundle.read(name)  # the new manifest vouches for it
    trained = TrainedRun.read(run)
    made_of = bundle.manifest.made_by.get("model_sha256")
    if made_of != hash_file(run / WEIGHTS):
        raise InputError(
            f"{run} is not the run that {folder} was made from (its weights are others); "
            "name it with --run"
        )
    results = [
        _recheck_variant(bundle, trained, precision, device, progress)
        for precision in bundle.manifest.variants
    ]
    _rewrite(bundle, trained, results)
    return results


def _recheck_variant(
    bundle: Bundle, trained: TrainedRun, precision: str, device: str, progress: bool
) -> Recheck:
    name, folder = bundle.manifest.variants[precision], bundle.folder
    found = _manifest_problems(bundle, trained)
    structure = gate = check = None
    try:
        bundle.read(name)
        if tensors := bundle.watch(name + EXTERNAL_SUFFIX):
            tensors.check_hash()
    except BundleError as error:
        found.append(str(error))
    try:
        structure = read_structure(folder / name, trained.config, precision)
        gate = None if precision == "fp32" else gate_of(trained, folder, precision, device)
        check = verify_file(trained, folder, precision, device, progress)
    except SpamBatchError as error:
        found.append(str(error))
    kept = _kept_before(bundle, precision)
    return Recheck(structure, Verified(precision, check, gate, kept), found)


def _manifest_problems(bundle: Bundle, trained: TrainedRun) -> list[str]:
    """What the manifest says otherwise than the run; the threshold is the user's to change."""
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
        return bundle.read_json(VERIFY)
    except BundleError:
        return {}  # there is none, or a run that was killed left another; it is written anew


def _kept_before(bundle: Bundle, precision: str) -> list[str]:
    return _report_before(bundle).get("variants", {}).get(precision, {}).get("kept_fp32", [])


def _without_speeds(report: dict) -> dict:
    """As it is read again, less what differs each time."""
    copy = json.loads(json.dumps(report))
    for entry in copy.get("variants", {}).values():
        for part in (entry, entry.get("check") or {}):
            part.pop("batch_tokens", None), part.pop("rows_per_second", None)
    return copy


def _rewrite(bundle: Bundle, trained: TrainedRun, results: list[Recheck]) -> None:
    """Write verify.json, remove what fell short, and list what is left in the manifest."""
    pairs = [(result.verified, result.problems()) for result in results]
    report = report_of(trained.rows, bundle.folder, pairs)
    if _without_speeds(report) == _without_speeds(_report_before(bundle)):
        return  # a bundle of which nothing else is new keeps its digest
    write_json(bundle.folder / VERIFY, report)
    manifest = bundle.manifest
    variants = dict(manifest.variants)
    for verified, problems in pairs:
        if problems:
            remove_variant(bundle.folder, verified.precision)
            del variants[verified.precision]
    files = {
        name: entry
        for name, entry in file_entries(bundle.folder).items()
        if name in manifest.files or name == VERIFY
    }
    changed = replace(manifest, variants=variants, files=files)
    (bundle.folder / MANIFEST).write_text(changed.to_json(), encoding="utf-8")
