"""Write a run as a folder that transformers loads: ``spam-train to-hf``."""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from batch.errors import InputError, InternalError, OutputError
from batch.messages import count
from batch.model.batching import pad_batch
from batch.model.bundle_files import TOKENIZER as RANKS
from batch.model.decision import Decision
from batch.model.tokenizer import PAD_ID
from batch.writing.atomic import making_folder
from trainer.data.sets import read_split
from trainer.fetch.bpe_files import split_ranks
from trainer.huggingface.compare import has_transformers, largest_difference, transformers_logits
from trainer.huggingface.names import (
    ARCHITECTURE,
    CARD,
    CONFIG,
    MERGES,
    TOKENIZER_CONFIG,
    TOLERANCE,
    VOCAB,
    WEIGHTS,
)
from trainer.huggingface.read import read_folder
from trainer.model.gpt2 import GPT2Classifier
from trainer.model.load_weights import PREFIX, is_conv1d
from trainer.report.card import write_card
from trainer.run_folder import (
    RunConfig,
    read_config,
    read_decision,
    read_metrics,
    read_model,
    read_tokenizer,
    write_json,
)

log = logging.getLogger("trainer")

COMPARED = 200  # test messages whose logits are compared, at most
ODD_TEXTS = ("", "ok", "<|endoftext|>", "caf\ufffd", "😀" * 40, "word " * 2000)


@dataclass(frozen=True)
class Written:
    """What was written, and how far its logits are from the run's."""

    folder: Path
    difference: float  # the largest one of a logit
    messages: int  # that were compared
    reader: str  # what read the folder: transformers, or spam-batch


def to_huggingface(run: Path, out: Path) -> Written:
    """Write the classifier of ``run`` to the new folder ``out``.

    The folder gets its name after its logits were compared with the run's.

    Raises:
        InputError: the model cannot be said in that format, or ``run`` is damaged.
        OutputError: ``out`` exists and is not empty, or cannot be made.
        InternalError: the folder gives other logits than the run.
    """
    config, metrics = read_config(run), read_metrics(run)
    decision = read_decision(run, config)
    _check_model(run, config)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} exists; it was left as it is; give another folder")
    model = read_model(run, config)
    out = Path(os.path.realpath(out))
    with making_folder(out.parent):
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        try:
            _write_files(scratch, run, config, model)
            result = _compare(scratch, out, run, config, model)
            write_card(scratch / CARD, config, metrics, _usage(config, decision))
            scratch.chmod(0o777 & ~_umask())
            os.replace(scratch, out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    _warn_of_threshold(decision)
    return result


def _check_model(run: Path, config: RunConfig) -> None:
    """Refuse a model that ``GPT2ForSequenceClassification`` cannot be.

    Raises:
        InputError: why, and with what options to train again.
    """
    model = config.model_config
    if model.second is not None:
        raise InputError(
            f"{run}: its logits are the sum of two models', and transformers' GPT-2 classifier is "
            "one model; train again with: spam-train fit --weights random"
        )
    if model.pooling != "last_token":
        raise InputError(
            f"{run}: its pooling is {model.pooling}, and transformers' GPT-2 classifier reads the "
            "last real token only; train again with: spam-train fit --pooling last_token"
        )
    if not model.causal:
        raise InputError(
            f"{run}: its tokens see those after them, and in transformers' GPT-2 they see only "
            "those before; train again with: spam-train fit --causal"
        )


def _write_files(folder: Path, run: Path, config: RunConfig, model: GPT2Classifier) -> None:
    save_file(published_tensors(model), folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / CONFIG, make_config(config))
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # save_file makes it private
    merges, vocab = split_ranks((run / RANKS).read_bytes())
    (folder / VOCAB).write_bytes(vocab)
    (folder / MERGES).write_bytes(merges)
    write_json(folder / TOKENIZER_CONFIG, {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": config.max_length,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        # A message may contain the text <|endoftext|>; spam-batch reads it as ordinary text.
        "split_special_tokens": True,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
    })  # fmt: skip


def make_config(config: RunConfig) -> dict:
    """The ``config.json`` of transformers for a run."""
    model = config.model_config
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "gpt2",
        "problem_type": "single_label_classification",
        "id2label": {str(number): label for number, label in enumerate(config.labels)},
        "label2id": {label: number for number, label in enumerate(config.labels)},
        "vocab_size": PAD_ID + 1,
        "n_positions": model.context_length,
        "n_embd": model.emb_dim,
        "n_layer": model.layers,
        "n_head": model.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), model.drop_rate),
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), PAD_ID),
        "torch_dtype": "float32",
    }


def published_tensors(model: GPT2Classifier) -> dict[str, Tensor]:
    """The tensors of ``model`` with transformers' names and shapes.

    The starter's embedding has few rows, and a map from ids to them; there each id gets its row.
    transformers' head has no bias: see :func:`move_bias`.

    Raises:
        InputError: the bias cannot be moved.
    """
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    bias = state.pop("score.bias")
    state[PREFIX + "ln_f.bias"] += move_bias(state["score.weight"], bias)
    if (token_map := state.pop(PREFIX + "token_map", None)) is not None:
        state[PREFIX + "wte.weight"] = state[PREFIX + "wte.weight"][token_map]
    return {
        name: (tensor.T if is_conv1d(name) else tensor).contiguous()
        for name, tensor in state.items()
    }


def move_bias(weight: Tensor, bias: Tensor) -> Tensor:
    """What the bias of the last norm needs more so that a head without ``bias`` gives the same.

    The head reads ``n * g + b`` of the last norm. The shortest d with ``W d = bias`` is
    ``pinv(W) bias``, and ``W (n g + b + d) = W (n g + b) + bias``. It exists where the rows of W
    are independent, as those of different classes are.

    Args:
        weight: ``(K, C)``. bias: ``(K,)``. Returns ``(C,)`` float32.

    Raises:
        InputError: the rows of ``weight`` are not independent, so there is no such d.
    """
    wide = weight.double()
    moved = (torch.linalg.pinv(wide) @ bias.double()).float()
    if not torch.allclose(wide @ moved.double(), bias.double(), rtol=0, atol=TOLERANCE / 10):
        raise InputError(
            "the head's bias cannot be said in this format, because transformers' GPT-2 has none "
            "and the weights of the classes depend on each other; train for longer, or with "
            "another --seed"
        )
    return moved


def _compare(
    folder: Path, out: Path, run: Path, config: RunConfig, model: GPT2Classifier
) -> Written:
    """Read the folder back and compare its logits with the run's.

    Raises:
        InternalError: they differ.
    """
    texts = [*read_split(run, "test")["text"][:COMPARED], *ODD_TEXTS]
    sequences = read_tokenizer(run).encode_all(texts, config.max_length)
    ours = _logits_of(model, sequences)
    reader = "transformers" if has_transformers() else "spam-batch"
    if has_transformers():
        theirs = transformers_logits(folder, sequences)
    else:
        theirs = _logits_of(read_folder(folder).model, sequences)
    difference, relative, row = largest_difference(ours, theirs)
    if not relative <= TOLERANCE:
        raise InternalError(
            f"{reader} reads other logits from the folder than the run has: they differ by "
            f"{difference:.3g} (message {row + 1}); nothing was written"
        )
    return Written(out, difference, len(texts), reader)


@torch.no_grad()
def _logits_of(model: GPT2Classifier, sequences: list[list[int]]) -> np.ndarray:
    rows = [
        model(torch.from_numpy(pad_batch([ids], max(1, len(ids)), PAD_ID)))[0] for ids in sequences
    ]
    return torch.stack(rows).numpy()


def _warn_of_threshold(decision: Decision) -> None:
    if decision.has_threshold and decision.threshold != 0.5:
        log.warning(
            "WARNING: this run gives %r from the probability %.4f on; transformers gives the most "
            "probable label, as from 0.5 on, so some labels differ; the card says so",
            decision.positive_label, decision.threshold,
        )  # fmt: skip


def _usage(config: RunConfig, decision: Decision) -> list[str]:
    """The lines of the card on how to use the folder, and in what it differs from a bundle."""
    lines = [
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'classify = pipeline("text-classification", "FOLDER", truncation=True)',
        'classify(["You won a prize! Call now"])',
        "```",
        "",
        "- `truncation=True` cuts a message as in training, to "
        f"{count(config.max_length, 'token')}. Without it longer messages get other logits.",
        "- The logits are those of the run. transformers cannot read an empty message; spam-batch "
        "can.",
    ]
    if decision.temperature != 1:
        lines.append(
            f"- spam-batch divides logits by {decision.temperature:.6g} before the softmax "
            "(calibration on the validation set). transformers does not, so its scores are other "
            "numbers; the most probable label is the same."
        )
    if decision.has_threshold and decision.threshold != 0.5:
        lines.append(
            f"- spam-batch gives `{decision.positive_label}` from the probability "
            f"{decision.threshold:.6g} on. transformers gives the most probable label."
        )
    return lines


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def result_lines(result: Written) -> list[str]:
    """What is printed."""
    return [
        f"largest logit difference {result.difference:.2e} over {count(result.messages, 'message')}"
        f", read by {result.reader}",
        f"folder: {result.folder}",
    ]
