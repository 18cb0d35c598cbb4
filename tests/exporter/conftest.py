"""Run folders of tiny random classifiers, and bundles made from them once a session."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from trainer.data import write_split
from trainer.model import GPT2Classifier
from trainer.recipe import RECIPES
from trainer.run_folder import RunConfig, hash_file, package_versions, write_run

LABELS = ["ham", "spam", "zebra"]
TEXTS = ["You won a car! Text us", "See you at lunch", "", "NA", "a\r\nb", "ok " * 30, "time"]
RECIPE_OF = {"last_token": "default"}  # book otherwise


@pytest.fixture(scope="session")
def write_run_folder(bpe_file: Path) -> Callable[..., Path]:
    """Writes what ``spam-train fit`` would, but for the training."""

    def write(folder: Path, model: GPT2Classifier, max_length: int = 16) -> Path:
        folder.mkdir(parents=True)
        labels = LABELS[: model.config.classes]
        rows = [(labels[i % len(labels)], text) for i, text in enumerate(TEXTS)]
        frame = pd.DataFrame(rows, columns=["label", "text"])
        parts = {"train": frame, "validation": frame[:3], "test": frame[3:]}
        data = {"name": "made up", "origin": "test", "sha256": "0" * 64, "rows": 7, "lines": 7}
        config = RunConfig(
            model=model.config.to_dict(),
            recipe=RECIPES[RECIPE_OF.get(model.config.pooling, "book")].to_dict(),
            labels=labels,
            positive_label="spam" if len(labels) == 2 else None,
            max_length=max_length,
            weights={"kind": "random", "origin": "random", "sha256": {}, "statement": "Random."},
            data={**data, "is_partial": False},
            tokenizer_sha256=hash_file(bpe_file),
            device="cpu",
            versions=package_versions("torch"),
        )
        metrics = {
            "accuracy": {"train": 0.5, "validation": 0.5, "test": 0.25},
            "threshold": {"value": 0.5},
            "calibration": {"temperature": 1.0},
            "messages": {name: len(part) for name, part in parts.items()},
            "data": config.data,
        }
        write_split(folder, parts)
        write_run(folder, config, model, metrics, bpe_file)
        return folder

    return write


@pytest.fixture(scope="session", params=["last_token", "last_position"])
def exported(request, tmp_path_factory, tiny_model, write_run_folder):
    """(run folder, bundle, comparisons) of one pooling; two and three classes."""
    from exporter.export import export

    folder = tmp_path_factory.mktemp("exported")
    classes = {"last_token": 2, "last_position": 3}[request.param]
    run = write_run_folder(folder / "run", tiny_model(request.param, classes=classes))
    return run, folder / "bundle", export(run, folder / "bundle", "cpu", progress=False)
