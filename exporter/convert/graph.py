"""Trace the classifier to one ONNX graph."""

import ast
import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from unittest.mock import patch

import onnx
import onnxscript.optimizer
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from batch.errors import InternalError
from batch.model.tokenizer import PAD_ID
from trainer.model.gpt2 import Attention, GPT2Classifier, take_position

OPSET = 23  # the first with Attention as one operator; onnxruntime has it from 1.23 on
INPUT, OUTPUT = "input_ids", "logits"
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch writes which module a node comes from
_NO_LIMIT = 1 << 62  # bytes; tensors of any size are computed once instead of in every run


def trace(model: GPT2Classifier, max_length: int) -> onnx.ModelProto:
    """``model`` as a graph with input ``(B, T)`` int64 and output ``(B, K)`` float32.

    The batch axis is free. The sequence axis is fixed to ``max_length`` where the logits depend
    on padding, else it is free. Nodes are named after the modules that they come from, such as
    ``h.3.mlp.c_fc``. What does not depend on the input is already computed.

    Raises:
        InternalError: torch cannot trace the model.
    """
    fixed = model.config.is_fixed_length
    width = max_length if fixed else min(max(2, max_length), model.config.context_length)
    ids = torch.full((3, width), PAD_ID)  # both above 1: tracing takes a size of 1 for a constant
    ids[0] = 0
    ids[1, : width // 2] = 1
    free = torch.export.Dim.DYNAMIC
    axes = {0: free} if fixed else {0: free, 1: free}
    try:
        with _quiet(), _written_for_onnx(model):
            program = torch.onnx.export(
                model.eval(),
                (ids,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(axes,),
                optimize=True,
                verbose=False,
            )
            assert program is not None  # it is None only without dynamo
            onnxscript.optimizer.optimize(
                program.model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT
            )
            proto = program.model_proto
    except Exception as error:  # the exporter raises many classes
        raise InternalError(
            f"the export failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    _name_nodes(proto.graph)
    return proto


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Name nodes after their modules, and remove the exporter's notes on them."""
    for number, node in enumerate(graph.node):
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
        module = scopes[-2].removeprefix("transformer.") if len(scopes) > 1 else ""
        module = "" if module.startswith("_") else module  # torch has no name for some
        node.name = f"{module or 'model'}/{node.op_type}_{number}"
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("metadata_props")


def module_of(node: onnx.NodeProto) -> str:
    """The module that a node of :func:`trace` comes from, such as ``h.3.mlp.c_fc``."""
    return node.name.partition("/")[0]


@contextlib.contextmanager
def _written_for_onnx(model: GPT2Classifier) -> Iterator[None]:
    """Replace attention and mean by forms that suit onnxruntime, while ``model`` is traced."""
    members = [model, model.second] if model.second is not None else [model]
    last_ones = [member.transformer.last_block.attn for member in members]
    for last in last_ones:
        C = last.c_proj.in_features
        last.c_q, last.c_kv = _rows_of(last.c_attn, 0, C), _rows_of(last.c_attn, C, 3 * C)
    try:
        with (
            patch.object(Attention, "attend", _attend),
            patch.object(Attention, "forward_pooled", _forward_pooled),
            patch.object(GPT2Classifier, "pool_from", _pool_from),
        ):
            yield
    finally:
        for last in last_ones:
            del last.c_q, last.c_kv


def _rows_of(linear: nn.Linear, start: int, stop: int) -> nn.Linear:
    part = nn.Linear(linear.in_features, stop - start)
    with torch.no_grad():
        part.weight.copy_(linear.weight[start:stop])
        part.bias.copy_(linear.bias[start:stop])
    return part


def _attend(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """:meth:`Attention.attend` as ONNX's operator, which splits heads and masks by itself."""
    return torch.onnx.ops.attention(
        q, k, v, is_causal=self.causal, q_num_heads=self.heads, kv_num_heads=self.heads
    )[0]


def _forward_pooled(self: Attention, x: Tensor, position: Tensor) -> Tensor:
    """:meth:`Attention.forward_pooled` with keys and values computed.

    Without them onnxruntime would sum C products at each of T positions in blocks whose size
    depends on T, so a message's last bits would depend on its batch. With them every sum over C
    multiplies by weights, whose blocks never change.
    """
    B, T, C = x.shape
    D = C // self.heads
    q = self.c_q(take_position(x, position)).view(B, self.heads, 1, D)
    k, v = (part.view(B, T, self.heads, D).transpose(1, 2) for part in self.c_kv(x).split(C, dim=2))
    scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(D)  # (B, H, 1, T)
    if self.causal:
        hidden = torch.arange(T, device=x.device)[None, :] > position[:, None]
        scores = scores.masked_fill(hidden[:, None, None, :], float("-inf"))
    return self.c_proj(torch.matmul(F.softmax(scores, dim=-1), v).reshape(B, C))


_plain_pool_from = GPT2Classifier.pool_from


def _pool_from(self: GPT2Classifier, x: Tensor, start: int, position: Tensor) -> Tensor:
    """:meth:`GPT2Classifier.pool_from` with the mean as a matrix product.

    onnxruntime's own mean sums positions in another order when a message is alone in its batch.
    """
    if self.config.pooling != "mean":
        return _plain_pool_from(self, x, start, position)
    trunk = self.transformer
    x = trunk.ln_f(trunk.run_blocks(x, start, len(trunk.h)))
    share = x.new_full((1, x.shape[1]), 1 / x.shape[1])
    return torch.matmul(share, x).squeeze(1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's output: its stages, and warnings about packages that we do not use."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
