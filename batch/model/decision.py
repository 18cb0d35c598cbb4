"""From logits to labels and scores: the one rule of training, verification and serving."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNSURE = "unsure"  # the label of scores in the band
Band = tuple[float, float]  # low, high: the band has the scores with low <= score < high
FAST, SLOW = STAGES = ("fast", "slow")  # which model of a cascade decided
IS_POSITIVE, IS_OTHER, IS_UNSURE, IS_BEST = REASONS = (
    "score>=threshold", "score<threshold", "unsure band", "highest probability"
)  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """How K logits become a label. N messages, K classes."""

    labels: list[str]  # K
    positive_label: str | None
    threshold: float  # with two classes, at least this probability gives the positive label
    temperature: float  # logits are divided by it before the softmax
    unsure_band: Band | None = None  # scores in it get neither of the two labels

    @property
    def given(self) -> list[str]:
        """The labels that a message can get: one for each class, and ``unsure`` with a band."""
        return [*self.labels, UNSURE] if self.unsure_band else self.labels

    @property
    def has_threshold(self) -> bool:
        """True for two classes with a positive label; else the most probable label is given."""
        return self.positive_label is not None and len(self.labels) == 2

    @property
    def score_ranges(self) -> dict[str, tuple[float, float]]:
        """Label -> the scores that give it, from low to below high; empty without a threshold.

        The positive label, and ``unsure`` if there is a band. The other label has the rest.
        """
        if not self.has_threshold:
            return {}
        assert self.positive_label is not None  # as has_threshold says
        if self.unsure_band is None:
            return {self.positive_label: (self.threshold, math.inf)}
        low, high = self.unsure_band
        return {self.positive_label: (high, math.inf), UNSURE: (low, high)}

    def find_problem(self) -> str | None:
        """What is wrong with the threshold or the band, for an error message; None if nothing."""
        if not 0 <= self.threshold <= 1:
            return f"threshold {self.threshold} is not a probability; give one from 0 to 1"
        if self.unsure_band is None:
            return None
        low, high = self.unsure_band
        if not 0 <= low < high <= 1:
            return (
                f"unsure band {low},{high}: the first number must be less than the second, and "
                "both must be from 0 to 1; give for example 0.35,0.65"
            )
        if not self.has_threshold:
            return f"an unsure band {self.needs_threshold()}"
        if UNSURE in self.labels:
            return (
                f"unsure band: one of the labels is {UNSURE!r}, and its rows could not be told "
                "apart from the rows in the band; leave the band out"
            )
        if not low <= self.threshold <= high:
            return (
                f"the threshold {self.threshold} is outside the unsure band {low},{high}; give "
                "a band that contains it, another threshold, or none as the band"
            )
        return None

    def needs_threshold(self) -> str:
        """Why a threshold or a band is refused: the rest of a sentence."""
        there = f"are {len(self.labels)} labels"
        if self.positive_label is None:
            there = "is no positive label"
        return f"needs two labels, one of them the positive label; there {there}; leave it out"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits ``(N, K)`` to probabilities ``(N, K)`` float64."""
        return softmax(logits.astype(np.float64) / self.temperature)

    def decide(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits ``(N, K)`` to class numbers ``(N,)``, scores ``(N,)``, probabilities ``(N, K)``.

        With two classes, a score of at least the threshold gives the positive class, and a
        score in the band gives K, the number of ``unsure``. Otherwise the most probable class
        is given. The score is the probability of the positive label; without a positive label
        it is the probability of the label given.
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
        """Why each message has its label, from the class numbers of :meth:`decide`."""
        if not self.has_threshold:
            return [IS_BEST] * len(best)
        assert self.positive_label is not None  # as has_threshold says
        of_class = [IS_OTHER, IS_OTHER, IS_UNSURE]
        of_class[self.labels.index(self.positive_label)] = IS_POSITIVE
        return [of_class[number] for number in best.tolist()]

    def margins(self, logits: np.ndarray) -> np.ndarray:
        """How far each message's probability is from another label, ``(N,)``."""
        _, scores, probabilities = self.decide(logits)
        if self.has_threshold:
            bounds = np.array(self.unsure_band or (self.threshold,))
            return np.abs(scores[:, None] - bounds).min(axis=1)
        ordered = np.sort(probabilities, axis=1)
        return ordered[:, -1] - ordered[:, -2]

    def leanings(self, logits: np.ndarray) -> np.ndarray:
        """How far each message's logits ``(N, K)`` lean to one label, ``(N,)`` float64.

        With a threshold it is the positive label's logit minus the other one; otherwise the
        largest logit minus the second. A difference is exact in any batch, which a softmax need
        not be, so a cascade chooses by it which model decides.
        """
        wide = logits.astype(np.float64)
        if self.has_threshold:
            assert self.positive_label is not None  # as has_threshold says
            positive = self.labels.index(self.positive_label)
            return wide[:, positive] - wide[:, 1 - positive]
        ordered = np.sort(wide, axis=1)
        return ordered[:, -1] - ordered[:, -2]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits ``(N, K)`` to probabilities ``(N, K)``."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Predictions:
    """The labels of N messages, K classes, in the order of the messages."""

    labels: list[str]  # N; ``unsure`` if the score is in the band
    scores: np.ndarray  # (N,) float64: probability of the positive label, see Decision.decide
    probabilities: np.ndarray  # (N, K) float64
    tokens: np.ndarray  # (N,) int64: tokens that were read
    truncated: np.ndarray  # (N,) bool: the message has more tokens
    repeated: int = 0  # messages with the text of an earlier one, in this call or a call before
    reasons: Sequence[str] = ()  # N; why a message has its label, see docs/formats.md
    asked: np.ndarray | None = None  # (N,) bool: a cascade's slow model decided; None: no cascade
