"""One run from files to run folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from batch.errors import UsageError
from batch.formats.input import Input
from batch.model.tokenizer import PAD_ID
from batch.reading.fingerprint import hash_file
from trainer import run
from trainer.data.reading import ReadOptions
from trainer.evaluation.scores import format_scores, score
from trainer.model.initial_weights import resolve_weights
from trainer.model.vocabulary import build_vocabulary
from trainer.recipe import RECIPES, get_recipe
from trainer.run import RunOptions, train
from trainer.run_folder import (
    read_config,
    read_model,
)
from trainer.training.train_model import encode_parts, make_model

STARTER = (
    "The starter, a small model of GPT-2's architecture, trained from random weights on this "
    "data alone; not pretrained GPT-2."
)


class TestTrain:
    def test_files(self, trained) -> None:
        out, _ = trained
        assert sorted(path.name for path in out.iterdir()) == [
            "accuracy-plot.pdf",
            "accuracy-plot.png",
            "config.json",
            "gpt2.tiktoken",
            "loss-plot.pdf",
            "loss-plot.png",
            "metrics.json",
            "metrics.jsonl",
            "model.safetensors",
            "predictions.csv",
            "report.html",
            "test.csv",
            "train.csv",
            "validation.csv",
        ]

    def test_config(self, trained, messages_csv: Path, bpe_file: Path) -> None:
        config = read_config(trained[0])
        assert config.labels == ["ham", "spam"]
        assert config.positive_label == "spam"
        assert config.unsure_band == config.arguments["unsure_band"] == [0.4, 0.6]
        assert config.recipe == get_recipe("book", from_random=True, epochs=2, seed=7).to_dict()
        assert config.model["pooling"] == "last_position"
        assert config.model["size"] == "starter"
        assert config.weights == {
            "kind": "random",
            "origin": "random",
            "sha256": {},
            "statement": STARTER,
        }
        assert config.data["sha256"] == hash_file(messages_csv)
        assert (config.data["rows"], config.data["is_partial"]) == (60, False)
        assert config.tokenizer_sha256 == hash_file(bpe_file)
        assert set(config.versions) >= {"python", "torch", "tiktoken", "pandas", "spam-batch"}

    def test_metrics(self, trained) -> None:
        out, metrics = trained
        assert json.loads((out / "metrics.json").read_bytes()) == metrics
        assert metrics["weights"] == STARTER
        assert metrics["messages"] == {"train": 42, "validation": 6, "test": 12}
        assert metrics["history"]["examples_seen"] == 2 * 40
        assert all(0 <= value <= 1 for value in metrics["accuracy"].values())

    def test_accuracy_is_that_of_the_saved_model(self, trained, tokenizer) -> None:
        out, metrics = trained
        config = read_config(out)
        frame = pd.read_csv(out / "test.csv", keep_default_na=False)
        model, right = read_model(out, config), 0
        for label, text in zip(frame["label"], frame["text"], strict=True):
            ids = tokenizer.encode(text, config.max_length)
            ids += [PAD_ID] * (config.max_length - len(ids))
            with torch.no_grad():
                right += config.labels[model(torch.tensor([ids])).argmax()] == label
        assert right / 12 == metrics["accuracy"]["test"]

    def test_other_columns_three_classes_unbalanced(self, tmp_path: Path, bpe_file: Path) -> None:
        data = tmp_path / "tickets.tsv"
        lines = [
            f"{name}\t{name} {'x' * i}" for i in range(20) for name in ("bill", "net", "other")
        ]
        data.write_text("\n".join(["queue\tbody", *lines[:-4]]), encoding="utf-8")
        options = RunOptions(
            out=tmp_path / "run",
            weights="random",
            data=(data,),
            bpe=bpe_file,
            reading=ReadOptions("queue", Input("", text_column="body")),
            changes={"epochs": 1, "balance": False},
            progress=False,
        )
        metrics = train(options)
        config = read_config(tmp_path / "run")
        assert sum(metrics["messages"].values()) == 56
        assert config.labels == ["bill", "net", "other"]
        assert config.positive_label is None
        assert read_model(tmp_path / "run", config).score.out_features == 3

    def test_positive_label_that_is_none_of_them(self, trained, messages_csv, bpe_file) -> None:
        out, _ = trained
        options = RunOptions(
            out=out.parent / "other", weights="random", data=(messages_csv,), bpe=bpe_file,
            positive_label="Spum", progress=False,
        )  # fmt: skip
        expected = "^--positive-label 'Spum' is not among the labels: 'ham', 'spam'$"
        with pytest.raises(UsageError, match=expected):
            train(options)
        assert not options.out.exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"unsure_band": (0.6, 0.9)},
                "the threshold 0.5 is outside the unsure band 0.6,0.9; give a band that "
                "contains it, another threshold, or none as the band",
            ),
            (
                {"unsure_band": (0.4, 0.6), "max_blocked": 0.01},
                "--unsure-band and --max-ham-blocked both choose the score from which the positive "
                "label is given; give only one of them",
            ),
        ],
    )
    def test_a_band_that_is_refused(
        self, tmp_path: Path, messages_csv, bpe_file, changes, message
    ) -> None:
        options = RunOptions(
            out=tmp_path / "run", weights="random", data=(messages_csv,), bpe=bpe_file,
            progress=False, **changes,
        )  # fmt: skip
        with pytest.raises(UsageError) as caught:
            train(options)
        assert str(caught.value) == message
        assert not options.out.exists()


class TestEncodeParts:
    WEIGHTS = resolve_weights("random", None, Path("no-cache"))

    def parts(self, **texts: str) -> dict[str, pd.DataFrame]:
        return {
            name: pd.DataFrame({"label": ["ham", "spam"], "text": ["time", text]})
            for name, text in texts.items()
        }

    def encode(self, tokenizer, max_length: int | None = None, train: str = "time time"):
        parts = self.parts(train=train, validation="time " * 9, test="")
        recipe = replace(RECIPES["default"], max_length=max_length)
        return encode_parts(parts, ["ham", "spam"], tokenizer, recipe, self.WEIGHTS)

    def test_longest_training_message_decides(self, tokenizer) -> None:
        sets, max_length = self.encode(tokenizer)
        assert max_length == 2
        assert [data.ids.shape[1] for data in sets.values()] == [2, 2, 2]
        assert [data.truncated for data in sets.values()] == [0, 1, 0]

    def test_longer_than_the_context_is_cut(self, tokenizer, caplog) -> None:
        caplog.set_level("INFO", logger="trainer")
        sets, max_length = self.encode(tokenizer, train=" time" * 2000)
        assert max_length == sets["train"].ids.shape[1] == 1024
        assert caplog.messages == [
            "The longest training message has 2000 tokens; messages are truncated to 1024."
        ]
        assert sets["train"].truncated == 1

    def test_max_length_beyond_the_context_is_refused(self, tokenizer) -> None:
        expected = "^--max-length 1025 is more than the model's 1024 tokens$"
        with pytest.raises(UsageError, match=expected):
            self.encode(tokenizer, max_length=1025)

    def test_starter_gets_a_vocabulary_of_its_own(self, tokenizer) -> None:
        vocabulary = build_vocabulary([[2435], [2435]], tokenizer, min_count=2)
        model = make_model(self.WEIGHTS, RECIPES["book"], vocabulary, classes=3)
        assert model.config.remapped
        assert model.transformer.wte.num_embeddings == vocabulary.rows
        assert torch.equal(model.transformer.token_map, vocabulary.token_map)
        assert (model.config.pooling, model.config.classes) == ("last_position", 3)
        plain = make_model(self.WEIGHTS, RECIPES["default"], None, classes=2)
        assert (plain.config.remapped, plain.config.vocab_size) == (False, 50257)


def test_summary_names_every_set() -> None:
    data = {"name": "d.csv", "rows": 5572, "origin": "UCI", "is_partial": False}
    figures = score(np.array([0, 1]), np.array([0, 1]), np.eye(2), 1)
    metrics = {
        "accuracy": {"train": 0.97212, "test": 1.0},
        "messages": {"train": 1045, "test": 300},
        "weights": "gpt2-small.",
        "positive_label": "spam",
        "data": data,
        "scores": {"test": figures},
        "baseline": {"name": "SVM", "test": figures},
        "calibration": {"temperature": 1.5, "ece_before": 0.02, "ece_after": 0.01},
        "threshold": {"value": 0.75, "budget": 0.002},
    }
    assert run.summary_lines(metrics) == [
        "train accuracy: 97.21% of 1045 messages",
        "test accuracy: 100.00% of 300 messages",
        *format_scores({"test set": figures, "SVM": figures}),
        "temperature 1.500: calibration error on test 0.0200 before, 0.0100 after; "
        "threshold 0.7500",
        "weights: gpt2-small.",
        "positive label: spam",
        "data: d.csv, 5,572 rows (UCI)",
    ]
