"""GPT-2 with a linear layer to the classes instead of its language-model head.

The architecture is OpenAI's: learned positions, pre-norm blocks, causal
attention, tanh-GELU, LayerNorm with eps 1e-5. Parameters have the names of the
published checkpoints (``wte``, ``h.0.attn.c_attn``, ``ln_f``). Weights are
``(out, in)``, as in ``nn.Linear``.

Shapes: B messages, T tokens of the longest of them, C channels, H heads,
K classes, V vocabulary.
"""

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from batch.model.tokenizer import PAD_ID

VOCAB_SIZE = PAD_ID + 1  # tokens
POOLINGS = ("last_token", "last_position", "first_position", "mean")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of the classifier. ``emb_dim``, ``layers`` and ``heads`` are counts."""

    size: str
    emb_dim: int
    layers: int
    heads: int
    classes: int = 2
    pooling: str = "last_token"
    causal: bool = True  # whether a position sees only the positions before it
    vocab_size: int = VOCAB_SIZE  # rows of the token embedding
    remapped: bool = False  # BPE ids pass through token_map before the embedding
    context_length: int = 1024  # tokens
    drop_rate: float = 0.0
    pad_id: int = PAD_ID
    second: "ModelConfig | None" = None  # of a second model, whose logits are added

    @property
    def is_fixed_length(self) -> bool:
        """True if logits depend on the padding, so that only one padded length is valid.

        They do where the pooled position is a pad (the last position), the mean includes pads,
        or positions attend to pads (no causal mask).
        """
        return not self.causal or self.pooling in ("last_position", "mean")

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        second = values.get("second")
        return cls(**{**values, "second": cls.from_dict(second) if second else None})


SIZES = {
    "gpt2-small": ModelConfig("gpt2-small", emb_dim=768, layers=12, heads=12),
    "gpt2-medium": ModelConfig("gpt2-medium", emb_dim=1024, layers=24, heads=16),
    "gpt2-large": ModelConfig("gpt2-large", emb_dim=1280, layers=36, heads=20),
    "gpt2-xl": ModelConfig("gpt2-xl", emb_dim=1600, layers=48, heads=25),
    "starter": ModelConfig("starter", emb_dim=64, layers=1, heads=4),
}


def model_config(size: str, **changes) -> ModelConfig:
    """The published architecture of one ``size``, with ``changes`` applied.

    >>> model_config("gpt2-small", classes=3).emb_dim
    768
    """
    return replace(SIZES[size], **changes)


class Attention(nn.Module):
    """Self-attention over ``(B, T, C)``, causal unless the config says otherwise."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.causal = config.causal
        self.heads = config.heads
        self.drop_rate = config.drop_rate
        self.c_attn = nn.Linear(config.emb_dim, 3 * config.emb_dim)
        self.c_proj = nn.Linear(config.emb_dim, config.emb_dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(x).split(x.shape[2], dim=2)
        return self.c_proj(self.attend(q, k, v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Scaled dot-product attention of all heads: three times ``(B, T, C)`` -> ``(B, T, C)``."""
        B, T, C = q.shape
        q, k, v = (x.view(B, T, self.heads, C // self.heads).transpose(1, 2) for x in (q, k, v))
        drop = self.drop_rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, dropout_p=drop)
        return y.transpose(1, 2).reshape(B, T, C)

    def forward_pooled(self, x: Tensor, position: Tensor) -> Tensor:
        """Attention of one position of each message: ``(B, T, C)``, ``(B,)`` -> ``(B, C)``.

        Positions after ``position`` are masked if the model is causal. Keys and values are not
        computed. A message has one query, so multiplying it by the keys' weights, and summing
        the inputs before the values' weights, gives the same up to rounding.
        """
        B, T, C = x.shape
        H, D = self.heads, C // self.heads
        w_q, w_k, w_v = self.c_attn.weight.split(C)
        b_q, _, b_v = self.c_attn.bias.split(C)  # the keys' bias adds the same to all scores
        q = F.linear(take_position(x, position), w_q, b_q).view(B, H, D)
        # q . (W_k x) = (q W_k) . x, and sum(a W_v x) = W_v sum(a x): the two large
        # products are computed once for a message instead of once for each token.
        u = torch.matmul(q.transpose(0, 1), w_k.view(H, D, C)).transpose(0, 1)
        scores = torch.matmul(u, x.transpose(1, 2)) / math.sqrt(D)  # (B, H, T)
        if self.causal:
            hidden = torch.arange(T, device=x.device)[None, :] > position[:, None]
            scores = scores.masked_fill(hidden[:, None, :], float("-inf"))
        a = F.softmax(scores, dim=-1)
        if self.training and self.drop_rate:
            a = F.dropout(a, self.drop_rate)
        mixed = torch.matmul(a, x).transpose(0, 1)  # (H, B, C)
        y = torch.matmul(mixed, w_v.view(H, D, C).transpose(1, 2)).transpose(0, 1)
        y = y + b_v.view(H, D) * a.sum(dim=-1, keepdim=True)  # the sum is 1 without dropout
        return self.c_proj(y.reshape(B, C))


class MLP(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.c_fc = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.c_proj = nn.Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.emb_dim, eps=1e-5)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.emb_dim, eps=1e-5)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.drop(self.mlp(self.ln_2(x)))

    def forward_pooled(self, x: Tensor, position: Tensor) -> Tensor:
        """The output at one position of each message: ``(B, T, C)``, ``(B,)`` -> ``(B, C)``."""
        y = take_position(x, position)
        y = y + self.drop(self.attn.forward_pooled(self.ln_1(x), position))
        return y + self.drop(self.mlp(self.ln_2(y)))


class GPT2Trunk(nn.Module):
    """Everything except the head. ``forward_pooled`` computes the last block at one position."""

    token_map: Tensor  # (50257,) int64, the row of each id; only of a remapped vocabulary

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.remapped:
            self.register_buffer("token_map", torch.zeros(VOCAB_SIZE, dtype=torch.int64))
        self.remapped = config.remapped
        self.wte = nn.Embedding(config.vocab_size, config.emb_dim)
        self.wpe = nn.Embedding(config.context_length, config.emb_dim)
        self.drop = nn.Dropout(config.drop_rate)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.emb_dim, eps=1e-5)

    @property
    def last_block(self) -> Block:
        block = self.h[-1]
        assert isinstance(block, Block)
        return block

    def embed(self, ids: Tensor) -> Tensor:
        """Token plus position embeddings: ``(B, T)`` int64 -> ``(B, T, C)``."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        if self.remapped:
            ids = self.token_map[ids]
        return self.drop(self.wte(ids) + self.wpe(positions))

    def run_blocks(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Blocks ``start`` to ``stop - 1`` at every position: ``(B, T, C)`` -> ``(B, T, C)``."""
        for block in self.h[start:stop]:
            x = block(x)
        return x

    def forward(self, ids: Tensor) -> Tensor:
        """Final hidden states at every position: ``(B, T)`` -> ``(B, T, C)``."""
        return self.ln_f(self.run_blocks(self.embed(ids), 0, len(self.h)))

    def pool_from(self, x: Tensor, start: int, position: Tensor) -> Tensor:
        """Final hidden state at one position of each message, from the input of block ``start``.

        ``(B, T, C)``, ``(B,)`` -> ``(B, C)``. The last block is computed only at that position.
        """
        x = self.run_blocks(x, start, len(self.h) - 1)
        return self.ln_f(self.last_block.forward_pooled(x, position))

    def forward_pooled(self, ids: Tensor, position: Tensor) -> Tensor:
        """Final hidden state at one position each: ``(B, T)``, ``(B,)`` -> ``(B, C)``."""
        return self.pool_from(self.embed(ids), 0, position)


class GPT2Classifier(nn.Module):
    """From token ids to the logits of the classes.

    Input ``(B, T)`` int64, padded on the right with ``config.pad_id``; output
    ``(B, K)``, with a second model the sum of both's. Unless ``config.is_fixed_length`` the
    logits do not depend on T; otherwise T must be the length trained with.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.transformer = GPT2Trunk(config)
        self.score = nn.Linear(config.emb_dim, config.classes)
        self.second = GPT2Classifier(config.second) if config.second else None

    def pooled_position(self, ids: Tensor) -> Tensor:
        """The position that the class is read at, ``(B,)`` int64; for ``mean`` the last one.

        For ``last_token`` it is the number of ids that are not padding, less one. A message
        without tokens is read at its first pad.
        """
        if self.config.pooling == "last_token":
            return ((ids != self.config.pad_id).sum(dim=1) - 1).clamp(min=0)
        position = 0 if self.config.pooling == "first_position" else ids.shape[1] - 1
        return torch.full((ids.shape[0],), position, device=ids.device)

    def pool_from(self, x: Tensor, start: int, position: Tensor) -> Tensor:
        """The vector that the head reads, from the input of block ``start``.

        ``(B, T, C)``, ``(B,)`` -> ``(B, C)``.
        """
        trunk = self.transformer
        if self.config.pooling == "mean":
            return trunk.ln_f(trunk.run_blocks(x, start, len(trunk.h))).mean(dim=1)
        return trunk.pool_from(x, start, position)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer.embed(ids)
        logits = self.score(self.pool_from(x, 0, self.pooled_position(ids)))
        return logits if self.second is None else logits + self.second(ids)

    def forward_plain(self, ids: Tensor) -> Tensor:
        """The same logits without shortcuts: compute all positions, apply the head, then pool."""
        logits = self.score(self.transformer(ids))
        if self.config.pooling == "mean":
            logits = logits.mean(dim=1)
        else:
            logits = take_position(logits, self.pooled_position(ids))
        return logits if self.second is None else logits + self.second.forward_plain(ids)


def take_position(x: Tensor, position: Tensor) -> Tensor:
    """One position of each message: ``(B, T, C)``, ``(B,)`` -> ``(B, C)``."""
    return x[torch.arange(x.shape[0], device=x.device), position]


def init_weights(model: nn.Module, layers: int, generator: torch.Generator | None = None) -> None:
    """GPT-2's initial weights: N(0, 0.02), residual projections divided by sqrt(2 * layers).

    Source: Radford et al. 2019, section 2.3.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            nn.init.constant_(parameter, 1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        else:
            std = 0.02 / math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 0.02
            nn.init.normal_(parameter, std=std, generator=generator)


def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    """Numbers in all parameters, or only in those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)
