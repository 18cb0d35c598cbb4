"""The accuracy gate: how much a reduced precision may lose on the validation messages."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from batch.messages import count
from batch.model.decision import Decision

log = logging.getLogger("exporter")

MAX_ACCURACY_LOSS = 0.005
MAX_RECALL_LOSS = 0.005  # of each class
MIN_AGREEMENT = 0.995  # share of the messages that keep PyTorch's label


@dataclass(frozen=True)
class Gate:
    """Validation figures of a variant (ours) and of PyTorch in fp32 (theirs)."""

    messages: int
    accuracy_ours: float
    accuracy_theirs: float
    recall_ours: dict[str, float]  # by label, for the classes that have messages
    recall_theirs: dict[str, float]
    agreement: float  # share of the messages with the same label

    def problems(self) -> list[str]:
        """One sentence for each limit that is exceeded; empty if the gate is passed."""
        found = []
        if _loss(self.accuracy_theirs, self.accuracy_ours) > MAX_ACCURACY_LOSS:
            found.append(
                f"validation accuracy falls from {_percent(self.accuracy_theirs)} to "
                f"{_percent(self.accuracy_ours)}, by more than {100 * MAX_ACCURACY_LOSS:g} points"
            )
        for label, theirs in self.recall_theirs.items():
            if _loss(theirs, self.recall_ours[label]) > MAX_RECALL_LOSS:
                found.append(
                    f"recall of {label!r} falls from {_percent(theirs)} to "
                    f"{_percent(self.recall_ours[label])}, by more than "
                    f"{100 * MAX_RECALL_LOSS:g} points"
                )
        if self.agreement < MIN_AGREEMENT:
            found.append(
                f"{_percent(self.agreement)} of {self.messages} validation labels equal PyTorch's, "
                f"at least {_percent(MIN_AGREEMENT)} must"
            )
        return found


def _loss(theirs: float, ours: float) -> float:
    return round(theirs - ours, 9)  # unrounded, 0.9 - 0.895 is above 0.005


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def measure_gate(
    ours: np.ndarray, theirs: np.ndarray, classes: np.ndarray, decision: Decision
) -> Gate:
    """Compare logits ``(V, K)`` of the validation messages, whose classes are ``(V,)``."""
    found, expected = decision.decide(ours)[0], decision.decide(theirs)[0]

    def recalls(labels: np.ndarray) -> dict[str, float]:
        return {
            label: float((labels[classes == number] == number).mean())
            for number, label in enumerate(decision.labels)
            if (classes == number).any()
        }

    return Gate(
        messages=len(classes),
        accuracy_ours=float((found == classes).mean()),
        accuracy_theirs=float((expected == classes).mean()),
        recall_ours=recalls(found),
        recall_theirs=recalls(expected),
        agreement=float((found == expected).mean()),
    )


def search_layers(
    layers: Sequence[str],
    passes: Callable[[Sequence[str]], bool],
    error_without: Callable[[str], float],
) -> list[str] | None:
    """The layers to keep in fp32 so that the gate is passed; None if no choice passes it.

    A few outlying channels of GPT-2's activations cause most of the error, in a few layers.
    ``error_without`` gives the error that remains when one layer alone is kept in fp32. The 1, 2,
    4, ... layers with the least remaining error are kept until ``passes`` is true.
    """
    remaining = {layer: error_without(layer) for layer in layers}
    worst_first = sorted(layers, key=remaining.__getitem__)
    number = 1
    while number < len(layers):
        kept = worst_first[:number]
        log.info("Keeping %s in fp32: %s", count(number, "layer"), ", ".join(kept))
        if passes(kept):
            return kept
        number *= 2
    return None
