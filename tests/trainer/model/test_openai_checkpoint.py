"""OpenAI's checkpoint, written here by tensorflow itself, read by ours."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.errors import InputError, MissingInputError, UnavailableError
from trainer.model.gpt2 import SIZES, GPT2Trunk, ModelConfig
from trainer.model.load_weights import load_trunk
from trainer.model.openai_checkpoint import (
    _quiet_stderr,
    openai_name,
    read_openai_checkpoint,
    read_openai_config,
)

ROOT = Path(__file__).parents[3]
HPARAMS = {"n_vocab": 64, "n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2}
TINY = ModelConfig("custom", emb_dim=16, layers=2, heads=2, vocab_size=64, context_length=32)


@pytest.fixture(scope="module")
def tf():
    with _quiet_stderr():
        return pytest.importorskip("tensorflow", reason="tensorflow writes the checkpoints")


def openai_tensors():
    """Distinct random arrays under the names and shapes of OpenAI's ``src/model.py``."""
    shapes = {"model/wte": (64, 16), "model/wpe": (32, 16)}
    for block in ("model/h0", "model/h1"):
        for layer, (n_in, n_out) in {
            "attn/c_attn": (16, 48),
            "attn/c_proj": (16, 16),
            "mlp/c_fc": (16, 64),
            "mlp/c_proj": (64, 16),
        }.items():
            shapes |= {f"{block}/{layer}/w": (1, n_in, n_out), f"{block}/{layer}/b": (n_out,)}
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}/{norm}/g": (16,), f"{block}/{norm}/b": (16,)}
    shapes |= {"model/ln_f/g": (16,), "model/ln_f/b": (16,)}
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()}


def write_checkpoint(tf, folder, tensors, hparams=HPARAMS):
    """As OpenAI's: a Saver over the variables of a graph, and ``hparams.json`` beside it."""
    v1 = tf.compat.v1
    folder.mkdir(parents=True)
    (folder / "hparams.json").write_text(json.dumps(hparams))
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in tensors.items():
            v1.get_variable(name, initializer=array, use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"))
    return folder


@pytest.fixture(scope="module")
def written(tf, tmp_path_factory):
    return write_checkpoint(tf, tmp_path_factory.mktemp("openai") / "tiny", openai_tensors())


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "tiny")


def message_of(error_type, folder):
    with pytest.raises(error_type) as error:
        read_openai_checkpoint(folder)
    return str(error.value)


def test_every_tensor_lands_where_it_belongs(folder):
    trunk = GPT2Trunk(read_openai_config(folder))
    load_trunk(trunk, read_openai_checkpoint(folder))

    ours = trunk.state_dict()
    theirs = openai_tensors()
    assert {openai_name(name) for name in ours} == set(theirs)
    for name, weight in ours.items():
        array = theirs[openai_name(name)]
        if openai_name(name).endswith("/w"):
            array = array[0].T  # (1, in, out) -> (out, in)
        assert np.array_equal(weight.numpy(), array), name


def test_names_are_those_of_openai():
    assert [openai_name(name) for name in ("wte.weight", "wpe.weight", "ln_f.weight")] == [
        "model/wte",
        "model/wpe",
        "model/ln_f/g",
    ]
    assert openai_name("h.11.ln_2.bias") == "model/h11/ln_2/b"
    assert openai_name("h.11.mlp.c_proj.weight") == "model/h11/mlp/c_proj/w"


def test_half_precision_is_widened(tf, tmp_path):
    halves = {name: array.astype("float16") for name, array in openai_tensors().items()}
    weights = read_openai_checkpoint(write_checkpoint(tf, tmp_path / "half", halves))
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert np.array_equal(weights["wte.weight"], halves["model/wte"].astype("float32"))


@pytest.mark.parametrize("name", ["/elsewhere/models/tiny/model.ckpt", r"C:\\gpt2\\model.ckpt"])
def test_a_path_inside_the_checkpoint_file_is_not_followed(written, folder, name):
    # The file that the path does name is whole; ours is cut, and ours must be read.
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    assert len(read_openai_checkpoint(folder)) == 28
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{written}/model.ckpt"\n')
    (folder / "model.ckpt.data-00000-of-00001").write_bytes(b"")
    assert message_of(InputError, folder) == (
        f"{folder}/model.ckpt is damaged: tensorflow cannot read it; fetch it again"
    )


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_damaged_file(folder, suffix):
    path = folder / f"model.ckpt.{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert message_of(InputError, folder) == (
        f"{folder}/model.ckpt is damaged: tensorflow cannot read it; fetch it again"
    )


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        (["model/h1/ln_2/b", "model/wpe"], {}, "missing model/wpe, model/h1/ln_2/b"),
        (
            [],
            {"global_step": np.int64(3), "model/h0/ln_1/g/Adam": np.ones(16, "float32")},
            "surplus global_step, model/h0/ln_1/g/Adam",
        ),
        (
            ["model/h0/attn/c_attn/w"],
            {"model/h0/attn/c_attn/w": np.ones((16, 48), "float32")},
            "model/h0/attn/c_attn/w has shape (16, 48), expected (1, 16, 48)",
        ),
    ],
)
def test_names_and_shapes_are_checked(tf, tmp_path, drop, add, message):
    tensors = {n: t for n, t in openai_tensors().items() if n not in drop} | add
    folder = write_checkpoint(tf, tmp_path / "tiny", tensors)
    assert (
        message_of(InputError, folder) == f"{folder}/model.ckpt does not fit the model: {message}"
    )


def test_integers_are_no_weights(tf, tmp_path):
    tensors = openai_tensors() | {"model/ln_f/b": np.ones(16, "int32")}
    folder = write_checkpoint(tf, tmp_path / "tiny", tensors)
    assert message_of(InputError, folder) == (
        f"{folder}/model.ckpt is damaged: model/ln_f/b has dtype int32, expected floats"
    )


def test_a_number_that_is_not_finite_is_found_when_loading(tf, tmp_path):
    tensors = openai_tensors()
    tensors["model/h1/mlp/c_fc/w"][0, 2, 3] = np.nan
    weights = read_openai_checkpoint(write_checkpoint(tf, tmp_path / "tiny", tensors))
    with pytest.raises(InputError) as error:
        load_trunk(GPT2Trunk(TINY), weights)
    assert str(error.value) == (
        "checkpoint is damaged: h.1.mlp.c_fc.weight holds 1 of 1024 values that are not finite"
    )


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [("n_layer", 12, 2), ("n_vocab", 50257, 64), ("n_embd", 768, 16), ("n_ctx", 1024, 32)],
)
def test_hparams_that_contradict_the_tensors(folder, key, value, found):
    (folder / "hparams.json").write_text(json.dumps(HPARAMS | {key: value}))
    assert message_of(InputError, folder) == (
        f"{folder} contradicts itself: hparams.json says {key} {value}, the tensors say {found}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "is not JSON: Expecting property name enclosed in double quotes:"
            " line 1 column 2 (char 1)",
        ),
        ("[]", "has n_vocab None, expected a positive integer"),
        ('{"n_vocab": "64"}', "has n_vocab '64', expected a positive integer"),
        (json.dumps(HPARAMS | {"n_head": 0}), "has n_head 0, expected a positive integer"),
        (json.dumps(HPARAMS | {"n_layer": True}), "has n_layer True, expected a positive integer"),
        (json.dumps(HPARAMS | {"n_head": 3}), "has emb_dim 16, which 3 heads do not divide"),
    ],
)
def test_hparams_that_are_wrong(tmp_path, text, message):
    (tmp_path / "hparams.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_openai_config(tmp_path)
    assert str(error.value) == f"{tmp_path}/hparams.json {message}"


def test_hparams_of_124m_are_gpt2_small(tmp_path):
    hparams = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
    (tmp_path / "hparams.json").write_text(json.dumps(hparams))
    assert read_openai_config(tmp_path) == SIZES["gpt2-small"]
    (tmp_path / "hparams.json").write_text(json.dumps(hparams | {"n_head": 6}))
    assert read_openai_config(tmp_path) == replace(SIZES["gpt2-small"], size="custom", heads=6)


def fake_checkpoint(folder):
    """Everything that is looked at before tensorflow is needed."""
    (folder / "hparams.json").write_text(json.dumps(HPARAMS))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    for suffix in ("index", "data-00000-of-00001"):
        (folder / f"model.ckpt.{suffix}").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "name", ["hparams.json", "checkpoint", "model.ckpt.index", "model.ckpt.data-00000-of-00001"]
)
def test_a_file_that_is_missing(tmp_path, name):
    (fake_checkpoint(tmp_path) / name).unlink()
    assert message_of(MissingInputError, tmp_path) == (
        f"{tmp_path / name} is missing; OpenAI's checkpoint is a folder of checkpoint,"
        " hparams.json and model.ckpt.*"
    )


@pytest.mark.parametrize("text", ["", 'model_checkpoint_path: ""', 'model_checkpoint_path: "a/.."'])
def test_a_checkpoint_file_that_names_nothing(tmp_path, text):
    (fake_checkpoint(tmp_path) / "checkpoint").write_text(text)
    assert message_of(InputError, tmp_path) == (
        f'{tmp_path}/checkpoint names no checkpoint, expected model_checkpoint_path: "..."'
    )


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b"])
def test_a_path_that_tensorflow_takes_for_a_pattern(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    assert message_of(InputError, fake_checkpoint(folder)) == (
        f"{folder} cannot be opened by tensorflow, expected a path without * ? [ \\;"
        " move the folder"
    )


def test_files_that_cannot_be_read(tmp_path):
    (fake_checkpoint(tmp_path) / "checkpoint").write_bytes(b"\xff")
    assert message_of(InputError, tmp_path) == f"{tmp_path}/checkpoint is damaged: it is not text"
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoint").mkdir()
    assert message_of(MissingInputError, tmp_path) == (
        f"{tmp_path}/checkpoint cannot be read: Is a directory"
    )


def test_tensorflow_that_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert message_of(UnavailableError, fake_checkpoint(tmp_path)) == (
        "OpenAI's checkpoint can be read only with tensorflow (import of tensorflow halted;"
        " None in sys.modules); type: pip install 'spam-batch[openai]'"
    )


def test_triton_is_loaded_before_tensorflow(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr("trainer.model.openai_checkpoint.import_module", loaded.append)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message_of(UnavailableError, fake_checkpoint(tmp_path))
    assert loaded == ["triton"]


def test_what_is_hushed_is_shown_on_an_error(capfd):
    # As C++ writes: to the descriptor. pytest has put sys.stderr elsewhere.
    with _quiet_stderr():
        os.write(2, b"chatter\n")
    with pytest.raises(ZeroDivisionError), _quiet_stderr():
        os.write(2, b"the cause\n")
        _ = 1 / 0
    assert capfd.readouterr().err == "the cause\n"


def test_tensorflow_is_silent_and_imported_only_to_read(folder):
    code = (
        "import sys, trainer.model.openai_checkpoint as o; assert 'tensorflow' not in sys.modules;"
        f"print(len(o.read_openai_checkpoint({str(folder)!r})))"
    )
    ours = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, "28\n", "")
