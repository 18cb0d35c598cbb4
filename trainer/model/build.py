"""The model before training: device, weights, head, and the parameters that are trained."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from batch.errors import InputError
from trainer.model.gpt2 import GPT2Classifier, GPT2Trunk, ModelConfig, init_weights
from trainer.model.load_weights import load_trunk
from trainer.model.vocabulary import Vocabulary
from trainer.recipe import Recipe


def select_device(name: str = "auto") -> torch.device:
    """``auto``: CUDA, else MPS from torch 2.9 on (older ones gave unstable results), else CPU.

    Raises:
        InputError: the device of this name is not available.
    """
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and version >= (2, 9),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise InputError(f"the device {name} is not available to torch {torch.__version__} here")
    return torch.device(name)


def build_model(
    config: ModelConfig, recipe: Recipe, tensors: dict[str, Tensor] | None
) -> GPT2Classifier:
    """A classifier whose trunk has the weights ``tensors`` or, if None, random weights.

    The head is drawn directly after seeding, as in the notebook. Parameters that the recipe
    does not train are frozen.
    """
    model = GPT2Classifier(config)
    if tensors is not None:
        load_trunk(model.transformer, tensors)
    else:
        torch.manual_seed(recipe.seed)
        init_weights(model.transformer, config.layers)
    model.requires_grad_(False)
    torch.manual_seed(recipe.seed)
    model.score = nn.Linear(config.emb_dim, config.classes)
    if recipe.trainable == "lora":
        model.score.requires_grad_(False)
        add_lora(model, recipe.lora_rank, recipe.lora_alpha)
    else:
        for module in _trainable_modules(model, recipe.trainable):
            module.requires_grad_(True)
    return model


def _trainable_modules(model: GPT2Classifier, trainable: str) -> list[nn.Module]:
    trunk = model.transformer
    modules: dict[str, list[nn.Module]] = {
        "head": [model.score],
        "last_block": [model.score, trunk.ln_f, trunk.h[-1]],
        "last_two_blocks": [model.score, trunk.ln_f, *trunk.h[-2:]],
        "all": [model],
    }
    return modules[trainable]


class LowRankUpdate(nn.Module):
    """``W`` -> ``W + alpha * B @ A``, with ``A`` ``(rank, in)`` and ``B`` ``(out, rank)``.

    Source: Hu et al. 2021; alpha is not divided by the rank, as in the published experiments.
    ``B`` starts at zero, so the update is zero at first.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        out_features, in_features = weight.shape
        self.alpha = alpha
        self.lora_a = nn.Parameter(torch.empty(rank, in_features))
        self.lora_b = nn.Parameter(torch.zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.alpha * (self.lora_b @ self.lora_a)


def add_lora(model: nn.Module, rank: int, alpha: float) -> None:
    """Give every linear layer a trained low-rank update."""
    for module in [m for m in model.modules() if isinstance(m, nn.Linear)]:
        parametrize.register_parametrization(
            module, "weight", LowRankUpdate(module.weight, rank, alpha)
        )


class SharedRows(nn.Module):
    """Add shared vectors to each row, see Vocabulary: ``(R, C)`` -> ``(R, C)``.

    ``from_zero``: only rows with ``has_own`` have a vector of their own, and the shared ones are
    random. Otherwise all rows have one, and the shared ones are zero.
    """

    letters_of: Tensor
    shape_of: Tensor
    has_own: Tensor

    def __init__(self, vocabulary: Vocabulary, channels: int, from_zero: bool = True):
        super().__init__()
        self.letters = nn.Embedding(int(vocabulary.letters.max()) + 1, channels)
        self.shapes = nn.Embedding(int(vocabulary.shape.max()) + 1, channels)
        for table in (self.letters, self.shapes):
            nn.init.normal_(table.weight, std=0.02 if from_zero else 0.0)
        has_own = vocabulary.has_own if from_zero else torch.ones_like(vocabulary.has_own)
        self.register_buffer("letters_of", vocabulary.letters, persistent=False)
        self.register_buffer("shape_of", vocabulary.shape, persistent=False)
        self.register_buffer("has_own", has_own[:, None].float(), persistent=False)

    def forward(self, own: Tensor) -> Tensor:
        return own * self.has_own + self.letters(self.letters_of) + self.shapes(self.shape_of)


def share_rows(trunk: GPT2Trunk, vocabulary: Vocabulary, from_zero: bool = True) -> None:
    """Make the token embedding a sum of own and shared vectors.

    The own ones start at zero, or, without ``from_zero``, as the embedding's rows.
    """
    embedding = trunk.wte
    with torch.no_grad():
        if from_zero:
            embedding.weight.zero_()
        trunk.token_map.copy_(vocabulary.token_map)
    parametrize.register_parametrization(
        embedding, "weight", SharedRows(vocabulary, embedding.embedding_dim, from_zero)
    )


def merge_updates(model: nn.Module) -> None:
    """Merge low-rank updates and shared rows into the weights, which makes a plain model again."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
