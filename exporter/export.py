"""From run folder to verified bundle."""

import hashlib
import logging
import os
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from batch.bundle import (
    GOLDEN,
    MANIFEST,
    TOKENIZER,
    VERIFY,
    FileEntry,
    Manifest,
    file_entries,
)
from batch.errors import OutputError, SpamBatchError
from batch.inference import InferenceSession
from batch.tokenizer import Tokenizer
from exporter.graph import OPSET, export_onnx
from exporter.verify import (
    BATCH_SIZES,
    FP32_TOLERANCE,
    Comparison,
    compare,
    onnx_logits,
    torch_logits,
)
from trainer.data import read_split
from trainer.model import GPT2Classifier
from trainer.run_folder import (
    METRICS,
    RunConfig,
    package_versions,
    read_config,
    read_model,
    read_tokenizer,
    write_json,
)

log = logging.getLogger("exporter")

# Messages that every export is tried on beside the run's own.
NASTY_TEXTS = (
    "",
    " ",
    "ok",
    "\n\r\n\t\n",
    "<|endoftext|>",
    "<|endoftext|>" * 50,
    "caf\ufffd \ufffd\ufffd",
    "\0",
    "😀" * 40,
    "word " * 2000,
    "a" * 10_000,
)


class VerificationError(SpamBatchError):
    """ONNX Runtime does not say what PyTorch says; no bundle was written."""

    exit_code = 78


def export(run: Path, out: Path, device: str = "auto", progress: bool = True) -> list[Comparison]:
    """Export the model of a run folder, compare it, and write the bundle.

    The bundle appears under its name only when every comparison held; an older
    one is replaced then, and stays otherwise.

    Raises:
        VerificationError: a difference above the tolerance, or a label that differs.
        OutputError: ``out`` is something else than a bundle.
    """
    check_target(out)
    config = read_config(run)
    model = read_model(run, config)
    tokenizer = read_tokenizer(run)
    log.info("Weights: %s", config.weights["statement"])
    texts = read_texts(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        write_model_files(model, tokenizer, config, run, scratch)
        log.info("Traced %s to ONNX, opset %d", config.model["size"], OPSET)
        comparisons, report = verify_model(
            model, tokenizer, texts, config.max_length, scratch / "model.onnx", device, progress
        )
        write_json(scratch / VERIFY, report)
        write_manifest(scratch, config, run)
        replace_folder(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return comparisons


def read_texts(run: Path) -> list[str]:
    """The run's validation and test messages, then the nasty ones."""
    frames = [read_split(run, name) for name in ("validation", "test")]
    return [text for frame in frames for text in frame["text"]] + list(NASTY_TEXTS)


def write_model_files(
    model: GPT2Classifier, tokenizer: Tokenizer, config: RunConfig, run: Path, folder: Path
) -> None:
    """Write the graph, the tokenizer and the golden messages into ``folder``."""
    export_onnx(model, config.max_length, folder / "model.onnx")
    shutil.copyfile(run / TOKENIZER, folder / TOKENIZER)
    # Messages of ours, so that no user's text travels with a bundle.
    texts = [*NASTY_TEXTS, "You won a prize! Call now", "See you at dinner tonight, let me know?"]
    sequences = [tokenizer.encode(text, config.max_length) for text in texts]
    logits = torch_logits(model, sequences, config.max_length)
    messages = [
        {"text": text, "ids": ids, "logits": [float(value) for value in row]}
        for text, ids, row in zip(texts, sequences, logits, strict=True)
    ]
    write_json(folder / GOLDEN, {"labels": config.labels, "messages": messages})


def verify_model(
    model: GPT2Classifier,
    tokenizer: Tokenizer,
    texts: list[str],
    max_length: int,
    path: Path,
    device: str = "auto",
    progress: bool = True,
) -> tuple[list[Comparison], dict]:
    """Compare every text at every batch size; returns the comparisons and ``verify.json``.

    Raises:
        VerificationError: naming batch size, message, and both sides' logits.
    """
    data = path.read_bytes()
    session = InferenceSession(data, device)
    pad_id = model.config.pad_id
    sequences = [tokenizer.encode(text, max_length) for text in texts]
    fixed = max_length if model.config.is_fixed_length else None
    theirs = torch_logits(model, sequences, max_length)
    comparisons = []
    for batch_size in tqdm(
        BATCH_SIZES, desc="checking", unit="batch size", disable=None if progress else True
    ):
        ours = onnx_logits(session, sequences, batch_size, pad_id, fixed)
        comparisons.append(check(compare(ours, theirs, batch_size), FP32_TOLERANCE))
    report = {
        "variants": {
            "fp32": {
                "passed": True,
                "sha256": hashlib.sha256(data).hexdigest(),
                "tolerance": FP32_TOLERANCE,
                "device": session.device,
                "comparisons": [comparison.to_dict() for comparison in comparisons],
            }
        },
        "processor": platform.processor() or platform.machine(),
        "versions": package_versions("torch", "onnx", "onnxscript", "onnxruntime"),
    }
    return comparisons, report


def check(comparison: Comparison, tolerance: float) -> Comparison:
    """Return ``comparison`` if it holds.

    Raises:
        VerificationError: it does not.
    """
    if comparison.passed(tolerance):
        return comparison
    row = comparison.worst_message
    if comparison.labels_differ and comparison.worst <= tolerance:
        raise VerificationError(
            f"batch size {comparison.batch_size}: {len(comparison.labels_differ)} labels differ, "
            f"the first is message {comparison.labels_differ[0]}; no bundle was written"
        )
    raise VerificationError(
        f"batch size {comparison.batch_size}: the logits of message {row} differ by "
        f"{comparison.worst:.3g}, more than {tolerance:g}: ONNX Runtime gives "
        f"{np.round(comparison.worst_ours, 6).tolist()}, PyTorch "
        f"{np.round(comparison.worst_theirs, 6).tolist()}; no bundle was written"
    )


def write_manifest(folder: Path, config: RunConfig, run: Path) -> None:
    """Write ``bundle.json`` over the files that are in ``folder``."""
    import json

    metrics = json.loads((run / METRICS).read_text(encoding="utf-8"))
    files: dict[str, FileEntry] = dict(file_entries(folder))
    manifest = Manifest(
        labels=config.labels,
        positive_label=config.positive_label,
        threshold=metrics["threshold"]["value"],
        temperature=metrics["calibration"]["temperature"],
        max_length=config.max_length,
        fixed_length=config.model_config.is_fixed_length,
        pooling=config.model["pooling"],
        pad_id=config.model["pad_id"],
        model=config.model["size"],
        weights=config.weights["statement"],
        variants={"fp32": "model.onnx"},
        files=files,
        training={key: metrics[key] for key in ("accuracy", "messages", "data")},
        made_by={
            "versions": package_versions("torch", "onnx", "onnxscript", "onnxruntime"),
            "recipe": config.recipe["name"],
            "data_sha256": config.data["sha256"],
            "weights": config.weights,
        },
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def check_target(target: Path) -> None:
    """Refuse to replace anything but a bundle or an empty folder.

    Raises:
        OutputError: ``target`` holds something else.
    """
    is_empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not is_empty and not (target / MANIFEST).is_file():
        raise OutputError(f"{target} exists and is not a bundle; it was left as it is")


def replace_folder(new: Path, target: Path) -> None:
    """Give ``new`` the name ``target``; an older bundle there goes, anything else stays.

    Raises:
        OutputError: ``target`` holds something that is not a bundle.
    """
    check_target(target)
    os.chmod(new, 0o777 & ~_umask())
    old = new.with_suffix(".old")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
