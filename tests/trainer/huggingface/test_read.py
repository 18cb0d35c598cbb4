"""A folder of transformers is read as our model; what it cannot compute is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from batch.errors import InputError, MissingInputError
from batch.model.tokenizer import PAD_ID
from trainer.huggingface.compare import largest_difference, transformers_logits
from trainer.huggingface.read import read_folder
from trainer.huggingface.write import to_huggingface


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_model, write_run_folder) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    run = write_run_folder(folder / "run", tiny_model(classes=3))
    to_huggingface(run, folder / "hf")
    return folder / "hf"


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    (tmp_path / "hf").mkdir()
    for path in source.iterdir():
        (tmp_path / "hf" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "hf"


def change(path: Path, **values) -> None:
    found = json.loads(path.read_bytes()) | values
    found = {key: value for key, value in found.items() if value is not ...}
    path.write_text(json.dumps(found))


def refused(folder: Path, kind=InputError) -> str:
    with pytest.raises(kind) as error:
        read_folder(folder)
    return str(error.value)


def test_reads_labels_limit_tokenizer_and_hashes(source, bpe_file):
    found = read_folder(source)
    assert found.labels == ["ham", "spam", "zebra"]
    assert found.max_length == 16
    assert found.ranks == bpe_file.read_bytes()
    assert sorted(found.sha256) == ["config.json", "model.safetensors"]
    assert not found.model.score.bias.any()


@pytest.mark.parametrize(("limit", "expected"), [(..., 64), (10**30, 64), (100, 64), (5, 5)])
def test_the_limit_is_the_tokenizers_within_the_models(folder, limit, expected):
    change(folder / "tokenizer_config.json", model_max_length=limit)
    assert read_folder(folder).max_length == expected


@pytest.mark.parametrize("pad", [None, PAD_ID, PAD_ID + 1])
def test_a_pad_that_no_text_has_changes_nothing(folder, source, pad):
    pytest.importorskip("transformers", reason="transformers is not installed")
    change(folder / "config.json", pad_token_id=pad, vocab_size=PAD_ID + 3)
    tensors = load_file(folder / "model.safetensors")
    rows = tensors["transformer.wte.weight"]
    tensors["transformer.wte.weight"] = torch.cat([rows, torch.ones(2, rows.shape[1])])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    sequences = [[40, 50, 60], [], [7]]
    theirs = transformers_logits(folder, sequences)
    model = read_folder(folder).model
    ids = torch.tensor([[40, 50, 60], [PAD_ID] * 3, [7, PAD_ID, PAD_ID]])
    with torch.no_grad():
        worst, _, _ = largest_difference(model(ids).numpy(), theirs)
    assert worst < 1e-4


CONFIGS = {
    "another model": (
        {"model_type": "bert", "architectures": ["BertModel"]},
        "is not of a GPT2ForSequenceClassification (model_type 'bert', architectures "
        "\"['BertModel']\"); other models cannot be exported",
    ),
    "a language model": (
        {"architectures": None},
        "is not of a GPT2ForSequenceClassification (model_type 'gpt2', architectures '[]'); "
        "other models cannot be exported",
    ),
    "several labels": (
        {"problem_type": "multi_label_classification"},
        "problem_type is multi_label_classification; only a model that gives each message one "
        "label can be exported",
    ),
    "one label": (
        {"id2label": {"0": "spam"}},
        "id2label is not two or more different names with the numbers 0, 1, ...; write for "
        "example: model.config.id2label = {0: 'ham', 1: 'spam'}",
    ),
    "relu": (
        {"activation_function": "relu"},
        "activation_function is 'relu', and only 'gelu_new' can be exported",
    ),
    "epsilon": (
        {"layer_norm_epsilon": 1e-6},
        "layer_norm_epsilon is 1e-06, and only 1e-05 can be exported",
    ),
    "inner": ({"n_inner": 17}, "n_inner is 17, and only 64 (4 * n_embd) can be exported"),
    "heads": ({"n_head": 3}, "n_embd 16 cannot be divided by n_head 3"),
    "layers": ({"n_layer": "two"}, "n_layer is 'two', expected a number from 1 on"),
    "vocabulary": (
        {"vocab_size": 100},
        "vocab_size is 100, and GPT-2's tokenizer has 50,257 tokens",
    ),
    "pad": (
        {"pad_token_id": 0},
        "pad_token_id is 0, a token that messages may end in, and the model would read such a "
        "message before its end; set it to 50256 if that was not meant",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_refuses_a_config(name, folder):
    values, message = CONFIGS[name]
    change(folder / "config.json", **values)
    assert refused(folder) == f"{folder / 'config.json'}: {message}"


def test_the_advised_pad_is_taken(folder):
    change(folder / "config.json", pad_token_id=0)
    refused(folder)
    change(folder / "config.json", pad_token_id=50256)
    read_folder(folder)


def test_refuses_what_is_no_folder_of_transformers(tmp_path):
    assert refused(tmp_path, MissingInputError) == (
        f"{tmp_path} has no config.json; give a folder that transformers saved with save_pretrained"
    )
    (tmp_path / "config.json").write_text("[]")
    assert refused(tmp_path) == f"{tmp_path / 'config.json'}: holds a list, expected an object"
    (tmp_path / "config.json").write_text("{")
    assert refused(tmp_path) == f"{tmp_path / 'config.json'}: is not JSON"


def test_refuses_missing_and_damaged_weights(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    head = tensors.pop("score.weight")
    save_file(tensors, path)
    assert refused(folder) == f"{path} does not fit the model: missing score.weight"
    save_file(tensors | {"score.weight": head[:2]}, path)
    assert refused(folder) == (
        f"{path} does not fit the model: score.weight has shape (2, 16), expected (3, 16)"
    )
    save_file(tensors | {"score.weight": head / 0}, path)
    assert refused(folder) == f"{path} is damaged: score.weight holds values that are not finite"
    path.unlink()
    assert refused(folder, MissingInputError) == (
        f"{folder} has no model.safetensors; save the model again in one such file: "
        "model.save_pretrained(FOLDER, max_shard_size='100GB')"
    )
