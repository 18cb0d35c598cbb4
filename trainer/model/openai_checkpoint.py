"""Read OpenAI's TensorFlow checkpoint of GPT-2 as a dict with Hugging Face's names.

The folder has ``checkpoint``, ``hparams.json`` and ``model.ckpt.*``. Its tensors have
names such as ``model/wte``, ``model/h0/attn/c_attn/w`` and ``model/h0/ln_1/g``; the
convolution weights are ``(1, in, out)``. Names and shapes are those of
https://github.com/openai/gpt-2 (``src/model.py``).

No other module imports tensorflow, and this one only reads with it.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from batch.errors import InputError, MissingInputError, UnavailableError
from trainer.model.gpt2 import SIZES, GPT2Trunk, ModelConfig
from trainer.model.load_weights import (
    Shape,
    check_names,
    check_shapes,
    is_conv1d,
    published_shapes,
)

HPARAMS = {  # OpenAI's name: ours
    "n_vocab": "vocab_size",
    "n_ctx": "context_length",
    "n_embd": "emb_dim",
    "n_head": "heads",
    "n_layer": "layers",
}


def read_openai_checkpoint(folder: str | Path) -> dict[str, Tensor]:
    """Every weight of the checkpoint in ``folder``, with Hugging Face's names and shapes.

    The tensors are float32 and ready for ``trainer.model.load_weights.load_trunk``, which
    checks their values.

    Raises:
        MissingInputError: a file of the folder is missing or cannot be read.
        UnavailableError: tensorflow cannot be imported.
        InputError: a file is damaged, ``hparams.json`` contradicts the tensors, or a tensor
            is missing, surplus or of a wrong shape.
    """
    folder = Path(folder)
    config = read_openai_config(folder)
    prefix = find_checkpoint(folder)
    tf = _import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(s) for name, s in reader.get_variable_to_shape_map().items()}
        dtypes = reader.get_variable_to_dtype_map()
        check_hparams(config, shapes, str(folder))

        with torch.device("meta"):
            published = published_shapes(GPT2Trunk(config))
        expected = {
            openai_name(name): (1, *shape) if is_conv1d(name) else shape
            for name, shape in published.items()
        }
        check_names(expected, shapes, str(prefix))
        check_shapes(expected, shapes, str(prefix))

        weights = {}
        for name, shape in published.items():
            theirs = openai_name(name)
            if not dtypes[theirs].is_floating:
                raise InputError(
                    f"{prefix} is damaged: {theirs} has dtype {dtypes[theirs].name},"
                    " expected floats"
                )
            array = reader.get_tensor(theirs).reshape(shape).astype("float32", copy=False)
            weights[name] = torch.from_numpy(array)
        return weights
    # The class depends on the damage: truncated data, for example, is an IndexError.
    except (tf.errors.OpError, RuntimeError, LookupError, ValueError) as error:
        raise InputError(
            f"{prefix} is damaged: tensorflow cannot read it; fetch it again"
        ) from error


def read_openai_config(folder: str | Path) -> ModelConfig:
    """The architecture in ``hparams.json``; does not need tensorflow.

    Raises:
        MissingInputError: there is no ``hparams.json``.
        InputError: it is not JSON, a count is missing or not a positive integer, or the heads
            do not divide emb_dim.
    """
    path = Path(folder) / "hparams.json"
    try:
        hparams = json.loads(_read_text(path))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    counts = {}
    for theirs, ours in HPARAMS.items():
        value = hparams.get(theirs) if isinstance(hparams, dict) else None
        if type(value) is not int or value < 1:  # a bool is an int, too
            raise InputError(f"{path} has {theirs} {value!r}, expected a positive integer")
        counts[ours] = value
    return _name_config(str(path), counts)


def _name_config(source: str, counts: dict[str, Any]) -> ModelConfig:
    """The size in ``SIZES`` that has all these counts, else a config named "custom".

    Raises:
        InputError: the heads do not divide emb_dim.
    """
    emb_dim, heads = counts["emb_dim"], counts["heads"]
    if emb_dim % heads:
        raise InputError(f"{source} has emb_dim {emb_dim}, which {heads} heads do not divide")
    config = replace(ModelConfig("custom", emb_dim, counts["layers"], heads), **counts)
    same = (size for size in SIZES.values() if replace(size, size="custom") == config)
    return next(same, config)


def find_checkpoint(folder: Path) -> Path:
    """The prefix that ``checkpoint`` names, such as ``folder/model.ckpt``.

    Only the last part of the path is used: tensorflow writes the absolute path on the machine
    that saved the checkpoint, and on this machine that path may have other files.

    Raises:
        MissingInputError: ``checkpoint``, the index or the data is missing.
        InputError: ``checkpoint`` has no name, or the path has a character that tensorflow
            reads as a pattern.
    """
    path = folder / "checkpoint"
    match = re.search(r'^model_checkpoint_path:\s*"([^"]*)"', _read_text(path), re.MULTILINE)
    name = re.split(r"[\\/]", match[1])[-1] if match else ""
    # tensorflow reads the path as a pattern, and would find no file, or another one.
    if re.search(r"[*?[\\]", (folder / name).as_posix()):
        raise InputError(
            f"{folder} cannot be opened by tensorflow, expected a path without * ? [ \\;"
            " move the folder"
        )
    if name in ("", ".", ".."):
        raise InputError(f'{path} names no checkpoint, expected model_checkpoint_path: "..."')
    files = {file.name for file in folder.iterdir() if file.is_file()}
    if f"{name}.index" not in files:
        raise _missing(folder / f"{name}.index")
    if not any(file.startswith(f"{name}.data-") for file in files):
        raise _missing(folder / f"{name}.data-00000-of-00001")
    return folder / name


def openai_name(name: str) -> str:
    """OpenAI's name of a published tensor.

    >>> openai_name("h.0.attn.c_attn.weight"), openai_name("ln_f.weight")
    ('model/h0/attn/c_attn/w', 'model/ln_f/g')
    """
    *path, kind = re.sub(r"^h\.(\d+)", r"h\1", name).split(".")
    if path in (["wte"], ["wpe"]):
        return f"model/{path[0]}"
    letter = "b" if kind == "bias" else "g" if path[-1].startswith("ln_") else "w"
    return "/".join(["model", *path, letter])


def check_hparams(config: ModelConfig, shapes: dict[str, Shape], source: str) -> None:
    """Raise ``InputError`` with the first count that the tensors contradict.

    The number of heads cannot be checked, because no shape depends on it. Tensors that are
    missing or not matrices are reported by the checks of names and shapes.
    """
    blocks = [re.match(r"model/h(\d+)/", name) for name in shapes]
    # One more than the highest number, so that a gap shows as missing tensors.
    found = {"n_layer": max((int(match[1]) + 1 for match in blocks if match), default=0)}
    for name, axes in (("model/wte", ("n_vocab", "n_embd")), ("model/wpe", ("n_ctx", "n_embd"))):
        if len(shapes.get(name, ())) == 2:
            found |= zip(axes, shapes[name], strict=True)
    for theirs, count in found.items():
        says = getattr(config, HPARAMS[theirs])
        if says != count:
            raise InputError(
                f"{source} contradicts itself: hparams.json says {theirs} {says},"
                f" the tensors say {count}"
            )


def _import_tensorflow() -> ModuleType:
    # tensorflow's C++ reads this on import; 3 shows only fatal errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # torch's CUDA builds import triton when they need it. Both libraries carry LLVM, and the
    # process dies with SIGSEGV if tensorflow 2.21 is loaded before triton 3.7.
    with suppress(ImportError):
        import_module("triton")
    try:
        with _quiet_stderr():
            import tensorflow
    except ImportError as error:
        raise UnavailableError(
            f"OpenAI's checkpoint can be read only with tensorflow ({error});"
            " type: pip install 'spam-batch[openai]'"
        ) from error
    return tensorflow


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what is written to descriptor 2, also by C++, and show it only on an error.

    tensorflow 2.21 logs before its logger is set up, when log levels have no effect yet:
    https://github.com/tensorflow/tensorflow/pull/102212
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: it is not text") from error


def _missing(path: Path) -> MissingInputError:
    return MissingInputError(
        f"{path} is missing; OpenAI's checkpoint is a folder of checkpoint, hparams.json and"
        " model.ckpt.*"
    )
