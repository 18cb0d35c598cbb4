"""Read a finetuned ``GPT2ForSequenceClassification`` that transformers saved."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from batch.errors import InputError, MissingInputError
from batch.messages import show
from batch.model.tokenizer import PAD_ID
from batch.reading.fingerprint import hash_file
from trainer.huggingface.names import ARCHITECTURE, CONFIG, WEIGHTS
from trainer.huggingface.tokenizer import read_limit, read_object, read_ranks_of
from trainer.model.gpt2 import SIZES, VOCAB_SIZE, GPT2Classifier, ModelConfig
from trainer.model.load_weights import PREFIX, check_shapes, load_trunk, read_safetensors

log = logging.getLogger("trainer")

HEAD = "score.weight"
# Key -> values that mean the computation of GPT-2 as published; the first is the default.
_AS_PUBLISHED: dict[str, tuple] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_COUNTS = ("n_positions", "n_embd", "n_layer", "n_head", "vocab_size")


@dataclass(frozen=True)
class HuggingFaceModel:
    """A folder of transformers, as our model."""

    folder: Path
    labels: list[str]
    model: GPT2Classifier  # in eval mode, on the CPU, fp32
    ranks: bytes  # of a gpt2.tiktoken
    max_length: int  # tokens
    sha256: dict[str, str]  # of config.json and the weights


def read_folder(folder: Path) -> HuggingFaceModel:
    """Read config, weights and tokenizer, and check that our model computes the same.

    Raises:
        MissingInputError: a file is missing.
        InputError: a file is damaged, or says what our model does not compute.
    """
    path = folder / CONFIG
    values = read_object(path)
    labels = _read_labels(path, values)
    config = _read_config(path, values, len(labels))
    pad_id = _read_pad(path, values)
    ranks = read_ranks_of(folder, pad_id)
    model = _read_model(folder, config)
    limit = min(read_limit(folder) or config.context_length, config.context_length)
    hashes = {name: hash_file(folder / name) for name in (CONFIG, WEIGHTS)}
    return HuggingFaceModel(folder, labels, model, ranks, limit, hashes)


def _read_labels(path: Path, values: dict) -> list[str]:
    """The labels in the order of the classes.

    Raises:
        InputError: it is no classifier of GPT-2 that gives one of two or more labels.
    """
    architectures = values.get("architectures")
    architectures = architectures if isinstance(architectures, list) else []
    if values.get("model_type") != "gpt2" or ARCHITECTURE not in architectures:
        raise InputError(
            f"{path}: is not of a {ARCHITECTURE} (model_type {show(str(values.get('model_type')))}"
            f", architectures {show(str(architectures))}); other models cannot be exported"
        )
    if values.get("problem_type") in ("regression", "multi_label_classification"):
        raise InputError(
            f"{path}: problem_type is {values['problem_type']}; only a model that gives each "
            "message one label can be exported"
        )
    names = values.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # transformers' default
    try:
        labels = [names[str(number)] for number in range(len(names))]
        is_good = all(isinstance(label, str) and label for label in labels)
    except (KeyError, TypeError):
        labels, is_good = [], False
    if not is_good or len(labels) < 2 or len(set(labels)) < len(labels):
        raise InputError(
            f"{path}: id2label is not two or more different names with the numbers 0, 1, ...; "
            "write for example: model.config.id2label = {0: 'ham', 1: 'spam'}"
        )
    return labels


def _read_config(path: Path, values: dict, classes: int) -> ModelConfig:
    for key, allowed in _AS_PUBLISHED.items():
        found = values.get(key, allowed[0])
        if found not in allowed:
            raise InputError(f"{path}: {key} is {found!r}, and only {allowed[0]!r} can be exported")
    defaults = {"n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
                "vocab_size": VOCAB_SIZE}  # fmt: skip
    positions, emb_dim, layers, heads, vocabulary = (
        values.get(key, defaults[key]) for key in _COUNTS
    )
    for key, found in zip(_COUNTS, (positions, emb_dim, layers, heads, vocabulary), strict=True):
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise InputError(f"{path}: {key} is {found!r}, expected a number from 1 on")
    if values.get("n_inner") not in (None, 4 * emb_dim):
        raise InputError(
            f"{path}: n_inner is {values['n_inner']!r}, and only {4 * emb_dim} (4 * n_embd) can be "
            "exported"
        )
    if emb_dim % heads:
        raise InputError(f"{path}: n_embd {emb_dim} cannot be divided by n_head {heads}")
    if vocabulary < VOCAB_SIZE:
        raise InputError(
            f"{path}: vocab_size is {vocabulary:,}, and GPT-2's tokenizer has {VOCAB_SIZE:,} tokens"
        )
    shape = (emb_dim, layers, heads)
    sizes = {(size.emb_dim, size.layers, size.heads): name for name, size in SIZES.items()}
    return ModelConfig(
        sizes.get(shape, "custom"), emb_dim, layers, heads, classes, context_length=positions
    )


def _read_pad(path: Path, values: dict) -> int | None:
    """The pad that the model skips; None: it reads the last token whatever it is.

    transformers reads the last token that is not the pad. A text never has <|endoftext|> nor a
    token added behind it, so with these the token that is read is the last real one, as ours.

    Raises:
        InputError: the pad is a token that a text can have.
    """
    pad = values.get("pad_token_id")
    if pad is None or (isinstance(pad, int) and pad >= PAD_ID):
        return pad
    raise InputError(
        f"{path}: pad_token_id is {pad!r}, a token that messages may end in, and the model would "
        f"read such a message before its end; set it to {PAD_ID} if that was not meant"
    )


def _read_model(folder: Path, config: ModelConfig) -> GPT2Classifier:
    path = folder / WEIGHTS
    if not path.exists():
        raise MissingInputError(
            f"{folder} has no {WEIGHTS}; save the model again in one such file: "
            "model.save_pretrained(FOLDER, max_shard_size='100GB')"
        )
    tensors = read_safetensors(path)
    head = tensors.pop(HEAD, None)
    expected = (config.classes, config.emb_dim)
    if head is None:
        raise InputError(f"{path} does not fit the model: missing {HEAD}")
    check_shapes({HEAD: expected}, {HEAD: tuple(head.shape)}, str(path))
    for name in ("wte.weight", PREFIX + "wte.weight"):
        if name in tensors:  # rows behind GPT-2's are of tokens that a text never has
            tensors[name] = tensors[name][:VOCAB_SIZE]
    model = GPT2Classifier(config)
    load_trunk(model.transformer, tensors, str(path))
    with torch.no_grad():
        model.score.weight.copy_(head)
        model.score.bias.zero_()
    if not model.score.weight.isfinite().all():
        raise InputError(f"{path} is damaged: {HEAD} holds values that are not finite")
    return model.requires_grad_(False).eval()
