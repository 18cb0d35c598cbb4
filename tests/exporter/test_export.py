"""The bundle: what stands in it, what replaces what, and when there is none."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from batch.bundle import open_bundle
from batch.classifier import Classifier
from batch.errors import InternalError, MissingInputError, OutputError
from exporter import export as module
from exporter.export import (
    NASTY_TEXTS,
    VerificationError,
    check,
    export,
    read_texts,
    replace_folder,
)
from exporter.verify import BATCH_SIZES, Comparison, torch_logits
from trainer.run_folder import hash_file, read_config, read_model, read_tokenizer

TOLERANCE = 1e-4
HOSTILE = [
    "<|endoftext|>" * 40,
    "",
    "a" * 100_000,
    "word " * 20_000,
    "\n" * 50,
    "\r\n \n",
    "\0",
    "😀",
]


class TestBundle:
    def test_files_and_hashes(self, exported) -> None:
        _, bundle, _ = exported
        names = ["bundle.json", "golden.json", "gpt2.tiktoken", "model.onnx", "verify.json"]
        assert sorted(path.name for path in bundle.iterdir()) == names
        files = json.loads((bundle / "bundle.json").read_bytes())["files"]
        assert set(files) == set(names) - {"bundle.json"}
        for name, entry in files.items():
            data = (bundle / name).read_bytes()
            assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    def test_manifest(self, exported) -> None:
        run, bundle, _ = exported
        config, manifest = read_config(run), open_bundle(bundle).manifest
        fixed = config.model["pooling"] == "last_position"
        assert manifest.labels == config.labels
        assert manifest.positive_label == config.positive_label
        assert (manifest.max_length, manifest.fixed_length) == (16, fixed)
        assert (manifest.pooling, manifest.pad_id) == (config.model["pooling"], 50256)
        assert (manifest.threshold, manifest.temperature) == (0.5, 1.0)
        assert (manifest.model, manifest.weights) == ("custom", "Random.")
        assert manifest.variants == {"fp32": "model.onnx"}
        assert manifest.training["accuracy"]["test"] == 0.25
        assert manifest.training["data"] == config.data
        assert manifest.made_by["data_sha256"] == "0" * 64
        assert manifest.made_by["recipe"] == ("book" if fixed else "default")
        assert manifest.made_by["weights"] == config.weights
        assert manifest.made_by["versions"]["torch"] == torch.__version__

    def test_report(self, exported) -> None:
        _, bundle, comparisons = exported
        report = json.loads((bundle / "verify.json").read_bytes())
        fp32 = report["variants"]["fp32"]
        assert fp32["passed"] is True
        assert fp32["sha256"] == hash_file(bundle / "model.onnx")
        assert (fp32["tolerance"], fp32["device"]) == (TOLERANCE, "cpu")
        assert fp32["comparisons"] == [comparison.to_dict() for comparison in comparisons]
        assert set(report["versions"]) >= {"torch", "onnx", "onnxruntime"}
        assert [comparison.batch_size for comparison in comparisons] == list(BATCH_SIZES)
        for comparison in comparisons:
            assert comparison.messages == 7 + len(NASTY_TEXTS)
            assert comparison.worst <= 1e-5
            assert comparison.labels_differ == []

    def test_golden_messages_are_ours_and_replayed(self, exported) -> None:
        run, bundle, _ = exported
        values = json.loads((bundle / "golden.json").read_bytes())
        assert values["labels"] == read_config(run).labels
        golden = values["messages"]
        texts = [message["text"] for message in golden]
        own = set(read_texts(run)) - set(NASTY_TEXTS)
        assert own
        assert not own & set(texts)  # nobody's mail travels with a bundle
        assert set(NASTY_TEXTS) < set(texts)
        model = read_model(run, read_config(run))
        theirs = torch_logits(model, [message["ids"] for message in golden], 16)
        assert np.abs(np.array([m["logits"] for m in golden]) - theirs).max() <= 1e-6
        Classifier.load(bundle, "cpu", threads=1).replay_golden()

    def test_every_message_of_the_run_is_compared(self, exported) -> None:
        run, _, _ = exported
        texts = read_texts(run)
        assert texts[:7] == [
            "You won a car! Text us", "See you at lunch", "",
            "NA", "a\r\nb", "ok " * 30, "time",
        ]  # fmt: skip
        assert texts[7:] == list(NASTY_TEXTS)

    def test_nothing_else_is_left(self, exported) -> None:
        run, bundle, _ = exported
        assert sorted(bundle.parent.iterdir()) == [bundle, run]
        assert bundle.stat().st_mode & 0o777 == run.stat().st_mode & 0o777


def test_hostile_messages_get_torchs_logits_and_a_label(exported) -> None:
    run, bundle, _ = exported
    config, classifier = read_config(run), Classifier.load(bundle, "cpu", threads=1)
    tokenizer = read_tokenizer(run)
    sequences = [tokenizer.encode(text, config.max_length) for text in HOSTILE]
    theirs = torch_logits(read_model(run, config), sequences, config.max_length)
    predictions = classifier.classify(HOSTILE)
    ids = [classifier.encode(text)[0] for text in HOSTILE]
    alone = np.concatenate([classifier.logits([message]) for message in ids])
    for ours in (classifier.logits(ids), alone):
        assert np.abs(ours - theirs).max() <= TOLERANCE
    assert predictions.labels == [config.labels[row] for row in theirs.argmax(axis=1)]
    assert np.isfinite(predictions.scores).all()
    assert predictions.truncated.tolist() == [len(text) > 48 for text in HOSTILE]


@pytest.fixture
def tampered(exported, monkeypatch: pytest.MonkeyPatch):
    """Makes the next export write the right graph but for the tensors named."""
    _, bundle, _ = exported
    proto = onnx.load(bundle / "model.onnx")
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}

    def tamper(**changes) -> None:
        for name, change in changes.items():
            tensor = tensors[f"score.{name}"]
            values = change(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        data = proto.SerializeToString()
        monkeypatch.setattr(module, "export_onnx", lambda *given: given[2].write_bytes(data))

    return tamper


NUMBERS = r"\[(?:-?\d+\.\d+(?:e-\d+)?(?:, )?)+\]"


class TestFailedVerification:
    def test_changed_weight(self, exported, tampered, tmp_path: Path) -> None:
        tampered(bias=lambda bias: bias + 0.5)
        with pytest.raises(VerificationError) as caught:
            export(exported[0], tmp_path / "bundle", "cpu", progress=False)
        assert re.fullmatch(
            r"batch size 1: the logits of message \d+ differ by 0\.5, more than 0\.0001: "
            rf"ONNX Runtime gives {NUMBERS}, PyTorch {NUMBERS}; no bundle was written",
            str(caught.value),
        )
        assert caught.value.exit_code == 78
        assert list(tmp_path.iterdir()) == []

    def test_old_bundle_is_kept(self, exported, tampered, tmp_path: Path) -> None:
        tampered(bias=lambda bias: bias + 0.001)
        old = tmp_path / "bundle"
        old.mkdir()
        (old / "bundle.json").write_text("old", encoding="utf-8")
        with pytest.raises(VerificationError):
            export(exported[0], old, "cpu", progress=False)
        assert list(tmp_path.iterdir()) == [old]
        assert [path.name for path in old.iterdir()] == ["bundle.json"]
        assert (old / "bundle.json").read_text(encoding="utf-8") == "old"

    def test_label_that_differs(
        self, tiny_model, write_run_folder, exported, tampered, tmp_path: Path
    ) -> None:
        """A difference far below the tolerance, and yet another label."""
        config = read_config(exported[0]).model
        model = tiny_model(config["pooling"], classes=config["classes"])
        with torch.no_grad():
            model.score.weight.zero_()
            model.score.bias.copy_(torch.tensor([0.0, 1e-5, -1.0])[: config["classes"]])
        run = write_run_folder(tmp_path / "run", model)
        swapped = np.array([1e-5, 0.0, -1.0])
        tampered(weight=lambda weight: 0 * weight, bias=lambda bias: swapped[: len(bias)])
        with pytest.raises(VerificationError) as caught:
            export(run, tmp_path / "bundle", "cpu", progress=False)
        count = 7 + len(NASTY_TEXTS)
        assert str(caught.value) == (
            f"batch size 1: {count} labels differ, the first is message 0; no bundle was written"
        )
        assert list(tmp_path.iterdir()) == [run]

    def test_nan(self, exported, tampered, tmp_path: Path) -> None:
        tampered(bias=lambda bias: bias * np.nan)
        expected = "^the model gave a logit that is not a finite number$"
        with pytest.raises(InternalError, match=expected):
            export(exported[0], tmp_path / "bundle", "cpu", progress=False)
        assert list(tmp_path.iterdir()) == []


class TestCheck:
    FINE = Comparison(2, 3, 5e-5, 1, [1.0, 2.0], [1.00005, 2.0], [], True)

    def test_what_holds_is_returned(self) -> None:
        assert check(self.FINE, 1e-4) is self.FINE

    @pytest.mark.parametrize(
        ("comparison", "message"),
        [
            (
                Comparison(2, 3, 0.0125, 1, [1.0, 2.0], [1.0125, 2.0], [], True),
                "batch size 2: the logits of message 1 differ by 0.0125, more than 0.0001: "
                "ONNX Runtime gives [1.0, 2.0], PyTorch [1.0125, 2.0]; no bundle was written",
            ),
            (
                Comparison(64, 9, 1e-6, 1, [0.0, 1e-6], [1e-6, 0.0], [4, 8], True),
                "batch size 64: 2 labels differ, the first is message 4; no bundle was written",
            ),
            (
                Comparison(1, 3, np.inf, 0, [np.nan, 2.0], [1.0, 2.0], [], False),
                "batch size 1: the logits of message 0 differ by inf, more than 0.0001: "
                "ONNX Runtime gives [nan, 2.0], PyTorch [1.0, 2.0]; no bundle was written",
            ),
        ],
    )
    def test_what_does_not_hold(self, comparison: Comparison, message: str) -> None:
        with pytest.raises(VerificationError, match=f"^{re.escape(message)}$"):
            check(comparison, 1e-4)


class TestReplaceFolder:
    @pytest.fixture
    def new(self, tmp_path: Path) -> Path:
        new = tmp_path / ".bundle.part"
        new.mkdir(mode=0o700)
        (new / "bundle.json").write_text("new", encoding="utf-8")
        return new

    def replaced(self, tmp_path: Path) -> bool:
        """Whether ``bundle`` is the new one, whole, and nothing else is left."""
        found = {path: path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
        return found == {tmp_path / "bundle" / "bundle.json": "new"}

    def test_no_folder_yet(self, new: Path, tmp_path: Path) -> None:
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    def test_empty_folder(self, new: Path, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    def test_older_bundle(self, new: Path, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        for name in ("bundle.json", "model.int8.onnx"):
            (tmp_path / "bundle" / name).write_text("old", encoding="utf-8")
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    def test_older_bundle_comes_back_when_the_second_name_fails(
        self, new: Path, tmp_path: Path, monkeypatch
    ) -> None:
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "bundle.json").write_text("old", encoding="utf-8")
        rename = os.rename

        def stop_at_new(source, target) -> None:
            if source == new:
                raise KeyboardInterrupt
            rename(source, target)

        monkeypatch.setattr(os, "rename", stop_at_new)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(new, tmp_path / "bundle")
        assert (tmp_path / "bundle" / "bundle.json").read_text(encoding="utf-8") == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bundle", new.name])

    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_what_is_no_bundle_stays(self, new: Path, tmp_path: Path, exported, kind) -> None:
        target = tmp_path / "bundle"
        mine = target / "thesis.txt" if kind == "folder" else target
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine", encoding="utf-8")
        expected = f"^{re.escape(str(target))} exists and is not a bundle; it was left as it is$"
        with pytest.raises(OutputError, match=expected):
            replace_folder(new, target)
        with pytest.raises(OutputError, match=expected):
            export(exported[0], target, "cpu", progress=False)  # before any work is done
        assert mine.read_text(encoding="utf-8") == "mine"
        assert new.is_dir()


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r" is not a run folder "):
        export(tmp_path / "run", tmp_path / "bundle", "cpu", progress=False)
    assert list(tmp_path.iterdir()) == []
