"""The exported graph against PyTorch, at every batch size and length that it allows."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from batch.errors import InternalError
from batch.inference import InferenceSession
from exporter import graph
from exporter.graph import export_onnx
from trainer.model import PAD_ID, GPT2Classifier
from trainer.run_folder import read_config, read_model

TOLERANCE = 1e-5


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


def axes(path: Path) -> list[list[int | str]]:
    """The input's and the output's sizes; a name stands for a free axis."""
    proto = onnx.load(path).graph
    return [
        [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in (*proto.input, *proto.output)
    ]


@pytest.fixture(scope="module")
def graph_of_bundle(exported):
    """(model, path of its graph, session) of one pooling."""
    run, bundle, _ = exported
    path = bundle / "model.onnx"
    session = InferenceSession(path.read_bytes(), "cpu", threads=1)
    return read_model(run, read_config(run)), path, session


@pytest.mark.parametrize("rows", [1, 2, 5, 33])
@pytest.mark.parametrize("width", [1, 2, 7, 16, 20, 64])
def test_any_size(graph_of_bundle, rows: int, width: int) -> None:
    model, _, session = graph_of_bundle
    if model.config.is_fixed_length and width != 16:
        with pytest.raises(InternalError, match=r"^onnxruntime failed on a batch: .*input_ids"):
            session.run(random_ids(rows, width))
    else:
        assert worst(session, model, random_ids(rows, width)) <= TOLERANCE


def test_axes(graph_of_bundle) -> None:
    model, path, _ = graph_of_bundle
    (batch, tokens), (out_batch, classes) = axes(path)
    assert isinstance(batch, str)
    assert batch == out_batch != tokens
    assert isinstance(tokens, str) == (model.config.pooling == "last_token")
    assert isinstance(tokens, str) or tokens == 16
    assert classes == model.config.classes


def test_one_file_of_the_announced_form(graph_of_bundle) -> None:
    _, path, _ = graph_of_bundle
    proto = onnx.load(path)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 20
    assert [value.name for value in proto.graph.input] == ["input_ids"]
    assert [value.name for value in proto.graph.output] == ["logits"]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)


@pytest.mark.parametrize(("pooling", "classes"), [("last_token", 3), ("last_position", 2)])
def test_starter_in_training_mode_with_messages_of_one_token(
    tiny_model, tmp_path: Path, capfd, pooling: str, classes: int
) -> None:
    """The token map goes into the graph, dropout does not, and nothing is printed."""
    changes = {"classes": classes, "vocab_size": 8, "remapped": True}
    model = tiny_model(pooling, drop_rate=0.5, **changes).train()
    model.transformer.token_map.copy_(torch.arange(50257) % 7)
    theirs = tiny_model(pooling, **changes)
    theirs.transformer.token_map.copy_(model.transformer.token_map)
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_onnx(model, 1, tmp_path / "model.onnx")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = InferenceSession((tmp_path / "model.onnx").read_bytes(), "cpu", threads=1)
    assert worst(session, theirs, random_ids(3, 1)) <= TOLERANCE
    if pooling == "last_token":
        assert worst(session, theirs, random_ids(5, 9)) <= TOLERANCE


def test_failure_is_one_sentence(tiny_model, tmp_path: Path, monkeypatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no such operator\nand 40 lines more")

    monkeypatch.setattr(graph.torch.onnx, "export", fail)
    expected = r"^the export failed: RuntimeError: no such operator$"
    with pytest.raises(InternalError, match=expected):
        export_onnx(tiny_model(), 8, tmp_path / "model.onnx")
