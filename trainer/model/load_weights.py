"""Load published GPT-2 weights, as Hugging Face stores them, into ``GPT2Trunk``.

Names are checked first, then shapes, then values. Nothing is copied before all of them
are right, so a refused checkpoint does not change the trunk.

The published names are the trunk's (``wte.weight``, ``h.0.attn.c_attn.bias``), with or
without the prefix ``transformer.``. The published layers are ``Conv1D``, whose weights
are ``(in, out)``; those of ``nn.Linear`` are ``(out, in)``.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from batch.errors import InputError, MissingInputError
from trainer.model.gpt2 import GPT2Trunk

PREFIX = "transformer."
CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # a buffer, not a weight
NAMES_SHOWN = 10  # in an error; a checkpoint of another size differs in hundreds

Shape = tuple[int, ...]


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a ``model.safetensors``, with the names and dtypes of the file.

    Raises:
        MissingInputError: there is no such file, or it cannot be read.
        InputError: the file is not safetensors, or is cut short.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingInputError(f"{path} is a folder; give the model.safetensors inside it")
    if not path.exists():
        raise MissingInputError(f"{path} does not exist; give a model.safetensors")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a safetensors file, or is cut short; fetch it again"
        ) from error
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror or error}") from error


def load_trunk(trunk: GPT2Trunk, tensors: dict[str, Tensor], source: str = "checkpoint") -> None:
    """Copy published weights into ``trunk``, in place, with the trunk's dtype (float32).

    ``tensors`` has the names and shapes of Hugging Face's GPT-2, in any floating
    dtype: FP16 and BF16 are widened. Causal-mask buffers are ignored, and so is a
    ``lm_head.weight`` equal to ``wte.weight``. Errors call the checkpoint ``source``.

    Raises:
        InputError: a tensor is missing, surplus, of a wrong shape, not of a
            floating dtype, or has a number that is not finite as float32.
    """
    weights = trunk_tensors(tensors, source)
    expected = published_shapes(trunk)
    check_names(expected, weights, source)
    check_shapes(expected, {name: tuple(w.shape) for name, w in weights.items()}, source)
    check_values(weights, source)
    parameters = dict(trunk.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight.T if is_conv1d(name) else weight)


def published_shapes(trunk: GPT2Trunk) -> dict[str, Shape]:
    """Name and published shape of every tensor that a checkpoint for ``trunk`` must have.

    No tensor is allocated, so the trunk may be on the ``meta`` device.
    """
    return {
        name: tuple(reversed(p.shape)) if is_conv1d(name) else tuple(p.shape)
        for name, p in trunk.named_parameters()
    }


def is_conv1d(name: str) -> bool:
    """True if ``name`` is a weight published as ``(in, out)``: c_attn, c_proj, c_fc."""
    return re.search(r"\.c_\w+\.weight$", name) is not None


def trunk_tensors(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """``tensors`` with the trunk's names, without causal masks and the tied head.

    Raises:
        InputError: a name occurs with and without prefix, or the language-model head is not
            equal to ``wte``.
    """
    weights = {}
    for full_name, tensor in tensors.items():
        name = full_name.removeprefix(PREFIX)
        if name in weights:
            raise InputError(f"{source} is ambiguous: it holds {name} and {PREFIX}{name}")
        if not CAUSAL_MASK.fullmatch(name):
            weights[name] = tensor
    # If wte is missing, lm_head stays, and check_names reports both.
    if "lm_head.weight" in weights and "wte.weight" in weights:
        head, wte = weights.pop("lm_head.weight"), weights["wte.weight"]
        if head.dtype != wte.dtype or not torch.equal(head, wte):
            raise InputError(
                f"{source} does not fit GPT-2: lm_head.weight differs from wte.weight,"
                " expected the same (tied) weights"
            )
    return weights


def check_names(expected: Iterable[str], found: Iterable[str], source: str) -> None:
    """Raise ``InputError`` with the missing and the surplus names, if any."""
    expected, found = list(expected), list(found)
    missing, surplus = set(expected) - set(found), set(found) - set(expected)
    parts = []
    if missing:
        parts.append("missing " + _listed([name for name in expected if name in missing]))
    if surplus:
        parts.append("surplus " + _listed(sorted(surplus)))
    if parts:
        raise InputError(f"{source} does not fit the model: {'; '.join(parts)}")


def check_shapes(expected: dict[str, Shape], found: dict[str, Shape], source: str) -> None:
    """Raise ``InputError`` with name, found and expected shape of tensors that differ.

    This cannot detect a transposed square matrix (``attn.c_proj``).
    """
    wrong = [
        f"{name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if found[name] != shape
    ]
    if wrong:
        raise InputError(f"{source} does not fit the model: {_listed(wrong)}")


def check_values(tensors: dict[str, Tensor], source: str) -> None:
    """Raise ``InputError`` with the name of a tensor that is not floating or not finite."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{source} is damaged: {name} has dtype {dtype}, expected floats")
        # Checked as float32, which is used: a finite float64 may be too large for it.
        wrong = tensor.numel() - int(tensor.float().isfinite().sum())
        if wrong:
            raise InputError(
                f"{source} is damaged: {name} holds {wrong} of {tensor.numel()} values that are"
                " not finite"
            )


def _listed(items: list[str]) -> str:
    more = len(items) - NAMES_SHOWN
    return ", ".join(items[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
