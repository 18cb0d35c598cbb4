"""metrics.jsonl and TensorBoard's events: one line a figure, also of a run that was killed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batch.errors import OutputError
from trainer.cli import main
from trainer.model.build import build_model
from trainer.model.gpt2 import model_config
from trainer.recipe import RECIPES
from trainer.training.fit import fit
from trainer.training.watch import LINES, Watch, is_lines

CONFIG = model_config("starter", context_length=16)
RECIPE = replace(RECIPES["default"], trainable="all", epochs=3, eval_freq=2, eval_iter=1)


class Killed(Exception):
    """Stands for a kill in the middle of an epoch."""


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(sets, folder: Path, recipe=RECIPE, log_dir: Path | None = None) -> None:
    model = build_model(CONFIG, recipe, None)
    watch = Watch(folder / LINES, log_dir)
    fit(model, sets, recipe, False, None, {}, folder / "checkpoint.pt", {}, watch)


def without_speed(lines: list[dict]) -> list[dict]:
    return [{key: line[key] for key in line if key != "tokens_per_second"} for line in lines]


def test_every_evaluation_is_a_line(sets, tmp_path):
    train(sets, tmp_path)
    lines = read(tmp_path / LINES)
    losses = [line for line in lines if "train_loss" in line]
    accuracies = [line for line in lines if "train_accuracy" in line]
    assert [line["step"] for line in losses] == list(range(0, 15, 2))  # 5 batches an epoch
    assert [(line["step"], line["epoch"]) for line in accuracies] == [(4, 1), (9, 2), (14, 3)]
    assert len(losses) + len(accuracies) == len(lines)
    for line in losses:
        assert line.keys() == {"step", "epoch", "train_loss", "validation_loss", "learning_rate",
                               "tokens_per_second"}  # fmt: skip
        assert line["learning_rate"] == RECIPE.learning_rate and line["tokens_per_second"] > 0
    assert [0 <= line["validation_accuracy"] <= 1 for line in accuracies] == [True] * 3


@pytest.mark.parametrize("step", [3, 8])
def test_a_run_that_was_killed_has_no_line_twice(sets, tmp_path, monkeypatch, step):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    train(sets, tmp_path / "theirs")
    original, count = torch.optim.AdamW.step, 0

    def kill_at(self, *args, **options):
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", kill_at)
    with pytest.raises(Killed):
        train(sets, tmp_path / "ours")
    with open(tmp_path / "ours" / LINES, "a") as file:
        file.write('{"step": 99, "ep')  # torn
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    train(sets, tmp_path / "ours")
    ours, theirs = read(tmp_path / "ours" / LINES), read(tmp_path / "theirs" / LINES)
    assert without_speed(ours) == without_speed(theirs)


def test_tensorboard_reads_the_events(sets, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard (the extra) is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(sets, tmp_path, log_dir=tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert sorted(events.Tags()["scalars"]) == [
        "accuracy/train", "accuracy/validation", "loss/train", "loss/validation",
        "training/learning rate", "training/tokens a second",
    ]  # fmt: skip
    found = [(event.step, event.value) for event in events.Scalars("loss/train")]
    lines = [line for line in read(tmp_path / LINES) if "train_loss" in line]
    assert [step for step, _ in found] == [line["step"] for line in lines]
    for (_, value), line in zip(found, lines, strict=True):
        assert math.isclose(value, line["train_loss"], rel_tol=1e-6)


def test_without_path_or_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = Watch()
    watch.begin(-1)
    watch.add(0, 1, train_loss=1.0)
    watch.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finite_is_null_and_a_new_run_begins_anew(tmp_path):
    watch = Watch(tmp_path / LINES)
    watch.begin(-1)
    watch.add(0, 1, train_loss=math.inf)
    assert read(tmp_path / LINES) == [{"step": 0, "epoch": 1, "train_loss": None}]
    assert is_lines(tmp_path / LINES)
    watch.begin(-1)
    assert (tmp_path / LINES).read_bytes() == b""
    assert is_lines(tmp_path / LINES)  # a run that was killed before its first figures
    for others in ("mine", '{"step": 10, "loss": 1.5}', '{"step": 1, "epoch": 2, "mine": 3}', "[]"):
        (tmp_path / LINES).write_text(others + "\n")
        assert not is_lines(tmp_path / LINES), others


def test_a_folder_that_cannot_be_made(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard (the extra) is not installed")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as error:
        Watch(None, tmp_path / "file" / "events")
    assert str(error.value) == (
        f"cannot create {tmp_path / 'file' / 'events'}: Not a directory; give another --log-dir"
    )


def test_without_tensorboard_the_command_says_what_to_install(
    invoke, messages_csv, bpe_file, tmp_path, monkeypatch
):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = invoke(
        main, "fit", "--data", messages_csv, "--bpe", bpe_file, "--weights", "random",
        "--model", "starter", "--out", tmp_path / "run", "--log-dir", tmp_path / "events",
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert result.exit_code == 78
    assert "'spam-batch[tensorboard]'" in result.output
    assert not (tmp_path / "run").exists() and not (tmp_path / "events").exists()
