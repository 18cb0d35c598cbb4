"""The gate of a reduced precision: its figures by hand, each refusal, the search of layers."""

import numpy as np
import pytest

from batch.model.decision import Decision
from exporter.accuracy_gate import Gate, measure_gate, search_layers

TWO = Decision(["ham", "spam"], "spam", 0.5, 1.0)
THREE = Decision(["ham", "spam", "news"], None, 0.5, 1.0)
RIGHT = Gate(1000, 0.9, 0.9, {"ham": 0.9, "spam": 0.9}, {"ham": 0.9, "spam": 0.9}, 1.0)


def logits_of(classes: np.ndarray, count: int) -> np.ndarray:
    return np.eye(count)[classes] * 4


def test_figures() -> None:
    classes = np.array([0, 0, 0, 0, 1, 1])
    theirs = np.array([0, 0, 0, 1, 1, 1])
    ours = np.array([0, 0, 1, 0, 1, 0])
    assert measure_gate(logits_of(ours, 2), logits_of(theirs, 2), classes, TWO) == Gate(
        messages=6,
        accuracy_ours=4 / 6,
        accuracy_theirs=5 / 6,
        recall_ours={"ham": 0.75, "spam": 0.5},
        recall_theirs={"ham": 0.75, "spam": 1.0},
        agreement=0.5,
    )


def test_a_class_without_messages_has_no_recall() -> None:
    classes = np.array([0, 2])
    found = measure_gate(logits_of(classes, 3), logits_of(classes, 3), classes, THREE)
    assert found.recall_ours == found.recall_theirs == {"ham": 1.0, "news": 1.0}
    assert found.problems() == []


def test_labels_are_by_the_threshold() -> None:
    """A small difference of logits, and yet on the other side of the run's threshold."""
    strict = Decision(["ham", "spam"], "spam", 0.9, 1.0)
    theirs = np.log([[0.101, 0.899], [0.5, 0.5]])
    ours = np.log([[0.099, 0.901], [0.5, 0.5]])
    assert measure_gate(ours, theirs, np.array([0, 0]), strict).agreement == 0.5


@pytest.mark.parametrize(
    ("gate", "problems"),
    [
        (RIGHT, []),
        (
            Gate(200, 0.895, 0.9, {"ham": 0.895}, {"ham": 0.9}, 0.995),  # all at their limit
            [],
        ),
        (
            Gate(200, 0.8925, 0.9, {"ham": 0.9}, {"ham": 0.9}, 1.0),
            ["validation accuracy falls from 90.00 % to 89.25 %, by more than 0.5 points"],
        ),
        (
            Gate(200, 0.9, 0.9, {"ham": 0.95, "spam": 0.9}, {"ham": 0.9, "spam": 0.925}, 1.0),
            ["recall of 'spam' falls from 92.50 % to 90.00 %, by more than 0.5 points"],
        ),
        (
            Gate(200, 0.95, 0.9, {"ham": 0.9}, {"ham": 0.9}, 0.9949),
            ["99.49 % of 200 validation labels equal PyTorch's, at least 99.50 % must"],
        ),
        (
            Gate(10, 0.5, 1.0, {"ham": 0.0, "spam": 1.0}, {"ham": 1.0, "spam": 1.0}, 0.5),
            [
                "validation accuracy falls from 100.00 % to 50.00 %, by more than 0.5 points",
                "recall of 'ham' falls from 100.00 % to 0.00 %, by more than 0.5 points",
                "50.00 % of 10 validation labels equal PyTorch's, at least 99.50 % must",
            ],
        ),
    ],
)
def test_problems(gate: Gate, problems: list[str]) -> None:
    assert gate.problems() == problems


class TestSearchLayers:
    LAYERS = ("a", "b", "c", "d", "e")
    COST = (0.5, 0.1, 0.4, 0.2, 0.3)  # what is left without each

    def search(self, passes) -> tuple[list[str] | None, list[list[str]]]:
        tried: list[list[str]] = []

        def note(kept) -> bool:
            tried.append(list(kept))
            return passes(kept)

        cost = dict(zip(self.LAYERS, self.COST, strict=True))
        return search_layers(self.LAYERS, note, cost.__getitem__), tried

    def test_the_dearest_are_kept(self) -> None:
        assert self.search(lambda kept: "d" in kept) == (["b", "d"], [["b"], ["b", "d"]])

    def test_nothing_helps(self) -> None:
        kept, tried = self.search(lambda kept: False)
        assert kept is None
        assert tried == [["b"], ["b", "d"], ["b", "d", "e", "c"]]

    def test_a_single_layer(self) -> None:
        assert search_layers(["a"], lambda kept: True, lambda layer: 0.0) is None
