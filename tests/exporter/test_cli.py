"""spam-export as a user meets it, and gpt2-small's shape through the whole pipeline."""

import csv
import re
from pathlib import Path

import pytest
import torch

from batch.bundle import open_bundle
from batch.classifier import Classifier
from exporter import export
from exporter.cli import main
from exporter.export import NASTY_TEXTS
from trainer.model import GPT2Classifier, init_weights, model_config
from trainer.run_folder import read_config, read_model, read_tokenizer

LINE = (
    r"  batch size +{size}: {count} messages, largest logit difference \d\.\d\de-\d\d "
    r"\(message \d+\), 0 labels differ"
)


def printed(stdout: str, out: Path) -> bool:
    """Whether standard output has a line a batch size, and the last one names the bundle."""
    head, *lines, tail = stdout.splitlines()
    return (
        head == "ONNX Runtime against PyTorch, validation and test messages and nasty ones:"
        and len(lines) == 4
        and all(
            re.fullmatch(LINE.format(size=size, count=7 + len(NASTY_TEXTS)), line)
            for line, size in zip(lines, (1, 2, 7, 64), strict=True)
        )
        and tail == f"tolerance 0.0001: passed; bundle: {out}"
    )


def test_bundle(invoke, exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run, bundle, _ = exported
    graph = (bundle / "model.onnx").read_bytes()  # tracing takes seconds, and is tested elsewhere
    monkeypatch.setattr(export, "export_onnx", lambda *given: given[2].write_bytes(graph))
    out = tmp_path / "models" / "spam"
    result = invoke(main, "bundle", "--run", run, "--out", out, "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert printed(result.stdout, out)
    assert Classifier.load(out, "cpu", threads=1).classify(["hi"]).tokens.tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
def test_bundle_as_a_process(run_cli, exported, tmp_path: Path) -> None:
    run, out = exported[0], tmp_path / "bundle"
    done = run_cli("exporter", "bundle", "--run", run, "--out", out, "--device", "cpu", text=True)
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout, out)
    assert "Weights: Random." in done.stderr
    assert "Warning" not in done.stderr
    assert open_bundle(out).manifest.weights == "Random."


def test_no_run_folder(invoke, tmp_path: Path) -> None:
    result = invoke(main, "bundle", "--run", tmp_path, "--out", tmp_path / "bundle")
    assert (result.exit_code, result.stdout) == (66, "")
    assert result.stderr == (
        f"spam-export: error: {tmp_path} is not a run folder (it has no config.json); "
        "make one with: spam-train fit\n"
    )


def test_output_that_is_no_bundle(invoke, exported, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    result = invoke(main, "bundle", "--run", exported[0], "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (73, "")
    assert result.stderr == (
        f"spam-export: error: {tmp_path} exists and is not a bundle; it was left as it is\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_help_has_an_example(invoke) -> None:
    result = invoke(main, "bundle", "--help")
    assert result.exit_code == 0
    assert "Example:\n    spam-export bundle " in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["last_token", "last_position"])
def test_gpt2_small_is_exported_checked_and_classifies(
    invoke, run_cli, write_run_folder, tmp_path: Path, pooling: str
) -> None:
    """Random weights of the published shape, in both recipes: no accuracy is asked."""
    model = GPT2Classifier(model_config("gpt2-small", pooling=pooling))
    init_weights(model, 12, torch.Generator().manual_seed(0))
    run, bundle = write_run_folder(tmp_path / "run", model, max_length=12), tmp_path / "bundle"
    result = invoke(main, "bundle", "--run", run, "--out", bundle, "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("0 labels differ") == 4

    texts = ["Call now", "<|endoftext|>" * 9, "", "a\nb"]
    with open(tmp_path / "inbox.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    done = run_cli(
        "batch", "classify", tmp_path / "inbox.csv", "--out", tmp_path / "labeled.csv",
        "--bundle", bundle,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config, tokenizer = read_config(run), read_tokenizer(run)
    with open(tmp_path / "labeled.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts
    model = read_model(run, config)
    for row in rows:
        ids = tokenizer.encode(row["text"], 12)
        padded = torch.tensor([ids + [50256] * (12 - len(ids))])
        with torch.no_grad():
            theirs = torch.softmax(model.forward_plain(padded), dim=-1)[0]
        assert float(row["score"]) == pytest.approx(theirs[1].item(), abs=1e-4)
        assert row["label"] == config.labels[theirs.argmax()]
