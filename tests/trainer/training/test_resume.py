"""A killed run resumes to the same weights; early stopping; the best epoch."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import trainer.training.fit
from batch.errors import InputError, MissingInputError, OutputError, UsageError
from trainer.cli import main
from trainer.model.build import build_model
from trainer.model.gpt2 import model_config
from trainer.model.initial_weights import resolve_weights
from trainer.recipe import RECIPES
from trainer.training.checkpoint import has_checkpoint, read_checkpoint, write_checkpoint
from trainer.training.fit import fit

CONFIG = model_config("starter", layers=2, context_length=16, drop_rate=0.1)
RECIPE = replace(
    RECIPES["default"], trainable="all", epochs=4, eval_freq=3, eval_iter=2, drop_rate=0.1,
    token_drop_rate=0.1, average_decay=0.9, schedule="cosine", learning_rate=1e-2,
)  # fmt: skip


class Killed(Exception):
    """Stands for a kill in the middle of an epoch."""


def state_after(sets, recipe, checkpoint=None, resume_key=None) -> dict[str, torch.Tensor]:
    model = build_model(CONFIG, recipe, None)
    history, _ = fit(model, sets, recipe, False, None, {}, checkpoint, resume_key)
    return {**model.state_dict(), "losses": torch.tensor(history.train_losses)}


@pytest.mark.parametrize("step", [1, 7, 12])
def test_the_same_weights_bit_for_bit(sets, tmp_path: Path, monkeypatch, step: int) -> None:
    theirs = state_after(sets, RECIPE)
    path = tmp_path / "checkpoint.pt"
    original, count = torch.optim.AdamW.step, 0

    def kill_at(self, *args, **options):
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        return original(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", kill_at)
    with pytest.raises(Killed):
        state_after(sets, RECIPE, path)
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    torch.manual_seed(99)  # another process has another random state
    ours = state_after(sets, RECIPE, path)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def refusal(kind, action, *args) -> str:
    with pytest.raises(kind) as caught:
        action(*args)
    return str(caught.value)


KEY = {"--label-column": "kind", "--epochs": "4", "the data": "a" * 64}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--label-column": "label"}, "--label-column was 'kind' and is 'label' now"),
        ({"the data": "b" * 64}, "the data was aaaaaaaaaaaa and is bbbbbbbbbbbb now"),
        ({"--seed": "3"}, "--seed was not there and is '3' now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, changed: dict, told: str) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, KEY, {"step": 3})
    assert refusal(UsageError, read_checkpoint, path, {**KEY, **changed}) == (
        f"{path}: an interrupted run is kept there, but {told}; give it as before, or start over "
        "with --restart"
    )
    assert not has_checkpoint(path, {**KEY, **changed})
    assert has_checkpoint(path, KEY)
    assert read_checkpoint(path, KEY) == {"step": 3}
    assert read_checkpoint(tmp_path / "none", KEY) is None
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


NOT_OURS = (
    "is not a checkpoint of spam-train, or is damaged; it was left as it is; move it, or give "
    "another --out"
)


@pytest.mark.parametrize("kind", ["torch", "damaged", "text", "link", "folder", "code"])
def test_somebody_elses_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    path, elsewhere = tmp_path / "checkpoint.pt", tmp_path / "elsewhere"
    write_checkpoint(path, KEY, {"step": 3})
    data = path.read_bytes()
    path.unlink()
    if kind == "torch":
        torch.save({"epoch": 3, "model": {"w": torch.ones(2)}}, path)
    elif kind == "link":
        elsewhere.write_bytes(data)
        path.symlink_to(elsewhere)
    elif kind == "folder":
        path.mkdir()
    elif kind == "code":
        torch.save(Path("a"), path)
    else:
        path.write_bytes(data[: len(data) // 2] if kind == "damaged" else b"mine")
    assert refusal(OutputError, read_checkpoint, path, KEY) == f"{path} {NOT_OURS}"
    assert not has_checkpoint(path, KEY)
    assert path.exists()


def test_checkpoints_of_other_versions(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    before = {"identity": "a", "state": {"step": 3}, "cpu_rng": torch.get_rng_state()}
    for version, marks in (
        (1, {}),  # as it was before it had a format
        (1, {"format": "spam-train checkpoint", "format_version": 1}),
        (3, {"format": "spam-train checkpoint", "format_version": 3}),
    ):
        torch.save({**before, **marks}, path)
        assert refusal(InputError, read_checkpoint, path, KEY) == (
            f"{path}: format version {version}, this spam-train reads 2; start over with --restart"
        )


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, KEY, {"step": 3})
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(path, KEY, {"step": 4})
    assert read_checkpoint(path, KEY) == {"step": 3}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


class Marker:
    """Unpickling it would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_or_in_given_weights_is_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    torch.save({"identity": KEY, "state": Marker(marker)}, path)
    assert refusal(OutputError, read_checkpoint, path, KEY) == f"{path} {NOT_OURS}"
    with pytest.raises(MissingInputError):  # only safetensors and OpenAI's format are read
        resolve_weights(str(path), None, tmp_path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # it was no dud


@pytest.mark.parametrize("decay", [None, 0.9])
@pytest.mark.parametrize(
    ("losses", "best", "epochs"),
    [
        ([3.0, 4.0, 5.0], 1, 3),  # worse at once
        ([3.0, 2.0, 2.5, 2.0], 2, 4),  # as good is not better
        ([3.0, 3.5, 2.5, 2.75, 2.25, 2.625], 5, 6),  # one that is worse is waited out
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 6, 6),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_run(
    sets, monkeypatch, losses: list[float], best: int, epochs: int, decay: float | None
) -> None:
    """The losses of the whole validation set are given, one an epoch.

    With an average of the weights, its loss is asked for and its weights are kept.
    """
    given, original = iter(losses), trainer.training.fit.loss_over

    def loss_over(asked, data, loader, batches=None, cache=None) -> float:
        if data is sets["validation"] and batches is None:
            assert (asked is model) == (decay is None)
            return next(given)
        return original(asked, data, loader, batches, cache)

    recipe = replace(
        RECIPE, schedule="constant", average_decay=decay, keep="best", patience=2, epochs=6
    )
    model = build_model(CONFIG, recipe, None)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.training.fit, "loss_over", loss_over)
        history, _ = fit(model, sets, recipe, False)
    assert (history.best_epoch, history.epochs, list(given)) == (best, epochs, [])
    for ended in {best, epochs}:
        shorter = replace(recipe, epochs=ended, keep="last", patience=None)
        other = build_model(CONFIG, shorter, None)
        fit(other, sets, shorter, False)
        ours, theirs = model.state_dict(), other.state_dict()
        equal = all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert equal == (ended == best)


@pytest.mark.parametrize("step", [3, 8])
def test_an_interrupted_run_says_what_it_kept(
    invoke, tmp_path: Path, messages_csv, bpe_file, monkeypatch, step: int
) -> None:
    """An epoch has 5 steps."""
    steps = iter(range(1, step + 1))
    original = torch.optim.AdamW.step

    def stop_at(self, *args, **options):
        if next(steps) == step:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    out = tmp_path / "run"
    command = [
        "fit", "--data", messages_csv, "--bpe", bpe_file, "--weights", "random", "--epochs", 2,
        "--out", out,
    ]  # fmt: skip
    monkeypatch.setattr(torch.optim.AdamW, "step", stop_at)
    result = invoke(main, *command, "--quiet")
    kept = "The checkpoint of the last whole epoch is kept; the same command resumes from it.\n"
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == (kept if step > 5 else "") + "\nspam-train: error: interrupted\n"
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    result = invoke(main, *command)
    assert result.exit_code == 0
    going_on = "Resuming after epoch 1 of 2."
    assert (going_on in result.stderr.splitlines()) == (step > 5)
    assert result.stdout.splitlines()[-1] == f"run folder: {out}"


# The command line, in a process that is killed once its second checkpoint is whole.
KILLED = """
import os, signal
import trainer.training.fit
from trainer.cli import main

original, count = trainer.training.fit.write_checkpoint, 0

def write_then_die(*args):
    global count
    original(*args)
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.training.fit.write_checkpoint = write_then_die
main(prog_name="spam-train")
"""


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path: Path, messages_csv, bpe_file, root: Path) -> None:
    """SIGKILL behind the second checkpoint; the same command again ends the run."""

    def run(program: list[str], out: Path) -> subprocess.CompletedProcess:
        command = [
            sys.executable, *program, "fit", "--data", str(messages_csv), "--bpe",
            str(bpe_file), "--weights", "random", "--epochs", "4", "--out", str(out),
        ]  # fmt: skip
        return subprocess.run(command, cwd=root, capture_output=True, timeout=600, text=True)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(["-m", "trainer"], whole).returncode == 0
    killed = run(["-c", KILLED], cut)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (cut / "checkpoint.pt").exists()
    assert not (cut / "config.json").exists()
    result = run(["-m", "trainer"], cut)
    assert result.returncode == 0, result.stderr
    assert any("Resuming after epoch 2 of 4" in line for line in result.stderr.splitlines())
    assert not (cut / "checkpoint.pt").exists()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
