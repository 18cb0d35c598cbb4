"""A model above 2 GB, whose tensors lie in a file of their own."""

import json
import os
import shutil
from pathlib import Path

import pytest

from batch.errors import BundleError
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter.convert import variants
from exporter.verification_set import NASTY_TEXTS, torch_logits


@pytest.fixture(scope="module")
def external(tmp_path_factory, traced, write_run_folder, export_graph) -> Path:
    """A bundle as of a model above 2 GB, with the limit set lower."""
    folder = tmp_path_factory.mktemp("external")
    model, proto = traced()
    run = write_run_folder(folder / "run", model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "EXTERNAL_ABOVE", 100_000)
        export_graph(proto, run, folder / "bundle", "fp32", "int8")
    return folder / "bundle"


class TestExternalData:
    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_labels(self, external: Path, traced, tokenizer, precision: str) -> None:
        name = {"fp32": "model.onnx", "int8": "model.int8.onnx"}[precision]
        entry = json.loads((external / "verify.json").read_bytes())["variants"][precision]
        assert entry["sha256"] == hash_file(external / name)
        assert entry["external_sha256"] == hash_file(external / f"{name}.data")
        assert f"{name}.data" in open_bundle(external).manifest.files
        found = Classifier.load(external, "cpu", 1, precision=precision).classify(NASTY_TEXTS)
        theirs = torch_logits(traced()[0], tokenizer.encode_all(NASTY_TEXTS, 16), 16)
        assert found.labels == [("ham", "spam")[row] for row in theirs.argmax(axis=1)]

    def test_a_flipped_byte(self, external: Path, tmp_path: Path) -> None:
        tensors = external / "model.onnx.data"
        before = tensors.read_bytes()
        data = bytearray(before)
        data[len(data) // 2] ^= 1
        try:
            tensors.write_bytes(data)
            with pytest.raises(BundleError) as error:
                Classifier.load(external, "cpu", 1, precision="fp32")
            said = open_bundle(external).manifest.files[tensors.name].sha256
            assert str(error.value) == (
                f"{tensors}: SHA-256 is {hash_file(tensors)}, bundle.json says {said}"
            )
        finally:
            tensors.write_bytes(before)

    def test_written_to_while_in_use(self, external: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(external, tmp_path / "bundle"))
        tensors = folder / "model.onnx.data"
        loaded = Classifier.load(folder, "cpu", 1, precision="fp32")
        loaded.check_unchanged()
        shutil.rmtree(folder)  # another bundle takes its name
        loaded.check_unchanged()
        shutil.copytree(external, folder)
        loaded = Classifier.load(folder, "cpu", 1, precision="fp32")
        with open(tensors, "r+b") as file:
            file.write(b"x")
        with pytest.raises(BundleError) as error:
            loaded.check_unchanged()
        assert str(error.value) == (
            f"{tensors}: was written to while it was in use, so the labels cannot be trusted; "
            "replace a bundle as a whole, and run again with --restart"
        )

    def test_replaced_while_it_is_loaded(
        self, external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(shutil.copytree(external, tmp_path / "bundle"))
        tensors = folder / "model.onnx.data"

        def replace_file(*_: object) -> None:
            os.rename(shutil.copy(tensors, tmp_path / "same bytes"), tensors)

        monkeypatch.setattr("batch.model.classifier.replay_golden", replace_file)
        with pytest.raises(BundleError) as error:
            Classifier.load(folder, "cpu", 1, precision="fp32")
        assert str(error.value) == f"{tensors}: was replaced while it was loaded; run again"
