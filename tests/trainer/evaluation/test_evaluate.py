"""A run on another file: the same logits as one by one, seen messages out, refusals whole."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from batch.errors import InputError, MissingInputError
from batch.formats.input import Input
from batch.reading.dialect import Dialect
from trainer.data.reading import ReadOptions
from trainer.data.tensors import pad_messages
from trainer.evaluation.evaluate import evaluate, evaluation_lines, predict_logits
from trainer.evaluation.scores import expected_calibration_error, score
from trainer.recipe import RECIPES
from trainer.run_folder import RunConfig, read_config, read_model, write_run

TRAIN = [
    ("ham", "see you at home"), ("ham", "home by seven"), ("ham", "you are at work"),
    ("spam", "WIN A PRIZE, call 0900-1"), ("spam", "a prize to win"), ("spam", "win big prizes"),
]  # fmt: skip
OTHER = [
    ("spam", "win a prize! call 123-45"), ("ham", "at home"), ("spam", "your prize"), ("ham", ""),
    ("ham", "a longer message about nothing at all that goes on for many more than 16 tokens, on"),
    ("spam", "win win win"), ("ham", "See you at home."),
]  # fmt: skip
KEPT = [1, 2, 3, 4, 5]


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(path, index=False)
    return path


@pytest.fixture
def make_run(tmp_path: Path, tiny_model, bpe_file: Path):
    """Makes a run folder of a random model that reads 16 tokens."""

    def make(metrics: dict | None = None, **changes) -> Path:
        model = tiny_model(vocab_size=50, remapped=True, **changes)
        model.transformer.token_map.copy_(torch.arange(50257) % 50)
        config = RunConfig(
            model=model.config.to_dict(), recipe=RECIPES["default"].to_dict(),
            labels=["ham", "spam"], positive_label="spam", max_length=16,
            weights={"kind": "random", "sha256": {}, "statement": "Random weights."},
            data={"sha256": "d"}, tokenizer_sha256="",
            device="cpu", versions={},
        )  # fmt: skip
        run = tmp_path / "run"
        run.mkdir()
        write_run(run, config, model, metrics or {}, bpe_file)
        write_csv(run / "train.csv", TRAIN)
        return run

    return make


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "other.csv", OTHER)


def one_by_one(run: Path, tokenizer, texts: list[str]) -> torch.Tensor:
    config = read_config(run)
    model = read_model(run, config)
    with torch.no_grad():
        rows = [model.forward_plain(pad_messages([tokenizer.encode(t)], 16)) for t in texts]
    return torch.cat(rows)


@pytest.mark.parametrize("pooling", ["last_token", "last_position"])
def test_scores(make_run, other: Path, tokenizer, pooling: str) -> None:
    metrics = {"calibration": {"temperature": 2.0}, "threshold": {"value": 0.3}}
    run = make_run(metrics, pooling=pooling)
    result = evaluate(run, [other])
    logits = one_by_one(run, tokenizer, [OTHER[row][1] for row in KEPT])
    labels = [["ham", "spam"].index(OTHER[row][0]) for row in KEPT]
    probabilities = torch.softmax(logits.double() / 2, dim=1).numpy()
    assert result["scores"] == score(labels, probabilities[:, 1] >= 0.3, probabilities, 1)
    expected = expected_calibration_error(probabilities, labels)
    assert result["ece"] == pytest.approx(expected, abs=1e-6)
    assert result["baseline"]["messages"] == 5
    picked = {key: result[key] for key in ("data", "rows", "left_out", "truncated", "threshold")}
    assert picked == {
        "data": "other.csv", "rows": 7, "left_out": 2, "truncated": 1, "threshold": 0.3,
    }  # fmt: skip
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("pooling", ["last_token", "last_position"])
def test_order_and_company_do_not_matter(make_run, tokenizer, pooling: str) -> None:
    run = make_run(pooling=pooling, context_length=15)
    config = replace(read_config(run), max_length=15)  # no multiple of the width's step
    model = read_model(run, config)
    texts = [f"{'word ' * (number * 7 % 23)}{number}" for number in range(300)]
    logits, truncated = predict_logits(model, tokenizer, texts, config)
    with torch.no_grad():
        alone = [model(pad_messages([tokenizer.encode(text)], 15)) for text in texts]
    torch.testing.assert_close(torch.from_numpy(logits), torch.cat(alone), rtol=0, atol=1e-5)
    assert truncated == sum(len(tokenizer.encode(text)) > 15 for text in texts) > 0


def test_defaults_and_lines(make_run, other: Path) -> None:
    result = evaluate(make_run(), [other])
    assert (result["temperature"], result["threshold"]) == (1.0, 0.5)
    # Figures of our own, since those of a random model mean nothing.
    result["scores"] = score([0, 0, 0], [0, 1, 0], [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], 1)
    result["baseline"] = score([0, 0, 0], [0, 0, 0], [[1, 0]] * 3, 1)
    result["ece"] = 0.0123
    assert evaluation_lines(result) == [
        "3 of 7 messages of other.csv scored; 2 left out because they are in the training set "
        "(case, digits and punctuation aside)",
        "truncated, because longer than the model reads: 1",
        "",
        "| model               | messages |         accuracy [95 %] | precision | recall |    F1 |    FPR | AUC |",  # noqa: E501
        "| ------------------- | -------: | ----------------------: | --------: | -----: | ----: | -----: | --: |",  # noqa: E501
        "| this run            |        3 |   66.67% [20.77, 93.85] |     0.00% |      – | 0.00% | 33.33% |   – |",  # noqa: E501
        "| TF-IDF + linear SVM |        3 | 100.00% [43.85, 100.00] |         – |      – |     – |  0.00% |   – |",  # noqa: E501
        "",
        "ham: 66.67% found [20.77, 93.85]",
        "spam: no message",
        "temperature 1, threshold 0.5, expected calibration error 1.23%",
        "weights: Random weights.",
    ]


def test_columns(make_run, tmp_path: Path) -> None:
    path = tmp_path / "named.csv"
    given = Input("", Dialect(b";"), text_column="words")
    options = ReadOptions("kind", given, finds_delimiter=False)
    path.write_text("id;kind;words\n1;ham;at noon\n2;spam;a prize\n")
    assert evaluate(make_run(), [path], options)["rows"] == 2


class TestRefusals:
    def refused(self, run: Path, data: Path, kind: type[Exception] = InputError) -> str:
        with pytest.raises(kind) as caught:
            evaluate(run, [data])
        return str(caught.value)

    def test_unknown_label(self, make_run, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "other.csv", [("ham", "a"), ("Spam", "b")])
        assert self.refused(make_run(), path) == (
            "other.csv: the run has no label 'Spam' (1); it knows ham, spam"
        )

    def test_every_message_seen(self, make_run, tmp_path: Path) -> None:
        run, path = make_run(), write_csv(tmp_path / "other.csv", [OTHER[0], OTHER[6]])
        assert self.refused(run, path) == (
            f"other.csv: all 2 messages are in the training set of {run}; none is left to score"
        )

    def test_missing_files(self, make_run, other: Path, tmp_path: Path) -> None:
        run, none = make_run(), tmp_path / "none"
        assert self.refused(run, none, MissingInputError) == (
            f"cannot read {none}: No such file or directory"
        )
        assert self.refused(none, other, MissingInputError) == (
            f"{none} is not a run folder (it has no config.json); make one with: spam-train fit"
        )
        (run / "train.csv").unlink()
        assert self.refused(run, other, MissingInputError) == (
            f"cannot read {run / 'train.csv'}: No such file or directory; it is needed to "
            "leave out the messages that the model was trained on"
        )
        (run / "metrics.json").unlink()
        assert self.refused(run, other, MissingInputError) == (
            f"cannot read {run / 'metrics.json'}: No such file or directory"
        )

    @pytest.mark.parametrize(
        ("metrics", "reason"),
        [
            ({"calibration": {"temperature": 0}},
             "a temperature of 0 and a threshold of 0.5 are not valid"),
            ({"threshold": {"value": 1.5}},
             "a temperature of 1 and a threshold of 1.5 are not valid"),
            ({"threshold": {"value": "high"}}, "could not convert string to float: 'high'"),
            ({"calibration": 2}, "'int' object has no attribute 'get'"),
        ],
    )  # fmt: skip
    def test_bad_metrics(self, make_run, other: Path, metrics: dict, reason: str) -> None:
        run = make_run(metrics)
        assert self.refused(run, other) == f"{run / 'metrics.json'}: {reason}"
