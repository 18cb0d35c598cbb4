"""The card of a model."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from trainer.evaluation.scores import score
from trainer.model.gpt2 import ModelConfig
from trainer.recipe import RECIPES
from trainer.report.card import plain, write_card
from trainer.run_folder import RunConfig

CLASSES = np.array([0, 0, 1, 1, 1])
FIGURES = score(CLASSES, np.array([0, 0, 1, 1, 0]), np.eye(2)[CLASSES], 1)


def config(**changes) -> RunConfig:
    values = {
        "model": ModelConfig("starter", 64, 1, 4).to_dict(),
        "recipe": asdict(RECIPES["default"]),
        "labels": ["ham", "spam"],
        "positive_label": "spam",
        "max_length": 120,
        "weights": {"kind": "random", "sha256": {}, "statement": "Random weights."},
        "data": {"name": "/home/me/in|box.csv", "sha256": "ab", "rows": 1234,
                 "labels": {"ham": 1000, "spam": 234}},
        "tokenizer_sha256": "", "device": "cpu", "versions": {},
    }  # fmt: skip
    return RunConfig(**(values | changes))


@pytest.fixture
def card(tmp_path: Path):
    def make(given: RunConfig, metrics: dict) -> str:
        write_card(tmp_path / "README.md", given, metrics, ["## Use", "", "As you like."])
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return make


def test_says_data_protocol_scores_and_limits(card):
    metrics = {
        "messages": {"train": 3, "test": 5},
        "scores": {"test": FIGURES},
        "baseline": {"name": "TF-IDF + linear SVM", "test": FIGURES},
    }
    text = card(config(), metrics)
    assert text.startswith("---\npipeline_tag: text-classification\n")
    assert "# A text classifier: ham, spam\n" in text
    assert "GPT-2's architecture (1 layer of 64 channels)" in text
    assert "in\\|box.csv, 1,234 messages, SHA-256 `ab`." in text and "/home" not in text
    assert "| spam | 234 |" in text
    assert "near copies of a message (case, digits and punctuation aside) are in the same" in text
    assert "classes in their natural mix; 3 train, 5 test messages" in text
    assert "| this model          |        5 | 80.00%" in text
    assert "| TF-IDF + linear SVM |" in text
    assert "- recall of spam: 66.67 % [20.77, 93.85]" in text
    assert "- Words that its data does not have" in text
    assert text.index("## Use") < text.index("## Data") < text.index("## What it is not for")


def test_says_the_books_protocol(card):
    text = card(config(recipe=asdict(RECIPES["book"])), {"messages": {"train": 3, "test": 5}})
    assert "near copies of a message can be in two sets" in text
    assert "classes cut to equal size; 3 train, 5 test messages" in text


def test_says_what_is_not_known(card):
    weights = {"kind": "transformers", "sha256": {}, "statement": "Given."}
    given = config(recipe={"name": "transformers"}, data={"sha256": ""}, weights=weights)
    text = card(given, {})
    assert "Not known: the folder that this was made from does not say it." in text
    assert "Not measured on labelled messages." in text
    assert "## Protocol" not in text and "Words that" not in text


def test_names_of_the_user_are_no_markup():
    assert plain("a`b*c_<script>|\x1b[1m") == "a\\`b\\*c\\_\\<script\\>\\|\\\\x1b\\[1m"
