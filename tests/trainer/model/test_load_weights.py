"""Published weights against transformers' own GPT-2, and each refusal by its whole text.

What is computed is computed in float64, from weights that are stored in float32.
"""

import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from batch.errors import InputError, MissingInputError
from trainer.model.gpt2 import SIZES, GPT2Classifier, GPT2Trunk, ModelConfig, count_parameters
from trainer.model.load_weights import load_trunk, published_shapes, read_safetensors

TINY = ModelConfig(
    "custom", emb_dim=16, layers=2, heads=2, vocab_size=64, context_length=32, pad_id=63
)
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def transformers():
    os.environ.setdefault("USE_TF", "0")  # it imports tensorflow where there is one: 5 s
    return pytest.importorskip("transformers", reason="transformers is the reference")


def published_tensors(config=TINY, seed=0):
    """Distinct random tensors with the names and shapes that are published."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = published_shapes(GPT2Trunk(config))
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def their_config(transformers, config=TINY, **changes):
    return transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.emb_dim,
        n_layer=config.layers,
        n_head=config.heads,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=config.pad_id,
        **changes,
    )


def randomized(model, seed=0):
    """Every parameter random, norms and biases too, so that no two can be confused."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model.eval()


def token_ids(rows=3, tokens=32, seed=1):
    return torch.randint(0, 63, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def load(path, config=TINY):
    trunk = GPT2Trunk(config).eval()
    load_trunk(trunk, read_safetensors(path))
    return trunk


@torch.no_grad()
def test_hidden_states_and_logits_equal_transformers(transformers, tmp_path):
    model = randomized(transformers.GPT2LMHeadModel(their_config(transformers)))
    model.save_pretrained(tmp_path, safe_serialization=True)
    ids = token_ids()
    theirs = model.double()(ids, output_hidden_states=True)

    trunk = load(tmp_path / "model.safetensors").double()

    ours = trunk(ids)
    torch.testing.assert_close(ours, theirs.hidden_states[-1], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ours @ trunk.wte.weight.T, theirs.logits, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_classification_logits_equal_transformers_on_padded_batches(transformers, tmp_path):
    config = replace(TINY, classes=3)
    model = randomized(
        transformers.GPT2ForSequenceClassification(their_config(transformers, num_labels=3))
    )
    model.save_pretrained(tmp_path, safe_serialization=True)
    ids = token_ids(rows=4)
    lengths = torch.tensor([1, 7, 31, 32])
    ids[torch.arange(32) >= lengths[:, None]] = TINY.pad_id
    theirs = model.double()(ids).logits

    tensors = read_safetensors(tmp_path / "model.safetensors")
    classifier = GPT2Classifier(config).eval()
    classifier.score = torch.nn.Linear(16, 3, bias=False)
    classifier.score.weight.data = tensors.pop("score.weight")
    load_trunk(classifier.transformer, tensors)
    classifier.double()

    torch.testing.assert_close(classifier(ids), theirs, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(classifier.forward_plain(ids), theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_every_tensor_lands_where_it_belongs(tmp_path, prefix):
    tensors = published_tensors()
    save_file({prefix + n: t for n, t in tensors.items()}, tmp_path / "model.safetensors")

    ours = load(tmp_path / "model.safetensors").state_dict()

    assert set(ours) == set(tensors)
    for name, theirs in tensors.items():
        linear = ".c_" in name and name.endswith("weight")
        assert torch.equal(ours[name], theirs.T if linear else theirs), name


def test_masks_and_a_tied_head_are_ignored():
    tensors = published_tensors()
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 32, 32, dtype=torch.uint8)
    tensors["h.1.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    trunk = GPT2Trunk(TINY)
    load_trunk(trunk, tensors)
    assert torch.equal(trunk.wte.weight, tensors["wte.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    tensors = {name: t.to(dtype) for name, t in published_tensors().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    trunk = load(tmp_path / "model.safetensors")
    assert trunk.wte.weight.dtype == torch.float32
    assert torch.equal(trunk.wte.weight, tensors["wte.weight"].float())


@pytest.mark.parametrize(
    ("size", "parameters"),
    [  # of openai-community/gpt2, -medium, -large, -xl
        ("gpt2-small", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_shapes_of_the_four_sizes_are_those_of_transformers(transformers, size, parameters):
    config = SIZES[size]
    with torch.device("meta"):
        trunk = GPT2Trunk(config)
        theirs = transformers.GPT2Model(their_config(transformers, config)).state_dict()
    assert published_shapes(trunk) == {name: tuple(t.shape) for name, t in theirs.items()}
    assert count_parameters(trunk) == parameters


NAN = torch.ones(16)
NAN[3] = float("nan")
NAN[5] = float("-inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"wte.weight": None, "h.1.ln_2.bias": None},
            "gpt2.safetensors does not fit the model: missing wte.weight, h.1.ln_2.bias",
        ),
        (
            {"score.weight": torch.ones(2, 16), "h.0.attn.c_attn.scale": torch.ones(1)},
            "gpt2.safetensors does not fit the model: surplus h.0.attn.c_attn.scale, score.weight",
        ),
        (
            {"ln_f.bias": None, "ln_f.beta": torch.ones(16)},
            "gpt2.safetensors does not fit the model: missing ln_f.bias; surplus ln_f.beta",
        ),
        (
            {"wte.weight": None, "lm_head.weight": torch.ones(64, 16)},
            "gpt2.safetensors does not fit the model: missing wte.weight; surplus lm_head.weight",
        ),
        (
            {"h.0.attn.c_attn.weight": torch.ones(48, 16), "ln_f.bias": torch.ones(1, 16)},
            "gpt2.safetensors does not fit the model: h.0.attn.c_attn.weight has shape (48, 16),"
            " expected (16, 48), ln_f.bias has shape (1, 16), expected (16,)",
        ),
        (
            {"h.1.ln_1.bias": NAN},
            "gpt2.safetensors is damaged: h.1.ln_1.bias holds 2 of 16 values that are not finite",
        ),
        (
            {"ln_f.weight": torch.full((16,), 1e300, dtype=torch.float64)},
            "gpt2.safetensors is damaged: ln_f.weight holds 16 of 16 values that are not finite",
        ),
        (
            {"ln_f.weight": torch.ones(16, dtype=torch.int8)},
            "gpt2.safetensors is damaged: ln_f.weight has dtype int8, expected floats",
        ),
        (
            {"lm_head.weight": torch.ones(64, 16)},
            "gpt2.safetensors does not fit GPT-2: lm_head.weight differs from wte.weight,"
            " expected the same (tied) weights",
        ),
        (
            {"lm_head.weight": published_tensors()["wte.weight"].double()},
            "gpt2.safetensors does not fit GPT-2: lm_head.weight differs from wte.weight,"
            " expected the same (tied) weights",
        ),
        (
            {"transformer.wte.weight": torch.ones(64, 16)},
            "gpt2.safetensors is ambiguous: it holds wte.weight and transformer.wte.weight",
        ),
    ],
)
def test_a_checkpoint_that_is_refused_leaves_the_trunk_alone(change, message):
    tensors = {n: t for n, t in (published_tensors() | change).items() if t is not None}
    trunk = GPT2Trunk(TINY)
    before = {name: t.clone() for name, t in trunk.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_trunk(trunk, tensors, "gpt2.safetensors")
    assert str(error.value) == message
    assert all(torch.equal(t, before[name]) for name, t in trunk.state_dict().items())


def test_a_checkpoint_of_another_size_names_the_first_ten():
    with pytest.raises(InputError) as error:
        load_trunk(GPT2Trunk(TINY), published_tensors(replace(TINY, layers=3)))
    assert str(error.value) == (
        "checkpoint does not fit the model: surplus h.2.attn.c_attn.bias, h.2.attn.c_attn.weight,"
        " h.2.attn.c_proj.bias, h.2.attn.c_proj.weight, h.2.ln_1.bias, h.2.ln_1.weight,"
        " h.2.ln_2.bias, h.2.ln_2.weight, h.2.mlp.c_fc.bias, h.2.mlp.c_fc.weight and 2 more"
    )


def test_files_that_are_no_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(MissingInputError) as error:
        read_safetensors(path)
    assert str(error.value) == f"{path} does not exist; give a model.safetensors"
    with pytest.raises(MissingInputError) as error:
        read_safetensors(tmp_path)
    assert str(error.value) == f"{tmp_path} is a folder; give the model.safetensors inside it"
    save_file(published_tensors(), path)
    whole = path.read_bytes()
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_safetensors(path)
        assert str(error.value) == (
            f"{path} is not a safetensors file, or is cut short; fetch it again"
        )
