"""The two plots: files, axes, and the values on them."""

from pathlib import Path

import pytest

from trainer.report.notebook_plots import write_plots
from trainer.training.history import History

HISTORY = History(
    steps=[0, 50, 100],
    train_losses=[2.0, 1.0, 0.5],
    validation_losses=[2.5, 1.5, 0.75],
    train_accuracies=[0.5, 0.9],
    validation_accuracies=[0.4, 0.8],
    examples_seen=800,
)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list:
    """The figures that are drawn, before they are closed."""
    from matplotlib import pyplot

    drawn: list = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    yield drawn
    monkeypatch.undo()
    for figure in drawn:
        pyplot.close(figure)


def test_files(tmp_path: Path) -> None:
    write_plots(tmp_path, HISTORY, epochs=2)
    for label in ("loss", "accuracy"):
        assert (tmp_path / f"{label}-plot.pdf").read_bytes().startswith(b"%PDF-")
        assert (tmp_path / f"{label}-plot.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert len(list(tmp_path.iterdir())) == 4


def test_twin_axes(tmp_path: Path, figures: list) -> None:
    write_plots(tmp_path, HISTORY, epochs=2)
    for figure, label, train, validation in zip(
        figures,
        ("loss", "accuracy"),
        (HISTORY.train_losses, HISTORY.train_accuracies),
        (HISTORY.validation_losses, HISTORY.validation_accuracies),
        strict=True,
    ):
        lower, upper = figure.axes
        assert (lower.get_xlabel(), lower.get_ylabel()) == ("Epochs", label.capitalize())
        assert upper.get_xlabel() == "Examples seen"
        lines = {line.get_label(): line for line in lower.lines}
        assert list(lines[f"Training {label}"].get_ydata()) == train
        assert list(lines[f"Validation {label}"].get_ydata()) == validation
        assert [lower.lines[0].get_xdata()[i] for i in (0, -1)] == [0, 2]
        assert [upper.lines[0].get_xdata()[i] for i in (0, -1)] == [0, 800]
        assert upper.lines[0].get_alpha() == 0
        assert [text.get_text() for text in lower.get_legend().get_texts()] == list(lines)


def test_one_point_is_enough(tmp_path: Path) -> None:
    history = History([0], [1.0], [1.0], [0.5], [0.5], examples_seen=8)
    write_plots(tmp_path, history, epochs=1)
    assert (tmp_path / "loss-plot.png").stat().st_size > 1000
