"""Reduced precisions of a traced graph: int8 with one scale a row, and 16-bit floats.

Only the products over every token change: the linear layers inside the blocks. What is
computed once for a message (the last block from its query on, and the head) stays fp32: it
is under one percent of the work, and its whole error would reach the logits.

int8. A row (one token's C activations) is divided by its largest magnitude. Its integers,
and so its logits, do not depend on the other rows of the batch; the usual dynamic
quantization takes one scale for the whole batch. Weights have one scale for each output
channel, and 7 bits: the sum of two products of an 8-bit and a 7-bit number fits into the 16
bits in which CPUs without VNNI add them, so every CPU gets the same sums.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.convert.graph import module_of

ACTIVATION_LEVELS = 127  # of a row's largest magnitude, on either side of the zero point
ZERO_POINT = 128  # the kernels need unsigned activations
WEIGHT_LEVELS = 64  # 2 * 255 * 64 < 2 ** 15
_TINY = 1e-30  # the magnitude that a row of zeros is divided by
_HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def linear_layers(proto: onnx.ModelProto) -> list[str]:
    """Names of the modules that a reduced precision changes, in the order of the graph."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [module_of(node) for node in proto.graph.node if _is_linear(node, weights)]


def _is_linear(node: onnx.NodeProto, weights: Collection[str]) -> bool:
    # Products with one row for each message (two-dimensional activations) are traced as Gemm.
    return node.op_type == "MatMul" and node.input[1] in weights


def reduce_precision(
    proto: onnx.ModelProto, precision: str, keep_fp32: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of an fp32 graph in ``int8``, ``fp16`` or ``bf16``.

    The layers of ``keep_fp32`` stay as they are.
    """
    rewrite = _Int8() if precision == "int8" else _Half(_HALVES[precision])
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if _is_linear(node, weights) and module_of(node) not in keep_fp32:
            weight = numpy_helper.to_array(weights[node.input[1]])
            nodes += rewrite.linear(module_of(node), node.input[0], weight, node.output[0])
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    tensors = (*graph.initializer, *rewrite.initializers)
    kept = [tensor for tensor in tensors if tensor.name in used]
    new = helper.make_graph(nodes, graph.name, graph.input, graph.output, kept)
    result = helper.make_model(
        new, opset_imports=proto.opset_import, ir_version=proto.ir_version,
        producer_name=proto.producer_name, producer_version=proto.producer_version,
    )  # fmt: skip
    result.metadata_props.extend(proto.metadata_props)
    return result


class _Int8:
    """``y = row_scale * channel_scale * (rows as uint8) @ (weights as int8)``."""

    def __init__(self) -> None:
        self.initializers = [
            numpy_helper.from_array(np.array(value), f"int8/{name}")
            for name, value in (
                ("last_axis", np.array([-1], dtype=np.int64)),
                ("levels", np.float32(ACTIVATION_LEVELS)),
                ("tiny", np.float32(_TINY)),
                ("one", np.float32(1)),
                ("zero_point", np.uint8(ZERO_POINT)),
            )
        ]
        self._rows: dict[str, tuple[str, str]] = {}  # tensor -> its integers, its magnitudes

    def linear(self, module: str, x: str, weight: np.ndarray, y: str) -> list[onnx.NodeProto]:
        nodes = [] if x in self._rows else self._quantize_rows(module, x)
        rows, magnitude = self._rows[x]
        scale = np.maximum(np.abs(weight).max(axis=0), _TINY) / WEIGHT_LEVELS  # (out,)
        integers = np.rint(weight / scale).astype(np.int8)  # (in, out)
        name = f"{module}/int8"
        # The row's scale is magnitude / levels; the division by levels is constant and done here.
        factor = (scale / ACTIVATION_LEVELS).astype(np.float32)
        self.initializers += [
            numpy_helper.from_array(integers, f"{name}/weight"),
            numpy_helper.from_array(factor, f"{name}/factor"),
        ]
        steps = [
            ("MatMulInteger", [rows, f"{name}/weight", "int8/zero_point"], f"{name}/sums"),
            ("Cast", [f"{name}/sums"], f"{name}/floats"),
            ("Mul", [f"{name}/floats", f"{name}/factor"], f"{name}/scaled"),
            ("Mul", [f"{name}/scaled", magnitude], y),
        ]
        return nodes + _nodes(name, steps)

    def _quantize_rows(self, module: str, x: str) -> list[onnx.NodeProto]:
        name = f"{module}/rows"
        self._rows[x] = f"{name}/integers", f"{name}/magnitude"
        steps = [
            ("Abs", [x], f"{name}/abs"),
            ("ReduceMax", [f"{name}/abs", "int8/last_axis"], f"{name}/max"),
            ("Max", [f"{name}/max", "int8/tiny"], f"{name}/magnitude"),
            ("Div", ["int8/levels", f"{name}/magnitude"], f"{name}/inverse"),
            ("Mul", [x, f"{name}/inverse"], f"{name}/levels"),
            ("QuantizeLinear", [f"{name}/levels", "int8/one", "int8/zero_point"],
             f"{name}/integers"),
        ]  # fmt: skip
        return _nodes(name, steps)


class _Half:
    """Products in 16 bits; everything else, such as the residual sums, in 32 bits."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self.initializers: list[onnx.TensorProto] = []
        self._cast: dict[str, str] = {}

    def linear(self, module: str, x: str, weight: np.ndarray, y: str) -> list[onnx.NodeProto]:
        name = f"{module}/half"
        nodes = []
        if x not in self._cast:
            self._cast[x] = f"{name}/input"
            nodes.append(helper.make_node("Cast", [x], [f"{name}/input"], to=self._kind))
        array = weight.astype(helper.tensor_dtype_to_np_dtype(self._kind))
        self.initializers.append(numpy_helper.from_array(array, f"{name}/weight"))
        nodes.append(
            helper.make_node("MatMul", [self._cast[x], f"{name}/weight"], [f"{name}/output"])
        )
        nodes.append(helper.make_node("Cast", [f"{name}/output"], [y], to=TensorProto.FLOAT))
        return _name(name, nodes)


def _nodes(name: str, steps: list[tuple[str, list[str], str]]) -> list[onnx.NodeProto]:
    options: dict[str, dict[str, Any]] = {
        "ReduceMax": {"keepdims": 1},
        "Cast": {"to": TensorProto.FLOAT},
    }
    return _name(
        name,
        [helper.make_node(kind, inputs, [output], **options.get(kind, {}))
         for kind, inputs, output in steps],
    )  # fmt: skip


def _name(name: str, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    for number, node in enumerate(nodes):
        node.name = f"{name}/{node.op_type}_{number}"
    return nodes
