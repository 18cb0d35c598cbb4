"""The initial weights of a trunk: published, or random with a statement that says so."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from batch.errors import UnavailableError, UsageError
from batch.reading.fingerprint import hash_file
from trainer.fetch.weight_files import WeightFiles, fetch_weights
from trainer.model.base_file import BaseModel, find_base, read_base
from trainer.model.gpt2 import SIZES, ModelConfig
from trainer.model.load_weights import read_safetensors
from trainer.model.openai_checkpoint import read_openai_checkpoint

log = logging.getLogger("trainer")

MINI = "gpt2-mini"  # the base that comes with this package
SHIPPED = "comes with spam-train"


@dataclass(frozen=True)
class InitialWeights:
    """The initial weights of a trunk, and where they come from."""

    size: str
    kind: str  # openai, huggingface, base, random
    origin: str
    statement: str  # one sentence for logs, config.json, bundle.json and summaries
    sha256: dict[str, str]
    tensors: dict[str, Tensor] | None  # None: random weights
    shape: ModelConfig | None = None  # replaces the architecture of the size
    token_map: Tensor | None = None  # (50257,) int64 of a base: the row of each id

    @property
    def starts(self) -> dict[str, bool]:
        """What the settings of a recipe depend on; arguments of :func:`get_recipe`."""
        return {"from_random": self.tensors is None, "from_base": self.token_map is not None}

    @property
    def has_vocabulary(self) -> bool:
        """True if the token embedding gets rows for the training messages' own tokens."""
        return self.size == "starter" or self.token_map is not None

    @property
    def config(self) -> ModelConfig:
        return self.shape or SIZES[self.size]

    def describe(self) -> dict:
        """What ``config.json`` says of the weights."""
        return {key: getattr(self, key) for key in ("kind", "origin", "sha256", "statement")}


def resolve_weights(spec: str, size: str | None, cache: Path) -> InitialWeights:
    """Resolve ``--weights`` (``spec``) and ``--model`` (``size``).

    ``spec`` is ``auto`` (GPT-2 small if it can be fetched, else gpt2-mini), ``gpt2`` (any
    published source), ``openai``, ``huggingface``, ``gpt2-mini``, ``random``, or a path.

    Raises:
        UnavailableError: the source is not available, and ``spec`` is not ``auto``.
        UsageError: published weights for the starter, which has none.
        MissingInputError, InputError: the files of a path are missing or damaged.
    """
    if spec == "random" or (size == "starter" and spec == "auto"):
        return random_weights(size or "starter")
    if size == "starter":
        raise UsageError("no weights are published for the starter; use --weights random")
    if spec == MINI:
        if size not in (None, MINI):
            raise UsageError(f"--weights {MINI} has one size; leave out --model {size}")
        return _mini_weights()
    if spec == "auto" and size is None:
        try:
            return _published_weights("gpt2-small", None, None, cache)
        except UnavailableError as error:
            log.info("%s", error.in_short())
            weights = _mini_weights()
            log.warning("WARNING: GPT-2's weights are not available here. %s", weights.statement)
            return weights
    if spec not in ("auto", "gpt2", "openai", "huggingface") and (base := find_base(Path(spec))):
        return _base_weights(base, size)
    kind = spec if spec in ("openai", "huggingface") else None
    source = None if kind or spec in ("auto", "gpt2") else Path(spec)
    return _published_weights(size or "gpt2-small", kind, source, cache)


def random_weights(size: str) -> InitialWeights:
    """No weights: the model of this size starts from random ones."""
    name = "The starter, a small model of GPT-2's architecture" if size == "starter" else size
    statement = f"{name}, trained from random weights on this data alone; not pretrained GPT-2."
    return InitialWeights(size, "random", "random", statement, {}, None)


def _base_weights(path: Path, size: str | None) -> InitialWeights:
    """The weights of a base that :func:`trainer.model.base_file.find_base` found."""
    base = read_base(path)
    if size not in (None, base.config.size):
        raise UsageError(f"{path} is a {base.config.size}; leave out --model {size}")
    return _of_base(base, path, f"given: {path.name}", "with spam-train pretrain")


def _mini_weights() -> InitialWeights:
    """The base that comes with this package."""
    path = Path(__file__).with_name(f"{MINI}.safetensors")
    return _of_base(read_base(path), path, SHIPPED, "by this project")


def _of_base(base: BaseModel, path: Path, origin: str, by: str) -> InitialWeights:
    statement = (
        f"{base.config.size}, a small GPT-2 pretrained {by} on {base.card['tokens']:,} tokens, "
        "finetuned on this data; not OpenAI's GPT-2."
    )
    return InitialWeights(
        base.config.size, "base", origin, statement, {path.name: hash_file(path)},
        base.tensors, base.config, base.token_map,
    )  # fmt: skip


def _published_weights(
    size: str, kind: str | None, source: Path | None, cache: Path
) -> InitialWeights:
    files = fetch_weights(cache, size, kind, source)
    read = read_openai_checkpoint if files.kind == "openai" else read_safetensors
    return InitialWeights(
        size, files.kind, files.origin, _state(size, files), files.sha256, read(files.path)
    )


def _state(size: str, files: WeightFiles) -> str:
    """The statement on weights that were read from files: OpenAI's only if their hashes say so."""
    if not (files.others or files.unknown):
        return f"{size}, pretrained by OpenAI ({files.origin}), finetuned on this data."
    names = files.others or files.unknown
    name = next((name for name in names if ".data-" in name), names[0])  # has the tensors
    why = (
        "which is not the published file"
        if files.others
        else "of which no published SHA-256 is known here, so it may not be OpenAI's"
    )
    return f"{size}, from {name} (SHA-256 {files.sha256[name]}), {why}; finetuned on this data."
