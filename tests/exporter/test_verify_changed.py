"""``spam-export verify`` on models that were changed: each problem's text, and what is left."""

import json
import re

import numpy as np
import onnx
import pytest

from batch.errors import BundleError
from batch.model.bundle_files import MANIFEST
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter import parity
from exporter.convert import variants
from exporter.convert.variants import FILES, describe_model, save_model
from trainer.run_folder import read_config

pytestmark = pytest.mark.parametrize("exported", ["last_token"], indirect=True)
NUMBERS = r"\[(?:-?(?:\d+\.\d+(?:e-\d+)?|nan)(?:, )?)+\]"
ROW = r"(?:validation|test|nasty) message \d+"


def add_to_first(by: float):
    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] += by
        return values

    return change


class TestChangedFile:
    @pytest.mark.parametrize("is_hashed_anew", [True, False])
    def test_one_weight(
        self, copied, write_hashes_anew, is_hashed_anew: bool, change_weight, verify_quietly, left
    ) -> None:
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
    def test_not_a_number(
        self, copied, write_hashes_anew, precision: str, change_weight, verify_quietly, left
    ) -> None:
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

    def test_another_pooling(self, copied, traced, write_hashes_anew, verify_quietly, left) -> None:
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

    def test_another_pooling_of_another_form(
        self, copied, traced, write_hashes_anew, verify_quietly, left
    ) -> None:
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
    def test_no_model_at_all(
        self, copied, data: bytes | None, first: str, verify_quietly, left
    ) -> None:
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

    def test_tensors_beside_the_model(
        self, copied, traced, write_hashes_anew, monkeypatch, verify_quietly, left
    ):
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
    def test_another_file_is_not_vouched_for(self, copied, name: str, verify_quietly) -> None:
        run, bundle = copied
        manifest = (bundle / MANIFEST).read_bytes()
        with open(bundle / name, "ab") as file:
            file.write(b" ")
        with pytest.raises(BundleError, match=f"^{re.escape(str(bundle / name))}: has .* bytes, "):
            verify_quietly(bundle, run)
        assert (bundle / MANIFEST).read_bytes() == manifest


class TestTolerances:
    def test_one_below_what_is_measured(self, copied, monkeypatch, verify_quietly, left) -> None:
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
        self, copied, write_hashes_anew, verify_quietly, left
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
