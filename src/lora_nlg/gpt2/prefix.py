"""Prefixes: l positions before every sequence that are trained in place of the model.

All of them are keys and values that every token attends to (Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous
Prompts for Generation"), and differ in what those are made from: free (`KeyValuePrefix`), by a small network that is
dropped after training (`MLPPrefix`), from hidden states of each layer (`HiddenPrefix`), or from embeddings that run
through all blocks like tokens (`PromptPrefix`: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt
Tuning"). No position of a prefix sees a token, so it is worked out once a batch, and once for good after training.

Shapes: L layers, l positions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.gpt2.config import GPT2Config
from lora_nlg.gpt2.model import GPT2, Block, Prefix, Transformer


class KeyValuePrefix(Prefix):
    """Keys and values themselves; 2·L·l·D parameters.

    Args:
        keys_values: what it starts as, shape (L, 2, l, D).
    """

    def __init__(self, keys_values: Tensor) -> None:
        super().__init__()
        self.length = keys_values.shape[2]
        self.key, self.value = (nn.Parameter(part.clone()) for part in keys_values.detach().unbind(1))

    @classmethod
    def random(cls, config: GPT2Config, length: int) -> KeyValuePrefix:
        """A start from N(0, 1)."""
        return cls(torch.randn(config.n_layer, 2, length, config.n_embd))

    @classmethod
    @torch.no_grad()
    def of_tokens(cls, transformer: Transformer, tokens: Sequence[int]) -> KeyValuePrefix:
        """A start from the keys and values of real tokens."""
        return cls(run_alone(transformer, _embeddings(transformer, tokens))[1])

    def forward(self, transformer: Transformer) -> Tensor:
        """See `Prefix.forward`."""
        return torch.stack([self.key, self.value], 1)


class MLPPrefix(Prefix):
    """Keys and values by a network of one hidden layer: tanh(E·W1ᵀ + b1)·W2ᵀ + b2, a row for each position.

    Training is steadier than of keys and values themselves; afterwards what `folded` gives is all that is needed. A
    row holds layer after layer, keys before values. Starts as torch's layers do, E from N(0, 1).

    Args:
        config: the model's shape.
        length: positions l.
        hidden: width of the hidden layer.
    """

    def __init__(self, config: GPT2Config, length: int, hidden: int = 512) -> None:
        super().__init__()
        self.length, self.n_layer = length, config.n_layer
        self.embedding = nn.Parameter(torch.randn(length, config.n_embd))
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, hidden), nn.Tanh(), nn.Linear(hidden, 2 * config.n_layer * config.n_embd)
        )

    def forward(self, transformer: Transformer) -> Tensor:
        """See `Prefix.forward`; in fp32 whatever the model runs in."""
        kind = "cpu" if self.embedding.is_meta else self.embedding.device.type
        with torch.autocast(kind, enabled=False):
            rows: Tensor = self.mlp(self.embedding)
        return rows.view(self.length, self.n_layer, 2, -1).permute(1, 2, 0, 3)


class HiddenPrefix(Prefix):
    """What enters each block at the prefix's positions, from which the block makes keys and values; L·l·D parameters.

    Half the freedom of keys and values. What enters the first block includes the position's embedding.

    Args:
        hidden: what it starts as, shape (L, l, D).
    """

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.length = hidden.shape[1]
        self.hidden = nn.Parameter(hidden.detach().clone())

    @classmethod
    @torch.no_grad()
    def of_tokens(cls, transformer: Transformer, tokens: Sequence[int]) -> HiddenPrefix:
        """A start from what real tokens send into each block."""
        return cls(run_alone(transformer, _embeddings(transformer, tokens))[0])

    def forward(self, transformer: Transformer) -> Tensor:
        """See `Prefix.forward`."""
        hidden = self.hidden.to(transformer.wpe.weight.dtype)
        blocks = zip(transformer.h, hidden, strict=True)
        return torch.stack([_keys_values(block, x) for block, x in blocks])  # type: ignore[arg-type]


class PromptPrefix(Prefix):
    """Embeddings of l tokens that no vocabulary has; l·D parameters.

    Args:
        embedding: what it starts as, shape (l, D).
    """

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.length = embedding.shape[0]
        self.embedding = nn.Parameter(embedding.detach().clone())

    @classmethod
    def of_tokens(cls, transformer: Transformer, tokens: Sequence[int]) -> PromptPrefix:
        """A start from the embeddings of real tokens."""
        return cls(_embeddings(transformer, tokens))

    def forward(self, transformer: Transformer) -> Tensor:
        """See `Prefix.forward`."""
        return run_alone(transformer, self.embedding)[1]


@torch.no_grad()
def folded(prefix: Prefix, transformer: Transformer) -> KeyValuePrefix:
    """The same prefix as nothing but keys and values."""
    return KeyValuePrefix(prefix(transformer).float())


def stand_before(model: GPT2, prefix: Prefix) -> None:
    """Put a prefix before every sequence of a model.

    Raises:
        InputError: it leaves no position for text.
    """
    if prefix.length >= model.config.n_positions:
        raise InputError(
            f"{prefix.length} positions before the text leave none of the model's {model.config.n_positions} for it"
        )
    model.prefix = prefix


def random_tokens(config: GPT2Config, count: int) -> list[int]:
    """Ids drawn from the whole vocabulary by torch's random numbers."""
    return [int(token) for token in torch.randint(config.vocab_size, (count,), device="cpu")]


def run_alone(transformer: Transformer, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Send l rows through the blocks at positions 0 … l−1, with nothing before or after them.

    Args:
        transformer: whose blocks.
        embeddings: the rows without their positions, shape (l, D).

    Returns:
        What enters each block, shape (L, l, D), and the keys and values it makes of that, (L, 2, l, D).
    """
    wpe = transformer.wpe.weight
    x = embeddings.to(wpe.dtype) + wpe[: len(embeddings)]
    attention = _Causal()
    entering, made = [], []
    for layer, block in enumerate(transformer.h):
        entering.append(x)
        made.append(_keys_values(block, x))  # type: ignore[arg-type]
        if layer < len(transformer.h) - 1:
            x = block(x, layer, attention)
    return torch.stack(entering), torch.stack(made)


class _Causal:
    """Attention of one sequence, with nothing to lay out: no copy to the device, so that a CUDA graph may hold it."""

    def __init__(self) -> None:
        self.prefix: Tensor | None = None

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(l, 3*D) -> (l, D); see `lora_nlg.gpt2.Attention`."""
        q, k, v = qkv.view(len(qkv), 3, n_head, -1).permute(1, 2, 0, 3).unsqueeze(1)  # each (1, H, l, D/H)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out[0].transpose(0, 1).reshape(len(qkv), -1)


def _keys_values(block: Block, x: Tensor) -> Tensor:
    """Keys and values of rows that enter a block, (l, D) -> (2, l, D)."""
    qkv: Tensor = block.attn.c_attn(block.ln_1(x))
    return torch.stack(qkv.chunk(3, dim=-1)[1:])


def _embeddings(transformer: Transformer, tokens: Sequence[int]) -> Tensor:
    wte = transformer.wte.weight.detach()
    return wte[torch.tensor(tokens, device=wte.device)]
