"""The steps of the GPU benchmark that need PyTorch: train, export and verify, make a cascade.

Training: gpt2-small's shape, its last block and head trained as the recipe ``default`` does,
batches of 8, in bf16 on a GPU. With the trunk cache the frozen blocks run once for each message
(``trunk_seconds``), without it in every step. Tokens a second are those of the messages, padding
left out, in the median quarter of the steps; the time of the trunk cache and of evaluations does
not count. Peak memory is what PyTorch's tensors took on the GPU; on a CPU it is that of the
process so far, so the second one is no lower than the first.
"""

import json
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from messages import number_texts
from step import Settings, Skipped, check_onnxruntime

from batch.model.bundle import open_bundle
from batch.model.cascade.classifier import CascadeClassifier
from batch.model.cascade.folder import CascadeBundle, join_manifests
from batch.model.cascade.proof import POWERS, Proof, weigh
from batch.model.rules import BUNDLES_RULES
from batch.model.tokenizer import Tokenizer
from batch.reading.fingerprint import hash_file
from exporter.cascade.bound import CONFIDENCE
from exporter.cascade.export import copy_bundle, write_cascade
from exporter.cascade.measure import find_center, load_stages
from exporter.export import export as export_bundle
from exporter.machine import describe_machine
from exporter.verify_bundle import verify_bundle
from trainer.data.labels import find_positive_label
from trainer.data.reading import DEFAULT_OPTIONS, read_messages
from trainer.data.sets import write_split
from trainer.data.splits import make_split
from trainer.fetch.assets import fetch_files
from trainer.model.gpt2 import GPT2Classifier, ModelConfig
from trainer.model.initial_weights import InitialWeights, random_weights, resolve_weights
from trainer.recipe import Recipe, get_recipe
from trainer.run_folder import RunConfig, package_versions, write_run
from trainer.training.fit import fit
from trainer.training.train_model import CACHE_BYTES, encode_parts, make_model, train_model
from trainer.training.trunk_cache import build_caches
from trainer.training.watch import Watch

SIZE = "gpt2-small"
TINY = ModelConfig(SIZE, emb_dim=32, layers=2, heads=2, context_length=128)  # of a dry run
MAX_LENGTH = 120  # tokens, the notebook's
PRECISIONS = ("fp32", "fp16")
TEXTS = 5000  # distinct ones, at most, for the steps that label
SHARE_ASKED = 0.02  # of the messages, by the cascade's band
BAND_TEXTS = 2000  # that the band is set on
Figures = Iterator[tuple[str, object]]


@dataclass(frozen=True)
class Messages:
    """The labelled messages, cut to the number of steps."""

    labels: list[str]
    parts: dict[str, pd.DataFrame]  # train, validation, test
    data: dict  # for config.json
    texts: list[str]  # distinct ones, of all sets


def read(settings: Settings, recipe: Recipe) -> Messages:
    files = fetch_files(settings.data.parent, (settings.data,))
    options = replace(DEFAULT_OPTIONS, label_column=settings.label_column)
    frame = read_messages(files, options, recipe).frame
    sizes = {"train": settings.train_steps * recipe.batch_size}
    parts = {
        name: part.head(sizes.get(name, settings.held_out))
        for name, part in make_split(frame, recipe).items()
    }
    data = {
        "name": files[0].name, "origin": files[0].origin, "sha256": files[0].sha256,
        "rows": len(frame), "is_partial": files[0].is_partial,
        "labels": frame["label"].value_counts().to_dict(),
    }  # fmt: skip
    texts = frame["text"].drop_duplicates().head(TEXTS)
    return Messages(sorted(frame["label"].unique()), parts, data, texts.tolist())


def train(settings: Settings) -> Figures:
    """Train with the trunk cache and without it; leaves the run folder ``run``."""
    yield "machine", describe_machine()
    if settings.device == "cuda":
        check_torch()
        yield "torch", {
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "gpu": torch.cuda.get_device_name(),
        }  # fmt: skip
    recipe = get_recipe(
        "default", notices=False, bf16=True, epochs=1, max_length=MAX_LENGTH,
        eval_freq=max(1, settings.train_steps // 4),
    )  # fmt: skip
    messages = read(settings, recipe)
    (settings.work / "texts.json").write_text(json.dumps(messages.texts), encoding="utf-8")
    weights = random_weights(SIZE)
    if settings.is_dry:
        weights = replace(weights, shape=TINY)
    elif settings.weights != "random":
        weights = resolve_weights(settings.weights, SIZE, settings.work)
    yield "precision", "bf16" if settings.device == "cuda" else "fp32 (bf16 is for CUDA only)"
    yield "weights", weights.statement
    for name, cached in (("with_trunk_cache", True), ("without_trunk_cache", False)):
        figures = _train_once(settings, messages, weights, recipe, cached)
        yield name, figures


def check_torch() -> None:
    if not torch.cuda.is_available():
        raise Skipped(f"torch {torch.__version__} finds no GPU; install a build of it for CUDA")


def _train_once(
    settings: Settings, messages: Messages, weights: InitialWeights, recipe: Recipe, cached: bool
) -> dict:
    device = torch.device(settings.device)
    tokenizer = Tokenizer.load(settings.bpe)
    sets, max_length = encode_parts(messages.parts, messages.labels, tokenizer, recipe, weights)
    model = make_model(weights, recipe, None, len(messages.labels)).to(device)
    sets = {name: data.to(device) for name, data in sets.items()}
    lines = settings.work / f"{cached}.jsonl"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    caches = build_caches(model, sets, recipe, CACHE_BYTES) if cached else {}
    trunk = time.perf_counter() - start
    history, accuracy = fit(model, sets, recipe, False, None, caches, watch=Watch(lines))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if not (run := settings.work / "run").exists():
        write_folder(settings, run, messages, model, recipe, weights, max_length, accuracy)
    speeds = [json.loads(line).get("tokens_per_second") for line in lines.read_text().splitlines()]
    speeds = [speed for speed in speeds if speed is not None]
    return {
        "steps": len(sets["train"]) // recipe.batch_size,
        "batch_size": recipe.batch_size,
        "tokens_per_second": statistics.median(speeds[1:] or speeds),  # the first step warms up
        "peak_memory_mib": round(peak / 2**20, 1),
        "trunk_seconds": round(trunk, 3),
        "loop_seconds": round(history.seconds, 3),  # with the evaluations
    }


def write_folder(settings, folder, messages, model: GPT2Classifier, recipe, weights, max_length,
                 accuracy) -> None:  # fmt: skip
    """Write a run folder, without what only a person looks at."""
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir()
    write_split(part, messages.parts)
    config = RunConfig(
        model=model.config.to_dict(), recipe=recipe.to_dict(), labels=messages.labels,
        positive_label=find_positive_label(None, messages.labels), max_length=max_length,
        weights=weights.describe(), data=messages.data, tokenizer_sha256=hash_file(settings.bpe),
        device=settings.device, versions=package_versions("torch"),
    )  # fmt: skip
    sizes = {name: len(rows) for name, rows in messages.parts.items()}
    metrics = {"accuracy": accuracy, "messages": sizes, "data": messages.data}
    write_run(part, config, model, metrics, settings.bpe)
    part.rename(folder)


def export(settings: Settings) -> Figures:
    """Export ``run`` to the bundle ``slow`` in fp32 and, if it passes, fp16; verify both again."""
    check_onnxruntime(settings.device)
    found: dict[str, dict] = {}
    start = time.perf_counter()
    export_bundle(
        settings.work / "run", settings.work / "slow", settings.device, PRECISIONS[:1],
        PRECISIONS[1:], False, lambda one: found.update({one.precision: _describe(one)}),
    )  # fmt: skip
    yield "export", {"seconds": round(time.perf_counter() - start, 3), **found}
    start = time.perf_counter()
    results = verify_bundle(settings.work / "slow", settings.work / "run", settings.device, False)
    verified = {one.verified.precision: _describe(one.verified, one.problems()) for one in results}
    yield "verify", {"seconds": round(time.perf_counter() - start, 3), **verified}


def _describe(variant, problems: list[str] | None = None) -> dict:
    check = variant.check
    problems = variant.problems() if problems is None else problems
    figures = {"passed": not problems, "problems": problems}
    return figures if check is None else {
        **figures, "messages": check.rows, "labels_that_differ": len(check.labels_differ),
        "largest_logit_difference": check.logit.value, "tolerance": check.tolerance,
        "largest_difference_in_a_batch": check.batch_variance.value,
        "batch_tokens": check.batch_tokens, "rows_per_second": check.rows_per_second,
    }  # fmt: skip


def make_cascade(settings: Settings) -> Figures:
    """Train a starter, and make ``cascade`` of it and ``slow``.

    Its speed is real, and its promise is not: the band is set so that a share of SHARE_ASKED of
    the messages is asked again, and nothing is proved of the labels. In a dry run ``slow`` is
    both models, which saves the time of a second export.
    """
    check_onnxruntime(settings.device)
    if settings.device == "cuda":
        check_torch()
    recipe = get_recipe("default", from_random=True, notices=False, epochs=1, max_length=MAX_LENGTH)
    messages = read(settings, recipe)
    weights, device = random_weights("starter"), torch.device(settings.device)
    trained = train_model(
        messages.parts, messages.labels, Tokenizer.load(settings.bpe), weights, recipe, device,
        progress=False,
    )  # fmt: skip
    run = settings.work / "fast-run"
    write_folder(settings, run, messages, trained.model, recipe, weights, trained.max_length,
                 trained.accuracy)  # fmt: skip
    fast = settings.work / ("slow" if settings.is_dry else "fast")
    if not fast.exists():
        export_bundle(run, fast, settings.device, progress=False)
    proof = _write_cascade(settings, fast, messages.texts)
    yield "precisions", proof.precisions
    yield "share_to_ask", SHARE_ASKED


def _write_cascade(settings: Settings, fast_folder: Path, texts: list[str]) -> Proof:
    fast, slow = load_stages(fast_folder, settings.work / "slow", settings.device, ("auto", "auto"))
    prepared = fast.prepare(list(number_texts(texts, BAND_TEXTS)))
    fast.run(prepared)
    center = find_center(fast.decision)
    leanings = weigh(fast.decision.leanings(prepared.logits), prepared.tokens, center, POWERS[-1])
    distances = np.abs(leanings - center)
    reach = float(np.quantile(distances, SHARE_ASKED))
    classifiers = {"fast": fast, "slow": slow}
    proof = Proof(
        stages={name: one.bundle.digest for name, one in classifiers.items()},
        precisions={name: one.precision for name, one in classifiers.items()},
        band=[center - reach, center + reach],
        center=center,
        length_power=POWERS[-1],
        temperature=fast.decision.temperature,
        promised=0.999, confidence=CONFIDENCE,  # which is to promise nothing
        tuning={"messages": BAND_TEXTS},
        proving={"messages": BAND_TEXTS, "asked": 0, "differ": 0, "bound": 0.999},
        share_asked=SHARE_ASKED,
        text={"rows": BAND_TEXTS, "distinct": BAND_TEXTS, "sha256": "0" * 64},
        settings=BUNDLES_RULES.settings(slow.manifest),
        reference=slow.manifest.reference,
    )  # fmt: skip
    folder = settings.work / "cascade.part"
    folder.mkdir()
    stages = {name: copy_bundle(one.bundle, folder / name) for name, one in classifiers.items()}
    joined = CascadeBundle(folder, join_manifests(proof, stages, {}), "", proof, stages)
    write_cascade(folder, proof, CascadeClassifier(joined, fast, slow))
    open_bundle(folder)
    folder.rename(settings.work / "cascade")
    return proof
