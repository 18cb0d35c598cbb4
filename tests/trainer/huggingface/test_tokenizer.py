"""The tokenizer's files of a transformers folder must be GPT-2's."""

import json
from pathlib import Path

import pytest

from batch.errors import InputError, MissingInputError
from trainer.fetch.bpe_files import split_ranks
from trainer.huggingface.tokenizer import read_limit, read_ranks_of


@pytest.fixture(scope="module")
def files(bpe_file) -> tuple[bytes, bytes]:
    """(merges.txt, vocab.json)"""
    return split_ranks(bpe_file.read_bytes())


@pytest.fixture
def folder(files, tmp_path) -> Path:
    (tmp_path / "merges.txt").write_bytes(files[0])
    (tmp_path / "vocab.json").write_bytes(files[1])
    return tmp_path


@pytest.fixture
def whole(files, tmp_path) -> dict:
    """The contents of a tokenizer.json as transformers writes it."""
    merges = files[0].decode().splitlines()[1:]
    return {
        "added_tokens": [{"id": 50256, "content": "<|endoftext|>"}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": json.loads(files[1]), "merges": merges},
    }


def write(folder: Path, name: str, values: dict) -> None:
    (folder / name).write_text(json.dumps(values))


def refused(folder: Path, pad_id: int | None = None) -> str:
    with pytest.raises(InputError) as error:
        read_ranks_of(folder, pad_id)
    return str(error.value)


def test_vocab_and_merges(folder, bpe_file):
    assert read_ranks_of(folder, None) == bpe_file.read_bytes()


@pytest.mark.parametrize("pairs", [False, True])  # transformers 4.45 began to write pairs
def test_one_file(whole, tmp_path, bpe_file, pairs):
    if pairs:
        whole["model"]["merges"] = [merge.split(" ") for merge in whole["model"]["merges"]]
    write(tmp_path, "tokenizer.json", whole)
    assert read_ranks_of(tmp_path, None) == bpe_file.read_bytes()


def test_what_transformers_saves(folder, bpe_file, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = transformers.GPT2TokenizerFast(
        str(folder / "vocab.json"), str(folder / "merges.txt")
    )
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path / "saved")
    assert read_ranks_of(tmp_path / "saved", 50257) == bpe_file.read_bytes()
    assert refused(tmp_path / "saved", 50256) == (
        f"{tmp_path / 'saved'}: the tokenizer has a token of its own, '[PAD]', which GPT-2's has "
        "not; only a pad may be added"
    )


def test_refuses_missing_files(tmp_path):
    with pytest.raises(MissingInputError) as error:
        read_ranks_of(tmp_path, None)
    assert str(error.value) == (
        f"{tmp_path} has neither tokenizer.json nor vocab.json and merges.txt; save the tokenizer "
        "there, too: tokenizer.save_pretrained(FOLDER)"
    )


def test_refuses_another_vocabulary(folder, whole, tmp_path):
    lines = (folder / "merges.txt").read_bytes().splitlines(keepends=True)
    (folder / "merges.txt").write_bytes(b"".join(lines[:-1]))
    message = "is not GPT-2's tokenizer; only a model with that is exported"
    assert refused(folder) == f"{folder / 'vocab.json'}: {message}"
    whole["model"]["vocab"] = {"a": 0}
    write(tmp_path, "tokenizer.json", whole)
    assert refused(tmp_path) == f"{tmp_path / 'tokenizer.json'}: {message}"
    write(tmp_path, "tokenizer.json", {"model": {"type": "Unigram"}})
    assert refused(tmp_path) == f"{tmp_path / 'tokenizer.json'}: is not a tokenizer of byte pairs"


SETTINGS = {
    "puts a space before each message (add_prefix_space)": {"add_prefix_space": True},
    "puts a token before each message (add_bos_token)": {"add_bos_token": True},
    "keeps the end of a long message (truncation_side)": {"truncation_side": "left"},
}
STEPS = {
    "puts a space before each message (add_prefix_space)": {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}
    },
    "changes the characters of a message (normalizer)": {"normalizer": {"type": "Lowercase"}},
    "cuts a message into other words (pre_tokenizer)": {"pre_tokenizer": {"type": "Digits"}},
    "puts tokens around each message (post_processor)": {
        "post_processor": {"type": "TemplateProcessing"}
    },
}


@pytest.mark.parametrize("what", SETTINGS)
def test_refuses_a_setting(what, folder):
    write(folder, "tokenizer_config.json", SETTINGS[what])
    assert refused(folder) == f"{folder}: the tokenizer {what}, which GPT-2's does not"


@pytest.mark.parametrize("what", STEPS)
def test_refuses_a_step(what, whole, tmp_path):
    write(tmp_path, "tokenizer.json", whole | STEPS[what])
    assert refused(tmp_path) == f"{tmp_path}: the tokenizer {what}, which GPT-2's does not"


def test_refuses_one_that_cuts_no_words(whole, tmp_path):
    steps = {"type": "ByteLevel", "use_regex": False}
    write(tmp_path, "tokenizer.json", whole | {"pre_tokenizer": steps})
    what = "cuts a message into other words (pre_tokenizer)"
    assert refused(tmp_path) == f"{tmp_path}: the tokenizer {what}, which GPT-2's does not"


@pytest.mark.parametrize("key", ["pre_tokenizer", "post_processor"])
def test_refuses_a_step_that_is_no_object(key, whole, tmp_path):
    write(tmp_path, "tokenizer.json", whole | {key: ["x"]})
    assert refused(tmp_path) == f"{tmp_path}: is not a tokenizer of byte pairs"


def test_refuses_a_damaged_list_of_added_tokens(whole, tmp_path):
    write(tmp_path, "tokenizer.json", whole | {"added_tokens": ["x"]})
    message = "the list of the tokenizer's added tokens is damaged"
    assert refused(tmp_path) == f"{tmp_path}: {message}"


@pytest.mark.parametrize(("value", "limit"), [(128, 128), (10**30, None), ("x", None), (0, None)])
def test_limit(tmp_path, value, limit):
    write(tmp_path, "tokenizer_config.json", {"model_max_length": value})
    assert read_limit(tmp_path) == limit
