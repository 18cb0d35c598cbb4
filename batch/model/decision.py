"""From logits to labels and scores: the one rule of training, verification and serving."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNSURE = "unsure"  # the label of scores within the band
Band = tuple[float, float]  # from the first on, to below the second
IS_POSITIVE, IS_OTHER, IS_UNSURE, IS_BEST = REASONS = (
    "score>=threshold", "score<threshold", "unsure band", "highest probability"
)  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """How K logits become a label. N messages, K classes."""

    labels: list[str]  # K
    positive_label: str | None
    threshold: float  # probability from which two classes give the positive one
    temperature: float
    unsure_band: Band | None = None  # scores in it give neither of two classes

    @property
    def given(self) -> list[str]:
        """The labels that a message can get: the classes', and ``unsure`` if there is a band."""
        return [*self.labels, UNSURE] if self.unsure_band else self.labels

    @property
    def has_threshold(self) -> bool:
        """True of two classes, one of them the positive one; else the most probable is given."""
        return self.positive_label is not None and len(self.labels) == 2

    def find_problem(self) -> str | None:
        """What is wrong with threshold or band, as it is told who gave them, typed or in Python."""
        if not 0 <= self.threshold <= 1:
            return f"threshold {self.threshold} is no probability; give one from 0 to 1"
        if self.unsure_band is None:
            return None
        low, high = self.unsure_band
        if not 0 <= low < high <= 1:
            return (
                f"unsure band {low},{high}: the first must be below the second, and both from 0 "
                "to 1; give for example 0.35,0.65"
            )
        if not self.has_threshold:
            return f"an unsure band {self.needs_threshold()}"
        if UNSURE in self.labels:
            return (
                f"unsure band: one of the labels is called {UNSURE!r}, and its rows could not be "
                "told from those within the band; leave it out"
            )
        if not low <= self.threshold <= high:
            return (
                f"the threshold {self.threshold} is not within the unsure band {low},{high}; give "
                "a band that holds it, another threshold, or none for the band"
            )
        return None

    def needs_threshold(self) -> str:
        """Why an option on the positive label's score is refused."""
        there = f"are {len(self.labels)} labels"
        if self.positive_label is None:
            there = "is no positive label"
        return f"needs two labels, one of them the positive one; there {there}; leave it out"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(N, K)`` -> ``(N, K)`` float64."""
        return softmax(logits.astype(np.float64) / self.temperature)

    def decide(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class numbers ``(N,)``, scores ``(N,)`` and probabilities ``(N, K)`` of logits.

        With two classes the positive one is given from the threshold on, else the most
        probable; within the band it is number K, which stands for ``unsure``. The score is
        the probability of the positive label, or of the label given if none is.
        """
        probabilities = self.probabilities(logits)
        best = probabilities.argmax(axis=1)
        if self.positive_label is None:
            return best, probabilities.max(axis=1), probabilities
        positive = self.labels.index(self.positive_label)
        scores = probabilities[:, positive]
        if self.has_threshold:
            best = np.where(scores >= self.threshold, positive, 1 - positive)
        if self.unsure_band:
            low, high = self.unsure_band
            best = np.where((low <= scores) & (scores < high), len(self.labels), best)
        return best, scores, probabilities

    def reasons(self, best: np.ndarray) -> list[str]:
        """Why each message has its label, by the class numbers of :meth:`decide`."""
        if not self.has_threshold:
            return [IS_BEST] * len(best)
        of_class = [IS_OTHER, IS_OTHER, IS_UNSURE]
        of_class[self.labels.index(self.positive_label)] = IS_POSITIVE
        return [of_class[number] for number in best.tolist()]

    def margins(self, logits: np.ndarray) -> np.ndarray:
        """How far each message is from another label: a probability, ``(N,)``."""
        _, scores, probabilities = self.decide(logits)
        if self.has_threshold:
            bounds = np.array(self.unsure_band or (self.threshold,))
            return np.abs(scores[:, None] - bounds).min(axis=1)
        ordered = np.sort(probabilities, axis=1)
        return ordered[:, -1] - ordered[:, -2]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of ``(N, K)`` to probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Predictions:
    """N messages, K classes, in the order given."""

    labels: list[str]  # N; ``unsure`` where the score is within the band, if there is one
    scores: np.ndarray  # (N,) float64: probability of the positive label (of the label if none is)
    probabilities: np.ndarray  # (N, K) float64
    tokens: np.ndarray  # (N,) int64: those that were read
    truncated: np.ndarray  # (N,) bool: the message has more of them
    repeated: int = 0  # messages whose text had been seen before, here or in an earlier call
    reasons: Sequence[str] = ()  # N; why a message has its label, see docs/formats.md
