"""Run both models over the messages of a proof, and count where their labels differ."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from batch.errors import InputError
from batch.messages import count
from batch.model.cascade.proof import POWERS, show_bound, weigh
from batch.model.classifier import Classifier
from batch.model.decision import Decision
from exporter.cascade.bound import Band, choose_band, count_allowed, find_needed, upper_bound
from exporter.cascade.texts import ProofText

log = logging.getLogger("exporter")

STEP = 4096  # texts in one call


@dataclass(frozen=True)
class Outcome:
    """What both models say of N messages, K classes."""

    logits: np.ndarray  # (N, K) float32, of the fast model
    tokens: np.ndarray  # (N,) which it read
    labels: np.ndarray  # (N,) the slow model's label numbers
    probabilities: np.ndarray  # (N, K) the slow model's

    def differs(self, decision: Decision) -> np.ndarray:
        """``(N,)`` bool: the fast model's label is not the slow one's."""
        return decision.decide(self.logits)[0] != self.labels

    def take(self, rows: np.ndarray) -> "Outcome":
        """Those messages alone."""
        return Outcome(*(getattr(self, field.name)[rows] for field in fields(self)))

    def leanings(self, decision: Decision, length_power: float) -> np.ndarray:
        """``(N,)`` of the fast model, as the band has them; see ``weigh``."""
        center = find_center(decision)
        return weigh(decision.leanings(self.logits), self.tokens, center, length_power)


def run_both(
    fast: Classifier, slow: Classifier, texts: Sequence[str], what: str, progress: bool
) -> Outcome:
    """Run both models over N texts, with a progress bar.

    Args:
        what: name of the texts, for the bar.
    """
    logits, tokens, labels, probabilities = [], [], [], []
    numbers = {name: number for number, name in enumerate(slow.decision.given)}
    with tqdm(
        total=len(texts), desc=what, unit="message", disable=None if progress else True
    ) as bar:
        for start in range(0, len(texts), STEP):
            part = texts[start : start + STEP]
            prepared = fast.prepare(part)
            fast.run(prepared)
            theirs = slow.classify(part)
            logits.append(prepared.logits[prepared.rows])
            tokens.append(prepared.tokens[prepared.rows])
            labels.append(np.array([numbers[label] for label in theirs.labels], dtype=np.int64))
            probabilities.append(theirs.probabilities)
            bar.update(len(part))
    return Outcome(*map(np.concatenate, (logits, tokens, labels, probabilities)))


def find_center(decision: Decision) -> float:
    """The leaning at which the fast model's label changes; see ``Decision.leanings``."""
    if not decision.has_threshold:
        return 0.0
    threshold = min(max(decision.threshold, 1e-12), 1 - 1e-12)
    return decision.temperature * math.log(threshold / (1 - threshold))


def choose_band_and_power(
    tuned: Outcome,
    decision: Decision,
    allowed: int,
    proving: int,
    powers: Sequence[float] = POWERS,
) -> tuple[Band, float]:
    """The band, and the power of the length, with which the slow model reads the fewest tokens.

    Args:
        allowed, proving: as in :func:`choose_band`.
    """
    differs, center, found = tuned.differs(decision), find_center(decision), []
    for length_power in powers:
        leanings = tuned.leanings(decision, length_power)
        band = choose_band(leanings, differs, center, allowed, proving)
        found.append((int(tuned.tokens[band.asks(leanings)].sum()), length_power, band))
    _, length_power, band = min(found, key=lambda each: each[0])
    return band, length_power


def load_stages(
    fast: Path, slow: Path, device: str, precisions: tuple[str, str]
) -> tuple[Classifier, Classifier]:
    """Load two bundles that may be one cascade.

    Raises:
        SpamBatchError: one of them cannot be loaded.
        InputError: they have other labels, or another rule for them.
    """
    slower = Classifier.load(slow, device, precision=precisions[1])
    faster = Classifier.load(fast, slower.session.device, precision=precisions[0])
    ours, theirs = faster.manifest, slower.manifest
    for what in ("labels", "positive_label"):
        if getattr(ours, what) != getattr(theirs, what):
            raise InputError(
                f"{fast} has {what.replace('_', ' ')} {getattr(ours, what)!r}, and {slow} has "
                f"{getattr(theirs, what)!r}; a cascade's two models have the same, in the same "
                "order: train the fast one on labels of the slow one"
            )
    faster.decision = replace(slower.decision, temperature=ours.temperature)
    return faster, slower


def check_enough(text: ProofText, promised: float) -> int:
    """How many messages of the proving half may differ.

    Raises:
        InputError: there are too few messages to prove anything.
    """
    proving, needed = len(text.proving), find_needed(promised)
    allowed = count_allowed(proving, promised)
    if allowed < 0 or not text.tuning:
        total = len(text.tuning) + proving
        raise InputError(
            f"{', '.join(text.files)}: {count(proving, 'message')} in the half that proves are too "
            f"few for {100 * promised:g} %: {needed:,} are needed even if no label differs, so "
            f"about {2 * needed:,} distinct messages in all, and there are {total:,} (messages "
            "that are equal but for case, digits and punctuation count once); give more --text, "
            "or a larger --max-disagreement"
        )
    return allowed


def check_not_learned(text: ProofText, stages: Sequence[Classifier]) -> None:
    """Refuse text that one of the models was trained on.

    Raises:
        InputError: a file is the data of one of the two runs.
    """
    learned = {
        digest: stage.bundle.folder
        for stage in stages
        for data in [stage.manifest.training.get("data", {})]
        for digest in [data.get("sha256"), *data.get("files", ())]
    }
    for name, digest in text.files.items():
        if digest in learned:
            raise InputError(
                f"{name} is the data of {learned[digest]}; the bound holds only for text that "
                "neither model has seen: give other text, such as the run's test.csv"
            )


def describe_proof(differ: int, messages: int, promised: float) -> tuple[float, str]:
    """The bound, and a sentence with the figures."""
    bound = upper_bound(differ, messages)
    share = 100 * differ / messages
    return bound, (
        f"{differ:,} of {count(messages, 'message')} differ from the slow model's label "
        f"({share:.3f} %), so at most {show_bound(bound)} with 95 % confidence; promised are "
        f"{100 * promised:g} %"
    )
