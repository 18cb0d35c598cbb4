"""Reduced precisions: int8 to the bit against numpy, whatever stands in the batch; 16-bit floats.

B rows, C activations of a row, K outputs.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from batch.errors import BundleError
from batch.model.batching import WIDTH_STEP
from batch.model.inference import InferenceSession
from batch.model.tokenizer import PAD_ID
from exporter.convert.graph import module_of
from exporter.convert.quantize import linear_layers, reduce_precision
from exporter.parity import TOLERANCES

# Each of these is another graph.
KINDS = (
    ("last_token", {}),
    ("last_position", {}),
    ("mean", {}),
    ("last_position", {"causal": False}),
)


def linear_graph(*weights: np.ndarray, reader: str = "x") -> onnx.ModelProto:
    """Layers ``layer0``, ``layer1``, ... of weights ``(C, K)`` that all read ``x``."""
    nodes = [
        helper.make_node("MatMul", [reader, f"w{i}"], [f"y{i}"], name=f"layer{i}/MatMul_{i}")
        for i in range(len(weights))
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", weights[0].shape[0]])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["B", w.shape[1]])
         for i, w in enumerate(weights)],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def run_int8(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    proto = reduce_precision(linear_graph(weight), "int8")
    return InferenceSession(proto.SerializeToString(), "cpu", 1).run(x, check_finite=False)


def numpy_int8(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in numpy, its sums in 64 bits: ``(B, K)`` float32, and the sums."""
    f = np.float32
    magnitude = np.maximum(np.abs(x).max(axis=1, keepdims=True), f(1e-30))
    rows = np.clip(np.rint(x * (f(127) / magnitude)), -128, 127).astype(np.int64)
    scale = np.maximum(np.abs(weight).max(axis=0), f(1e-30)) / f(64)
    integers = np.rint(weight / scale).astype(np.int64)
    assert np.abs(integers).max() <= 64
    sums = rows @ integers
    return sums.astype(f) * (scale / f(127)) * magnitude, sums


@pytest.mark.parametrize("C", [1, 2, 3, 16, 64, 768, 3072])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(C: int, sign: int) -> None:
    """CPUs without VNNI add two products in 16 bits, where 8-bit weights would be cut."""
    x = np.full((5, C), 3.0, np.float32)
    x[1] *= -1
    x[2, ::2] *= -1
    x[3, 1:] = 0
    weight = np.full((C, 9), sign * 0.5, np.float32)
    weight[::2, 4] *= -1
    weight[:, 5] = 0
    ours, (theirs, sums) = run_int8(x, weight), numpy_int8(x, weight)
    assert np.abs(sums).max() == C * 127 * 64
    assert ours.tolist() == theirs.tolist()
    assert ours == pytest.approx(x @ weight, rel=1e-5)  # these are on the grid


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
    st.floats(-12, 12),
)
@settings(deadline=None, max_examples=60)
def test_any_product_is_numpys_to_the_bit(shape, seed: int, exponent: float) -> None:
    B, C, K = shape
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(B, C)) * 10.0 ** (exponent * generator.random((B, 1)))
    x[generator.random(B) < 0.2] = 0
    x, weight = x.astype(np.float32), generator.normal(size=(C, K)).astype(np.float32)
    ours, (theirs, _) = run_int8(x, weight), numpy_int8(x, weight)
    assert ours.tolist() == theirs.tolist()
    # Half a step of the row and half a step of the channel, C times.
    steps = np.abs(x).max(axis=1, keepdims=True) * np.abs(weight).max(axis=0)
    assert (np.abs(ours - x.astype(np.float64) @ weight) <= 0.013 * C * steps).all()


def test_rows_of_zeros_give_zero() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    ours = run_int8(np.zeros((3, 7), np.float32), weight)
    assert ours.tolist() == np.zeros((3, 5)).tolist()


def test_layers_that_read_the_same_rows_share_their_integers() -> None:
    weight = np.eye(4, dtype=np.float32)
    proto = reduce_precision(linear_graph(weight, 2 * weight), "int8")
    kinds = [node.op_type for node in proto.graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("MatMulInteger")) == (1, 2)


def test_weights_have_a_scale_an_output_channel() -> None:
    weight = np.array([[1, 100, 0], [0.5, -50, 0], [-0.25, 25, 0]], np.float32)
    proto = reduce_precision(linear_graph(weight), "int8")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    integers = tensors["layer0/int8/weight"]
    assert integers.dtype == np.int8
    assert integers.tolist() == [[64, 64, 0], [32, -32, 0], [-16, 16, 0]]
    factor = tensors["layer0/int8/factor"]
    assert factor[:2] == pytest.approx([1 / 64 / 127, 100 / 64 / 127], rel=1e-6)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def int8_session(request, traced):
    """(whether tied to 16 tokens, int8 session) of one kind of graph."""
    pooling, changes = request.param
    model, proto = traced(pooling, **changes)
    data = reduce_precision(proto, "int8").SerializeToString()
    return model.config.is_fixed_length, InferenceSession(data, "cpu", threads=1)


@given(st.lists(st.integers(0, 16), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_a_row_alone_and_in_any_batch(int8_session, lengths: list[int], seed: int) -> None:
    fixed, session = int8_session
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, PAD_ID, (len(lengths), 16))
    for row, length in enumerate(lengths):
        ids[row, length:] = PAD_ID
    together = session.run(ids)
    order = generator.permutation(len(lengths))
    assert session.run(ids[order]).tolist() == together[order].tolist()
    for row, length in enumerate(lengths[:5]):
        width = 16 if fixed else max(WIDTH_STEP, -(-length // WIDTH_STEP) * WIDTH_STEP)
        alone = session.run(ids[row : row + 1, :width])
        assert alone[0].tolist() == together[row].tolist()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
class TestGraph:
    def test_nothing_unused_and_no_warning(
        self, traced, unused, load_warnings, precision: str
    ) -> None:
        _, proto = traced()
        layers = linear_layers(proto)
        assert layers == [
            "h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_fc", "h.0.mlp.c_proj",
        ]  # fmt: skip
        for kept in ([], layers[1:3], layers):
            reduced = reduce_precision(proto, precision, kept)
            onnx.checker.check_model(reduced, full_check=True)
            assert unused(reduced) == []
            assert load_warnings(reduced.SerializeToString()) == ""
            names = [tensor.name for tensor in reduced.graph.initializer]
            assert len(set(names)) == len(names)

    def test_layers_to_keep_stay_as_they_were(self, traced, precision: str) -> None:
        _, proto = traced()
        kept = ["h.0.attn.c_proj", "h.0.mlp.c_fc"]
        reduced = reduce_precision(proto, precision, kept)
        nodes = [node for node in proto.graph.node if module_of(node) in kept]
        assert all(node in reduced.graph.node for node in nodes)
        weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        for node in nodes:
            if node.op_type == "MatMul":
                assert weights[node.input[1]] in reduced.graph.initializer
        assert reduce_precision(proto, precision, linear_layers(proto)) == proto

    def test_the_graph_given_is_left_alone(self, traced, precision: str) -> None:
        _, proto = traced()
        before = proto.SerializeToString(deterministic=True)
        reduce_precision(proto, precision)
        assert proto.SerializeToString(deterministic=True) == before


class TestHalf:
    def test_fp16_stays_within_its_tolerance_here(self, traced) -> None:
        _, proto = traced()
        ids = np.random.default_rng(1).integers(0, PAD_ID, (5, 16))
        theirs = InferenceSession(proto.SerializeToString(), "cpu", 1).run(ids)
        reduced = reduce_precision(proto, "fp16")
        ours = InferenceSession(reduced.SerializeToString(), "cpu", 1).run(ids)
        difference = np.abs(ours - theirs).max()
        assert 0 < difference <= TOLERANCES["fp16", "cpu"]

    @pytest.mark.parametrize(
        ("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)]
    )
    def test_only_the_products_are_in_16_bits(self, traced, precision: str, kind: int) -> None:
        _, proto = traced()
        reduced = reduce_precision(proto, precision)
        halves = [t.name for t in reduced.graph.initializer if t.data_type == kind]
        assert halves == [f"{layer}/half/weight" for layer in linear_layers(proto)]
        assert len(reduced.graph.initializer) == len(proto.graph.initializer)

    def test_bf16_is_not_for_this_cpu(self, traced) -> None:
        _, proto = traced()
        reduced = reduce_precision(proto, "bf16")
        with pytest.raises(BundleError) as error:
            InferenceSession(reduced.SerializeToString(), "cpu", 1)
        # What follows is onnxruntime's, with the number of an operator's version.
        assert str(error.value).startswith(
            "onnxruntime cannot load the model: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : "
        )
