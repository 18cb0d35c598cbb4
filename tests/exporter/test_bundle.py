"""The bundle: what stands in it, what replaces what."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest

from batch.errors import OutputError
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter.bundle import GOLDEN_TEXTS, replace_folder, write_manifest
from exporter.export import export
from exporter.scratch import exchange
from exporter.trained_run import TrainedRun
from exporter.verification_set import NASTY_TEXTS, torch_logits
from trainer.data.sets import read_split
from trainer.run_folder import read_config, read_model, read_tokenizer

TOLERANCE = 1e-4
HOSTILE = [
    "<|endoftext|>" * 40,
    "",
    "a" * 100_000,
    "word " * 20_000,
    "\n" * 50,
    "\r\n \n",
    "\0",
    "😀",
]


def test_files_and_hashes(exported) -> None:
    _, bundle, _ = exported
    names = ["golden.json", "gpt2.tiktoken", "model.int8.onnx", "model.onnx", "verify.json"]
    assert sorted(path.name for path in bundle.iterdir()) == ["README.md", "bundle.json", *names]
    files = json.loads((bundle / "bundle.json").read_bytes())["files"]
    assert sorted(files) == ["README.md", *names]
    for name, entry in files.items():
        data = (bundle / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def test_manifest(exported) -> None:
    run, bundle, _ = exported
    config, manifest = read_config(run), open_bundle(bundle).manifest
    fixed = config.model["pooling"] == "last_position"
    assert manifest.labels == config.labels
    assert manifest.positive_label == config.positive_label
    assert (manifest.max_length, manifest.fixed_length) == (16, fixed)
    assert (manifest.pooling, manifest.pad_id) == (config.model["pooling"], 50256)
    assert (manifest.threshold, manifest.temperature) == (0.5, 1.0)
    assert (manifest.model, manifest.weights) == ("custom", "Random.")
    assert manifest.variants == {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    assert manifest.training["accuracy"]["test"] == 0.25
    assert manifest.training["data"] == config.data
    assert manifest.made_by["data_sha256"] == "0" * 64
    assert manifest.made_by["model_sha256"] == hash_file(run / "model.safetensors")
    assert manifest.made_by["recipe"] == ("book" if fixed else "default")
    assert manifest.made_by["weights"] == config.weights
    assert manifest.made_by["versions"]["torch"] == version("torch")


def test_the_runs_band_is_the_bundles(exported, tmp_path: Path) -> None:
    run, bundle, _ = exported
    folder = shutil.copytree(bundle, tmp_path / "copy")
    trained = TrainedRun.read(run)
    config = replace(trained.config, unsure_band=[0.4, 0.6])
    write_manifest(folder, replace(trained, config=config), ["fp32", "int8"])
    assert json.loads((folder / "bundle.json").read_bytes())["unsure_band"] == [0.4, 0.6]
    assert b"unsure" not in (bundle / "bundle.json").read_bytes()


def test_golden_messages_are_ours_and_replayed(exported) -> None:
    run, bundle, _ = exported
    values = json.loads((bundle / "golden.json").read_bytes())
    assert values["labels"] == read_config(run).labels
    golden = values["messages"]
    assert [message["text"] for message in golden] == list(GOLDEN_TEXTS)
    own = {text for part in ("validation", "test") for text in read_split(run, part)["text"]}
    assert own - set(NASTY_TEXTS)
    assert not (own - set(NASTY_TEXTS)) & set(GOLDEN_TEXTS)  # nobody's mail travels with a bundle
    model = read_model(run, read_config(run))
    theirs = torch_logits(model, [message["ids"] for message in golden], 16)
    assert np.abs(np.array([m["logits"] for m in golden]) - theirs).max() <= 1e-6
    assert list(values["variants"]) == ["int8"]
    for precision, logits in (("fp32", theirs), ("int8", values["variants"]["int8"])):
        classifier = Classifier.load(bundle, "cpu", threads=1, precision=precision)
        ours = classifier.logits(encode(classifier, [message["text"] for message in golden]))
        assert np.abs(ours - logits).max() <= (TOLERANCE if precision == "fp32" else 0)


def test_hostile_messages_get_torchs_logits_and_a_label(exported) -> None:
    run, bundle, _ = exported
    config, tokenizer = read_config(run), read_tokenizer(run)
    classifier = Classifier.load(bundle, "cpu", threads=1, precision="fp32")
    sequences = [tokenizer.encode(text, config.max_length) for text in HOSTILE]
    theirs = torch_logits(read_model(run, config), sequences, config.max_length)
    predictions = classifier.classify(HOSTILE)
    alone = np.concatenate([classifier.logits(encode(classifier, [text])) for text in HOSTILE])
    for ours in (classifier.logits(encode(classifier, HOSTILE)), alone):
        assert np.abs(ours - theirs).max() <= TOLERANCE
    assert predictions.labels == [config.labels[row] for row in theirs.argmax(axis=1)]
    assert np.isfinite(predictions.scores).all()
    assert predictions.truncated.tolist() == [len(text) > 48 for text in HOSTILE]


def test_nothing_else_is_left(exported) -> None:
    run, bundle, _ = exported
    assert sorted(bundle.parent.iterdir()) == [bundle, run]
    assert bundle.stat().st_mode & 0o777 == run.stat().st_mode & 0o777


def write_old_bundle(folder: Path) -> None:
    """As far as a replacement looks at one: the manifest, and a file that it lists."""
    folder.mkdir()
    entry = {"sha256": "0" * 64, "size": 3}
    values = {"format": "spam-batch bundle", "format_version": 1}
    values["files"] = {"model.int8.onnx": entry, "verify.json": entry}
    (folder / "bundle.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "model.int8.onnx").write_text("old", encoding="utf-8")


def tree_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class TestReplaceFolder:
    @pytest.fixture
    def new(self, tmp_path: Path) -> Path:
        new = tmp_path / ".bundle.part"
        new.mkdir(mode=0o700)
        (new / "bundle.json").write_text("new", encoding="utf-8")
        return new

    @pytest.fixture
    def in_two_steps(self, monkeypatch) -> None:
        """On a system that cannot exchange two names."""
        monkeypatch.setattr("exporter.bundle.exchange", lambda *_: False)

    def replaced(self, tmp_path: Path) -> bool:
        """Whether ``bundle`` is the new one, whole, and nothing else is left."""
        found = {path: path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
        return found == {tmp_path / "bundle" / "bundle.json": "new"}

    def test_no_folder_yet(self, new: Path, tmp_path: Path) -> None:
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    def test_empty_folder(self, new: Path, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    def test_older_bundle(self, new: Path, tmp_path: Path) -> None:
        write_old_bundle(tmp_path / "bundle")
        left = f".verify.json.{'0' * 16}.json.part"  # of a verification that was killed
        (tmp_path / "bundle" / left).write_text("{", encoding="utf-8")
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    @pytest.mark.parametrize(
        "name",
        [
            "thesis.txt", ".gitkeep", ".DS_Store", "run", ".model.int8.onnx.part",
            pytest.param("model.int8.onnx", id="link"),
        ],
    )  # fmt: skip
    def test_what_an_older_bundle_does_not_list_is_not_lost(
        self, new: Path, tmp_path: Path, exported, name: str
    ) -> None:
        target, precious = tmp_path / "bundle", tmp_path / "precious"
        write_old_bundle(target)
        precious.write_text("mine", encoding="utf-8")
        if name == "run":
            (target / "run").mkdir()
        elif name == "model.int8.onnx":
            (target / name).unlink()
            (target / name).symlink_to(precious)
        else:
            (target / name).write_text("mine", encoding="utf-8")
        before = tree_of(target)
        for act in (
            lambda: replace_folder(new, target),
            lambda: export(exported[0], target, "cpu", progress=False),
        ):
            with pytest.raises(OutputError) as caught:
                act()
            assert str(caught.value) == (
                f"{target / name} is not a file of the bundle that --out would replace; it was "
                "left as it is; move it, or give another --out"
            )
        assert tree_of(target) == before
        assert precious.read_text(encoding="utf-8") == "mine"

    def test_a_link_stays_and_its_target_is_replaced(
        self, tmp_path: Path, traced, exported, export_graph
    ) -> None:
        write_old_bundle(tmp_path / "2026-11")
        (tmp_path / "current").symlink_to("2026-11")
        pooling = json.loads((exported[0] / "config.json").read_text())["model"]["pooling"]
        export_graph(traced(pooling)[1], exported[0], tmp_path / "current")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11", "current"]
        assert (tmp_path / "current").is_symlink()
        assert list(open_bundle(tmp_path / "current").manifest.variants) == ["fp32"]

    def test_a_file_that_comes_meanwhile_stays(
        self, new: Path, tmp_path: Path, monkeypatch, caplog, in_two_steps
    ) -> None:
        target, rename = tmp_path / "bundle", os.rename
        write_old_bundle(target)

        def write_first(source, name) -> None:
            if source == target:
                (target / "thesis.txt").write_text("mine", encoding="utf-8")
            rename(source, name)

        monkeypatch.setattr(os, "rename", write_first)
        replace_folder(new, target)
        old = new.with_suffix(".old")
        assert tree_of(old) == {"thesis.txt": b"mine"}
        assert tree_of(target) == {"bundle.json": b"new"}
        assert caplog.messages == [f"WARNING: {old} is what was there before; it cannot be removed"]

    def test_a_file_that_comes_before_the_exchange_stays(
        self, new: Path, tmp_path: Path, monkeypatch, caplog
    ) -> None:
        target = tmp_path / "bundle"
        write_old_bundle(target)

        def write_first(one: Path, other: Path) -> bool:
            (target / "thesis.txt").write_text("mine", encoding="utf-8")
            return exchange(one, other)

        monkeypatch.setattr("exporter.bundle.exchange", write_first)
        replace_folder(new, target)
        old = new.with_suffix(".old")
        assert tree_of(old) == {"thesis.txt": b"mine"}
        assert tree_of(target) == {"bundle.json": b"new"}
        assert caplog.messages == [f"WARNING: {old} is what was there before; it cannot be removed"]

    def test_older_bundle_where_names_cannot_be_exchanged(
        self, new: Path, tmp_path: Path, in_two_steps
    ) -> None:
        write_old_bundle(tmp_path / "bundle")
        replace_folder(new, tmp_path / "bundle")
        assert self.replaced(tmp_path)

    @pytest.mark.parametrize(
        "manifest",
        ["{}", "[]", "no JSON", '{"format": "another", "files": {}}', '{"name": "npm bundle"}'],
    )
    def test_somebody_elses_bundle_json_is_no_bundle(
        self, new: Path, tmp_path: Path, manifest: str
    ) -> None:
        target = tmp_path / "bundle"
        target.mkdir()
        (target / "bundle.json").write_text(manifest, encoding="utf-8")
        (target / "app.js").write_text("mine", encoding="utf-8")
        before = tree_of(target)
        with pytest.raises(OutputError) as caught:
            replace_folder(new, target)
        assert str(caught.value) == (
            f"{target} exists and is not a bundle; it was left as it is; give another --out"
        )
        assert tree_of(target) == before

    def test_older_bundle_comes_back_when_the_second_name_fails(
        self, new: Path, tmp_path: Path, monkeypatch, in_two_steps
    ) -> None:
        write_old_bundle(tmp_path / "bundle")
        before = tree_of(tmp_path / "bundle")
        rename = os.rename

        def stop_at_new(trained, target) -> None:
            if trained == new:
                raise KeyboardInterrupt
            rename(trained, target)

        monkeypatch.setattr(os, "rename", stop_at_new)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(new, tmp_path / "bundle")
        assert tree_of(tmp_path / "bundle") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bundle", new.name])

    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_what_is_no_bundle_stays(self, new: Path, tmp_path: Path, exported, kind) -> None:
        target = tmp_path / "bundle"
        mine = target / "thesis.txt" if kind == "folder" else target
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine", encoding="utf-8")
        said = "exists and is not a bundle; it was left as it is; give another --out"
        expected = f"^{re.escape(str(target))} {said}$"
        with pytest.raises(OutputError, match=expected):
            replace_folder(new, target)
        with pytest.raises(OutputError, match=expected):
            export(exported[0], target, "cpu", progress=False)  # before any work is done
        assert mine.read_text(encoding="utf-8") == "mine"
        assert new.is_dir()


def test_every_key_is_in_the_documents(exported, root: Path) -> None:
    _, bundle, _ = exported
    text = (root / "docs" / "formats.md").read_text(encoding="utf-8")
    values = {
        name: json.loads((bundle / f"{name}.json").read_bytes())
        for name in ("bundle", "golden", "verify")
    }
    report = values["verify"]["variants"]["int8"]
    keys = {key for part in (*values.values(), report, report["check"]) for key in part}
    keys |= set(values["golden"]["messages"][0]) | set(values["bundle"]["made_by"])
    keys |= {entry.key.removeprefix("spam-batch.")
             for entry in onnx.load(bundle / "model.onnx").metadata_props}  # fmt: skip
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def encode(classifier: Classifier, texts: list[str]):
    return classifier.tokenizer.encode_batch(texts, classifier.manifest.max_length)
