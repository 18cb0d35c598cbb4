"""The exported graph against PyTorch, at every batch size and length that it allows."""

import logging
import warnings

import numpy as np
import onnx
import pytest
import torch

from batch.errors import InternalError
from batch.model.batching import round_up
from batch.model.inference import InferenceSession
from batch.model.tokenizer import PAD_ID
from exporter.convert import graph
from exporter.convert.graph import OPSET, module_of, trace
from trainer.model.gpt2 import GPT2Classifier, count_parameters

TOLERANCE = 1e-5
POOLINGS = ("last_token", "last_position")


def random_ids(rows: int, width: int) -> np.ndarray:
    """Messages of every length from 0 to ``width``, padded on the right."""
    generator = np.random.default_rng(rows * 1000 + width)
    ids = generator.integers(0, PAD_ID, (rows, width))
    for row in range(rows):
        ids[row, (row * 3) % (width + 1) :] = PAD_ID
    return ids


def worst(session: InferenceSession, model: GPT2Classifier, ids: np.ndarray) -> float:
    ours = session.run(ids)
    with torch.no_grad():
        theirs = model.forward_plain(torch.from_numpy(ids)).numpy()
    assert ours.shape == theirs.shape == (len(ids), model.config.classes)
    assert ours.dtype == np.float32
    return float(np.abs(ours - theirs).max())


def open_graph(proto: onnx.ModelProto) -> InferenceSession:
    return InferenceSession(proto.SerializeToString(), "cpu", threads=1)


@pytest.fixture(scope="module", params=POOLINGS)
def graph_of(request, traced):
    """(model, its graph, session) of one pooling."""
    model, proto = traced(request.param)
    return model, proto, open_graph(proto)


@pytest.mark.parametrize("rows", [1, 2, 5, 33])
@pytest.mark.parametrize("width", [1, 2, 7, 16, 20, 64])
def test_any_size(graph_of, rows: int, width: int) -> None:
    model, _, session = graph_of
    if model.config.is_fixed_length and width != 16:
        with pytest.raises(InternalError, match=r"^onnxruntime failed on a batch: .*input_ids"):
            session.run(random_ids(rows, width))
    else:
        assert worst(session, model, random_ids(rows, width)) <= TOLERANCE


def test_axes(graph_of) -> None:
    model, proto, _ = graph_of
    (batch, tokens), (out_batch, classes) = (
        [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    )
    assert isinstance(batch, str)
    assert batch == out_batch != tokens
    assert isinstance(tokens, str) == (model.config.pooling == "last_token")
    assert isinstance(tokens, str) or tokens == 16
    assert classes == model.config.classes


def test_form(graph_of) -> None:
    _, proto, _ = graph_of
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": OPSET}
    assert [value.name for value in proto.graph.input] == ["input_ids"]
    assert [value.name for value in proto.graph.output] == ["logits"]
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)


def test_as_small_as_it_can_be(graph_of, unused, load_warnings) -> None:
    """The parameters and a few indices; no head of 50,257 classes, no T x T mask, no dropout."""
    model, proto, _ = graph_of
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    assert unused(proto) == []
    unreachable = (64 - 16) * 16 if model.config.is_fixed_length else 0  # positions
    # Two heads' folded weights are as many as those of q, k, v and the output, less two biases.
    assert 0 <= sum(sizes.values()) - count_parameters(model) + unreachable + 2 * 16 < 100
    assert "Dropout" not in {node.op_type for node in proto.graph.node}
    assert load_warnings(proto.SerializeToString()) == ""


def test_nodes_are_named_by_their_modules(graph_of) -> None:
    _, proto, _ = graph_of
    # The last block runs at one position a message.
    assert products(proto) == [
        ("h.0.attn.c_attn", "MatMul"), ("h.0.attn.c_proj", "MatMul"),
        ("h.0.mlp.c_fc", "MatMul"), ("h.0.mlp.c_proj", "MatMul"),
        ("h.1.attn.c_qk", "Gemm"), ("h.1.attn.c_vo", "Gemm"),
        ("h.1.mlp.c_fc", "Gemm"), ("h.1.mlp.c_proj", "Gemm"), ("score", "Gemm"),
    ]  # fmt: skip
    assert len({node.name for node in proto.graph.node}) == len(proto.graph.node)


def products(proto: onnx.ModelProto) -> list[tuple[str, str]]:
    """Module and operator of each product with weights."""
    return [
        (module_of(node), node.op_type)
        for node in proto.graph.node
        if node.op_type in ("MatMul", "Gemm") and module_of(node) != "model"
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_the_last_attention_with_few_heads_and_many(tiny_model, heads: int, threads: int) -> None:
    """Keys and values of every position only with many heads; the same bits in any batch."""
    model = tiny_model(heads=heads, emb_dim=128, layers=1, context_length=320)
    proto = trace(model, 320)
    last = [name for name, _ in products(proto) if ".attn." in name]
    few = ["h.0.attn.c_qk", "h.0.attn.c_vo"]
    many = ["h.0.attn.c_q", "h.0.attn.c_kv", "h.0.attn.c_proj"]
    assert last == (many if heads > graph.FOLDED_HEADS else few)
    assert not {"c_qk", "c_vo", "c_q", "c_kv"} & set(
        dict(model.transformer.h[0].attn.named_children())
    )
    session = InferenceSession(proto.SerializeToString(), "cpu", threads=threads)
    ids = np.random.default_rng(0).integers(0, PAD_ID, (30, 320))
    for row in range(30):
        ids[row, row * 11 :] = PAD_ID  # the last has 319 tokens
    assert worst(session, model, ids) <= TOLERANCE
    together = session.run(ids)
    for row, width in enumerate((ids != PAD_ID).sum(axis=1)):
        for wide in {int(round_up(width)), 320}:
            alone = session.run(ids[row : row + 1, :wide])
            assert alone[0].tolist() == together[row].tolist()


def test_starter_in_training_mode_with_messages_of_one_token(tiny_model, capfd) -> None:
    """The token map goes into the graph, dropout does not, and nothing is printed."""
    changes = {"classes": 3, "vocab_size": 8, "remapped": True}
    model = tiny_model(drop_rate=0.5, **changes).train()
    model.transformer.token_map.copy_(torch.arange(50257) % 7)
    theirs = tiny_model(**changes)
    theirs.transformer.token_map.copy_(model.transformer.token_map)
    state, disabled = set(model.state_dict()), logging.root.manager.disable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proto = trace(model, 1)
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled
    assert set(model.state_dict()) == state
    session = open_graph(proto)
    assert worst(session, theirs, random_ids(3, 1)) <= TOLERANCE
    assert worst(session, theirs, random_ids(5, 9)) <= TOLERANCE


def test_a_mean_has_the_same_bits_in_any_batch(traced) -> None:
    _, proto = traced("mean")
    session, ids = open_graph(proto), random_ids(64, 16)
    together = session.run(ids)
    for size in (1, 2, 7):
        parts = [session.run(ids[start : start + size]) for start in range(0, 64, size)]
        assert np.concatenate(parts).tolist() == together.tolist()


def test_failure_is_one_sentence(tiny_model, monkeypatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no such operator\nand 40 lines more")

    monkeypatch.setattr(graph.torch.onnx, "export", fail)
    expected = r"^the export failed: RuntimeError: no such operator$"
    with pytest.raises(InternalError, match=expected):
        trace(tiny_model(), 8)
