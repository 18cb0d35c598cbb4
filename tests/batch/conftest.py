"""Stub bundles: real ones in each respect but the graph, which adds up a few numbers.

The graph scores a message by its ids alone, pads left out, so what a test expects of a
score can be computed by hand: :func:`stub_logits`.
"""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, checker, helper, numpy_helper

from batch.command import Cli
from batch.model.bundle import FORMAT, FORMAT_VERSION, Manifest, open_bundle
from batch.model.bundle_files import (
    EXTERNAL_SUFFIX,
    GOLDEN,
    MANIFEST,
    TOKENIZER,
    VERIFY,
    FileEntry,
    file_entries,
)
from batch.model.cascade.classifier import CascadeClassifier, golden_values
from batch.model.cascade.folder import KIND, CascadeBundle, join_manifests
from batch.model.cascade.proof import PROOF, Proof
from batch.model.classifier import Classifier
from batch.model.decision import FAST, SLOW, STAGES
from batch.model.rules import Rules
from batch.model.tokenizer import PAD_ID, Tokenizer
from batch.reading.fingerprint import hash_file

WEIGHTS = (-1.0, 1.0)  # one a class
REAL_SESSION = ort.InferenceSession
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
REDUCED = "model.int8.onnx"
VARIANTS = {"fp32": "model.onnx", "int8": REDUCED}
GOLDEN_TEXTS = ("Do you have time", "", "<|endoftext|>", "Call now!\nYou won £100")


def _stub_logits(
    ids: list[int], weights: tuple[float, ...] = WEIGHTS, shift: float = 0.0
) -> list[float]:
    """What the stub graph gives for one message: its logit of the second class is -5 to 5.

    A graph with a ``shift`` gives so much less.
    """
    value = sum(i % 97 for i in ids) % 41 / 4 - 5 - shift
    return [value * weight for weight in weights]


def _make_graph(
    weights: tuple[float, ...] = WEIGHTS, width: int | None = None, shift: float = 0.0
) -> bytes:
    """An ONNX model, ``input_ids (B, T)`` int64 to ``logits (B, K)`` float32.

    ``width`` makes it one that is valid at that T only.
    """
    constants = {
        "pad": np.array(PAD_ID, np.int64),
        "zero": np.array(0, np.int64),
        "97": np.array(97, np.int64),
        "41": np.array(41, np.int64),
        "axes": np.array([1], np.int64),
        "quarter": np.array(0.25, np.float32),
        "five": np.array(5 + shift, np.float32),
        "weights": np.array([weights], np.float32),
    }
    nodes = [
        helper.make_node("Equal", ["input_ids", "pad"], ["is_pad"]),
        helper.make_node("Mod", ["input_ids", "97"], ["remainders"]),
        helper.make_node("Where", ["is_pad", "zero", "remainders"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "axes"], ["sums"], keepdims=1),
        helper.make_node("Mod", ["sums", "41"], ["small"]),
        helper.make_node("Cast", ["small"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "quarter"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "five"], ["value"]),
        helper.make_node("Mul", ["value", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", width or "T"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", len(weights)])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


class FakeCuda:
    """Stands in for onnxruntime-gpu: ``problem`` is raised if CUDA is asked for."""

    def __init__(self, monkeypatch, problem: Exception | None = None, is_dropped: bool = False):
        self.options = []
        real = REAL_SESSION

        def create(model, options, providers, provider_options, **extra):
            self.options.append(dict(zip(providers, provider_options, strict=True)) | extra)
            if CUDA in providers and problem:
                raise problem
            session = real(model, options, providers=[CPU])
            if CUDA in providers and not is_dropped:
                session._providers = [CUDA, CPU]
            return session

        monkeypatch.setattr(ort, "InferenceSession", create)
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])


@pytest.fixture
def fake_cuda(monkeypatch) -> Callable[..., FakeCuda]:
    """Puts a :class:`FakeCuda` in place of onnxruntime, which then does or does not work."""
    return partial(FakeCuda, monkeypatch)


@pytest.fixture(scope="session")
def stub_logits() -> Callable[..., list[float]]:
    return _stub_logits


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., bytes]:
    return _make_graph


@pytest.fixture(scope="session")
def stub_score() -> Callable[[list[int]], float]:
    """The probability that the stub bundle gives ``spam``."""
    return lambda ids: 1 / (1 + math.exp(-2 * _stub_logits(ids)[1]))


@pytest.fixture(scope="session")
def make_bundle(bpe_file: Path, tokenizer: Tokenizer, tmp_path_factory) -> Callable[..., Path]:
    """Writes a bundle that ``Classifier.load`` accepts, and returns its folder.

    ``weights``, ``width`` and ``shift`` are the graph's; ``files`` replaces files, or leaves them
    out where they are None, before they are hashed; what is left changes the manifest.
    """

    def make(
        weights: tuple[float, ...] = WEIGHTS,
        width: int | None = None,
        files: dict[str, bytes | None] | None = None,
        shift: float = 0.0,
        **manifest,
    ) -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        golden = [
            {"text": text, "ids": ids, "logits": _stub_logits(ids, weights, shift)}
            for text, ids in zip(GOLDEN_TEXTS, tokenizer.encode_all(GOLDEN_TEXTS), strict=True)
        ]
        labels = manifest.get("labels", ["ham", "spam"])
        contents = {
            "model.onnx": _make_graph(weights, width, shift),
            TOKENIZER: bpe_file.read_bytes(),
            GOLDEN: json.dumps({"labels": labels, "messages": golden}).encode(),
        }
        contents |= files or {}
        for name, data in contents.items():
            if data is not None:
                (folder / name).write_bytes(data)
        if VERIFY not in contents:
            entries, model = file_entries(folder), "model.onnx"
            verified = {"passed": True, "sha256": entries[model].sha256}
            if tensors := entries.get(model + EXTERNAL_SUFFIX):
                verified["external_sha256"] = tensors.sha256
            report = {"variants": {"fp32": verified}}
            (folder / VERIFY).write_text(json.dumps(report), encoding="utf-8")
        values = {
            "labels": labels,
            "positive_label": "spam",
            "threshold": 0.5,
            "temperature": 1.0,
            "max_length": width or 32,
            "fixed_length": width is not None,
            "pooling": "last_position" if width else "last_token",
            "pad_id": PAD_ID,
            "model": "stub",
            "weights": "none, the graph is a sum",
            "variants": {"fp32": "model.onnx"},
            "files": file_entries(folder),
        }
        path = folder / MANIFEST
        path.write_text(Manifest(**values | manifest).to_json(), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def make_cascade(make_bundle, tmp_path_factory) -> Callable[..., Path]:
    """Writes a cascade, and returns its folder.

    The fast model is the slow one with a shift of 0.5, so it calls ham what the slow one gives a
    logit of 0 or 0.25; it leans by -1 or -0.5 then, and is asked of the slow one in the band.
    ``changes`` are of the proof.
    """

    def make(fast: dict | None = None, slow: dict | None = None, **changes) -> Path:
        folder = tmp_path_factory.mktemp("cascade")
        shutil.copytree(make_bundle(**{"shift": 0.5} | (fast or {})), folder / FAST)
        shutil.copytree(make_bundle(**slow or {}), folder / SLOW)
        stages = {name: open_bundle(folder / name) for name in STAGES}
        values = {
            "stages": {name: stage.digest for name, stage in stages.items()},
            "precisions": {FAST: "fp32", SLOW: "fp32"},
            "band": [-1.25, 0.75],
            "center": 0.0,
            "length_power": 0.5,
            "temperature": 1.0,
            "promised": 0.01,
            "confidence": 0.95,
            "tuning": {"messages": 500},
            "proving": {"messages": 500, "asked": 50, "differ": 0, "bound": 0.006},
            "share_asked": 0.1,
            "text": {"rows": 1200, "distinct": 1000, "sha256": "0" * 64},
            "settings": Rules().settings(stages[SLOW].manifest),
            "reference": {},
        }
        proof = Proof(**values | changes)
        joined = join_manifests(proof, stages, {})
        parts = [Classifier.load(folder / name, "cpu", 1) for name in STAGES]
        classifier = CascadeClassifier(CascadeBundle(folder, joined, "", proof, stages), *parts)
        contents = {
            PROOF: proof.to_json(),
            GOLDEN: {"messages": golden_values(classifier, GOLDEN_TEXTS)},
        }
        for name, value in contents.items():
            (folder / name).write_text(json.dumps(value), encoding="utf-8")
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": KIND} | proof.stages
        values["files"] = {
            name: asdict(FileEntry(hash_file(folder / name), (folder / name).stat().st_size))
            for name in contents
        }
        (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def cascade(make_cascade) -> Path:
    """The stub cascade; for reading only."""
    return make_cascade()


@pytest.fixture(scope="session")
def bundle(make_bundle) -> Path:
    """The stub bundle; for reading only."""
    return make_bundle()


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle, device="cpu", threads=1)


@pytest.fixture(scope="session")
def fixed_length(make_bundle) -> Classifier:
    """A classifier whose graph is valid at 32 tokens only."""
    return Classifier.load(make_bundle(width=32), device="cpu", threads=1)


@pytest.fixture
def with_int8(make_bundle, make_graph, tokenizer, stub_logits):
    """Makes a bundle with a second variant, whose golden logits differ by ``by``.

    ``report`` changes what verify.json says of it.
    """

    def make(by: float = 0.0, weights=(-1.0, 1.0), golden: dict | None = None, **report) -> Path:
        plain = make_bundle()
        values = json.loads((plain / GOLDEN).read_bytes())
        logits = [stub_logits(message["ids"], weights) for message in values["messages"]]
        logits[2][1] += by
        values["variants"] = {"int8": logits} if golden is None else golden
        graph = make_graph(weights)
        files = {REDUCED: graph, GOLDEN: json.dumps(values).encode()}
        folder = make_bundle(files=files, variants=VARIANTS)
        entries = file_entries(folder)
        passed = {
            precision: {"passed": True, "sha256": entries[name].sha256, "device": "cpu"}
            for precision, name in VARIANTS.items()
        }
        passed["fp32"]["rows_per_second"] = 10.0
        passed["int8"] |= {"rows_per_second": 30.0} | report
        files[VERIFY] = json.dumps({"variants": passed}).encode()
        return make_bundle(files=files, variants=VARIANTS)

    return make


@pytest.fixture(scope="session")
def run_action() -> Callable[[Callable], Result]:
    """Runs a command line whose one command does what is given; returns click's result."""

    def run(action: Callable) -> Result:
        group = Cli(name="spam-batch")
        group.command("act")(action)
        return CliRunner().invoke(group, ["act"])

    return run


@pytest.fixture(scope="session")
def run_raising(run_action) -> Callable[[BaseException], Result]:
    def run(error: BaseException) -> Result:
        def action():
            raise error

        return run_action(action)

    return run


@pytest.fixture(scope="session")
def write() -> Callable[..., None]:
    """Writes files of the same bytes: one row, which the stub labels ham."""

    def run(*names: str, data: bytes = b"id,text\n1,Do you have time\n") -> None:
        for name in names:
            Path(name).write_bytes(data)

    return run


@pytest.fixture(scope="session")
def read() -> Callable[[str], bytes]:
    return lambda name: Path(name).read_bytes()
