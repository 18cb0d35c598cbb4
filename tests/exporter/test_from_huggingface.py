"""bundle --from-hf: a folder that transformers alone made exports, verifies and classifies."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.cli.commands import main as batch_main
from batch.errors import InputError, UsageError
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from exporter import from_huggingface
from exporter.cli import main
from exporter.from_huggingface import HuggingFaceSource, read_texts
from exporter.parity import VerificationError
from exporter.verify_bundle import verify_bundle
from trainer.fetch.bpe_files import split_ranks
from trainer.huggingface.write import to_huggingface

TEXTS = ["Where is my invoice?", "You won!\nCall", "", "café 😀", "ok " * 30, "<|endoftext|>"]
LABELS = ["billing", "prize", "other"]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("messages") / "inbox.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(TEXTS)])
    return path


@pytest.fixture(scope="module")
def theirs(transformers, tmp_path_factory, bpe_file, seed) -> Path:
    """A random classifier of three classes, saved by transformers; nothing of ours is in it."""
    folder = tmp_path_factory.mktemp("hf")
    merges, vocab = split_ranks(bpe_file.read_bytes())
    (folder / "vocab.json").write_bytes(vocab)
    (folder / "merges.txt").write_bytes(merges)
    tokenizer = transformers.GPT2TokenizerFast(
        str(folder / "vocab.json"), str(folder / "merges.txt")
    )
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=50258, pad_token_id=50257,
        id2label=dict(enumerate(LABELS)), initializer_range=0.3,
    )  # fmt: skip
    model = transformers.GPT2ForSequenceClassification(config)
    model.save_pretrained(folder / "theirs")
    tokenizer.save_pretrained(folder / "theirs")
    return folder / "theirs"


@pytest.fixture(scope="module")
def exported(invoke, theirs, messages, tmp_path_factory):
    """(bundle, click's result) of the folder of transformers."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    result = invoke(
        main, "bundle", "--from-hf", theirs, "--text", messages, "--precision", "fp32",
        "--out", out, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out, result


def test_it_exports_verifies_and_classifies(exported, theirs, messages, invoke, tmp_path):
    bundle, _ = exported
    manifest = open_bundle(bundle).manifest
    assert (manifest.labels, manifest.positive_label) == (LABELS, None)
    assert (manifest.max_length, manifest.pooling, manifest.fixed_length) == (
        32,
        "last_token",
        False,
    )
    result = invoke(main, "verify", bundle, "--from-hf", theirs, "--text", messages, "--quiet")
    assert result.exit_code == 0, result.output
    result = invoke(
        batch_main, "classify", messages, "--out", tmp_path / "out.csv", "--bundle", bundle
    )
    assert result.exit_code == 0, result.output
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == TEXTS
    assert {row["label"] for row in rows} <= set(LABELS)


def test_labels_are_those_of_transformers_pipeline(exported, theirs, transformers):
    texts = [text for text in TEXTS if text and "<|" not in text]  # it cannot read an empty one
    classify = transformers.pipeline("text-classification", str(theirs), device="cpu")
    given = classify(texts, top_k=None, truncation=True, max_length=32)
    expected = np.array([[{one["label"]: one["score"] for one in row}[label] for label in LABELS]
                         for row in given])  # fmt: skip
    found = Classifier.load(exported[0]).classify(texts)
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-4)
    assert found.labels == [row[0]["label"] for row in given]


def test_the_card_and_the_manifest_say_where_it_is_from(exported, theirs, invoke):
    bundle, _ = exported
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "Not known: the folder that this was made from does not say it." in card
    weights = open_bundle(bundle).manifest.weights
    assert re.fullmatch(
        r"A GPT-2 classifier from the transformers folder theirs \(model.safetensors, SHA-256 "
        r"[0-9a-f]{64}\), finetuned elsewhere\.", weights,
    )  # fmt: skip
    result = invoke(batch_main, "info", bundle)
    assert result.exit_code == 0, result.output
    assert "finetuned elsewhere" in result.output


def test_the_round_trip_keeps_the_logits(
    transformers, tiny_model, write_run_folder, tmp_path, caplog
):
    caplog.set_level("INFO")
    run = write_run_folder(tmp_path / "run", tiny_model())
    written = to_huggingface(run, tmp_path / "hf")
    trained = HuggingFaceSource(tmp_path / "hf").read()
    line = next(text for text in caplog.messages if text.startswith("transformers "))
    assert re.fullmatch(
        r"transformers [\d.]+ against our model: largest logit difference \d\.\d\de-\d\d "
        r"\((built-in|nasty) message \d+\) over 13 messages", line,
    )  # fmt: skip
    print(f"to transformers {written.difference:.2e}; {line}")
    assert written.difference < 1e-4
    assert trained.config.labels == ["ham", "spam"]
    assert (trained.config.positive_label, trained.config.max_length) == ("spam", 16)


def test_our_own_model_is_the_reference_without_transformers(theirs, messages, monkeypatch, caplog):
    source = HuggingFaceSource(theirs, (messages,))
    with_transformers = source.read().rows.logits
    monkeypatch.setattr(from_huggingface, "has_transformers", lambda: False)
    caplog.clear()
    np.testing.assert_allclose(source.read().rows.logits, with_transformers, rtol=0, atol=1e-4)
    assert caplog.messages == [
        "WARNING: transformers is not installed, so the reference is spam-batch's own model of "
        "GPT-2; to compare with transformers, type: pip install transformers"
    ]


def test_other_logits_stop_the_export(theirs, messages, monkeypatch):
    monkeypatch.setattr(
        from_huggingface, "transformers_logits", lambda _, ids: np.ones((len(ids), 3), np.float32)
    )
    with pytest.raises(VerificationError) as error:
        HuggingFaceSource(theirs, (messages,)).read()
    assert re.fullmatch(
        re.escape(f"transformers gives other logits than our model of {theirs}: largest logit ")
        + r"difference \d\.\d\de[+-]\d\d \((text|nasty) message \d+\) over 17 messages; no bundle "
        "was written",
        str(error.value),
    )


class TestOptions:
    def test_without_text_it_says_what_was_compared(self, theirs, caplog):
        HuggingFaceSource(theirs).read()
        assert caplog.messages[0] == (
            "WARNING: no --text was given, so only 13 built-in messages are compared; give "
            "messages like those that will be labelled, for example: --text inbox.csv"
        )

    def test_a_reduced_precision_needs_messages(self, invoke, theirs, messages, tmp_path):
        source = HuggingFaceSource(theirs)
        with pytest.raises(UsageError) as error:
            source.check_precisions(("fp32", "int8"))
        assert str(error.value) == (
            "int8 is checked on messages, and a folder of transformers has none; give a file of "
            "them, for example --text inbox.csv, or type --precision fp32"
        )
        source.check_precisions(("fp32",))
        HuggingFaceSource(theirs, (messages,)).check_precisions(("fp32", "int8"))

    def test_positive_label_and_length(self, theirs, messages):
        found = HuggingFaceSource(theirs, (messages,), None, "PRIZE", 8).read()
        assert (found.config.positive_label, found.config.max_length) == ("prize", 8)
        assert max(map(len, found.rows.sequences)) == 8
        with pytest.raises(UsageError) as error:
            HuggingFaceSource(theirs, max_length=33).read()
        assert str(error.value) == "--max-length 33 is more than the model's 32"
        with pytest.raises(UsageError) as error:
            HuggingFaceSource(theirs, positive_label="spam").read()
        assert str(error.value) == (
            "--positive-label 'spam' is not among the labels: 'billing', 'prize', 'other'"
        )

    @pytest.mark.parametrize(
        "option", [("--text", "a.csv"), ("--positive-label", "x"), ("--max-length", "9"),
                   ("--text-column", "x")],
    )  # fmt: skip
    def test_options_of_the_other_source(self, invoke, option):
        result = invoke(main, "bundle", *option)
        assert result.exit_code == 2
        assert result.output.endswith(
            f"Error: {option[0]} is for --from-hf; a run has its own messages, label and length\n"
        )

    def test_two_sources(self, invoke, theirs):
        result = invoke(main, "bundle", "--from-hf", theirs, "--run", "runs/spam")
        assert result.exit_code == 2
        message = "Error: --run and --from-hf are two sources; give one of them\n"
        assert result.output.endswith(message)


class TestVerify:
    @pytest.mark.parametrize(
        "option",
        [("--delimiter", ";"), ("--no-header",), ("--format", "csv"), ("--max-rejects", 1)],
    )
    def test_options_that_only_a_cascade_takes(self, exported, invoke, theirs, messages, option):
        bundle, _ = exported
        text = ("--from-hf", theirs, "--text", messages)
        result = invoke(main, "verify", bundle, *text, *option)
        assert result.exit_code == 2
        assert result.output.endswith(
            f"Error: {option[0]} is for a cascade; with --from-hf give --text in UTF-8, as CSV "
            "with commas, TSV, JSON Lines or Parquet\n"
        )

    def test_needs_the_folder(self, exported, tmp_path):
        with pytest.raises(InputError) as error:
            verify_bundle(exported[0], tmp_path)
        assert str(error.value) == (
            f"{exported[0]} was made from a transformers folder; give that folder with --from-hf"
        )

    def test_another_folder(self, exported, tiny_model, write_run_folder, tmp_path):
        run = write_run_folder(tmp_path / "run", tiny_model(classes=3))
        to_huggingface(run, tmp_path / "hf")
        with pytest.raises(InputError) as error:
            verify_bundle(exported[0], HuggingFaceSource(tmp_path / "hf").read)
        assert str(error.value) == (
            f"{tmp_path / 'hf'} is not the folder that {exported[0]} was made from (its weights "
            "differ); give that folder with --from-hf"
        )


class TestTexts:
    def test_reads_what_spam_batch_reads(self, messages, tmp_path):
        (tmp_path / "b.tsv").write_text("body\tid\nhello\t1\n")
        (tmp_path / "c.jsonl").write_text(json.dumps({"text": "hi"}) + "\n")
        files = (messages, tmp_path / "b.tsv", tmp_path / "c.jsonl")
        assert read_texts(files, None) == [*TEXTS, "hello", "hi"]
        assert read_texts(files[1:2], "id") == ["1"]

    def test_no_more_than_the_first(self, messages, monkeypatch, caplog):
        caplog.set_level("INFO")
        monkeypatch.setattr(from_huggingface, "MOST_TEXTS", 3)
        assert read_texts((messages, messages), None) == TEXTS[:3]
        assert caplog.messages == ["Only the first 3 messages are read."]

    def test_no_record_is_refused(self, tmp_path):
        (tmp_path / "empty.csv").write_text("id,text\n")
        with pytest.raises(InputError) as caught:
            read_texts((tmp_path / "empty.csv",), None)
        assert str(caught.value) == f"{tmp_path}/empty.csv: there is no record to compare with"

    def test_a_bad_record_is_refused(self, tmp_path):
        (tmp_path / "bad.csv").write_text("id,text\n1,a,b\n")
        with pytest.raises(InputError, match="line 2"):
            read_texts((tmp_path / "bad.csv",), None)
