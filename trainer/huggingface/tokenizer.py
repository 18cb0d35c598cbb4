"""The tokenizer's files of a transformers folder: are they GPT-2's?"""

import hashlib
import json
from pathlib import Path
from typing import Any

from batch.errors import InputError, MissingInputError
from batch.messages import show
from batch.model.tokenizer import PAD_ID, SEPARATOR
from trainer.fetch.bpe_files import merge_ranks
from trainer.fetch.sources import BPE_SHA256
from trainer.huggingface.names import MERGES, TOKENIZER, TOKENIZER_CONFIG, VOCAB


def read_ranks_of(folder: Path, pad_id: int | None) -> bytes:
    """The text of a gpt2.tiktoken, after a check that the folder's tokenizer gives its ids.

    Raises:
        MissingInputError: there are no tokenizer files.
        InputError: they are not GPT-2's, or the tokenizer adds or changes something.
    """
    whole = _read_optional(folder / TOKENIZER)
    settings = _read_optional(folder / TOKENIZER_CONFIG)
    if whole:
        source = folder / TOKENIZER
        vocab, merges = _parts_of(source, whole)
    else:
        source = folder / VOCAB
        vocab, merges = _read_pair(folder)
    try:
        ranks = merge_ranks(merges, vocab)
    except InputError:
        ranks = b""
    if hashlib.sha256(ranks).hexdigest() != BPE_SHA256:
        raise InputError(f"{source}: is not GPT-2's tokenizer; only a model with that is exported")
    _check_settings(folder, whole, settings)
    _check_added(folder, whole, settings, pad_id)
    return ranks


def read_limit(folder: Path) -> int | None:
    """The tokens that ``tokenizer_config.json`` cuts a message to; None if it has no number."""
    limit = _read_optional(folder / TOKENIZER_CONFIG).get("model_max_length")
    # transformers writes 1e30 for no limit.
    return limit if isinstance(limit, int) and 1 <= limit < 2**31 else None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        MissingInputError: there is no such file. InputError: it is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise MissingInputError(
            f"{path.parent} has no {path.name}; give a folder that transformers saved with "
            "save_pretrained"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}, expected an object")
    return values


def _read_optional(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    return read_object(path) if path.exists() else {}


def _parts_of(path: Path, whole: dict) -> tuple[bytes, bytes]:
    """``vocab.json`` and ``merges.txt`` of a ``tokenizer.json``."""
    try:
        model = whole["model"]
        pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        vocab = {name: rank for name, rank in model["vocab"].items() if rank <= PAD_ID}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is not a tokenizer of byte pairs") from None
    return json.dumps(vocab).encode(), "\n".join(["#version: 0.2", *pairs]).encode()


def _read_pair(folder: Path) -> tuple[bytes, bytes]:
    try:
        return (folder / VOCAB).read_bytes(), (folder / MERGES).read_bytes()
    except OSError:
        raise MissingInputError(
            f"{folder} has neither {TOKENIZER} nor {VOCAB} and {MERGES}; save the tokenizer there, "
            "too: tokenizer.save_pretrained(FOLDER)"
        ) from None


def _check_settings(folder: Path, whole: dict, settings: dict) -> None:
    """Refuse what changes the ids of a message.

    Raises:
        InputError: the first such setting.
    """
    steps, ends = (whole.get(key) or {} for key in ("pre_tokenizer", "post_processor"))
    if not (isinstance(steps, dict) and isinstance(ends, dict)):
        raise InputError(f"{folder}: is not a tokenizer of byte pairs")
    changes = {
        "puts a space before each message (add_prefix_space)": settings.get("add_prefix_space")
        or steps.get("add_prefix_space"),
        "puts a token before each message (add_bos_token)": settings.get("add_bos_token"),
        "changes the characters of a message (normalizer)": whole.get("normalizer"),
        "cuts a message into other words (pre_tokenizer)": whole
        and (steps.get("type") != "ByteLevel" or steps.get("use_regex") is False),
        "keeps the end of a long message (truncation_side)": settings.get("truncation_side")
        == "left",
        "puts tokens around each message (post_processor)": ends
        and ends.get("type") != "ByteLevel",
    }
    for what, is_so in changes.items():
        if is_so:
            raise InputError(f"{folder}: the tokenizer {what}, which GPT-2's does not")


def _check_added(folder: Path, whole: dict, settings: dict, pad_id: int | None) -> None:
    """Refuse tokens that a text can have besides GPT-2's; a pad of its own is none.

    Raises:
        InputError: names the first one.
    """
    added: dict[str, int] = {}
    try:
        added |= {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
        decoder = settings.get("added_tokens_decoder", {})
        added |= {token["content"]: int(number) for number, token in decoder.items()}
        added |= _read_optional(folder / "added_tokens.json")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{folder}: the list of the tokenizer's added tokens is damaged") from None
    for name, number in added.items():
        if name != SEPARATOR and number != pad_id:
            raise InputError(
                f"{folder}: the tokenizer has a token of its own, {show(name)}, which GPT-2's has "
                "not; only a pad may be added"
            )
