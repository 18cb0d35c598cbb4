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
# Up to here the folded weights of the last block, 2 * H * C * C, are no more than its MLP's.
FOLDED_HEADS = 4
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
    layers = [_fold(last) if _is_folded(last) else _split(last) for last in last_ones]
    for last, added in zip(last_ones, layers, strict=True):
        for name, layer in added.items():
            last.add_module(name, layer)
    try:
        with (
            patch.object(Attention, "attend", _attend),
            patch.object(Attention, "forward_pooled", _forward_pooled),
            patch.object(GPT2Classifier, "pool_from", _pool_from),
        ):
            yield
    finally:
        for last, added in zip(last_ones, layers, strict=True):
            for name in added:
                delattr(last, name)


def _is_folded(last: Attention) -> bool:
    return last.heads <= FOLDED_HEADS


def _split(last: Attention) -> dict[str, nn.Linear]:
    """The layers of the query, which one position needs, and of the keys and values."""
    C = last.c_proj.in_features
    weight, bias = last.c_attn.weight, last.c_attn.bias
    return {"c_q": _linear(weight[:C], bias[:C]), "c_kv": _linear(weight[C:], bias[C:])}


def _fold(last: Attention) -> dict[str, nn.Linear]:
    """The layers before and after the softmax, ``(C) -> (H * C)`` and ``(C * H) -> (C)``.

    A message has one query q, so a head's score of position x is (W_k' W_q q) . x, and its output
    W_o W_v (sum of a x): neither needs keys or values of every position. The keys' bias adds the
    same to all scores. The a sum to 1, so the values' bias is added once.
    """
    C, H = last.c_proj.in_features, last.heads
    D = C // H
    w_q, w_k, w_v = last.c_attn.weight.double().view(3, H, D, C)
    b_q, _, b_v = last.c_attn.bias.double().view(3, H, D, 1)
    w_o = last.c_proj.weight.double().view(C, H, D).transpose(0, 1)  # (H, C, D)
    keys = w_k.transpose(1, 2) / math.sqrt(D)  # (H, C, D)
    after = (w_o @ w_v).permute(1, 2, 0)  # (C, C, H)
    return {
        "c_qk": _linear((keys @ w_q).reshape(H * C, C), (keys @ b_q).reshape(H * C)),
        "c_vo": _linear(
            after.reshape(C, C * H), last.c_proj.bias.double() + (w_o @ b_v).sum(dim=0).view(C)
        ),
    }


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _attend(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """:meth:`Attention.attend` as ONNX's operator, which splits heads and masks by itself."""
    return torch.onnx.ops.attention(
        q, k, v, is_causal=self.causal, q_num_heads=self.heads, kv_num_heads=self.heads
    )[0]


def _forward_pooled(self: Attention, x: Tensor, position: Tensor) -> Tensor:
    """:meth:`Attention.forward_pooled` in the form that is fastest in onnxruntime.

    A message must have the same bits in any batch. onnxruntime sums in blocks whose size depends
    on a product's columns and, if there are many, on the threads. So a product with T columns
    sums no more than a head's channels, and one that sums over T has no more columns than that.
    """
    B, T, C = x.shape
    H, D = self.heads, C // self.heads
    if _is_folded(self):
        u = self.c_qk(take_position(x, position)).view(B, H, C)
        scores = torch.matmul(x, u.transpose(1, 2)).transpose(1, 2)  # (B, H, T)
        a = F.softmax(_mask_later(self, scores, position), dim=-1)
        mixed = torch.matmul(x.transpose(1, 2), a.transpose(1, 2))  # (B, C, H)
        return self.c_vo(mixed.view(B, C * H))
    q = self.c_q(take_position(x, position)).view(B, H, 1, D)
    k, v = (part.view(B, T, H, D).transpose(1, 2) for part in self.c_kv(x).split(C, dim=2))
    scores = (torch.matmul(q, k.transpose(2, 3)) / math.sqrt(D)).squeeze(2)
    a = F.softmax(_mask_later(self, scores, position), dim=-1)
    return self.c_proj(torch.matmul(a.unsqueeze(2), v).reshape(B, C))


def _mask_later(self: Attention, scores: Tensor, position: Tensor) -> Tensor:
    """Scores ``(B, H, T)`` without those of positions after ``(B,)``, if the model is causal."""
    if not self.causal:
        return scores
    later = torch.arange(scores.shape[-1], device=scores.device)[None, :] > position[:, None]
    return scores.masked_fill(later[:, None, :], float("-inf"))


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
