"""to-hf: transformers loads the folder and gives the run's logits and labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.errors import InputError, InternalError, OutputError
from batch.model.tokenizer import PAD_ID
from trainer.cli import main
from trainer.huggingface import write
from trainer.huggingface.write import move_bias, to_huggingface
from trainer.model.gpt2 import GPT2Classifier
from trainer.recipe import get_recipe
from trainer.run_folder import read_config, read_model, write_json

TEXTS = ["You won a car!", "See you", "<|endoftext|>", "caf\xe9 \ufffd", "\n\t ", "a b  c"]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module", params=[2, 3])
def written(request, tmp_path_factory, tiny_model, write_run_folder) -> tuple[Path, Path]:
    """(run, folder of transformers) of a random model with a bias in its head."""
    folder = tmp_path_factory.mktemp("hf")
    run = write_run_folder(folder / "run", tiny_model(classes=request.param))
    to_huggingface(run, folder / "hub" / "spam")
    return run, folder / "hub" / "spam"


def our_logits(run: Path, tokenizer, texts: list[str]) -> torch.Tensor:
    model = read_model(run, read_config(run))
    with torch.no_grad():
        return torch.cat([model(torch.tensor([tokenizer.encode(text, 16)])) for text in texts])


class TestFolder:
    def test_has_what_transformers_reads_and_nothing_else(self, written):
        names = sorted(path.name for path in written[1].iterdir())
        assert names == ["README.md", "config.json", "merges.txt", "model.safetensors",
                         "tokenizer_config.json", "vocab.json"]  # fmt: skip
        assert sorted(path.name for path in written[1].parent.iterdir()) == ["spam"]

    def test_pipeline_gives_our_logits_and_labels(self, written, transformers, tokenizer):
        run, folder = written
        classify = transformers.pipeline(
            "text-classification", str(folder), device="cpu", truncation=True
        )
        labels = read_config(run).labels
        ours = our_logits(run, tokenizer, TEXTS)
        given = classify(TEXTS, function_to_apply="none", top_k=None)
        theirs = [{one["label"]: one["score"] for one in row} for row in given]
        theirs = np.array([[row[label] for label in labels] for row in theirs])
        print("largest logit difference", np.abs(ours.numpy() - theirs).max())
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-4)
        best = [labels[number] for number in ours.argmax(dim=1)]
        assert [row[0]["label"] for row in given] == best

    def test_batches_with_pads_give_the_same(self, written, transformers, tokenizer):
        run, folder = written
        their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.GPT2ForSequenceClassification.from_pretrained(folder).eval()
        batch = their_tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        ids = [tokenizer.encode(text, 16) for text in TEXTS]
        assert [row[row != PAD_ID].tolist() for row in batch["input_ids"]] == ids
        with torch.no_grad():
            theirs = model(**batch).logits
        torch.testing.assert_close(our_logits(run, tokenizer, TEXTS), theirs, rtol=0, atol=1e-4)

    def test_a_message_is_cut_as_in_training(self, written, transformers):
        their_tokenizer = transformers.AutoTokenizer.from_pretrained(written[1])
        assert len(their_tokenizer("ok " * 40, truncation=True)["input_ids"]) == 16


class TestStarter:
    def test_each_id_gets_its_shared_row(self, tmp_path, tokenizer, write_run_folder):
        from trainer.model.build import merge_updates
        from trainer.model.initial_weights import resolve_weights
        from trainer.model.vocabulary import build_vocabulary
        from trainer.training.train_model import make_model

        weights = resolve_weights("random", "starter", tmp_path)
        recipe = get_recipe("default", from_random=True)
        vocabulary = build_vocabulary([tokenizer.encode("You won")] * 3, tokenizer, 2)
        model = make_model(weights, recipe, vocabulary, 2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        merge_updates(model)
        run = write_run_folder(tmp_path / "run", model.eval())
        result = to_huggingface(run, tmp_path / "hf")
        assert result.difference < 1e-4
        values = json.loads((tmp_path / "hf" / "config.json").read_bytes())
        assert values["vocab_size"] == PAD_ID + 1


class TestRefused:
    def run_of(self, tmp_path: Path, tiny_model, write_run_folder, **changes) -> Path:
        return write_run_folder(tmp_path / "run", tiny_model(**changes))

    @pytest.mark.parametrize("pooling", ["last_position", "first_position", "mean"])
    def test_another_pooling(self, pooling, tmp_path, tiny_model, write_run_folder):
        run = self.run_of(tmp_path, tiny_model, write_run_folder, pooling=pooling)
        with pytest.raises(InputError) as error:
            to_huggingface(run, tmp_path / "hf")
        assert str(error.value) == (
            f"{run}: its pooling is {pooling}, and transformers' GPT-2 classifier reads the last "
            "real token only; train again with: spam-train fit --pooling last_token"
        )
        assert not (tmp_path / "hf").exists()

    def test_two_models(self, tmp_path, tiny_model, write_run_folder):
        second = tiny_model().config
        run = self.run_of(tmp_path, tiny_model, write_run_folder, second=second)
        with pytest.raises(InputError) as error:
            to_huggingface(run, tmp_path / "hf")
        assert str(error.value) == (
            f"{run}: its logits are the sum of two models', and transformers' GPT-2 classifier is "
            "one model; train again with: spam-train fit --weights random"
        )

    def test_no_causal_mask(self, tmp_path, tiny_model, write_run_folder):
        run = self.run_of(tmp_path, tiny_model, write_run_folder, causal=False)
        with pytest.raises(InputError) as error:
            to_huggingface(run, tmp_path / "hf")
        assert str(error.value) == (
            f"{run}: its tokens see those after them, and in transformers' GPT-2 they see only "
            "those before; train again with: spam-train fit --causal"
        )

    def test_what_is_advised_makes_a_run_that_is_taken(
        self, invoke, messages_csv, bpe_file, tmp_path
    ):
        from trainer.cli import main

        for number, advice in enumerate(["--pooling last_token", "--causal"]):
            run = tmp_path / f"run-{number}"
            result = invoke(
                main, "fit", "--out", run, "--data", messages_csv, "--bpe", bpe_file,
                "--weights", "random", "--model", "starter", "--epochs", 1, "--quiet",
                "--cache", tmp_path / "cache",
                *advice.split(),
            )  # fmt: skip
            assert result.exit_code == 0, result.output
            result = invoke(main, "to-hf", run, tmp_path / f"hf-{number}")
            assert result.exit_code == 0, result.output

    def test_classes_that_depend_on_each_other(self):
        weight = torch.tensor([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0]])
        with pytest.raises(InputError) as error:
            move_bias(weight, torch.tensor([0.0, 1.0]))
        assert str(error.value) == (
            "the head's bias cannot be said in this format, because transformers' GPT-2 has none "
            "and the weights of the classes depend on each other; train for longer, or with "
            "another --seed"
        )
        assert move_bias(weight, torch.zeros(2)).tolist() == [0.0, 0.0, 0.0]

    def test_a_folder_that_is_not_empty(self, written, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(OutputError) as error:
            to_huggingface(written[0], tmp_path)
        assert str(error.value) == f"{tmp_path} exists; it was left as it is; give another folder"
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_other_logits_than_the_run(self, written, tmp_path, monkeypatch):
        monkeypatch.setattr(write, "has_transformers", lambda: False)
        monkeypatch.setattr(write, "move_bias", lambda weight, bias: torch.ones(weight.shape[1]))
        with pytest.raises(InternalError) as error:
            to_huggingface(written[0], tmp_path / "hf")
        start = "spam-batch reads other logits from the folder than the run has: they differ by "
        assert str(error.value).startswith(start)
        assert str(error.value).endswith("; nothing was written")
        assert list(tmp_path.iterdir()) == []


def test_a_folder_is_written_and_compared_without_transformers(written, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "has_transformers", lambda: False)
    result = to_huggingface(written[0], tmp_path / "hf")
    assert (result.reader, result.messages) == ("spam-batch", 10)
    assert result.difference < 1e-4


def test_the_command_prints_the_difference(invoke, written, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "has_transformers", lambda: False)
    result = invoke(main, "to-hf", written[0], tmp_path / "hf")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith("largest logit difference ")
    assert first.endswith(" over 10 messages, read by spam-batch")
    assert second == f"folder: {tmp_path / 'hf'}"


def test_another_threshold_is_a_warning_and_in_the_card(
    tmp_path, tiny_model, write_run_folder, caplog, monkeypatch
):
    monkeypatch.setattr(write, "has_transformers", lambda: False)
    run = write_run_folder(tmp_path / "run", tiny_model())
    metrics = json.loads((run / "metrics.json").read_bytes())
    metrics |= {"threshold": {"value": 0.75}, "calibration": {"temperature": 1.25}}
    write_json(run / "metrics.json", metrics)
    to_huggingface(run, tmp_path / "hf")
    assert caplog.messages[-1] == (
        "WARNING: this run gives 'spam' from the probability 0.7500 on; transformers gives the "
        "most probable label, as from 0.5 on, so some labels differ; the card says so"
    )
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "spam-batch gives `spam` from the probability 0.75 on." in card
    assert "spam-batch divides logits by 1.25 before the softmax" in card


def test_moving_the_bias_changes_no_logit(tiny_model):
    model = tiny_model(classes=3)
    config = replace(model.config)
    other = GPT2Classifier(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["transformer.ln_f.bias"] += move_bias(state["score.weight"], state["score.bias"])
    state["score.bias"].zero_()
    other.load_state_dict(state)
    ids = torch.randint(0, PAD_ID, (5, 12))
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(ids), model(ids), rtol=0, atol=1e-5)
