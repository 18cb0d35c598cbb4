"""The graph on a device: results, threads, and what is said when a device does not work."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from batch.errors import BundleError, InternalError, OutOfMemoryError
from batch.model.batching import Shapes, pad_batch
from batch.model.inference import PROVIDERS, InferenceSession, usable_cpus
from batch.model.tokenizer import PAD_ID

CUDA, CPU = PROVIDERS["cuda"], PROVIDERS["cpu"]


def test_runs_the_graph(make_graph, stub_logits):
    session = InferenceSession(make_graph(), "cpu", 1)
    sequences = [[5211, 345, 423, 640], [], [1]]
    ours = session.run(pad_batch(sequences, 8, PAD_ID))
    assert ours.dtype == np.float32
    assert ours.tolist() == [stub_logits(ids) for ids in sequences]
    assert (session.device, session.threads, session.note) == ("cpu", 1, None)
    assert session.version == ort.__version__


def test_threads_are_the_usable_processors(make_graph):
    assert InferenceSession(make_graph(), "cpu").threads == usable_cpus()
    assert InferenceSession(make_graph(), "cpu", 3).threads == 3


@pytest.mark.parametrize(("quota", "count"), [(None, 6), (2, 2), (99, 6)])
def test_usable_cpus_obeys_the_quota(monkeypatch, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr("batch.model.inference.find_cpu_quota", lambda: quota)
    assert usable_cpus() == count


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="onnxruntime has CUDA here")
def test_cuda_asked_for_where_it_is_not(make_graph):
    with pytest.raises(BundleError) as error:
        InferenceSession(make_graph(), "cuda")
    assert str(error.value) == (
        f"device cuda: onnxruntime {ort.__version__} here has no CUDA provider; "
        "type: pip uninstall onnxruntime && pip install 'spam-batch[gpu]'"
    )


LIBRARY_MISSING = "the provider could not be loaded (driver, CUDA or cuDNN missing)"


@pytest.mark.parametrize(
    ("problem", "reason"),
    [(RuntimeError("CUDA failure 35: old driver\nmore"), "CUDA failure 35: old driver"),
     (None, LIBRARY_MISSING)],
)  # fmt: skip
def test_a_gpu_that_does_not_work(fake_cuda, make_graph, capfd, problem, reason):
    fake = fake_cuda(problem, is_dropped=True)
    wanted = f"onnxruntime cannot load the model on cuda: {reason}"
    with pytest.raises(BundleError) as error:
        InferenceSession(make_graph(), "cuda", 1)
    assert str(error.value) == wanted

    session = InferenceSession(make_graph(), "auto", 1)
    assert session.device == "cpu"
    assert session.note == f"{wanted}; running on the CPU"
    assert session.run(np.array([[1, PAD_ID]])).shape == (1, 2)
    # onnxruntime's own way back to the CPU prints to standard output.
    assert all(options["enable_fallback"] == 0 for options in fake.options)
    assert capfd.readouterr() == ("", "")


def test_a_gpu_that_works_computes_fp32_as_fp32(fake_cuda, make_graph):
    fake = fake_cuda()
    session = InferenceSession(make_graph(), "auto", 1)
    assert (session.device, session.note) == ("cuda", None)
    assert fake.options == [{CUDA: {"use_tf32": "0"}, CPU: {}, "enable_fallback": 0}]


def test_a_gpu_gets_full_shapes_and_gives_the_rows_asked_for(fake_cuda, make_graph, stub_logits):
    """On the CPU, where the code of the GPU runs but for its provider."""
    fake_cuda()
    session = InferenceSession(make_graph(), "auto", 1, shapes=Shapes(64, 16, PAD_ID))
    ran = []
    run = session._session.run
    session._session = SimpleNamespace(
        run=lambda names, inputs: (ran.append(*inputs.values()), run(names, inputs))[1]
    )
    sequences = [[5211, 345, 423, 640], [], [1]]
    ours = session.run(pad_batch(sequences, 4, PAD_ID))
    assert ours.tolist() == [stub_logits(ids) for ids in sequences]
    assert [ids.shape for ids in ran] == [(4, 16)]


def test_more_threads_than_cpus(monkeypatch, fake_cuda, make_graph):
    monkeypatch.setattr("batch.model.inference.usable_cpus", lambda: 1)
    note = InferenceSession(make_graph(), "cpu", 2).note
    assert note == "more threads (2) than usable CPUs (1), which is slower"
    assert InferenceSession(make_graph(), "cpu", 1).note is None
    fake_cuda()
    assert InferenceSession(make_graph(), "cuda", 2).note is None


def test_a_model_that_is_none():
    with pytest.raises(BundleError) as error:
        InferenceSession(b"not a model", "cpu", 1)
    assert str(error.value) == (
        "onnxruntime cannot load the model: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "
        "Failed to load model because protobuf parsing failed."
    )


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_a_model_whose_weights_lie_elsewhere(make_graph, location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.array([-1, 1], np.float32).tobytes())
    model = onnx.load_from_string(make_graph())
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    with pytest.raises(BundleError) as error:
        InferenceSession(model.SerializeToString(), "cpu", 1)
    # What follows is onnxruntime's, with its own source's line numbers.
    assert str(error.value).startswith("onnxruntime cannot load the model: [ONNXRuntimeError] : ")


def test_a_logit_that_is_not_a_number(make_graph):
    for weights in ((float("nan"), 1.0), (1.0, float("inf"))):
        session = InferenceSession(make_graph(weights), "cpu", 1)
        with pytest.raises(InternalError) as error:
            session.run(np.array([[1, 2]]))
        assert str(error.value) == "the model gave a logit that is not a finite number"


@pytest.mark.parametrize(
    ("problem", "reason"),
    [(RuntimeError("bad\nmore"), "bad"), (ValueError(), "ValueError")],
)
def test_a_batch_that_fails(monkeypatch, make_graph, problem, reason):
    class Broken:
        def run(self, *_):
            raise problem

    session = InferenceSession(make_graph(), "cpu", 1)
    monkeypatch.setattr(session, "_session", Broken())
    with pytest.raises(InternalError) as error:
        session.run(np.array([[1, 2]]))
    assert str(error.value) == f"onnxruntime failed on a batch: {reason}"


def test_a_batch_without_memory(monkeypatch, make_graph):
    class Broken:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 8")

    session = InferenceSession(make_graph(), "cpu", 1)
    monkeypatch.setattr(session, "_session", Broken())
    with pytest.raises(OutOfMemoryError) as error:
        session.run(np.array([[1, 2]]))
    assert str(error.value) == "out of memory: running a batch of 1 x 2 tokens"


def test_a_model_without_memory(monkeypatch, make_graph):
    def fail(*_, **__):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(ort, "InferenceSession", fail)
    with pytest.raises(OutOfMemoryError) as error:
        InferenceSession(make_graph(), "cpu", 1)
    assert str(error.value) == "out of memory: loading the model"


def test_telemetry_is_off_unless_the_user_says_otherwise(monkeypatch, make_graph):
    """tests/batch/test_imports.py shows what it would do."""
    for value, kept in ((None, "1"), ("0", "0")):
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
        if value is not None:
            monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
        InferenceSession(make_graph(), "cpu", 1)
        assert os.environ["ORT_DISABLE_TELEMETRY"] == kept


def test_without_onnxruntime(monkeypatch, make_graph):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError) as error:
        InferenceSession(make_graph())
    assert str(error.value) == (
        "onnxruntime is not installed; type: pip install 'spam-batch[cpu]', "
        "or 'spam-batch[gpu]' for an NVIDIA GPU"
    )
