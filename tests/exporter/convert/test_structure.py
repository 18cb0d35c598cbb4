"""What an ONNX file says of itself, and each way in which it is not the run's."""

import onnx
import pytest
from onnx import TensorProto, helper

from batch.errors import BundleError
from exporter.convert.structure import read_structure
from exporter.convert.variants import FILES
from trainer.run_folder import read_config


@pytest.fixture
def edited(exported, tmp_path):
    """``edited(change)``: the problems of an fp32 file after ``change(proto)``."""
    run, bundle, _ = exported

    def edit(change) -> list[str]:
        proto = onnx.load(bundle / FILES["fp32"])
        change(proto)
        path = tmp_path / FILES["fp32"]
        onnx.save(proto, path)
        return read_structure(path, read_config(run), "fp32").problems

    return edit


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_of_a_bundle(exported, precision: str) -> None:
    run, bundle, _ = exported
    config, path = read_config(run), bundle / FILES[precision]
    found = read_structure(path, config, precision)
    assert found.problems == []
    width = 16 if config.model_config.is_fixed_length else "T"
    assert found.inputs == [f"input_ids (B, {width}) int64"]
    assert found.outputs == [f"logits (B, {len(config.labels)}) float"]
    assert found.opset == {"": 23}
    assert found.nodes == sum(found.operators.values())
    assert found.operators.get("MatMulInteger", 0) == (4 if precision == "int8" else 0)
    assert found.operators["Attention"] == 1
    assert found.megabytes == round(path.stat().st_size / 1e6, 1)


@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
class TestProblems:
    def test_names(self, edited) -> None:
        def rename(proto) -> None:
            proto.graph.input[0].name = "ids"
            proto.graph.output[0].name = "scores"

        assert edited(rename) == [
            "its inputs are ids (B, T) int64 instead of input_ids (B, T) int64",
            "its outputs are scores (B, 2) float instead of logits (B, 2) float",
        ]

    def test_shapes_and_types(self, edited) -> None:
        def reshape(proto) -> None:
            tensor = proto.graph.input[0].type.tensor_type
            tensor.elem_type = TensorProto.INT32
            tensor.shape.dim[0].dim_value = 1
            proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3

        assert edited(reshape) == [
            "its inputs are input_ids (1, T) int32 instead of input_ids (B, T) int64",
            "its outputs are logits (B, 3) float instead of logits (B, 2) float",
        ]

    def test_metadata(self, edited) -> None:
        def rewrite(proto) -> None:
            values = {entry.key: entry.value for entry in proto.metadata_props}
            values["spam-batch.pooling"] = "mean"
            del values["spam-batch.pad_id"]
            del proto.metadata_props[:]
            helper.set_model_props(proto, values)

        assert edited(rewrite) == [
            "its spam-batch.pooling is 'mean', the run's is 'last_token'",
            "its spam-batch.pad_id is None, the run's is '50256'",
        ]


def test_no_onnx(exported, tmp_path) -> None:
    (tmp_path / "text").write_bytes(b"This is no protobuf file.")
    for name in ("text", "none"):
        path = tmp_path / name
        with pytest.raises(BundleError) as error:
            read_structure(path, read_config(exported[0]), "fp32")
        assert str(error.value) == f"{path}: cannot be read as ONNX"
