"""What a changed cascade is refused with (78): other stages, another band, other files."""

import json
import shutil
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.errors import BundleError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import GOLDEN, MANIFEST
from batch.model.cascade.folder import CascadeBundle
from batch.model.cascade.proof import PROOF
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file


@pytest.fixture
def copy(cascade, tmp_path) -> Path:
    return Path(shutil.copytree(cascade, tmp_path / "cascade"))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Classifier.load(folder, "cpu", 1)
    return str(caught.value)


def rewrite(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes), encoding="utf-8")


def hash_anew(folder: Path, **changes) -> None:
    """Make bundle.json agree with the files beside it."""
    files = {
        name: {"sha256": hash_file(folder / name), "size": (folder / name).stat().st_size}
        for name in (PROOF, GOLDEN)
    }
    rewrite(folder / MANIFEST, files=files, **changes)


def test_it_is_opened_as_a_bundle(cascade) -> None:
    found = open_bundle(cascade)
    assert isinstance(found, CascadeBundle)
    assert found.digest == hash_file(cascade / MANIFEST)
    assert found.manifest.variants == {"fp32+fp32": "slow/model.onnx"}
    assert {"proof.json", "golden.json", "fast/model.onnx", "slow/model.onnx"} <= set(
        found.manifest.files
    )
    for name in found.manifest.files:
        found.check(name)
    assert found.read("slow/model.onnx") == (cascade / "slow/model.onnx").read_bytes()


def test_swapped_stages(copy, invoke) -> None:
    (copy / "fast").rename(copy / "x")
    (copy / "slow").rename(copy / "fast")
    (copy / "x").rename(copy / "slow")
    fast, slow = (hash_file(copy / name / MANIFEST) for name in ("fast", "slow"))
    said = (
        f"{copy / 'fast'}: the digest is {fast}, and the cascade was proved with {slow}; put that "
        "bundle back, or prove these two with: spam-export cascade"
    )
    assert refusal(copy) == said
    result = invoke(main, "text", "x", "--bundle", copy)
    assert (result.exit_code, result.stderr) == (78, f"spam-batch: error: {said}\n")


def test_a_fast_model_of_another_run(copy, make_bundle) -> None:
    other = make_bundle(shift=0.75)
    shutil.rmtree(copy / "fast")
    shutil.copytree(other, copy / "fast")
    before, now = json.loads((copy / MANIFEST).read_bytes())["fast"], open_bundle(other).digest
    said = (
        f"{copy / 'fast'}: the digest is {now}, and the cascade was proved with {before}; put that "
        "bundle back, or prove these two with: spam-export cascade"
    )
    assert refusal(copy) == said
    rewrite(copy / MANIFEST, fast=now)  # by hand, and still the proof is of another one
    assert refusal(copy) == said


def test_a_band_changed_by_hand(copy) -> None:
    entry = json.loads((copy / MANIFEST).read_bytes())["files"][PROOF]
    rewrite(copy / PROOF, band=[-1.5, 0.5])
    size = (copy / PROOF).stat().st_size
    path = copy / PROOF
    if size != entry["size"]:
        assert refusal(copy) == f"{path}: has {size:,} bytes, bundle.json says {entry['size']:,}"
    text = path.read_text().replace("[-1.5, 0.5]", "[-1.25, 0.85]")
    path.write_text(text)
    assert refusal(copy) == (
        f"{path}: SHA-256 is {hash_file(path)}, bundle.json says {entry['sha256']}"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"band": [1.0]}, "band: not valid"),
        ({"band": [2.0, 1.0]}, "band: not valid"),
        ({"band": "all"}, "band: not valid"),
        ({"center": 0.8}, "band: not valid"),  # outside it
        ({"center": None}, "values: not valid"),
        ({"length_power": 1.0}, "length_power: not valid"),
        ({"temperature": 0}, "temperature: not valid"),
        ({"promised": 0.001}, "proving: not valid"),  # the bound that was measured is 0.006
        ({"share_asked": 2}, "share_asked: not valid"),
        ({"text": {}}, "values: not valid"),
        ({"settings": None}, "values: not valid"),
        ({"stages": {}}, "stages: not valid"),
        ({"colour": "red"}, "the key 'colour' is not known"),
    ],
)
def test_a_proof_that_cannot_be(copy, changes, problem) -> None:
    rewrite(copy / PROOF, **changes)
    hash_anew(copy)
    assert refusal(copy) == f"{copy / PROOF}: {problem}"


def test_a_proof_without_a_key(copy) -> None:
    values = json.loads((copy / PROOF).read_bytes())
    del values["band"]
    (copy / PROOF).write_text(json.dumps(values))
    hash_anew(copy)
    assert refusal(copy) == (
        f"{copy / PROOF}: the key 'band' is missing; make the cascade again, from the two bundles "
        "in it, with: spam-export cascade"
    )


def test_golden_messages_of_another_pair(copy, make_cascade) -> None:
    shutil.copyfile(make_cascade(fast={"shift": 2.0}) / GOLDEN, copy / GOLDEN)
    hash_anew(copy)
    assert refusal(copy).startswith(f"{copy}: the fast model gives golden message ") and refusal(
        copy
    ).endswith(" from that of the proof, more than 0.02")
    (copy / GOLDEN).write_text('{"messages": [{}]}')
    hash_anew(copy)
    assert refusal(copy) == (
        f"{copy}: golden.json does not have the form that spam-export writes; make the cascade "
        "again with: spam-export cascade"
    )


def test_a_file_of_a_stage_was_changed(copy) -> None:
    path = copy / "slow/model.onnx"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    assert refusal(copy).startswith(f"{path}: SHA-256 is ")
    with pytest.raises(BundleError, match="SHA-256"):
        open_bundle(copy).check("slow/model.onnx")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: rewrite(f / MANIFEST, kind="x"), "bundle.json: kind is 'x', which is not known"),
        (lambda f: rewrite(f / MANIFEST, x=1), "bundle.json: the key 'x' is not known"),
        (lambda f: rewrite(f / MANIFEST, files={}),
         "bundle.json: files is not valid; a cascade has proof.json and golden.json"),
        (lambda f: (f / PROOF).unlink(), "proof.json: is missing"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be(copy, change, problem) -> None:
    change(copy)
    assert refusal(copy) == f"{copy}/{problem}"


def test_another_file_or_stage_beside_them(copy, cascade) -> None:
    (copy / "x.txt").write_text("x")
    assert refusal(copy) == f"{copy}: bundle.json does not list x.txt; remove it"
    (copy / "x.txt").unlink()
    shutil.rmtree(copy / "fast")
    assert refusal(copy) == (
        f"{copy / 'fast'}: no such bundle; copy one there, or make one with: "
        f"spam-train fit && spam-export bundle --out {copy / 'fast'}"
    )
    shutil.copytree(cascade, copy / "fast")
    assert refusal(copy) == (
        f"{copy / 'fast'} is itself a cascade; a cascade has two ordinary bundles"
    )


def test_an_unverified_stage_is_refused(make_cascade, make_bundle) -> None:
    folder = make_cascade()
    proof = json.loads((folder / PROOF).read_bytes())
    other = make_bundle(shift=0.5, files={"verify.json": b'{"variants": {}}'})
    shutil.rmtree(folder / "fast")
    shutil.copytree(other, folder / "fast")
    digest = open_bundle(other).digest
    rewrite(folder / PROOF, stages=proof["stages"] | {"fast": digest})
    hash_anew(folder, fast=digest)
    assert refusal(folder) == (
        f"{folder / 'fast'}: fp32 was not verified; run spam-export verify, or give "
        "--allow-unverified (allow_unverified=True)"
    )
    Classifier.load(folder, "cpu", 1, allow_unverified=True)
