"""A variant's files: what a lone one says of itself, and tensors beside it above 2 GB."""

import json

import numpy as np
import onnx
import pytest

from batch.errors import BundleError
from batch.model.tokenizer import PAD_ID
from batch.reading.fingerprint import hash_file
from exporter.convert import variants
from exporter.convert.variants import (
    FILES,
    describe_model,
    model_properties,
    open_variant,
    remove_variant,
    save_model,
)
from trainer.run_folder import read_config

IDS = np.array([[5211, 345, PAD_ID, PAD_ID], [11, 12, 13, 14]])


def test_a_lone_file_explains_itself(exported, bpe_file) -> None:
    run, bundle, _ = exported
    fixed = read_config(run).model["pooling"] == "last_position"
    for precision in ("fp32", "int8"):
        written = onnx.load(bundle / FILES[precision]).metadata_props
        assert {entry.key: entry.value for entry in written} == {
            "spam-batch.labels": '["ham", "spam", "zebra"]' if fixed else '["ham", "spam"]',
            "spam-batch.positive_label": "" if fixed else "spam",
            "spam-batch.max_length": "16",
            "spam-batch.fixed_length": "true" if fixed else "false",
            "spam-batch.pooling": "last_position" if fixed else "last_token",
            "spam-batch.pad_id": "50256",
            "spam-batch.tokenizer_sha256": hash_file(bpe_file),
            "spam-batch.precision": precision,
        }


def test_a_description_replaces_the_one_before(exported, traced) -> None:
    config, (_, proto) = read_config(exported[0]), traced()
    for precision in ("fp32", "int8"):
        describe_model(proto, config, precision)
    written = {entry.key: entry.value for entry in proto.metadata_props}
    assert written == model_properties(config, "int8")
    assert json.loads(written["spam-batch.labels"]) == config.labels


class TestExternal:
    def test_tensors_beside_the_file(self, traced, tmp_path, monkeypatch) -> None:
        _, proto = traced()
        before = proto.SerializeToString(deterministic=True)
        save_model(proto, tmp_path / FILES["fp32"])
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
        theirs = open_variant(tmp_path, "fp32", "cpu").run(IDS)

        monkeypatch.setattr(variants, "EXTERNAL_ABOVE", 100_000)
        save_model(proto, tmp_path / FILES["fp32"])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {0o644}  # the umask of tests, 022
        assert (tmp_path / "model.onnx").stat().st_size < 50_000
        assert (tmp_path / "model.onnx.data").stat().st_size > 3_000_000
        assert open_variant(tmp_path, "fp32", "cpu").run(IDS).tolist() == theirs.tolist()
        assert proto.SerializeToString(deterministic=True) == before

        remove_variant(tmp_path, "fp32")
        assert list(tmp_path.iterdir()) == []
        remove_variant(tmp_path, "fp32")  # nothing there is fine

    def test_without_the_tensors(self, traced, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(variants, "EXTERNAL_ABOVE", 100_000)
        save_model(traced()[1], tmp_path / FILES["fp32"])
        (tmp_path / "model.onnx.data").unlink()
        with pytest.raises(BundleError) as error:
            open_variant(tmp_path, "fp32", "cpu")
        # What follows is onnxruntime's, with its own source's line numbers.
        assert str(error.value).startswith("onnxruntime cannot load the model: [ONNXRuntimeError]")


def test_only_its_own_files_are_removed(tmp_path) -> None:
    for name in FILES.values():
        (tmp_path / name).write_bytes(b"")
    remove_variant(tmp_path, "int8")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model.bf16.onnx", "model.fp16.onnx", "model.onnx"]
