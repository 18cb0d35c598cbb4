"""The bundle's manifest and files: what is accepted, and each refusal by its whole text."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from batch.cli.commands import main
from batch.errors import BundleError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import GOLDEN, MANIFEST, TOKENIZER, VERIFY, FileEntry, file_entries
from batch.model.classifier import Classifier

FILES = ("model.onnx", TOKENIZER, GOLDEN, VERIFY)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the stub bundle to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def edit_manifest(folder: Path, **changes) -> Path:
    """Set keys of ``bundle.json``, or remove those that are None."""
    path = folder / MANIFEST
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return path


def refusal(action, *args, **options) -> str:
    with pytest.raises(BundleError) as error:
        action(*args, **options)
    return str(error.value)


def test_opens(bundle):
    opened = open_bundle(str(bundle))
    assert opened.manifest.labels == ["ham", "spam"]
    assert sorted(opened.manifest.files) == sorted(FILES)
    assert opened.digest == hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    assert opened.read("model.onnx") == (bundle / "model.onnx").read_bytes()
    assert opened.read_json(GOLDEN)["messages"][0]["ids"] == [5211, 345, 423, 640]


def test_entries_are_of_all_files_but_the_manifest(bundle):
    entries = file_entries(bundle)
    assert sorted(entries) == sorted(FILES)
    data = (bundle / VERIFY).read_bytes()
    assert entries[VERIFY].size == len(data)
    assert entries[VERIFY].sha256 == hashlib.sha256(data).hexdigest()


def test_no_folder(tmp_path):
    path = tmp_path / "my models" / "none"
    assert refusal(open_bundle, path) == (
        f"{path}: no such bundle; copy one there, or make one with: "
        f"spam-train fit && spam-export bundle --out '{path}'"
    )
    (tmp_path / "file").write_bytes(b"")
    wanted = f"{tmp_path / 'file'} is not a folder, so it is not a bundle"
    assert refusal(open_bundle, tmp_path / "file") == wanted


def test_no_manifest(tmp_path):
    assert refusal(open_bundle, tmp_path) == f"{tmp_path} has no bundle.json, so it is not a bundle"


def test_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("runs/spam")
    Path("runs/spam/config.json").write_bytes(b"{}")
    assert refusal(open_bundle, "runs/spam") == (
        "runs/spam is a run folder, not a bundle; make one with: spam-export bundle --run runs/spam"
    )


def test_a_manifest_that_cannot_be_read(copy):
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).mkdir()
    wanted = f"{copy / MANIFEST}: is not a regular file"
    assert refusal(open_bundle, copy) == wanted


@pytest.mark.parametrize("data", [b"", b"[" * 10**5, b"{", b"\xff\xfe{}", b"{}}"])
def test_a_manifest_that_is_not_json(copy, data):
    (copy / MANIFEST).write_bytes(data)
    assert refusal(open_bundle, copy) == f"{copy / MANIFEST}: not JSON"


@pytest.mark.parametrize("data", [b"{}", b"[]", b'"spam-batch bundle"', b'{"format": "x"}'])
def test_a_manifest_of_something_else(copy, data):
    (copy / MANIFEST).write_bytes(data)
    assert refusal(open_bundle, copy) == f"{copy / MANIFEST}: not a spam-batch bundle"


@pytest.mark.parametrize(("version", "shown"), [(2, "2"), (0, "0"), ("1", "'1'"), (None, "None")])
def test_a_newer_format(copy, version, shown):
    path = edit_manifest(copy, format_version=version)
    wanted = f"{path}: format version {shown}, this spam-batch reads 1"
    assert refusal(open_bundle, copy) == wanted


@pytest.mark.parametrize("key", ["files", "labels", "threshold", "pad_id", "variants"])
def test_a_missing_key(copy, key):
    path = edit_manifest(copy, **{key: None})
    assert refusal(open_bundle, copy) == f"{path}: the key {key!r} is missing"


def test_an_unknown_key(copy):
    path = edit_manifest(copy, colour="red")
    assert refusal(open_bundle, copy) == f"{path}: the key 'colour' is not known"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("labels", value) for value in (["ham"], ["ham", "ham"], ["ham", ""], ["ham", 1])],
        *[("labels", value) for value in ("ab", 5)],
        *[("positive_label", value) for value in ("Spam", 1)],
        *[("threshold", value) for value in (-0.1, 1.5, float("nan"), "high")],
        *[("temperature", value) for value in (0, -1.0, float("nan"))],
        *[("max_length", value) for value in (0, -1, 3.5, "120")],
        ("fixed_length", 1),
        *[("variants", value) for value in ({"fp32": "absent.onnx"}, ["fp32"])],
        ("files", []),
        ("pad_id", "50256"),
        ("training", []),
    ],
)
def test_a_bad_value(copy, key, value):
    path = edit_manifest(copy, **{key: value})
    assert refusal(open_bundle, copy) == f"{path}: {key} is {value!r}, which is not valid"


def test_no_variant_is_left(copy):
    edit_manifest(copy, variants={})
    assert refusal(open_bundle, copy) == (
        f"{copy}: no variant of this bundle passed its verification; export it again with: "
        "spam-export bundle"
    )


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "files",
            {"x": {"size": 1}},
            "FileEntry.__init__() missing 1 required positional argument: 'sha256'",
        ),
        ("labels", ["ham", ["spam"]], "unhashable type: 'list'"),
        ("variants", {"fp32": ["model.onnx"]}, "unhashable type: 'list'"),
    ],
)
def test_a_value_with_another_inside(copy, key, value, problem):
    path = edit_manifest(copy, **{key: value})
    assert refusal(open_bundle, copy) == f"{path}: {problem}"


def test_a_size_that_is_no_number(copy):
    files = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))["files"]
    files[VERIFY]["size"] = "12"
    path = edit_manifest(copy, files=files)
    entries = {name: FileEntry(**entry) for name, entry in files.items()}
    assert refusal(open_bundle, copy) == f"{path}: files is {entries!r}, which is not valid"


def test_a_bundle_without_a_tokenizer(make_bundle):
    folder = make_bundle(files={TOKENIZER: None})
    wanted = f"{folder / MANIFEST}: files is {file_entries(folder)!r}, which is not valid"
    assert refusal(open_bundle, folder) == wanted


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/b", "..", ".", "", "..\\x", "x\0y", "bundle.json", "a/../../b"],
)
def test_a_name_that_leaves_the_folder(copy, name):
    files = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))["files"]
    path = edit_manifest(copy, files=files | {name: {"sha256": "0", "size": 0}})
    wanted = f"{path}: {name!r} is not the name of a file inside the bundle"
    assert refusal(open_bundle, copy) == wanted


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_refused(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    said = open_bundle(copy).manifest.files[name].sha256
    found = hashlib.sha256(data).hexdigest()
    wanted = f"{copy / name}: SHA-256 is {found}, bundle.json says {said}"
    assert refusal(Classifier.load, copy, "cpu", 1) == wanted


@pytest.mark.parametrize("name", FILES)
def test_a_shortened_file_is_refused(copy, name):
    size = (copy / name).stat().st_size
    os.truncate(copy / name, 10)
    wanted = f"{copy / name}: has 10 bytes, bundle.json says {size:,}"
    assert refusal(Classifier.load, copy, "cpu", 1) == wanted


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_folder_is_refused(copy, name, tmp_path):
    path = copy / name
    path.rename(tmp_path / "elsewhere")
    assert refusal(Classifier.load, copy, "cpu", 1) == f"{path}: is missing"
    path.symlink_to(tmp_path / "elsewhere")  # the right bytes, but outside
    assert refusal(Classifier.load, copy, "cpu", 1) == f"{path}: is a link"
    path.unlink()
    path.hardlink_to(tmp_path / "elsewhere")
    wanted = f"{path}: has another name elsewhere (a hard link); copy it"
    assert refusal(Classifier.load, copy, "cpu", 1) == wanted
    path.unlink()
    path.mkdir()
    wanted = f"{path}: is not a regular file"
    assert refusal(Classifier.load, copy, "cpu", 1) == wanted


@pytest.mark.parametrize("name", [VERIFY, MANIFEST])
def test_a_fifo_is_refused_and_not_waited_for(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    wanted = f"{copy / name}: is not a regular file"
    assert refusal(Classifier.load, copy, "cpu", 1) == wanted


def test_a_file_that_cannot_be_read(copy, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    opened = open_bundle(copy)
    monkeypatch.setattr(os, "open", fail)
    wanted = f"{copy / VERIFY}: cannot be read: Input/output error"
    assert refusal(opened.read, VERIFY) == wanted


def test_an_unlisted_file_is_refused(copy):
    opened = open_bundle(copy)
    (copy / ".DS_Store").write_bytes(b"")
    (copy / "extra").write_bytes(b"")
    assert refusal(opened.read, "extra") == f"{copy}: bundle.json does not list extra"
    assert refusal(open_bundle, copy) == f"{copy}: bundle.json does not list extra; remove it"
    (copy / "extra").unlink()
    assert open_bundle(copy).digest == opened.digest  # a hidden file is left alone


def test_the_digest_that_was_expected(bundle):
    digest = open_bundle(bundle).digest
    assert open_bundle(bundle, digest.upper()).digest == digest
    wanted = f"{bundle / MANIFEST}: SHA-256 is {digest}, --expect-digest says abc"
    assert refusal(open_bundle, bundle, "abc") == wanted


@pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_a_model_with_data_elsewhere_is_refused(make_bundle, make_graph, location):
    model = onnx.load_from_string(make_graph())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    folder = make_bundle(files={"model.onnx": model.SerializeToString()})
    wanted = f"{folder / 'model.onnx'}: has data in another file, which is not allowed"
    assert refusal(Classifier.load, folder, "cpu", 1) == wanted


TENSORS = "model.onnx.data"


@pytest.fixture
def large(make_bundle, make_graph) -> Path:
    """A bundle as of a model above 2 GB, whose tensors lie in a file of their own."""
    model = onnx.load_from_string(make_graph())
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=TENSORS)
    weights = np.array([-1, 1], np.float32).tobytes()
    return make_bundle(files={"model.onnx": model.SerializeToString(), TENSORS: weights})


def test_a_model_with_tensors_in_a_file_beside_it(large):
    classifier = Classifier.load(large, "cpu", 1)
    assert classifier.classify(["Do you have time"]).labels == ["ham"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "is missing"),
        (b"short", "has 5 bytes, bundle.json says 8"),
        (b"as long!", "SHA-256 is {found}, bundle.json says {said}"),
    ],
)
def test_tensors_that_are_not_the_bundles(large, invoke, tmp_path, data, problem):
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    said = hashlib.sha256((large / TENSORS).read_bytes()).hexdigest()
    (large / TENSORS).unlink() if data is None else (large / TENSORS).write_bytes(data)
    found = hashlib.sha256(data or b"").hexdigest()
    out = tmp_path / "out.csv"
    result = invoke(main, "classify", tmp_path / "in.csv", "--out", out, "--bundle", large)
    message = f"{large / TENSORS}: {problem.format(found=found, said=said)}"
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == f"spam-batch: error: {message}\n"
    assert os.listdir(tmp_path) == ["in.csv"]


def test_a_model_that_is_no_model(make_bundle):
    folder = make_bundle(files={"model.onnx": b"\xff" * 100})
    wanted = f"{folder / 'model.onnx'}: not an ONNX model"
    assert refusal(Classifier.load, folder, "cpu", 1) == wanted


def test_a_file_that_is_not_json(make_bundle):
    folder = make_bundle(files={GOLDEN: b"{"})
    assert refusal(open_bundle(folder).read_json, GOLDEN) == f"{folder / GOLDEN}: not JSON"
