"""``spam-export verify`` on bundles that are not what they were: each refusal, and what is left."""

import json
import os
from pathlib import Path

import pytest

import exporter.bundle
from batch.errors import BundleError, InputError, OutOfMemoryError, OutputError
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter import parity
from exporter.verify_bundle import verify_bundle

pytestmark = pytest.mark.parametrize("exported", ["last_token"], indirect=True)


class TestNothingWrong:
    def test_a_lack_of_memory_removes_no_variant(self, copied, monkeypatch, verify_quietly) -> None:
        run, bundle = copied
        before = {path.name: path.read_bytes() for path in bundle.iterdir()}

        def fail(*_):
            raise OutOfMemoryError("out of memory: loading the model")

        monkeypatch.setattr("exporter.verify_bundle.verify_file", fail)
        with pytest.raises(OutOfMemoryError, match=r"^out of memory: loading the model$"):
            verify_quietly(bundle, run)
        assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before

    def test_again(self, copied, verify_quietly, left) -> None:
        run, bundle = copied
        before = open_bundle(bundle)
        results = verify_quietly(bundle, run)
        assert {name: result.problems() for name, result in results.items()} == {
            "fp32": [],
            "int8": [],
        }
        assert left(bundle) == ["fp32", "int8"]
        after = open_bundle(bundle)
        assert after.manifest.variants == before.manifest.variants
        assert after.digest == before.digest  # though the speeds are others
        report = json.loads((bundle / "verify.json").read_bytes())
        report["machine"]["versions"]["onnxruntime"] = "1.0"
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        verify_quietly(bundle, run)
        again = open_bundle(bundle)
        assert again.digest != before.digest and left(bundle) == ["fp32", "int8"]
        for name, entry in before.manifest.files.items():
            assert name == "verify.json" or again.manifest.files[name] == entry
        assert Classifier.load(bundle, "cpu", 1).classify(["ok"]).labels

    def test_a_run_that_starts_at_any_moment_finds_a_bundle(
        self, copied, write_hashes_anew, monkeypatch, change_weight, verify_quietly, left
    ) -> None:
        """It is opened and loaded before and after each call that writes, renames or removes."""
        run, bundle = copied
        report = json.loads((bundle / "verify.json").read_bytes())
        report["machine"]["versions"]["onnxruntime"] = "1.0"
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        change_weight(bundle / "model.int8.onnx", "score.bias", lambda values: values + 9)
        write_hashes_anew(bundle)
        before, digests = open_bundle(bundle), []

        def watch(module: object, name: str) -> None:
            real = getattr(module, name)

            def call(*args, **options):
                digests.append(load())
                try:
                    return real(*args, **options)
                finally:
                    digests.append(load())

            monkeypatch.setattr(module, name, call)

        def load() -> str:
            return Classifier.load(bundle, "cpu", 1).bundle.digest

        for name in ("replace", "rename", "unlink", "rmdir"):
            watch(os, name)
        watch(Path, "unlink")
        watch(Path, "rmdir")
        watch(Path, "write_text")
        watch(exporter.bundle, "exchange")
        assert verify_quietly(bundle, run)["int8"].problems()
        monkeypatch.undo()
        after = open_bundle(bundle)
        assert list(after.manifest.variants) == ["fp32"] and left(bundle) == ["fp32"]
        assert len(digests) > 10 and set(digests) == {before.digest, after.digest}
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_a_bundle_that_cannot_be_replaced_is_as_it_was(
        self, copied, monkeypatch, verify_quietly
    ) -> None:
        run, bundle = copied
        (bundle / "verify.json").write_text("{", encoding="utf-8")

        def fail(*_):
            raise OSError(16, "Device or resource busy")

        monkeypatch.setattr("exporter.verify_bundle.swap_folders", fail)
        with pytest.raises(OutputError) as caught:
            verify_quietly(bundle, run)
        assert str(caught.value) == (
            f"cannot replace {bundle}: Device or resource busy; copy the bundle to another folder, "
            "and verify it there"
        )
        assert (bundle / "verify.json").read_text(encoding="utf-8") == "{"
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_a_run_that_was_killed_before_its_last_step_is_mended(
        self, copied, verify_quietly, left
    ) -> None:
        run, bundle = copied
        (bundle / "verify.json").write_text("{", encoding="utf-8")
        assert verify_quietly(bundle, run)["fp32"].problems() == []
        assert left(bundle) == ["fp32", "int8"]

    def test_what_was_kept_in_fp32_stays_on_record(
        self, copied, write_hashes_anew, verify_quietly
    ) -> None:
        run, bundle = copied
        report = json.loads((bundle / "verify.json").read_bytes())
        report["variants"]["int8"]["kept_fp32"] = ["h.0.mlp.c_fc"]
        (bundle / "verify.json").write_text(json.dumps(report), encoding="utf-8")
        write_hashes_anew(bundle)
        assert verify_quietly(bundle, run)["int8"].verified.kept_fp32 == ["h.0.mlp.c_fc"]

    def test_a_threshold_is_the_users_to_change(
        self, copied, write_hashes_anew, verify_quietly
    ) -> None:
        run, bundle = copied
        write_hashes_anew(bundle, threshold=0.75)
        assert verify_quietly(bundle, run)["fp32"].problems() == []
        assert open_bundle(bundle).manifest.threshold == 0.75

    def test_a_file_that_is_not_listed_is_refused(self, copied, verify_quietly) -> None:
        run, bundle = copied
        (bundle / "notes.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(BundleError) as caught:
            verify_quietly(bundle, run)
        assert str(caught.value) == f"{bundle}: bundle.json does not list notes.txt; remove it"


class TestManifest:
    @pytest.mark.parametrize(
        ("key", "value", "problem"),
        [
            ("pooling", "mean", "pooling 'mean', the run 'last_token'"),
            ("labels", ["spam", "ham"], "labels ['spam', 'ham'], the run ['ham', 'spam']"),
            ("positive_label", "ham", "positive_label 'ham', the run 'spam'"),
            ("temperature", 2.0, "temperature 2.0, the run 1.0"),
            ("max_length", 12, "max_length 12, the run 16"),
            ("fixed_length", True, "fixed_length True, the run False"),
            ("pad_id", 0, "pad_id 0, the run 50256"),
        ],
    )
    def test_its_word(
        self, copied, write_hashes_anew, monkeypatch, key, value, problem, verify_quietly, left
    ) -> None:
        run, bundle = copied
        monkeypatch.setattr(parity, "BATCH_SIZES", (1,))
        write_hashes_anew(bundle, **{key: value})
        results = verify_quietly(bundle, run)
        wanted = [f"bundle.json says {problem}"]
        assert [result.problems() for result in results.values()] == [wanted, wanted]
        assert left(bundle) == []
        for action in (open_bundle, Classifier.load):
            with pytest.raises(BundleError) as error:
                action(bundle)
            assert str(error.value) == (
                f"{bundle}: no variant of this bundle passed its verification; export it again "
                "with: spam-export bundle"
            )

    def test_another_tokenizer(self, copied, write_hashes_anew, verify_quietly) -> None:
        run, bundle = copied
        lines = (bundle / "gpt2.tiktoken").read_bytes().splitlines(keepends=True)
        (bundle / "gpt2.tiktoken").write_bytes(b"".join(lines[:-1]))
        write_hashes_anew(bundle)
        ours, theirs = hash_file(bundle / "gpt2.tiktoken"), hash_file(run / "gpt2.tiktoken")
        problem = f"bundle.json says tokenizer {ours!r}, the run {theirs!r}"
        assert verify_quietly(bundle, run)["fp32"].problems() == [problem]


def test_another_run(copied, tiny_model, write_run_folder, tmp_path: Path, verify_quietly) -> None:
    _, bundle = copied
    other = write_run_folder(tmp_path / "other", tiny_model(seed=1))
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(InputError) as error:
        verify_quietly(bundle, other)
    assert str(error.value) == (
        f"{other} is not the run that {bundle} was made from (its weights differ); "
        "give that run with --run"
    )
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_link_in_the_place_of_the_report_is_not_written_through(copied, tmp_path: Path) -> None:
    run, bundle = copied
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    (bundle / "verify.json").unlink()
    (bundle / "verify.json").symlink_to(tmp_path / "mine")
    verify_bundle(bundle, run, "cpu", progress=False)
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "mine"
    assert not (bundle / "verify.json").is_symlink()
    assert open_bundle(bundle).read_json("verify.json")["variants"]
