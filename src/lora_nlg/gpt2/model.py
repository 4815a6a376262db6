"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners") on flat token streams.

Attribute names are the released checkpoint's, so a state dict reads like the code; linear weights are (out, in) and
are transposed once when a checkpoint is loaded (weights/base.py). Pre-layer-norm blocks, tanh-GELU, output head
tied to the token embedding, no dropout. Shapes: T tokens of the stream, D width, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lora_nlg.gpt2.attention import Attention, FlatAttention
from lora_nlg.gpt2.config import GPT2Config


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.shape).index_copy_(0, rows, grads[0]), None


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Distinct rows of x, (T, D) -> (N, D); their gradient is copied, where index_select's has to add."""
    taken: Tensor = _TakeRows.apply(x, rows)
    return taken


class SelfAttention(nn.Module):
    """Fused q, k, v projection, attention, output projection."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, layer: int, attention: Attention, rows: Tensor | None = None) -> Tensor:
        """(T, D) -> (T, D), or (N, D) for N chosen rows, which attend to all."""
        y = attention(layer, self.c_attn(x), self.n_head)
        return self.c_proj(y if rows is None else take_rows(y, rows))


class MLP(nn.Module):
    """D -> 4D -> D with tanh-GELU."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Pre-layer-norm transformer block.

    Attributes:
        after_attn, after_mlp: change the sub-layer's output before it is added to the residual stream, or None.
        after_block: changes the residual stream behind the block, or None.
    """

    after_attn: nn.Module | None
    after_mlp: nn.Module | None
    after_block: nn.Module | None

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = SelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.after_attn = self.after_mlp = self.after_block = None

    def forward(self, x: Tensor, layer: int, attention: Attention, rows: Tensor | None = None) -> Tensor:
        """(T, D) -> (T, D), or (N, D) for N chosen rows."""
        y = _through(self.after_attn, self.attn(self.ln_1(x), layer, attention, rows))
        x = y + (x if rows is None else take_rows(x, rows))
        x = x + _through(self.after_mlp, self.mlp(self.ln_2(x)))
        return _through(self.after_block, x)


def _through(module: nn.Module | None, y: Tensor) -> Tensor:
    changed: Tensor = y if module is None else module(y)
    return changed


def _embedding(n: int, size: int) -> nn.Embedding:
    """Uninitialised: torch's own first values on the meta device would import its compiler, which takes seconds."""
    return nn.Embedding(n, size, _weight=torch.empty(n, size))


class Transformer(nn.Module):
    """Embeddings, blocks and the final layer norm."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = _embedding(config.vocab_size, config.n_embd)
        self.wpe = _embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False

    def forward(self, tokens: Tensor, positions: Tensor, attention: Attention, rows: Tensor | None = None) -> Tensor:
        """(T,), (T,) -> (T, D), or (N, D) for N chosen rows."""
        x = self.wte(tokens) + self.wpe(positions)
        for layer, block in enumerate(self.h):
            # Past the last attention rows no longer meet: only those asked for go on.
            chosen = rows if layer == len(self.h) - 1 else None
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, layer, attention, chosen, use_reentrant=False)
            else:
                x = block(x, layer, attention, chosen)
        return self.ln_f(x)


class Prefix(nn.Module, ABC):
    """Positions before every sequence (kinds of them: `prefix.py`); its tokens take the positions from `length` on.

    Attributes:
        length: positions l.
    """

    length: int

    @abstractmethod
    def forward(self, transformer: Transformer) -> Tensor:
        """Keys and values of every layer, shape (L, 2, l, D), keys first; with gradient to what is trained.

        Args:
            transformer: of the model that it stands before.
        """


class GPT2(nn.Module):
    """GPT-2 with its tied output head.

    Args:
        config: the shape.

    Attributes:
        transformer: what maps tokens to hidden states.
        lm_head: the output head; its weight is `transformer.wte.weight`.
        prefix: positions before every sequence, or None.
    """

    prefix: Prefix | None

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.prefix = None
        self.tie_head()

    def tie_head(self) -> None:
        """Make the head's weight the token embedding itself.

        The head refers to the base embedding: LoRA on `wte` changes what is looked up, not the head.
        """
        self.lm_head.weight = self.transformer.wte.weight

    def compile_blocks(self) -> None:
        """Run the transformer through torch.compile from now on, but for the attention of each batch."""
        # The lengths differ from batch to batch; compiled with the model, attention would be compiled anew for each.
        # Not a decorator: it imports the compiler, which would double the time that every command takes to start.
        if not getattr(FlatAttention.__call__, "_torchdynamo_disable", False):
            FlatAttention.__call__ = torch.compiler.disable(FlatAttention.__call__)  # type: ignore[method-assign]
        self.transformer.compile(dynamic=True)

    def forward(self, tokens: Tensor, positions: Tensor, attention: Attention, rows: Tensor | None = None) -> Tensor:
        """Hidden states of a flat stream.

        Args:
            tokens: token ids, shape (T,).
            positions: position of each token in its own sequence, shape (T,); below `window`.
            attention: who attends to whom, e.g. `FlatAttention(lengths)`.
            rows: distinct rows whose states are wanted, shape (N,). Default: all.

        Returns:
            Final hidden states, shape (T, D) or (N, D); `logits` turns chosen rows into scores over the vocabulary.
        """
        attention.prefix = None
        if self.prefix is not None:
            positions = positions + self.prefix.length
            attention.prefix = self.prefix(self.transformer)
        hidden: Tensor = self.transformer(tokens, positions, attention, rows)
        return hidden

    @property
    def window(self) -> int:
        """Longest sequence, in tokens: the positions that a prefix leaves."""
        return self.config.n_positions - (0 if self.prefix is None else self.prefix.length)

    @property
    def head_weight(self) -> Tensor:
        """The output head's weight, shape (V, D)."""
        return self.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V)."""
        return F.linear(hidden, self.lm_head.weight)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """GPT-2's initialisation: N(0, 0.02), residual projections scaled by 1/√(2·n_layer), biases zero."""
        for name, parameter in self.named_parameters():  # the tied head comes once
            leaf = name.rpartition(".")[2]
            if "ln_" in name:
                parameter.fill_(1.0 if leaf == "weight" else 0.0)
            elif leaf == "bias":
                parameter.zero_()
            elif leaf == "weight":
                scale = 1 / math.sqrt(2 * self.config.n_layer) if "c_proj" in name else 1.0
                parameter.normal_(0.0, 0.02 * scale)


def empty_gpt2(config: GPT2Config) -> GPT2:
    """A GPT-2 with uninitialised weights: to be loaded into, or `reset_parameters` called on."""
    with torch.device("meta"):
        model = GPT2(config)
    model.to_empty(device="cpu")
    model.tie_head()
    return model


@functools.cache
def base_names(config: GPT2Config) -> frozenset[str]:
    """Names of a GPT-2's own entries in its state dict; what else is there, a tuning method has put in."""
    with torch.device("meta"):
        return frozenset(GPT2(config).state_dict())


@functools.cache
def base_modules(config: GPT2Config) -> frozenset[str]:
    """Names of a GPT-2's own modules; its own is the empty one."""
    with torch.device("meta"):
        return frozenset(name for name, _ in GPT2(config).named_modules())
