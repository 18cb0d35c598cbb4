"""A base: from text to its folder, resumed after a kill, sampled, and its refusals."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer.cli import main
from trainer.model.base_file import BASE, read_base
from trainer.pretraining.loop import Budget, LoopOptions, rate_factor
from trainer.pretraining.pretrain import PretrainOptions, pretrain
from trainer.run_folder import CHECKPOINT

TOKENS = 60_000


class Killed(Exception):
    """Stands for a kill between two checkpoints."""


@pytest.fixture(scope="module")
def options(text_file: Path, bpe_file: Path, tmp_path_factory) -> PretrainOptions:
    loop = LoopOptions(batch=8, drawn=100, eval_tokens=20_000, save_seconds=0, progress=False)
    return PretrainOptions(
        (text_file,), tmp_path_factory.mktemp("base") / "base", blocks=1, channels=32,
        vocabulary=400, context=32, held_out=0.1, budget=Budget(TOKENS), loop=loop, bpe=bpe_file,
        device="cpu", threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def card(options: PretrainOptions) -> dict:
    return pretrain(options)


def test_a_fixed_budget_learns_the_pattern(options: PretrainOptions, card: dict) -> None:
    losses = card["history"]["losses"]
    print(f"validation loss after {TOKENS:,} tokens: {card['loss']:.3f}")
    assert card["loss"] == min(losses) < 1.5  # log(400) is 6.0; about 0.8 was measured
    assert losses[0] > losses[-1]
    assert card["trained"] == round(TOKENS / 256) * 256
    assert os.listdir(options.out) == [BASE]
    base = read_base(options.out / BASE)
    assert base.card["loss"] == card["loss"]
    assert base.card["text"] == [{"name": "messages.txt", "sha256": card["text"][0]["sha256"]}]
    assert base.tensors["wte.weight"].dtype == torch.float16
    assert base.config.vocab_size <= 400


@pytest.mark.parametrize("step", [2, 77, 200])
def test_a_killed_run_resumes_to_the_same_bytes(
    options: PretrainOptions, card: dict, tmp_path: Path, monkeypatch, step: int
) -> None:
    ours = replace(options, out=tmp_path / "base")
    original, count = torch.optim.AdamW.step, 0

    def kill_at(self, *args, **others):
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        return original(self, *args, **others)

    monkeypatch.setattr(torch.optim.AdamW, "step", kill_at)
    with pytest.raises(Killed):
        pretrain(ours)
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    assert (ours.out / CHECKPOINT).exists()
    torch.manual_seed(99)  # another process has another random state
    again = pretrain(ours)
    assert again["loss"] == card["loss"]
    assert again["history"]["losses"] == card["history"]["losses"]
    theirs, mine = (read_base(each.out / BASE).tensors for each in (options, ours))
    assert all(torch.equal(theirs[name], mine[name]) for name in theirs)


def test_killed_between_the_last_checkpoint_and_the_end(
    options: PretrainOptions, card: dict, tmp_path: Path, monkeypatch
) -> None:
    ours = replace(options, out=tmp_path / "base")
    unlink = Path.unlink

    def killed(path: Path, *args, **others) -> None:
        if path.name == CHECKPOINT:
            raise Killed
        unlink(path, *args, **others)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(Killed):
        pretrain(ours)
    monkeypatch.setattr(Path, "unlink", unlink)
    again = pretrain(ours)
    assert (again["loss"], again["trained"]) == (card["loss"], card["trained"])
    assert not (ours.out / CHECKPOINT).exists()


def test_minutes_become_tokens_once(options: PretrainOptions, tmp_path: Path) -> None:
    card = pretrain(replace(options, out=tmp_path / "base", budget=Budget(None, 1.0)))
    assert card["history"]["total_steps"] == card["history"]["step"] > 30


def test_the_rate_warms_up_and_falls() -> None:
    rates = [rate_factor(step, 1000) for step in range(1000)]
    assert rates[0] < 0.01 < 0.99 < max(rates) <= 1
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert math.isclose(rates[-1], 0.05, abs_tol=0.001)


def test_refusals(options: PretrainOptions, card: dict, tmp_path: Path, refusal) -> None:
    assert refusal(pretrain, replace(options, channels=40)) == (
        "--channels 40 is not a multiple of 32"
    )
    inside = replace(options, out=options.text[0].parent)
    assert refusal(pretrain, inside) == (
        f"{options.text[0]} lies in the folder {inside.out}; give another --out"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    assert refusal(pretrain, replace(options, out=tmp_path / "mine")) == (
        f"{tmp_path / 'mine'} exists and is not the folder of a base; it was left as it is; give "
        "another --out"
    )
    file = tmp_path / "mine" / "note.txt"
    assert refusal(pretrain, replace(options, out=file)) == (
        f"{file} is not a folder; give another --out"
    )
    loop = replace(options.loop, learning_rate=1e30)
    told = refusal(pretrain, replace(options, out=tmp_path / "base", loop=loop))
    assert told.startswith("the loss is nan at step ")
    assert told.endswith("; try a lower --learning-rate than 1e+30")
    assert not (tmp_path / "base" / BASE).exists()


def test_on_the_command_line(options, card, run_cli, text_file, bpe_file, tmp_path) -> None:
    out = tmp_path / "base"
    done = run_cli(
        "trainer", "pretrain", "--text", text_file, text_file, "--out", out, "--tokens", 20_000,
        "--blocks", 1, "--channels", 32, "--vocab", 400, "--context", 32, "--bpe", bpe_file,
        "--threads", 1, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("validation loss: ")
    assert lines[-1] == f"base: {out}"
    done = run_cli("trainer", "sample", "Ann is at", "--weights", options.out, "--bpe", bpe_file)
    assert done.stdout.decode().startswith("Ann is at ")
    assert "until" in done.stdout.decode()
    done = run_cli("trainer", "pretrain", "--text", text_file, "--minutes", 1, "--tokens", 5)
    assert done.returncode == 2
    assert (
        done.stderr.decode()
        .strip()
        .endswith("--minutes and --tokens both set the length of the run; give only one")
    )


def test_help_names_the_files(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    assert "base.safetensors" in capsys.readouterr().out
