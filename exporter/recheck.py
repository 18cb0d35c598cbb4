"""``spam-export verify``: a bundle's variants against PyTorch, here and now."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from batch.bundle import MANIFEST, VERIFY, Bundle, file_entries, open_bundle
from batch.errors import InputError
from exporter.export import Verified, gate_of, report_of, verify_file
from exporter.rows import Source
from exporter.structure import Structure, read_structure
from exporter.variants import remove_variant
from trainer.run_folder import WEIGHTS, hash_file, write_json

log = logging.getLogger("exporter")


@dataclass(frozen=True)
class Recheck:
    """One variant: what its file says of itself, and what it computes."""

    structure: Structure
    verified: Verified

    def problems(self) -> list[str]:
        return self.structure.problems + self.verified.problems()


def recheck(folder: Path, run: Path, device: str = "auto", progress: bool = True) -> list[Recheck]:
    """Check every variant of a bundle again and write ``verify.json`` anew.

    A variant that falls short is removed from the bundle.

    Raises:
        BundleError: not a bundle.
        InputError: ``run`` is not what it was made from.
    """
    bundle = open_bundle(folder)
    source = Source.read(run)
    made_of = bundle.manifest.made_by.get("model_sha256")
    if made_of != hash_file(run / WEIGHTS):
        raise InputError(
            f"{run} is not the run that {folder} was made from (its weights are others); "
            "name it with --run"
        )
    results = [
        _recheck_variant(bundle, source, precision, device, progress)
        for precision in bundle.manifest.variants
    ]
    _rewrite(bundle, source, results)
    return results


def _recheck_variant(
    bundle: Bundle, source: Source, precision: str, device: str, progress: bool
) -> Recheck:
    name = bundle.manifest.variants[precision]
    path = bundle.folder / name
    structure = read_structure(path, source.config, precision)
    problems = list(structure.problems)
    if hash_file(path) != bundle.manifest.files[name].sha256:
        problems.append(f"{name} is not the file that {MANIFEST} lists: its SHA-256 is another")
    for key, expected in (
        ("labels", source.config.labels),
        ("max_length", source.config.max_length),
        ("pooling", source.config.model["pooling"]),
        ("fixed_length", source.config.model_config.is_fixed_length),
        ("pad_id", source.config.model["pad_id"]),
    ):
        found = getattr(bundle.manifest, key)
        if found != expected:
            problems.append(f"{MANIFEST} says {key} {found!r}, the run {expected!r}")
    gate = None if precision == "fp32" else gate_of(source, bundle.folder, precision, device)
    check = verify_file(source, bundle.folder, precision, device, progress)
    kept = _kept_before(bundle, precision)
    return Recheck(replace(structure, problems=problems), Verified(precision, check, gate, kept))


def _kept_before(bundle: Bundle, precision: str) -> list[str]:
    report = bundle.read_json(VERIFY) if VERIFY in bundle.manifest.files else {}
    return report.get("variants", {}).get(precision, {}).get("kept_fp32", [])


def _rewrite(bundle: Bundle, source: Source, results: list[Recheck]) -> None:
    """Write verify.json, remove what fell short, and list what is left in the manifest."""
    pairs = [(result.verified, result.problems()) for result in results]
    write_json(bundle.folder / VERIFY, report_of(source.rows, bundle.folder, pairs))
    manifest = bundle.manifest
    variants = dict(manifest.variants)
    for verified, problems in pairs:
        if problems:
            remove_variant(bundle.folder, verified.precision)
            del variants[verified.precision]
    changed = replace(manifest, variants=variants, files=dict(file_entries(bundle.folder)))
    (bundle.folder / MANIFEST).write_text(changed.to_json(), encoding="utf-8")
