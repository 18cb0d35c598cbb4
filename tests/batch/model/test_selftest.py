"""Before a bundle labels anything: what keeps it from loading, by each refusal's whole text."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from batch.errors import BundleError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import EXTERNAL_SUFFIX, GOLDEN, MANIFEST, VERIFY, file_entries
from batch.model.classifier import Classifier, foresee
from batch.model.selftest import (
    GOLDEN_TOLERANCE,
    REDUCED_TOLERANCE,
    check_verified,
    choose_precision,
)


def refusal(folder: Path, **options) -> str:
    with pytest.raises(BundleError) as error:
        Classifier.load(folder, device="cpu", threads=1, **options)
    return str(error.value)


HINT = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (None, "was never verified"),
        ({}, "fp32 was not verified"),
        ({"variants": {"fp16": {"passed": True}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": False}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": "yes"}}}, "fp32 was not verified"),
        ({"variants": {"fp32": {"passed": True}}}, "verify.json belongs to another model.onnx"),
        (
            {"variants": {"fp32": {"passed": True, "sha256": "0" * 64}}},
            "verify.json belongs to another model.onnx",
        ),
    ],
)
def test_a_bundle_that_was_not_verified(make_bundle, report, problem):
    data = None if report is None else json.dumps(report).encode()
    folder = make_bundle(files={VERIFY: data})
    assert refusal(folder) == f"{folder}: {problem}; {HINT}"
    classifier = Classifier.load(folder, "cpu", 1, allow_unverified=True)
    assert classifier.classify(["Do you have time"]).tokens.tolist() == [4]


def golden(*messages: tuple[str, list[int], list[float]]) -> dict[str, bytes]:
    keys = ("text", "ids", "logits")
    rows = [dict(zip(keys, message, strict=True)) for message in messages]
    return {GOLDEN: json.dumps({"labels": ["ham", "spam"], "messages": rows}).encode()}


def test_golden_ids_that_differ(make_bundle, stub_logits):
    good = ("Do you", [5211, 345], stub_logits([5211, 345]))
    folder = make_bundle(files=golden(good, ("Do you", [5211, 346], good[2])))
    assert refusal(folder) == (
        f"{folder}: golden message 1 gets other token ids here than at export; "
        "the tokenizer is not the model's"
    )


@pytest.mark.parametrize(("by", "shown"), [(0.25, "0.25"), (0.0015, "0.0015"), (np.nan, "nan")])
def test_golden_logits_that_differ(make_bundle, stub_logits, by, shown):
    first, second = stub_logits([5211, 345])
    good = ("Do you", [5211, 345], [first, second])
    bad = ("Do you", [5211, 345], [first, second + by])
    folder = make_bundle(files=golden(good, bad, good))
    assert refusal(folder) == (
        f"{folder}: golden message 1 gets logits that differ from PyTorch's by {shown}, "
        "more than 0.001"
    )


def test_golden_logits_may_differ_by_rounding(make_bundle, stub_logits):
    first, second = stub_logits([5211, 345])
    close = ("Do you", [5211, 345], [first, second + 0.9 * GOLDEN_TOLERANCE])
    assert Classifier.load(make_bundle(files=golden(close)), "cpu", 1)


@pytest.mark.parametrize("data", [b'{"messages": []}', b"{}"])
def test_golden_without_messages(make_bundle, data):
    folder = make_bundle(files={GOLDEN: data})
    assert refusal(folder) == f"{folder}: golden.json has no messages to check with"


def test_golden_without_labels(make_bundle):
    golden = {"messages": [{"text": "", "ids": [], "logits": [0.0, 0.0]}]}
    folder = make_bundle(files={GOLDEN: json.dumps(golden).encode()})
    assert refusal(folder) == f"{folder}: golden.json has no labels to check with"


def test_labels_that_were_exchanged_after_the_export(make_bundle, tmp_path):
    folder = shutil.copytree(make_bundle(), tmp_path / "copy")
    values = json.loads((folder / MANIFEST).read_bytes()) | {"labels": ["spam", "ham"]}
    (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
    assert refusal(folder) == (
        f"{folder}: the labels are ['spam', 'ham'], but ['ham', 'spam'] were exported"
    )


def test_no_golden(make_bundle):
    folder = make_bundle(files={GOLDEN: None})
    assert refusal(folder) == f"{folder}: bundle.json does not list golden.json"


def test_golden_of_another_number_of_classes(make_bundle):
    folder = make_bundle(files=golden(("Do you", [5211, 345], [0.0, 1.0, 2.0])))
    assert refusal(folder) == (
        f"{folder}: golden.json has logits of shape (1, 3), the model gives (1, 2)"
    )


class TestReducedPrecision:
    def test_has_its_own_golden_logits(self, with_int8):
        """Those of int8 are compared with those of int8, and not with PyTorch's."""
        weights = (-1.5, 1.5)
        found = Classifier.load(with_int8(weights=weights), "cpu", 1, precision="int8")
        assert found.precision == "int8"

    def test_logits_that_differ(self, with_int8):
        folder = with_int8(by=0.5)
        values = json.loads((folder / GOLDEN).read_bytes())["variants"]["int8"]
        tolerance = REDUCED_TOLERANCE * np.abs(values).max()
        assert refusal(folder, precision="int8") == (
            f"{folder}: golden message 2 gets logits that differ from those of int8 at export "
            f"by 0.5, more than {tolerance:.2g}"
        )
        assert Classifier.load(folder, "cpu", 1, precision="fp32").precision == "fp32"

    def test_a_last_bit_may_become_a_step(self, with_int8):
        folder = with_int8(by=REDUCED_TOLERANCE)
        assert Classifier.load(folder, "cpu", 1, precision="int8").precision == "int8"

    def test_without_golden_logits(self, with_int8):
        folder = with_int8(golden={})
        assert refusal(folder, precision="int8") == (
            f"{folder}: golden.json has logits of shape (0,), the model gives (4, 2)"
        )


class TestChoosePrecision:
    def test_the_fastest(self, with_int8):
        assert Classifier.load(with_int8(), "cpu", 1).precision == "int8"
        assert Classifier.load(with_int8(rows_per_second=9.0), "cpu", 1).precision == "fp32"

    @pytest.mark.parametrize(("speed", "chosen"), [(10.9, "fp32"), (11.0, "int8")])
    def test_a_tie_does_not_decide(self, with_int8, speed, chosen):
        assert Classifier.load(with_int8(rows_per_second=speed), "cpu", 1).precision == chosen

    def test_the_batches_that_were_fastest(self, with_int8):
        folder = with_int8(batch_tokens=1024)
        assert Classifier.load(folder, "cpu", 1).batch_tokens == 1024
        assert Classifier.load(folder, "cpu", 1, precision="fp32").batch_tokens == 256
        for report in ({"batch_tokens": -1}, {"batch_tokens": "9"}):
            assert Classifier.load(with_int8(**report), "cpu", 1).batch_tokens == 256
        elsewhere = with_int8(batch_tokens=1024, device="cuda")
        assert Classifier.load(elsewhere, "cpu", 1, precision="int8").batch_tokens == 256

    @pytest.mark.parametrize("passed", [False, None, "yes", 1])
    def test_never_one_that_did_not_pass(self, with_int8, passed):
        folder = with_int8(passed=passed)
        assert Classifier.load(folder, "cpu", 1).precision == "fp32"
        assert refusal(folder, precision="int8") == f"{folder}: int8 was not verified; {HINT}"
        loaded = Classifier.load(folder, "cpu", 1, precision="int8", allow_unverified=True)
        assert loaded.precision == "int8"

    def test_never_one_that_was_removed(self, with_int8):
        folder = with_int8()
        values = json.loads((folder / MANIFEST).read_bytes()) | {"variants": {"fp32": "model.onnx"}}
        (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
        assert Classifier.load(folder, "cpu", 1).precision == "fp32"
        message = f"{folder}: has no precision int8; choose from: fp32"
        assert refusal(folder, precision="int8") == message

    def test_its_speed_is_of_this_device(self, with_int8):
        bundle = open_bundle(with_int8(device="cuda"))
        assert choose_precision(bundle, "cpu") == "fp32"
        assert choose_precision(bundle, "cuda") == "int8"

    def test_without_a_verification(self, make_bundle):
        bundle = open_bundle(make_bundle(files={VERIFY: None}))
        assert choose_precision(bundle, "cpu") == "fp32"


def test_a_verification_of_other_tensors(make_bundle):
    """The graph of a model above 2 GB stays the same when its weights change."""
    tensors = "model.onnx" + EXTERNAL_SUFFIX
    plain = file_entries(make_bundle(files={tensors: b"weights"}))
    hashes = {
        "sha256": plain["model.onnx"].sha256,
        "external_sha256": plain[tensors].sha256,
    }
    report = {"variants": {"fp32": {"passed": True, **hashes}}}
    files = {tensors: b"weights", VERIFY: json.dumps(report).encode()}
    assert check_verified(open_bundle(make_bundle(files=files)), "fp32") is None

    folder = make_bundle(files=files | {tensors: b"others"})
    with pytest.raises(BundleError) as error:
        check_verified(open_bundle(folder), "fp32")
    assert str(error.value) == f"{folder}: verify.json belongs to another {tensors}; {HINT}"


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        (VERIFY, b"[]", "{folder}/verify.json: not a JSON object"),
        (VERIFY, b'{"variants": {"fp32"', "{folder}/verify.json: not JSON"),
        (VERIFY, b'{"variants": []}', "{folder}: verify.json {form}"),
        (VERIFY, b'{"variants": {"fp32": 1}}', "{folder}: verify.json {form}"),
        (GOLDEN, b"1", "{folder}/golden.json: not a JSON object"),
        (GOLDEN, b"", "{folder}/golden.json: not JSON"),
        (GOLDEN, b'{"labels": ["ham", "spam"], "messages": 1}', "{folder}: golden.json {form}"),
        (GOLDEN, b'{"labels": ["ham", "spam"], "messages": [1]}', "{folder}: golden.json {form}"),
        (GOLDEN, b'{"labels": ["ham", "spam"], "messages": [{"text": "a"}]}',
         "{folder}: golden.json {form}"),
    ],
)  # fmt: skip
def test_json_that_is_not_what_we_write(make_bundle, name, data, problem):
    """The hashes are right, so somebody made it so; it is an error of the bundle."""
    folder = make_bundle(files={name: data})
    form = "does not have the form that spam-export writes; export it again with: "
    form += "spam-export bundle"
    assert refusal(folder) == problem.format(folder=folder, form=form)


class TestADeviceThatIsKnownAfterTheLoad:
    """Device ``auto`` with onnxruntime-gpu: the GPU, or the CPU if the GPU does not work."""

    def test_the_device_that_runs_decides(self, with_int8, fake_cuda):
        folder = with_int8(device="cuda", batch_tokens=1024)
        fake_cuda()
        on_gpu = Classifier.load(folder, "auto", 1)
        found = (on_gpu.precision, on_gpu.session.device, on_gpu.batch_tokens)
        assert found == ("int8", "cuda", 1024)
        data = pickle.dumps(on_gpu)

        fake_cuda(RuntimeError("no memory"))
        for loaded in (Classifier.load(folder, "auto", 1), pickle.loads(data)):
            found = (loaded.precision, loaded.session.device, loaded.batch_tokens)
            assert found == ("fp32", "cpu", 256)
            assert loaded.session.note == (
                "onnxruntime cannot load the model on cuda: no memory; running on the CPU"
            )
        again = pickle.loads(pickle.dumps(loaded))  # the GPU is tried again
        assert (again.precision, again.session.note) == ("fp32", loaded.session.note)

    def test_its_variant_is_the_one_that_must_be_verified(self, with_int8, fake_cuda):
        folder = with_int8(device="cuda")
        values = json.loads((folder / VERIFY).read_bytes())
        values["variants"]["fp32"]["passed"] = False
        (folder / VERIFY).write_text(json.dumps(values), encoding="utf-8")
        manifest = json.loads((folder / MANIFEST).read_bytes())
        entry = file_entries(folder)[VERIFY]
        manifest["files"][VERIFY] = {"sha256": entry.sha256, "size": entry.size}
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        fake_cuda(RuntimeError("no memory"))
        with pytest.raises(BundleError) as error:
            Classifier.load(folder, "auto", 1)
        assert str(error.value) == f"{folder}: fp32 was not verified; {HINT}"

    def test_what_is_certain_before_a_load(self, with_int8, fake_cuda):
        bundle = open_bundle(with_int8(device="cuda"))
        assert foresee(bundle, "cpu", "auto") == ("fp32", "cpu")
        fake_cuda()
        assert foresee(bundle, "cuda", "auto") == ("int8", "cuda")
        assert foresee(bundle, "cuda", "fp32") == ("fp32", "cuda")
        assert foresee(bundle, "auto", "auto") is None
