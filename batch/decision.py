"""From logits to labels and scores: the one rule of training, verification and serving."""

from dataclasses import dataclass

import numpy as np

from batch.bundle import Manifest


@dataclass(frozen=True)
class Decision:
    """How K logits become a label. N messages, K classes."""

    labels: list[str]  # K
    positive_label: str | None
    threshold: float  # probability from which two classes give the positive one
    temperature: float

    @classmethod
    def of(cls, manifest: Manifest) -> "Decision":
        return cls(
            manifest.labels, manifest.positive_label, manifest.threshold, manifest.temperature
        )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(N, K)`` -> ``(N, K)`` float64."""
        return softmax(logits.astype(np.float64) / self.temperature)

    def decide(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class numbers ``(N,)``, scores ``(N,)`` and probabilities ``(N, K)`` of logits.

        With two classes the positive one is given from the threshold on, else the most
        probable. The score is the probability of the positive label, or of the label
        given if none is.
        """
        probabilities = self.probabilities(logits)
        best = probabilities.argmax(axis=1)
        if self.positive_label is None:
            return best, probabilities.max(axis=1), probabilities
        positive = self.labels.index(self.positive_label)
        scores = probabilities[:, positive]
        if len(self.labels) == 2:
            best = np.where(scores >= self.threshold, positive, 1 - positive)
        return best, scores, probabilities

    def margins(self, logits: np.ndarray) -> np.ndarray:
        """How far each message is from another label: a probability, ``(N,)``."""
        _, scores, probabilities = self.decide(logits)
        if self.positive_label is not None and len(self.labels) == 2:
            return np.abs(scores - self.threshold)
        ordered = np.sort(probabilities, axis=1)
        return ordered[:, -1] - ordered[:, -2]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of ``(N, K)`` to probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
