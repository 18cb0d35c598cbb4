"""Write a bundle: golden messages, card, manifest, and the folder with its final name."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from batch.errors import OutputError
from batch.model.bundle import FORMAT, Manifest
from batch.model.bundle_files import CARD, GOLDEN, MANIFEST, FileEntry, file_entries
from batch.model.decision import STAGES
from batch.reading.fingerprint import hash_file
from exporter.convert.variants import FILES, open_variant
from exporter.parity import run_batches
from exporter.reference import make_reference
from exporter.scratch import exchange, find_other, remove_files
from exporter.trained_run import TRAINING_KEYS, TrainedRun
from exporter.variant_check import VariantCheck
from exporter.verification_set import GOLDEN_TEXTS, VerificationSet, torch_logits
from trainer.report.card import plain, write_card
from trainer.run_folder import WEIGHTS, package_versions, write_json

log = logging.getLogger("exporter")


def write_golden(trained: TrainedRun, folder: Path, precisions: list[str], device: str) -> None:
    """Write ``golden.json``: our own messages, their ids and logits, for spam-batch to replay.

    A bundle has no user's text. For a reduced precision the file has the logits that ONNX
    Runtime gives here.
    """
    limit = trained.config.max_length
    sequences = [trained.tokenizer.encode(text, limit) for text in GOLDEN_TEXTS]
    rows = VerificationSet(
        [*GOLDEN_TEXTS], sequences, torch_logits(trained.model, sequences, limit), trained.decision,
        limit, trained.rows.pad_id, trained.rows.fixed_length,
    )  # fmt: skip
    messages = [
        {"text": text, "ids": ids, "logits": row.tolist()}
        for text, ids, row in zip(GOLDEN_TEXTS, sequences, rows.logits, strict=True)
    ]
    variants = {}
    for precision in precisions:
        if precision != "fp32":
            batches = [(np.array([row]), limit) for row in range(len(sequences))]
            session = open_variant(folder, precision, device, rows)
            variants[precision] = run_batches(session, rows, batches).tolist()
    write_json(
        folder / GOLDEN,
        {"labels": trained.config.labels, "messages": messages, "variants": variants},
    )


def write_manifest(folder: Path, trained: TrainedRun, precisions: list[str]) -> None:
    """Write ``bundle.json``, which lists the files in ``folder`` with their hashes."""
    config, metrics = trained.config, trained.metrics
    files: dict[str, FileEntry] = dict(file_entries(folder))
    manifest = Manifest(
        labels=config.labels,
        positive_label=config.positive_label,
        threshold=trained.decision.threshold,
        temperature=trained.decision.temperature,
        max_length=config.max_length,
        fixed_length=config.model_config.is_fixed_length,
        pooling=config.model["pooling"],
        pad_id=config.model["pad_id"],
        model=config.model["size"],
        weights=config.weights["statement"],
        variants={precision: FILES[precision] for precision in precisions},
        files=files,
        unsure_band=config.unsure_band,
        training={key: metrics[key] for key in TRAINING_KEYS},
        made_by={
            "versions": package_versions("torch", "onnx", "onnxscript", "onnxruntime"),
            "recipe": config.recipe["name"],
            "data_sha256": config.data["sha256"],
            "model_sha256": hash_file(trained.folder / WEIGHTS),
            "weights": config.weights,
        },
        reference=make_reference(trained),
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def write_bundle_card(folder: Path, trained: TrainedRun, checks: Sequence[VariantCheck]) -> None:
    """Write the card of the bundle in ``folder``, whose variants passed ``checks``.

    It has no speeds, which differ each time, so the same bundle has the same card.
    """
    decision = trained.decision
    rule = "The most probable label is given."
    if decision.has_threshold:
        rule = (
            f"From the probability {decision.threshold:.6g} on a message is "
            f"{plain(decision.positive_label or '')}."
        )
    usage = [
        "## Use",
        "",
        "```",
        "spam-batch classify inbox.csv --out labeled.csv --bundle FOLDER",
        "```",
        "",
        f"{rule} Logits are divided by {decision.temperature:.6g} before the softmax.",
        "",
        "## Checked against PyTorch",
        "",
        "| precision | on | messages | largest logit difference | labels that differ |",
        "| --- | --- | ---: | ---: | ---: |",
        *(_row(check) for check in checks),
    ]
    write_card(folder / CARD, trained.config, trained.metrics, usage)


def _row(verified: VariantCheck) -> str:
    check = verified.check
    assert check is not None  # a variant that could not be run has not passed
    cells = (
        verified.precision, check.device, f"{check.rows:,}", f"{check.logit.value:.2e}",
        f"{len(check.labels_differ):,}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def list_files(folder: Path) -> set[str] | None:
    """Names of a bundle's files as its manifest says, itself among them; None of no bundle.

    Neither the format version nor the files' hashes matter: an older bundle, or a damaged
    one, is still a bundle.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        stages = STAGES if "kind" in values else ()  # the two folders of a cascade
        return {MANIFEST, *values["files"], *stages} if values["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def check_target(target: Path) -> None:
    """Refuse to replace anything but a bundle with nothing else in it, or an empty folder.

    Raises:
        OutputError: ``target`` is or holds something else; names it.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    names = list_files(target)
    if names is None:
        raise OutputError(
            f"{target} exists and is not a bundle; it was left as it is; give another --out"
        )
    if found := find_other(target, _names_in):
        raise OutputError(
            f"{found} is not a file of the bundle that --out would replace; it was left as it is; "
            "move it, or give another --out"
        )


def _names_in(folder: Path) -> set[str]:
    return list_files(folder) or set()


def replace_folder(new: Path, target: Path) -> None:
    """Give ``new`` the name ``target``; an older bundle there goes, anything else stays.

    On Linux a bundle has that name at every moment.

    Raises:
        OutputError: ``target`` is or holds something else.
    """
    check_target(target)
    os.chmod(new, 0o777 & ~_umask())
    swap_folders(new, target)


def swap_folders(new: Path, target: Path) -> None:
    """Give ``new`` the name ``target``, and remove the bundle that had it."""
    os.sync()  # a power cut leaves the old bundle or the new one, and not an empty file of it
    old = new.with_suffix(".old")
    if target.exists() and exchange(new, target):
        _remove_bundle(new, old)
        return
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    if old.exists():
        _remove_bundle(old, old)


def _remove_bundle(folder: Path, kept: Path) -> None:
    """Remove a bundle. If there is another file in it, that stays in a folder named ``kept``."""
    remove_files(folder, _names_in)
    if folder.exists():
        os.rename(folder, kept)
        log.warning("WARNING: %s is what was there before; it cannot be removed", kept)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
