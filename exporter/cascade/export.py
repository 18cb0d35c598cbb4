"""Make a cascade of two bundles: choose its band, prove its bound, write the folder."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES, Histograms
from batch.errors import BundleError
from batch.messages import count
from batch.model.bundle import FORMAT, FORMAT_VERSION, Bundle, open_bundle
from batch.model.bundle_files import GOLDEN, MANIFEST
from batch.model.cascade.classifier import CascadeClassifier, golden_values
from batch.model.cascade.folder import KIND, OWN_FILES, CascadeBundle, join_manifests
from batch.model.cascade.proof import PROOF, Proof, show_bound
from batch.model.classifier import Classifier
from batch.model.decision import FAST, SLOW
from batch.model.rules import BUNDLES_RULES
from batch.reading.fingerprint import hash_file
from exporter.bundle import GOLDEN_TEXTS, check_target, replace_folder
from exporter.cascade.bound import CONFIDENCE, Band, make_curve
from exporter.cascade.measure import (
    STEP,
    Outcome,
    check_enough,
    check_not_learned,
    choose_band_and_power,
    describe_proof,
    find_center,
    load_stages,
    run_both,
)
from exporter.cascade.texts import ProofText
from exporter.machine import describe_machine
from exporter.parity import VerificationError
from exporter.scratch import scratch_folder
from trainer.evaluation.calibration import fit_temperature_to
from trainer.run_folder import package_versions, write_json

log = logging.getLogger("exporter")

CURVE = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
SHORT = 24  # tokens; golden messages are never cut, so that no --long changes them
MUCH = 0.2  # a larger share asked is worth a warning


@dataclass(frozen=True)
class CascadeOptions:
    """What the user says of a cascade."""

    fast: Path
    slow: Path
    out: Path
    promised: float  # largest share of labels that may differ from the slow model's
    device: str = "auto"
    precisions: tuple[str, str] = ("auto", "auto")  # fast, slow
    progress: bool = True


def export_cascade(options: CascadeOptions, read_text: Callable[[], ProofText]) -> Proof:
    """Write a cascade whose bound was proved on the text, which is read after the bundles.

    Raises:
        VerificationError: the other half of the text does not prove the bound.
        BundleError: a bundle is missing or damaged, or is a cascade.
        InputError: the text is too little or was learned, or the two bundles do not go together.
        OutputError: ``out`` is or holds something else than a bundle, or cannot be made.
    """
    for folder in (options.fast, options.slow):
        if open_bundle(folder).proof:
            raise BundleError(f"{folder} is a cascade; give two ordinary bundles")
    check_target(options.out)
    out = Path(os.path.realpath(options.out))
    text = read_text()
    allowed = check_enough(text, options.promised)  # before anything slow
    fast, slow = load_stages(options.fast, options.slow, options.device, options.precisions)
    check_not_learned(text, (fast, slow))
    tuned = run_both(fast, slow, text.tuning, "choosing the band", options.progress)
    temperature = fit_temperature_to(tuned.logits, tuned.probabilities)
    fast.decision = replace(fast.decision, temperature=temperature)
    differs = tuned.differs(fast.decision)
    band, length_power = choose_band_and_power(tuned, fast.decision, allowed, len(text.proving))
    log.info(
        "band: of %s the fast model labels %s otherwise; if %s are asked of the slow one, %s",
        count(len(differs), "message"), f"{int(differs.sum()):,}", f"{band.asked:,}",
        f"{band.left:,}",
    )  # fmt: skip
    proved = run_both(fast, slow, text.proving, "proving the bound", options.progress)
    proof = _prove(options, text, (fast, slow), (tuned, proved), band, length_power)
    with scratch_folder(out, f"cannot create {out}", "give another --out") as scratch:
        stages = {
            FAST: copy_bundle(fast.bundle, scratch / FAST),
            SLOW: copy_bundle(slow.bundle, scratch / SLOW),
        }
        joined = CascadeBundle(scratch, join_manifests(proof, stages, {}), "", proof, stages)
        classifier = CascadeClassifier(joined, fast, slow)
        proof = _add_reference(proof, classifier, text, options.progress)
        write_cascade(scratch, proof, classifier)
        Classifier.load(scratch, options.device)  # as spam-batch will: hashes, golden messages
        replace_folder(scratch, out)
    return proof


def _prove(
    options: CascadeOptions,
    text: ProofText,
    stages: tuple[Classifier, Classifier],
    outcomes: tuple[Outcome, Outcome],
    band: Band,
    length_power: float,
) -> Proof:
    """The proof without its reference.

    Raises:
        VerificationError: the messages of the proving half do not prove the bound.
    """
    fast, slow = stages
    tuned, proved = outcomes
    differs, leanings = proved.differs(fast.decision), proved.leanings(fast.decision, length_power)
    asked = band.asks(leanings)
    differ = int((differs & ~asked).sum())
    bound, sentence = describe_proof(differ, len(differs), options.promised)
    share = float(asked.mean())
    if bound > options.promised:
        raise VerificationError(
            f"the bound is not proved: with {100 * share:.2f} % of the messages asked of the slow "
            f"model, {sentence}; no cascade was written; give more --text, allow a larger "
            "--max-disagreement, or train the fast model on more labels of the slow one"
        )
    log.info("proof: %s", sentence)
    if share > MUCH:
        log.warning(
            "WARNING: %.0f %% of the messages are asked of the slow model, so the cascade is not "
            "much faster; train the fast model on more labels of the slow one",
            100 * share,
        )
    center = find_center(fast.decision)
    return Proof(
        stages={FAST: fast.bundle.digest, SLOW: slow.bundle.digest},
        precisions={FAST: fast.precision, SLOW: slow.precision},
        band=[band.low, band.high],
        center=center,
        length_power=length_power,
        temperature=fast.decision.temperature,
        promised=options.promised,
        confidence=CONFIDENCE,
        tuning={
            "messages": len(text.tuning),
            "differ": int(tuned.differs(fast.decision).sum()),
            "asked": band.asked,
            "left": band.left,
        },
        proving={
            "messages": len(text.proving),
            "differ_alone": int(differs.sum()),
            "asked": int(asked.sum()),
            "differ": differ,
            "bound": bound,
        },
        share_asked=share,
        text=text.describe(),
        settings=BUNDLES_RULES.settings(slow.manifest),
        reference={},
        curve=make_curve(leanings, differs, center, CURVE),
        made_by={
            "versions": package_versions("onnxruntime", "numpy", "scipy"),
            "device": slow.session.device,
            "machine": describe_machine()["cpu"],
        },
    )


def copy_bundle(bundle: Bundle, target: Path) -> Bundle:
    """Copy a bundle's files, and check each copy."""
    target.mkdir()
    for name in (MANIFEST, *bundle.manifest.files):
        shutil.copyfile(bundle.folder / name, target / name)
    copy = open_bundle(target, bundle.digest)
    for name in copy.manifest.files:
        copy.check(name)
    return copy


def _add_reference(
    proof: Proof, classifier: CascadeClassifier, text: ProofText, progress: bool
) -> Proof:
    """With what all rows of the text get, repeated ones as well, for drift.

    It is the text as it comes, so a run with text of the same source should look the same.
    """
    texts, rows = list(text.counts), np.array(list(text.counts.values()))
    labels = np.zeros(len(classifier.decision.given))
    numbers = {name: number for number, name in enumerate(classifier.decision.given)}
    histograms, asked = Histograms(), 0
    with tqdm(total=len(texts), desc="labelling the text", unit="message",
              disable=None if progress else True) as bar:  # fmt: skip
        for start in range(0, len(texts), STEP):
            found = classifier.classify(texts[start : start + STEP])
            weights = rows[start : start + STEP]
            given = [numbers[label] for label in found.labels]
            labels += np.bincount(given, weights, minlength=len(labels))
            assert found.asked is not None  # of a cascade
            asked += int(weights[found.asked].sum())
            scores, tokens = (np.repeat(each, weights) for each in (found.scores, found.tokens))
            histograms = histograms.add(scores, tokens, [])
            bar.update(len(weights))
    total = int(rows.sum())

    def shares(counts) -> list[float]:
        return [round(float(number) / total, 6) for number in counts]

    reference = {
        "sets": ["text of the proof"],
        "messages": total,
        "effective_messages": len(texts),
        "threshold": classifier.decision.threshold,
        "labels": dict(zip(numbers, shares(labels), strict=True)),
        "scores": shares(histograms.scores),
        "tokens": shares(histograms.tokens),
        "token_edges": list(TOKEN_EDGES),
    }
    assert len(reference["scores"]) == SCORE_BINS
    return replace(proof, reference=reference, share_asked=asked / total)


def write_cascade(folder: Path, proof: Proof, classifier: CascadeClassifier) -> None:
    """Write the cascade's own files beside the two bundles, which are there."""
    write_json(folder / PROOF, proof.to_json())
    texts = [text for text in GOLDEN_TEXTS if len(classifier.encode(text)[0]) <= SHORT]
    write_json(folder / GOLDEN, {"messages": golden_values(classifier, texts)})
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        **proof.stages,
        "files": {
            name: {"sha256": hash_file(folder / name), "size": (folder / name).stat().st_size}
            for name in OWN_FILES
        },
    }
    text = json.dumps(values, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def proof_lines(proof: Proof) -> list[str]:
    """The figures of a proof, for a person."""
    tuning, proving, text = proof.tuning, proof.proving, proof.text
    messages = count(proving["messages"], "message")
    return [
        f"text            {text['rows']:,} rows, {text['distinct']:,} distinct texts; "
        f"{tuning['messages']:,} messages to choose the band, {proving['messages']:,} to prove it",
        f"fast alone      {_of(proving['differ_alone'], proving)} of {messages} differ from the "
        "slow model's label",
        f"asked again     {_of(proving['asked'], proving)}; of all rows "
        f"{100 * proof.share_asked:.2f} %",
        f"cascade         {_of(proving['differ'], proving)} differ; at most "
        f"{show_bound(proof.bound)} with {100 * proof.confidence:g} % confidence, promised "
        f"{100 * proof.promised:g} %",
        "share asked -> share that differs: "
        + ", ".join(f"{100 * share:g} % -> {100 * left:.3g} %" for share, left in proof.curve),
    ]


def _of(number: int, proving: dict) -> str:
    return f"{number:,} ({100 * number / proving['messages']:.3f} %)"
