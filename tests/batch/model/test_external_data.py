"""Data outside an ONNX file is found wherever a tensor can stand, and nowhere else."""

import contextlib

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from batch.model.external_data import external_files


def make_tensor(is_external: bool) -> TensorProto:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
    if is_external:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="x") if is_external else None
    return tensor


def make_model(place: str, tensor: TensorProto) -> onnx.ModelProto:
    graph = helper.make_graph([], "inner", [], [])
    model = helper.make_model(helper.make_graph([], "outer", [], []))
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "sparse initializer":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place == "sparse indices":
        model.graph.sparse_initializer.add().indices.CopyFrom(tensor)
    elif place == "constant":
        model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    elif place == "list of tensors":
        attribute = model.graph.node.add(op_type="X").attribute.add(name="a")
        attribute.tensors.append(tensor)
    elif place == "sparse attribute":
        attribute = model.graph.node.add(op_type="X").attribute.add(name="a")
        attribute.sparse_tensor.values.CopyFrom(tensor)
    elif place == "branch":
        graph.initializer.append(tensor)
        model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=graph))
    elif place == "list of graphs":
        graph.initializer.append(tensor)
        model.graph.node.add(op_type="X").attribute.add(name="a").graphs.append(graph)
    elif place == "function":
        node = helper.make_node("Constant", [], ["c"], value=tensor)
        model.functions.add(name="f").node.append(node)
    elif place == "function's default":
        model.functions.add(name="f").attribute_proto.add(name="a").t.CopyFrom(tensor)
    elif place == "training":
        model.training_info.add().initialization.initializer.append(tensor)
    return model


PLACES = [
    "initializer", "sparse initializer", "sparse indices", "constant", "list of tensors",
    "sparse attribute", "branch", "list of graphs", "function", "function's default", "training",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_finds_it_in_every_place(place):
    assert external_files(make_model(place, make_tensor(True)).SerializeToString())
    assert not external_files(make_model(place, make_tensor(False)).SerializeToString())


def test_either_sign_is_enough():
    only_place, only_flag = make_tensor(False), make_tensor(False)
    only_place.external_data.add(key="location", value="x")
    only_flag.data_location = TensorProto.EXTERNAL
    for tensor in (only_place, only_flag):
        assert external_files(make_model("initializer", tensor).SerializeToString())


def test_the_file_is_named():
    tensor = make_tensor(True)
    assert external_files(make_model("initializer", tensor).SerializeToString()) == {"x"}
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value="../y")
    assert external_files(make_model("branch", tensor).SerializeToString()) == {"x", "../y"}
    only_flag = make_tensor(False)
    only_flag.data_location = TensorProto.EXTERNAL
    assert external_files(make_model("constant", only_flag).SerializeToString()) == {""}


def test_names_mean_nothing(make_graph):
    model = onnx.load_from_string(make_graph())
    model.doc_string = "location: external_data"
    model.graph.initializer.append(numpy_helper.from_array(numpy_helper.np.ones(3), "location"))
    assert not external_files(model.SerializeToString())


@pytest.mark.parametrize("data", [b"\xff", b"\x3a\x05ab", b"\x0b", b"\x80" * 20, b"\x39\x00"])
def test_what_is_no_protocol_buffer(data):
    with pytest.raises(ValueError):
        external_files(data)


@given(st.binary(max_size=60))
def test_any_bytes_end_it(data):
    with contextlib.suppress(ValueError):
        assert isinstance(external_files(data), set)
