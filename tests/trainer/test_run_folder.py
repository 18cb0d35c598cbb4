"""The run folder: what is written is read back, and what is not ours is refused."""

import json
import os
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from batch.errors import InputError, MissingInputError, OutputError
from batch.model.decision import Decision
from batch.reading.fingerprint import hash_file
from batch.version import __version__
from trainer.data.tensors import pad_messages
from trainer.model.gpt2 import GPT2Classifier
from trainer.recipe import RECIPES
from trainer.run_folder import (
    RunConfig,
    begin_run,
    check_result,
    check_state_dict,
    package_versions,
    read_config,
    read_decision,
    read_model,
    read_tokenizer,
    save_state_dict,
    write_json,
    write_run,
)


def config_of(model: GPT2Classifier, **changes) -> RunConfig:
    config = RunConfig(
        model=model.config.to_dict(),
        recipe=RECIPES["default"].to_dict(),
        labels=["Spaß", "spam"],
        positive_label="spam",
        max_length=16,
        weights={"kind": "random", "origin": "random", "sha256": {}, "statement": "random."},
        data={"name": "d", "origin": "o", "sha256": "s", "rows": 1, "is_partial": False},
        tokenizer_sha256="t",
        device="cpu",
        versions={"torch": "2"},
    )
    return replace(config, **changes)


@pytest.fixture
def model(tiny_model) -> GPT2Classifier:
    return tiny_model(vocab_size=8, remapped=True)


@pytest.fixture
def folder(tmp_path: Path, model: GPT2Classifier, bpe_file: Path) -> Path:
    write_run(tmp_path, config_of(model), model, {"accuracy": {"test": 0.5}}, bpe_file)
    return tmp_path


def same_weights(ours: GPT2Classifier, theirs: GPT2Classifier) -> bool:
    ids = pad_messages([[1, 2, 3], []], 5)
    return torch.equal(ours(ids), theirs(ids)) and all(
        torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items()
    )


def test_round_trip(folder: Path, model: GPT2Classifier, tokenizer, bpe_file: Path) -> None:
    config = read_config(folder)
    assert config == config_of(model)
    assert config.model_config == model.config
    read = read_model(folder, config)
    assert not read.training
    assert same_weights(read, model)
    assert read_tokenizer(folder).encode("Do you have time") == [5211, 345, 423, 640]
    assert json.loads((folder / "metrics.json").read_bytes()) == {"accuracy": {"test": 0.5}}
    assert '"Spaß"' in (folder / "config.json").read_text(encoding="utf-8")
    assert hash_file(folder / "gpt2.tiktoken") == hash_file(bpe_file)


def test_weights_are_safetensors_of_every_tensor(folder: Path, model: GPT2Classifier) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == set(model.state_dict())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}


def test_package_versions() -> None:
    versions = package_versions("torch", "no-such-package")
    assert versions["torch"] == version("torch")  # torch.__version__ may add a "+cu130"
    assert torch.__version__.startswith(versions["torch"])
    assert versions["spam-batch"] == __version__
    assert versions["no-such-package"] == "not installed"


class TestRefusals:
    def test_no_run_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError) as caught:
            read_config(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path} is not a run folder (it has no config.json); make one with: spam-train fit"
        )

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda values: "{",
                "not the config.json of a run: Expecting property name enclosed in double quotes: "
                "line 1 column 2 (char 1)",
            ),
            (lambda values: json.dumps({**values, "format": 2}), "format 2, this version reads 1"),
            (
                lambda values: json.dumps({**values, "new": 1}),
                "not the config.json of a run: RunConfig.__init__() got an unexpected keyword "
                "argument 'new'",
            ),
            (
                lambda values: "[]",
                "not the config.json of a run: it holds a list, expected an object",
            ),
            *(
                (
                    lambda values, change=change: json.dumps({**values, **change}),
                    f"not the config.json of a run: {next(iter(change))} is not valid",
                )
                for change in (
                    {"weights": {}},
                    {"recipe": "default"},
                    {"data": None},
                    {"labels": "ab"},
                    {"labels": ["a"]},
                    {"positive_label": "eggs"},
                    {"max_length": "9"},
                    {"unsure_band": 1},
                )
            ),
            (
                lambda values: "[" * 100_000,
                "not the config.json of a run: maximum recursion depth exceeded while decoding a "
                "JSON array from a unicode string",
            ),
        ],
    )
    def test_bad_config(self, folder: Path, change, reason: str) -> None:
        path = folder / "config.json"
        path.write_text(change(json.loads(path.read_bytes())), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            read_config(folder)
        assert str(caught.value) == f"{path}: {reason}"

    def test_bad_model(self, folder: Path, model: GPT2Classifier) -> None:
        path, config = folder / "config.json", replace(config_of(model), model={"size": "a"})
        with pytest.raises(InputError) as caught:
            read_model(folder, config)
        assert str(caught.value) == (
            f"{path}: model is not valid: ModelConfig.__init__() missing 3 required positional "
            "arguments: 'emb_dim', 'layers', and 'heads'"
        )

    def test_weights_of_another_model(self, folder: Path, tiny_model) -> None:
        config = config_of(tiny_model(vocab_size=8, remapped=True, classes=3))
        with pytest.raises(InputError) as caught:
            read_model(folder, config)
        assert str(caught.value) == (
            f"{folder / 'model.safetensors'}: Error(s) in loading state_dict for GPT2Classifier: "
            "size mismatch for score.weight: copying a param with shape torch.Size([2, 16]) from "
            "checkpoint, the shape in current model is torch.Size([3, 16])."
        )

    def test_weights_missing_and_damaged(self, folder: Path) -> None:
        config, path = read_config(folder), folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match="^" + str(path) + ": Error while deserializing"):
            read_model(folder, config)
        path.unlink()
        with pytest.raises(InputError, match="^" + str(path) + ": No such file or directory"):
            read_model(folder, config)


def test_pth_round_trip(tmp_path: Path, model: GPT2Classifier, tiny_model) -> None:
    path = tmp_path / "review_classifier.pth"
    save_state_dict(model, path)
    other = tiny_model(vocab_size=8, remapped=True, seed=1)
    assert not same_weights(other, model)
    other.load_state_dict(torch.load(path, weights_only=True))
    assert same_weights(other, model)


def test_decision_of_an_old_run(folder: Path) -> None:
    decision = read_decision(folder, read_config(folder))
    assert decision == Decision(["Spaß", "spam"], "spam", threshold=0.5, temperature=1.0)


def test_config_is_plain_json(model: GPT2Classifier) -> None:
    values = asdict(config_of(model))
    assert RunConfig(**json.loads(json.dumps(values))) == config_of(model)


def test_a_run_that_is_being_written_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    begin_run(tmp_path)
    with pytest.raises(MissingInputError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a run folder (it has no config.json); make one with: spam-train fit"
    )
    begin_run(tmp_path)  # nothing to do is no error


def test_a_pth_replaces_nothing_but_a_classifiers(model: GPT2Classifier, tmp_path: Path) -> None:
    path, mine = tmp_path / "spam.pth", tmp_path / "mine.csv"
    mine.write_text("mine")
    for _ in range(2):  # the second replaces the first
        save_state_dict(model, path)
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pth")
    before = (tmp_path / "other.pth").read_bytes()
    for name in ("mine.csv", "other.pth"):
        with pytest.raises(OutputError) as caught:
            save_state_dict(model, tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name} is not a classifier's state dict; it was left as it is; give "
            "another --pth"
        )
    assert (mine.read_text(), (tmp_path / "other.pth").read_bytes()) == ("mine", before)
    with pytest.raises(OutputError) as caught:
        check_state_dict(tmp_path / "run" / ".." / "run" / "spam.pth", tmp_path / "run")
    missing = f"the folder {tmp_path / 'run'} does not exist; make it first"
    assert str(caught.value) == missing
    (tmp_path / "run").mkdir()
    with pytest.raises(OutputError) as caught:
        check_state_dict(tmp_path / "run" / "spam.pth", tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'spam.pth'} lies in the run folder {tmp_path / 'run'}; give another "
        "--pth"
    )


@pytest.mark.parametrize("text", ["label,text\n", "[1]", '{"rows": [], "mine": 1}'])
def test_a_result_replaces_nothing_but_a_result(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    for before in (None, "", '{"rows": [], "seeds": []}'):
        if before is not None:
            path.write_text(before)
        assert check_result(path, ("seeds", "rows"), "--json") == path.resolve()
    path.write_text(text)
    with pytest.raises(OutputError) as caught:
        check_result(path, ("seeds", "rows"), "--json")
    assert str(caught.value) == (
        f"{path} is not a result of this command; it was left as it is; give another --json"
    )
    assert path.read_text() == text


def test_json_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "metrics.json").symlink_to("mine")
    write_json(tmp_path / "metrics.json", {"a": 1})
    assert (tmp_path / "mine").read_text() == "mine"
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"a": 1}


def test_what_a_killed_run_left_of_a_pth(tiny_model, tmp_path: Path) -> None:
    """A young one may be of a run that is saving now; a link, or another name, is not ours."""
    old, young = (tmp_path / f".a.pth.{digit * 16}.part" for digit in "01")
    others = [tmp_path / f".b.pth.{'0' * 16}.part", tmp_path / ".a.pth.part"]
    for path in (old, young, *others):
        path.write_bytes(b"x")
        if path != young:
            os.utime(path, (0, 0))
    link = tmp_path / f".a.pth.{'2' * 16}.part"
    link.symlink_to(others[0])
    save_state_dict(tiny_model(), tmp_path / "a.pth")
    assert sorted(tmp_path.iterdir()) == sorted([young, link, *others, tmp_path / "a.pth"])
