"""The notebook's two plots: loss and accuracy over epochs and examples seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.training.history import History


def write_plots(folder: Path, history: History, epochs: int) -> None:
    """Write ``loss-plot`` and ``accuracy-plot``, each as PDF and PNG."""
    for label, train, validation in (
        ("loss", history.train_losses, history.validation_losses),
        ("accuracy", history.train_accuracies, history.validation_accuracies),
    ):
        plot_values(folder, label, epochs, history.examples_seen, train, validation)


def plot_values(
    folder: Path,
    label: str,
    epochs: int,
    examples_seen: int,
    train: Sequence[float],
    validation: Sequence[float],
) -> None:
    """One figure with two horizontal axes: epochs below, examples seen above."""
    import matplotlib

    matplotlib.use("Agg")  # no display on a server
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 3))
    at_epochs = np.linspace(0, epochs, len(train))
    axis.plot(at_epochs, train, label=f"Training {label}")
    axis.plot(at_epochs, validation, linestyle="-.", label=f"Validation {label}")
    axis.set_xlabel("Epochs")
    axis.set_ylabel(label.capitalize())
    axis.legend()
    upper = axis.twiny()
    # An invisible curve aligns the upper axis with the lower one.
    upper.plot(np.linspace(0, examples_seen, len(train)), train, alpha=0)
    upper.set_xlabel("Examples seen")
    figure.tight_layout()
    for ending in ("pdf", "png"):
        figure.savefig(folder / f"{label}-plot.{ending}", dpi=150)
    pyplot.close(figure)
