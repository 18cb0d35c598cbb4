"""The file of a pretrained base: a small GPT-2's trunk, the map of its rows, and its card."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from batch.errors import InputError
from batch.model.tokenizer import PAD_ID
from batch.writing.atomic import replace_file
from trainer.model.gpt2 import GPT2Trunk, ModelConfig
from trainer.model.load_weights import is_conv1d

BASE = "base.safetensors"
FORMAT = "spam-train base"
FORMAT_VERSION = "1"
TOKEN_MAP = "token_map"


@dataclass(frozen=True)
class BaseModel:
    """A pretrained base: tensors with the published names, and ``card``, what it was made from."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    token_map: Tensor  # (50257,) int64, the row of each id
    card: dict


def write_base(path: Path, trunk: GPT2Trunk, config: ModelConfig, card: dict) -> None:
    """Write the trunk's weights as float16, whole or not at all.

    ``trunk`` must be plain: its token embedding is no sum of shared rows.
    """
    tensors = {TOKEN_MAP: trunk.token_map.to("cpu", torch.int32)}
    for name, weight in trunk.named_parameters():
        weight = weight.detach().T if is_conv1d(name) else weight.detach()
        tensors[name] = weight.to("cpu", torch.float16).contiguous()
    about = {"format": FORMAT, "format_version": FORMAT_VERSION}
    about |= {"model": json.dumps(config.to_dict()), "card": json.dumps(card)}
    replace_file(path, save(tensors, about), path, ".safetensors", 0o666)


def find_base(path: Path) -> Path | None:
    """The file of the base at ``path``, a folder or a file; None if that is no base."""
    path = path / BASE if path.is_dir() else path
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return path if about.get("format") == FORMAT else None


def read_base(path: Path) -> BaseModel:
    """Read the file that :func:`find_base` found.

    Raises:
        InputError: another format version, or the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            version = about.get("format_version")
            if version != FORMAT_VERSION:
                raise InputError(
                    f"{path}: format version {version!r} of a base, this spam-train reads "
                    f"{FORMAT_VERSION}; make it anew with: spam-train pretrain"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = ModelConfig.from_dict(json.loads(about["model"]))
        card = json.loads(about["card"])
        token_map = tensors.pop(TOKEN_MAP).to(torch.int64)
        is_row = (token_map >= 0) & (token_map < config.vocab_size)
        if token_map.shape != (PAD_ID + 1,) or not is_row.all():
            raise ValueError("token_map is not valid")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the base is damaged: {error}; make it anew") from None
    return BaseModel(config, tensors, token_map, card)
