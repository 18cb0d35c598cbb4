"""``spam-export verify`` on bundles that are not what they were: each refusal, and what is left."""

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import exporter.bundle
from batch.errors import BundleError, InputError, OutOfMemoryError, OutputError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import MANIFEST
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter import parity
from exporter.convert import variants
from exporter.convert.variants import FILES, describe_model, save_model
from exporter.verify_bundle import FileCheck, verify_bundle
from trainer.run_folder import read_config

pytestmark = pytest.mark.parametrize("exported", ["last_token"], indirect=True)

NUMBERS = r"\[(?:-?(?:\d+\.\d+(?:e-\d+)?|nan)(?:, )?)+\]"
ROW = r"(?:validation|test|nasty) message \d+"


def change_weight(path: Path, name: str, change) -> None:
    """Change a tensor of a file, and nothing else."""
    proto = onnx.load(path)
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(proto, path)


def add_to_first(by: float):
    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] += by
        return values

    return change


def verify_quietly(folder: Path, run: Path) -> dict[str, FileCheck]:
    results = verify_bundle(folder, run, "cpu", progress=False)
    return {result.verified.precision: result for result in results}


def left(folder: Path) -> list[str]:
    """The models of a bundle; its manifest, verify.json and folder must agree on them."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    report = json.loads((folder / "verify.json").read_bytes())["variants"]
    passed = [precision for precision, entry in report.items() if entry["passed"]]
    assert list(manifest["variants"]) == passed
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert sorted(p.name for p in folder.glob("*.onnx")) == sorted(manifest["variants"].values())
    return passed


class TestNothingWrong:
    def test_a_lack_of_memory_removes_no_variant(self, copied, monkeypatch) -> None:
        run, bundle = copied
        before = {path.name: path.read_bytes() for path in bundle.iterdir()}

        def fail(*_):
            raise OutOfMemoryError("out of memory: loading the model")

        monkeypatch.setattr("exporter.verify_bundle.verify_file", fail)
        with pytest.raises(OutOfMemoryError, match=r"^out of memory: loading the model$"):
            verify_quietly(bundle, run)
        assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before

    def test_again(self, copied) -> None:
        run, bundle = copied
        before = open_bundle(bundle)
        results = verify_quietly(bundle, run)
        assert {name: result.problems() for name, result in results.items()} == {
            "fp32": [],
            "int8": [],
        }
        assert left(bundle) == ["fp32", "int8"]
        after = open_bundle(bundle)
        assert after.manifest.variants == before.manifest.variants
        assert after.digest == before.digest  # though the speeds are others
        report = json.loads((bundle / "verify.json").read_bytes())
        report["machine"]["versions"]["onnxruntime"] = "1.0"
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        verify_quietly(bundle, run)
        again = open_bundle(bundle)
        assert again.digest != before.digest and left(bundle) == ["fp32", "int8"]
        for name, entry in before.manifest.files.items():
            assert name == "verify.json" or again.manifest.files[name] == entry
        assert Classifier.load(bundle, "cpu", 1).classify(["ok"]).labels

    def test_a_run_that_starts_at_any_moment_finds_a_bundle(
        self, copied, write_hashes_anew, monkeypatch
    ) -> None:
        """It is opened and loaded before and after each call that writes, renames or removes."""
        run, bundle = copied
        report = json.loads((bundle / "verify.json").read_bytes())
        report["machine"]["versions"]["onnxruntime"] = "1.0"
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        change_weight(bundle / "model.int8.onnx", "score.bias", lambda values: values + 9)
        write_hashes_anew(bundle)
        before, digests = open_bundle(bundle), []

        def watch(module: object, name: str) -> None:
            real = getattr(module, name)

            def call(*args, **options):
                digests.append(load())
                try:
                    return real(*args, **options)
                finally:
                    digests.append(load())

            monkeypatch.setattr(module, name, call)

        def load() -> str:
            return Classifier.load(bundle, "cpu", 1).bundle.digest

        for name in ("replace", "rename", "unlink", "rmdir"):
            watch(os, name)
        watch(Path, "unlink")
        watch(Path, "rmdir")
        watch(Path, "write_text")
        watch(exporter.bundle, "exchange")
        assert verify_quietly(bundle, run)["int8"].problems()
        monkeypatch.undo()
        after = open_bundle(bundle)
        assert list(after.manifest.variants) == ["fp32"] and left(bundle) == ["fp32"]
        assert len(digests) > 10 and set(digests) == {before.digest, after.digest}
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_a_bundle_that_cannot_be_replaced_is_as_it_was(self, copied, monkeypatch) -> None:
        run, bundle = copied
        (bundle / "verify.json").write_text("{", encoding="utf-8")

        def fail(*_):
            raise OSError(16, "Device or resource busy")

        monkeypatch.setattr("exporter.verify_bundle.swap_folders", fail)
        with pytest.raises(OutputError) as caught:
            verify_quietly(bundle, run)
        assert str(caught.value) == (
            f"cannot replace {bundle}: Device or resource busy; copy the bundle to another folder, "
            "and verify it there"
        )
        assert (bundle / "verify.json").read_text(encoding="utf-8") == "{"
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_a_run_that_was_killed_before_its_last_step_is_mended(self, copied) -> None:
        run, bundle = copied
        (bundle / "verify.json").write_text("{", encoding="utf-8")
        assert verify_quietly(bundle, run)["fp32"].problems() == []
        assert left(bundle) == ["fp32", "int8"]

    def test_what_was_kept_in_fp32_stays_on_record(self, copied, write_hashes_anew) -> None:
        run, bundle = copied
        report = json.loads((bundle / "verify.json").read_bytes())
        report["variants"]["int8"]["kept_fp32"] = ["h.0.mlp.c_fc"]
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        write_hashes_anew(bundle)
        assert verify_quietly(bundle, run)["int8"].verified.kept_fp32 == ["h.0.mlp.c_fc"]

    def test_a_threshold_is_the_users_to_change(self, copied, write_hashes_anew) -> None:
        run, bundle = copied
        write_hashes_anew(bundle, threshold=0.75)
        assert verify_quietly(bundle, run)["fp32"].problems() == []
        assert open_bundle(bundle).manifest.threshold == 0.75

    def test_a_file_that_is_not_listed_is_refused(self, copied) -> None:
        run, bundle = copied
        (bundle / "notes.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(BundleError) as caught:
            verify_quietly(bundle, run)
        assert str(caught.value) == f"{bundle}: bundle.json does not list notes.txt; remove it"


class TestChangedFile:
    @pytest.mark.parametrize("is_hashed_anew", [True, False])
    def test_one_weight(self, copied, write_hashes_anew, is_hashed_anew: bool) -> None:
        run, bundle = copied
        path = bundle / "model.onnx"
        said = hash_file(path)
        change_weight(path, "transformer.h.1.mlp.c_proj.bias", add_to_first(0.5))
        found = hash_file(path)
        if is_hashed_anew:
            write_hashes_anew(bundle)
        results = verify_quietly(bundle, run)
        problems = results["fp32"].problems()
        if not is_hashed_anew:
            assert problems.pop(0) == f"{path}: SHA-256 is {found}, bundle.json says {said}"
        assert re.fullmatch(
            rf"the logits of {ROW} differ by 0\.\d+, more than 0\.0001 \(1 row, own width\): "
            rf"ONNX Runtime gives {NUMBERS}, PyTorch {NUMBERS}",
            problems[0],
        )
        assert left(bundle) == ["int8"]
        report = json.loads((bundle / "verify.json").read_bytes())["variants"]["fp32"]
        assert (report["passed"], report["sha256"]) == (False, found)
        assert report["problems"][-len(problems) :] == problems
        assert Classifier.load(bundle, "cpu", 1).precision == "int8"
        with pytest.raises(BundleError) as error:
            Classifier.load(bundle, "cpu", 1, precision="fp32")
        assert str(error.value) == f"{bundle}: has no precision fp32; choose from: int8"

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_not_a_number(self, copied, write_hashes_anew, precision: str) -> None:
        run, bundle = copied
        change_weight(bundle / FILES[precision], "score.weight", add_to_first(np.nan))
        write_hashes_anew(bundle)
        problem = verify_quietly(bundle, run)[precision].problems()[0]
        assert re.fullmatch(
            rf"the logits of {ROW} differ by inf, more than 0\.\d+ \(1 row, own width\): "
            rf"ONNX Runtime gives {NUMBERS}, PyTorch {NUMBERS}",
            problem,
        )
        assert left(bundle) == [{"fp32": "int8", "int8": "fp32"}[precision]]
        text = (bundle / "verify.json").read_text(encoding="utf-8")
        report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert report["variants"][precision]["check"]["logit"]["value"] is None

    def test_another_pooling(self, copied, traced, write_hashes_anew) -> None:
        """A graph of the same weights, whose metadata lie; only its logits tell."""
        run, bundle = copied
        _, proto = traced("first_position")
        describe_model(proto, read_config(run), "fp32")
        save_model(proto, bundle / "model.onnx")
        write_hashes_anew(bundle)
        result = verify_quietly(bundle, run)["fp32"]
        assert result.structure.problems == []
        assert re.match(rf"the logits of {ROW} differ by \d\.\d+, more", result.problems()[0])
        assert left(bundle) == ["int8"]

    def test_another_pooling_of_another_form(self, copied, traced, write_hashes_anew) -> None:
        run, bundle = copied
        save_model(traced("last_position")[1], bundle / "model.onnx")
        write_hashes_anew(bundle)
        problems = verify_quietly(bundle, run)["fp32"].problems()
        # It cannot be run at 4 tokens, which is what onnxruntime says of it.
        assert problems[0].startswith("onnxruntime failed on a batch: [ONNXRuntimeError] : 2 : ")
        assert problems[1] == (
            "its inputs are input_ids (B, 16) int64 instead of input_ids (B, T) int64"
        )
        assert "its spam-batch.pooling is None, the run's is 'last_token'" in problems
        assert left(bundle) == ["int8"]

    @pytest.mark.parametrize(
        ("data", "first"),
        [
            (b"", "has 0 bytes"),
            (b"This is no protobuf file.", "has 25 bytes"),
            (None, "is missing"),
        ],
    )
    def test_no_model_at_all(self, copied, data: bytes | None, first: str) -> None:
        run, bundle = copied
        path = bundle / "model.int8.onnx"
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        result = verify_quietly(bundle, run)["int8"]
        assert result.problems()[0].startswith(f"{path}: {first}")
        if data != b"":  # which is an empty graph
            assert result.problems()[1:] == [f"{path}: cannot be read as ONNX"]
        assert result.verified.check is None
        assert left(bundle) == ["fp32"]

    def test_tensors_beside_the_model(self, copied, traced, write_hashes_anew, monkeypatch):
        """An embedding that no message of the check has: its hash alone tells."""
        run, bundle = copied
        proto = traced()[1]
        describe_model(proto, read_config(run), "fp32")
        monkeypatch.setattr(variants, "EXTERNAL_ABOVE", 100_000)
        save_model(proto, bundle / "model.onnx")
        write_hashes_anew(bundle)
        assert verify_quietly(bundle, run)["fp32"].problems() == []
        path = bundle / "model.onnx.data"
        said, data = hash_file(path), bytearray(path.read_bytes())
        data[40_000 * 16 * 4] ^= 1
        path.write_bytes(data)
        problem = f"{path}: SHA-256 is {hash_file(path)}, bundle.json says {said}"
        assert verify_quietly(bundle, run)["fp32"].problems() == [problem]
        assert left(bundle) == ["int8"]
        assert not path.exists()

    @pytest.mark.parametrize("name", ["golden.json", "gpt2.tiktoken"])
    def test_another_file_is_not_vouched_for(self, copied, name: str) -> None:
        run, bundle = copied
        manifest = (bundle / MANIFEST).read_bytes()
        with open(bundle / name, "ab") as file:
            file.write(b" ")
        with pytest.raises(BundleError, match=f"^{re.escape(str(bundle / name))}: has .* bytes, "):
            verify_quietly(bundle, run)
        assert (bundle / MANIFEST).read_bytes() == manifest


class TestManifest:
    @pytest.mark.parametrize(
        ("key", "value", "problem"),
        [
            ("pooling", "mean", "pooling 'mean', the run 'last_token'"),
            ("labels", ["spam", "ham"], "labels ['spam', 'ham'], the run ['ham', 'spam']"),
            ("positive_label", "ham", "positive_label 'ham', the run 'spam'"),
            ("temperature", 2.0, "temperature 2.0, the run 1.0"),
            ("max_length", 12, "max_length 12, the run 16"),
            ("fixed_length", True, "fixed_length True, the run False"),
            ("pad_id", 0, "pad_id 0, the run 50256"),
        ],
    )
    def test_its_word(self, copied, write_hashes_anew, monkeypatch, key, value, problem) -> None:
        run, bundle = copied
        monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
        write_hashes_anew(bundle, **{key: value})
        results = verify_quietly(bundle, run)
        wanted = [f"bundle.json says {problem}"]
        assert [result.problems() for result in results.values()] == [wanted, wanted]
        assert left(bundle) == []
        for action in (open_bundle, Classifier.load):
            with pytest.raises(BundleError) as error:
                action(bundle)
            assert str(error.value) == (
                f"{bundle}: no variant of this bundle passed its verification; export it again "
                "with: spam-export bundle"
            )

    def test_another_tokenizer(self, copied, write_hashes_anew) -> None:
        run, bundle = copied
        lines = (bundle / "gpt2.tiktoken").read_bytes().splitlines(keepends=True)
        (bundle / "gpt2.tiktoken").write_bytes(b"".join(lines[:-1]))
        write_hashes_anew(bundle)
        ours, theirs = hash_file(bundle / "gpt2.tiktoken"), hash_file(run / "gpt2.tiktoken")
        problem = f"bundle.json says tokenizer {ours!r}, the run {theirs!r}"
        assert verify_quietly(bundle, run)["fp32"].problems() == [problem]


class TestTolerances:
    def test_one_below_what_is_measured(self, copied, monkeypatch) -> None:
        run, bundle = copied
        monkeypatch.setitem(parity.TOLERANCES, ("int8", "cpu"), 1e-7)
        problem = verify_quietly(bundle, run)["int8"].problems()[0]
        assert re.fullmatch(
            rf"the logits of {ROW} differ by 0\.0\d+, more than \S+e-07 \(1 row, own width\): "
            rf"ONNX Runtime gives {NUMBERS}, PyTorch {NUMBERS}",
            problem,
        )
        assert left(bundle) == ["fp32"]

    def test_int8_of_the_whole_batchs_scale_has_batch_variance(
        self, copied, write_hashes_anew
    ) -> None:
        """The usual dynamic quantization: the largest magnitude over all axes."""
        run, bundle = copied
        path = bundle / "model.int8.onnx"
        proto = onnx.load(path)
        for node in proto.graph.node:
            if node.op_type == "ReduceMax":
                del node.input[1:]
        onnx.save(proto, path)
        write_hashes_anew(bundle)
        problems = verify_quietly(bundle, run)["int8"].problems()
        assert re.fullmatch(
            rf"the logits of {ROW} differ by \S+ between alone and .*, more than 0", problems[-1]
        )
        assert left(bundle) == ["fp32"]


def test_another_run(copied, tiny_model, write_run_folder, tmp_path: Path) -> None:
    _, bundle = copied
    other = write_run_folder(tmp_path / "other", tiny_model(seed=1))
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(InputError) as error:
        verify_quietly(bundle, other)
    assert str(error.value) == (
        f"{other} is not the run that {bundle} was made from (its weights differ); "
        "give that run with --run"
    )
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_link_in_the_place_of_the_report_is_not_written_through(copied, tmp_path: Path) -> None:
    run, bundle = copied
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    (bundle / "verify.json").unlink()
    (bundle / "verify.json").symlink_to(tmp_path / "mine")
    verify_bundle(bundle, run, "cpu", progress=False)
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "mine"
    assert not (bundle / "verify.json").is_symlink()
    assert open_bundle(bundle).read_json("verify.json")["variants"]
