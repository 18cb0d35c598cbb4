"""A loaded bundle: texts in, labels and probabilities out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch.batching import cut_batches, pad_batch
from batch.bundle import GOLDEN, TOKENIZER, VERIFY, Bundle, open_bundle
from batch.errors import BundleError
from batch.inference import InferenceSession
from batch.tokenizer import Tokenizer, read_ranks

BATCH_TOKENS = 256  # on a CPU; more does not pay there, less leaves cores idle
GPU_BATCH_TOKENS = 16384
# What the logits of golden.json may move by, which catches a wrong tokenizer,
# pooling or weight and lets another CPU's or GPU's rounding pass.
GOLDEN_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """N messages, K classes, in the order given."""

    labels: list[str]  # N
    scores: np.ndarray  # (N,) float64: probability of the positive label (of the label if none is)
    probabilities: np.ndarray  # (N, K) float64
    tokens: np.ndarray  # (N,) int64, after cutting
    truncated: np.ndarray  # (N,) bool: the message was longer than max_length


class Classifier:
    """Labels texts with one bundle on one device.

    >>> Classifier.load("models/spam").classify(["You won a prize"]).labels
    ['spam']
    """

    def __init__(self, bundle: Bundle, session: InferenceSession, tokenizer: Tokenizer):
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.session = session
        self.tokenizer = tokenizer
        self.batch_tokens = BATCH_TOKENS if session.device == "cpu" else GPU_BATCH_TOKENS

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "fp32",
        allow_unverified: bool = False,
    ) -> "Classifier":
        """Check the bundle's hashes, load it, and replay its golden messages.

        Raises:
            BundleError: not a bundle, changed files, not verified, or the graph
                does not give PyTorch's logits here.
        """
        bundle = open_bundle(folder)
        name = bundle.manifest.variants.get(precision)
        if name is None:
            there = ", ".join(bundle.manifest.variants)
            raise BundleError(f"{bundle.folder}: no precision {precision}; it has: {there}")
        if not allow_unverified:
            _check_verified(bundle, precision, name)
        tokenizer = Tokenizer(read_ranks(bundle.read(TOKENIZER)))
        session = InferenceSession(bundle.read(name), device, threads)
        classifier = cls(bundle, session, tokenizer)
        classifier.replay_golden()
        return classifier

    def replay_golden(self) -> None:
        """Compare labels, ids and logits with those at export, when PyTorch gave them.

        Raises:
            BundleError: they differ, with the message's number.
        """
        values = self.bundle.read_json(GOLDEN)
        golden, labels = values.get("messages"), values.get("labels")
        if not golden:
            raise BundleError(f"{self.bundle.folder}: {GOLDEN} has no messages to check with")
        if labels is None:
            raise BundleError(f"{self.bundle.folder}: {GOLDEN} has no labels to check with")
        if labels != self.manifest.labels:
            raise BundleError(
                f"{self.bundle.folder}: the labels are {self.manifest.labels}, "
                f"but {labels} were exported"
            )
        ids = [self.encode(message["text"])[0] for message in golden]
        for number, (message, found) in enumerate(zip(golden, ids, strict=True)):
            if found != message["ids"]:
                raise BundleError(
                    f"{self.bundle.folder}: golden message {number} gets other token ids here "
                    "than at export; the tokenizer is not the model's"
                )
        logits = self.logits(ids)
        expected = np.array([message["logits"] for message in golden])
        if expected.shape != logits.shape:
            raise BundleError(
                f"{self.bundle.folder}: {GOLDEN} has logits of shape {expected.shape}, "
                f"the model gives {logits.shape}"
            )
        difference = np.abs(logits - expected).max(axis=1)
        worst = int(difference.argmax())
        if not difference[worst] <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{self.bundle.folder}: golden message {worst} gets logits that differ from "
                f"PyTorch's by {difference[worst]:.2g}, more than {GOLDEN_TOLERANCE:g}"
            )

    def encode(self, text: str) -> tuple[list[int], bool]:
        """Token ids, at most ``max_length``, and whether the message was cut."""
        limit = self.manifest.max_length
        ids = self.tokenizer.encode(text, limit + 1)
        return ids[:limit], len(ids) > limit

    def logits(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """Logits of token sequences, each its own row: ``(N, K)`` float32, order kept."""
        fixed = self.manifest.max_length if self.manifest.fixed_length else None
        result = np.empty((len(sequences), len(self.manifest.labels)), dtype=np.float32)
        for rows, width in cut_batches([len(s) for s in sequences], self.batch_tokens, fixed):
            ids = pad_batch([sequences[row] for row in rows], width, self.manifest.pad_id)
            logits = self.session.run(ids)
            if logits.shape != (len(rows), result.shape[1]):
                raise BundleError(
                    f"{self.bundle.folder}: the model gives logits of shape {logits.shape} for "
                    f"{len(rows)} messages and {result.shape[1]} labels"
                )
            result[rows] = logits
        return result

    def classify(self, texts: Sequence[str]) -> Predictions:
        """Label texts. The same text gets the same label and score in any company."""
        encoded = [self.encode(text) for text in texts]
        sequences = [ids for ids, _ in encoded]
        logits = self.logits(sequences)
        return Predictions(
            *self.decide(logits),
            tokens=np.array([len(ids) for ids in sequences], dtype=np.int64),
            truncated=np.array([cut for _, cut in encoded], dtype=bool),
        )

    def decide(self, logits: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Labels, scores ``(N,)`` and probabilities ``(N, K)`` of logits ``(N, K)``."""
        manifest = self.manifest
        probabilities = softmax(logits.astype(np.float64) / manifest.temperature)
        best = probabilities.argmax(axis=1)
        if manifest.positive_label is None:
            scores = probabilities.max(axis=1)
        else:
            positive = manifest.labels.index(manifest.positive_label)
            scores = probabilities[:, positive]
            if len(manifest.labels) == 2:
                best = np.where(scores >= manifest.threshold, positive, 1 - positive)
        return [manifest.labels[index] for index in best], scores, probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of ``(N, K)`` to probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _check_verified(bundle: Bundle, precision: str, name: str) -> None:
    hint = "run spam-export verify, or give --allow-unverified"
    if VERIFY not in bundle.manifest.files:
        raise BundleError(f"{bundle.folder}: was never verified; {hint}")
    verified = bundle.read_json(VERIFY).get("variants", {}).get(precision, {})
    if verified.get("passed") is not True:
        raise BundleError(f"{bundle.folder}: {precision} was not verified; {hint}")
    if verified.get("sha256") != bundle.manifest.files[name].sha256:
        raise BundleError(f"{bundle.folder}: {VERIFY} is of another {name}; {hint}")
