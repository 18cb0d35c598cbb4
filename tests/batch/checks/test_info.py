"""``spam-batch info``: what a bundle is, and what is not well with it."""

import json
import shutil
import tracemalloc
from hashlib import sha256

import pytest

from batch.cli.commands import main
from batch.model.bundle import open_bundle

CHECK = {
    "device": "cpu",
    "rows": 460,
    "tolerance": 1.1235169,
    "logit": {"value": 0.0341},
    "labels_differ": [],
    "batch_variance": {"value": 0.0},
}
GATE = {"accuracy_ours": 0.97, "accuracy_theirs": 0.98}
MACHINE = {"cpu": "A CPU", "flags": ["avx", "avx2"], "versions": {"onnxruntime": "1.31.1"}}
TRAINING = {
    "accuracy": {"train": 1.0, "test": 0.97333},
    "messages": {"train": 1045, "test": 300},
    "data": {
        "name": "Made up", "rows": 5572, "lines": 4862, "is_partial": True, "origin": "given: x",
        "sha256": "d" * 64,
    },
}  # fmt: skip
MADE_BY = {"versions": {"python": "3.11.7", "torch": "2.13.0"}, "recipe": "default"}


@pytest.fixture(scope="module")
def full(make_bundle):
    """A bundle of two precisions, with all that spam-export says of the first."""
    graph = (make_bundle() / "model.onnx").read_bytes()
    entry = {
        "passed": True, "sha256": sha256(graph).hexdigest(), "check": CHECK, "gate": GATE,
        "kept_fp32": ["out_head"], "rows_per_second": 13142.3,
    }  # fmt: skip
    report = {"variants": {"fp32": entry}, "machine": MACHINE}
    return make_bundle(
        files={
            "verify.json": json.dumps(report).encode(),
            "model.int8.onnx": graph,
        },
        variants={"fp32": "model.onnx", "int8": "model.int8.onnx"},
        threshold=0.95, temperature=2.0451, training=TRAINING, made_by=MADE_BY,
    )  # fmt: skip


def test_all_that_is_known(invoke, full):
    result = invoke(main, "info", full)
    assert (result.exit_code, result.stderr) == (0, "")
    opened = open_bundle(full)
    size = {name: entry.size for name, entry in opened.manifest.files.items()}
    megabytes = f"{size['model.onnx'] / 1e6:,.1f} MB"
    files = [
        f"  {name:<16} {entry.sha256}  {entry.size:>13,} bytes"
        for name, entry in opened.manifest.files.items()
    ]
    assert result.stdout.splitlines() == [
        str(full),
        f"  digest           {opened.digest}",
        "  model            stub; reads the last real token, max_length 32 tokens",
        "  weights          none, the graph is a sum",
        "  labels           ham, spam",
        "  positive label   spam, from a probability of 0.95 on",
        "  temperature      2.045",
        "  accuracy         train 100.00 % of 1,045, test 97.33 % of 300",
        "  data             Made up, 5,572 rows; given: x",
        f"  data SHA-256     {'d' * 64}",
        "  recipe           default",
        "  made by          python 3.11.7, torch 2.13.0",
        "precisions",
        f"  fp32             model.onnx, {megabytes}: verified on cpu over 460 messages",
        "                   logits differ from PyTorch's by 0.034 at most (allowed 1.124), "
        "0 labels differ",
        "                   logits differ by 0 at most between batches",
        "                   validation accuracy 97.00 % (PyTorch 98.00 %)",
        "                   layers kept in fp32: out_head",
        "                   13,142 rows a second",
        f"  int8             model.int8.onnx, {megabytes}: NOT VERIFIED",
        "  verified on      A CPU (avx avx2); onnxruntime 1.31.1",
        "files, with the SHA-256 that was checked",
        *files,
        f"WARNING: {full}: int8 was not verified; run spam-export verify, or give "
        "--allow-unverified (allow_unverified=True)",
        "WARNING: trained on an incomplete copy of its data (Made up: 4,862 lines)",
    ]


def test_as_one_object(invoke, full):
    result = invoke(main, "info", full, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    values = json.loads(result.stdout)
    manifest = json.loads((full / "bundle.json").read_text(encoding="utf-8"))
    assert values.pop("folder") == str(full)
    assert values.pop("digest") == open_bundle(full).digest
    report = json.loads((full / "verify.json").read_text(encoding="utf-8"))
    assert values.pop("verification") == report
    assert len(values.pop("warnings")) == 2
    assert values.pop("unsure_band") is None
    assert values == {k: v for k, v in manifest.items() if not k.startswith("format")}


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        (
            {"labels": ["a", "b"], "positive_label": None},
            "none; the score is the probability of the label given",
        ),
        ({"labels": ["a", "b", "spam"]}, "spam; the most probable label is given"),
    ],
)
def test_other_labels(invoke, make_bundle, manifest, line):
    weights = (1.0,) * len(manifest["labels"])
    result = invoke(main, "info", make_bundle(weights=weights, **manifest))
    assert f"  positive label   {line}" in result.stdout.splitlines()
    assert result.stdout.count("model.onnx, 0.0 MB: verified\n") == 1


def test_never_verified(invoke, make_bundle):
    folder = make_bundle(files={"verify.json": None})
    result = invoke(main, "info", folder)
    hint = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"
    assert result.stdout.splitlines()[-1] == f"WARNING: {folder}: was never verified; {hint}"


def test_large_files_are_read_in_blocks(invoke, make_bundle, make_graph):
    """Of a graph with 32 MiB in it, and of the file beside it, only blocks are in memory."""
    large = bytes(32 << 20)
    unknown_field = b"\x9a\x06\x80\x80\x80\x10" + large  # number 99, with its length
    folder = make_bundle(
        files={"model.onnx": make_graph() + unknown_field, "model.onnx.data": large}
    )
    del large, unknown_field
    tracemalloc.start()
    try:
        result = invoke(main, "info", folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.exit_code == 0, result.stderr
    assert "33,554,432 bytes" in result.stdout
    assert peak < 20 << 20  # bundle.json gets 16 MiB


def test_what_a_model_refers_to_is_checked(invoke, make_bundle):
    folder = make_bundle(files={"model.onnx": b"\xff"})
    result = invoke(main, "info", folder)
    assert result.stderr == f"spam-batch: error: {folder}/model.onnx: not an ONNX model\n"
    assert result.exit_code == 78
    folder = make_bundle(files={"model.onnx": b""})
    assert invoke(main, "info", folder).exit_code == 0


def test_what_goes_wrong(invoke, bundle, make_bundle, tmp_path):
    missing = tmp_path / "none"
    result = invoke(main, "info", missing)
    command = f"spam-train fit && spam-export bundle --out {missing}"
    hint = f"copy one there, or make one with: {command}"
    assert result.stderr == f"spam-batch: error: {missing}: no such bundle; {hint}\n"
    assert (result.exit_code, result.stdout) == (78, "")

    folder = shutil.copytree(bundle, tmp_path / "changed")
    (folder / "golden.json").write_bytes(b"{}")
    size = (bundle / "golden.json").stat().st_size
    result = invoke(main, "info", folder, "--json")
    assert result.stderr == (
        f"spam-batch: error: {folder}/golden.json: has 2 bytes, bundle.json says {size:,}\n"
    )
    assert (result.exit_code, result.stdout) == (78, "")

    folder = make_bundle(training={"accuracy": 1.0})
    result = invoke(main, "info", folder)
    assert result.stderr == (
        f"spam-batch: error: {folder}: bundle.json or verify.json does not have the form that "
        "spam-export writes; to see it, type: spam-batch info --json\n"
    )
    assert (result.exit_code, result.stdout) == (78, "")
    assert invoke(main, "info", folder, "--json").exit_code == 0
