"""Bundles of tiny random classifiers, made once a session."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from batch.model.bundle import Manifest, open_bundle
from batch.model.bundle_files import MANIFEST, file_entries
from batch.model.tokenizer import Tokenizer
from exporter.verification_set import NASTY_TEXTS, torch_logits
from exporter.verify_bundle import FileCheck, verify_bundle
from trainer.model.gpt2 import GPT2Classifier


@pytest.fixture(scope="session")
def part_classes(tokenizer: Tokenizer, write_run_folder) -> Callable[..., None]:
    """``part_classes(model, max_length)``: no message of a check lies near both labels.

    The head's bias, of two classes, is moved into the widest gap between the messages that
    leaves some on either side. A random model's own may lie beside one of them, whose int8
    label is then rounding's.
    """

    def part(model: GPT2Classifier, max_length: int = 16) -> None:
        sequences = tokenizer.encode_all([*write_run_folder.texts, *NASTY_TEXTS], max_length)
        logits = torch_logits(model, sequences, max_length)
        leanings = np.unique(logits[:, 1] - logits[:, 0])
        few = len(leanings) // 6
        widest = few + np.diff(leanings[few : len(leanings) - few]).argmax()
        with torch.no_grad():
            model.score.bias[1] -= float(leanings[widest : widest + 2].mean())

    return part


@pytest.fixture(scope="session")
def traced(tiny_model, part_classes) -> Callable[..., tuple[GPT2Classifier, onnx.ModelProto]]:
    """``traced(pooling, **changes)``: a tiny model and a graph of it of one's own.

    Tracing takes seconds, so each is traced once a session. A fixed length is 16;
    ``last_position`` has three classes.
    """
    from exporter.convert.graph import trace

    made = {}

    def make(pooling: str = "last_token", **changes):
        classes = 3 if pooling == "last_position" else 2
        changes = {"classes": classes, "causal": True, **changes}
        key = (pooling, *sorted(changes.items()))
        if key not in made:
            model = tiny_model(pooling, **changes)
            if classes == 2:
                part_classes(model)
            made[key] = model, trace(model, 16)
        proto = onnx.ModelProto()
        proto.CopyFrom(made[key][1])
        return made[key][0], proto

    return make


@pytest.fixture(scope="session")
def export_graph() -> Callable:
    """``export_graph(proto, run, out, ...)``: export as if the model had been traced to it."""
    from exporter.export import export

    def make(proto: onnx.ModelProto, run: Path, out: Path, *precisions, optional=()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("exporter.export.trace", lambda *_: proto)
            return export(run, out, "cpu", precisions or ("fp32",), optional, progress=False)

    return make


@pytest.fixture(scope="session", params=["last_token", "last_position"])
def exported(request, tmp_path_factory, traced, write_run_folder, export_graph):
    """(run folder, bundle, results) of one pooling; two and three classes; fp32 and int8."""
    folder = tmp_path_factory.mktemp("exported")
    model, proto = traced(request.param)
    run = write_run_folder(folder / "run", model)
    return run, folder / "bundle", export_graph(proto, run, folder / "bundle", "fp32", "int8")


@pytest.fixture
def copied(exported, tmp_path: Path) -> tuple[Path, Path]:
    """(run folder, a copy of its bundle to damage)."""
    return exported[0], Path(shutil.copytree(exported[1], tmp_path / "copy"))


@pytest.fixture(scope="session")
def write_hashes_anew() -> Callable[..., None]:
    """Makes ``bundle.json`` agree with the files beside it; its own values can be changed."""

    def write(folder: Path, **changes) -> None:
        values = json.loads((folder / MANIFEST).read_bytes()) | changes
        del values["format"], values["format_version"]
        values["files"] = file_entries(folder)
        (folder / MANIFEST).write_text(Manifest(**values).to_json(), encoding="utf-8")
        open_bundle(folder)

    return write


@pytest.fixture(scope="session")
def unused() -> Callable[[onnx.ModelProto], list[str]]:
    """Names of tensors and of nodes' outputs that nothing reads."""

    def find(proto: onnx.ModelProto) -> list[str]:
        read = {name for node in proto.graph.node for name in node.input}
        read.update(value.name for value in proto.graph.output)
        made = [tensor.name for tensor in proto.graph.initializer]
        made += [node.output[0] for node in proto.graph.node]
        return [name for name in made if name not in read]

    return find


@pytest.fixture
def load_warnings(capfd) -> Callable[[bytes], str]:
    """What onnxruntime logs while it loads a model, warnings and worse."""
    import onnxruntime as ort

    def load(model: bytes) -> str:
        options = ort.SessionOptions()
        options.log_severity_level = 2
        capfd.readouterr()
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return "".join(capfd.readouterr())

    return load


@pytest.fixture(scope="session")
def change_weight() -> Callable[..., None]:
    """Changes a tensor of a file, and nothing else."""

    def change_one(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
        proto = onnx.load(path)
        (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
        values = change(numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(numpy_helper.from_array(values, name))
        onnx.save(proto, path)

    return change_one


@pytest.fixture(scope="session")
def verify_quietly() -> Callable[[Path, Path], dict[str, FileCheck]]:
    """What the check of each precision of a bundle found."""

    def verify(folder: Path, run: Path) -> dict[str, FileCheck]:
        results = verify_bundle(folder, run, "cpu", progress=False)
        return {result.verified.precision: result for result in results}

    return verify


@pytest.fixture(scope="session")
def left() -> Callable[[Path], list[str]]:
    """The models of a bundle; its manifest, verify.json and folder must agree on them."""

    def find(folder: Path) -> list[str]:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        report = json.loads((folder / "verify.json").read_bytes())["variants"]
        passed = [precision for precision, entry in report.items() if entry["passed"]]
        assert list(manifest["variants"]) == passed
        assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
        names = sorted(path.name for path in folder.glob("*.onnx"))
        assert names == sorted(manifest["variants"].values())
        return passed

    return find
