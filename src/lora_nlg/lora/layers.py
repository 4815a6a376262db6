"""LoRA layers: drop-in replacements that keep the base's parameter names and add `lora_A`, `lora_B`.

Method: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (https://arxiv.org/abs/2106.09685).
Every layer adds delta_weight() = B·A·scaling to a frozen weight; scaling is alpha/r. Names, shapes and outputs
are those of microsoft's loralib, so its checkpoints fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.frozen import FrozenMatmul
from lora_nlg.lora.adapted import AdaptedLayer
from lora_nlg.lora.functional import lora_linear
from lora_nlg.lora.spec import Factors, LoRASpec, slices_of


class LoRALayer(AdaptedLayer):
    """What all LoRA layers share: the update B·A·scaling has one definition, `delta_weight`.

    A subclass sets `specs`, `lora_A`, `lora_B` and implements `delta_weight` and `reset_lora_parameters`, and `factors`
    and `set_factors` if its update is low-rank as it stands.

    Attributes:
        variant: the name of the method in adapter files.
        zero_started: which of the two matrices starts at zero, so that the update does.
        specs: how each part of the weight is adapted; None is a part that isn't.
    """

    variant: ClassVar[str] = "lora"
    zero_started: ClassVar[str] = "lora_B"
    specs: tuple[LoRASpec | None, ...]
    lora_A: nn.Parameter
    lora_B: nn.Parameter

    def reset_lora_parameters(self) -> None:
        """Draw the adapter anew, so that the update is zero."""
        raise TypeError(f"{type(self).__name__} does not define reset_lora_parameters")

    def factors(self) -> list[Factors]:
        """The update as a low-rank product for every adapted part; empty if it is none (convolutions, DoRA)."""
        return []

    def set_factors(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set A and B of every adapted part; the inverse of `factors`."""
        raise TypeError(f"{type(self).__name__} does not define set_factors")

    @torch.no_grad()
    def update_norm(self) -> Tensor:
        """The Frobenius norm of the update: a scalar, on its device."""
        if factors := self.factors():
            return torch.stack([own.squared_norm() for own in factors]).sum().sqrt()
        return super().update_norm()


class FusedLinear(nn.Linear, LoRALayer):
    """A linear layer whose output is several equal parts (q, k, v), each adapted with an A of its own or not at all.

    `lora_A` is (P*R, in_features) and `lora_B` (P*width, R) for P adapted parts: the layout of loralib's
    MergedLinear. Example: d = 768, parts (q, k, v) with r = 4, k not adapted: A is (8, 768), B is (1536, 4), and
    columns 0:768 and 1536:2304 of the output receive an update.

    Where the parts' ranks differ, R is the largest and the smaller parts' surplus rows of A and columns of B are
    zero. They stay zero: the gradient of each is a product with the other.

    Args:
        in_features, out_features, bias: as `nn.Linear`.
        specs: one for each part; None leaves the part as it is. Dropouts must agree.

    Attributes:
        width: output columns of a part.
        R: the largest rank.
        slices: where each adapted part's update lies.
        matmul: products with the frozen weight, once `pack_weight` was called.

    Raises:
        InputError: out_features is not a multiple of the number of parts, all specs are None, or dropouts differ.
    """

    matmul: FrozenMatmul | None = None

    def __init__(
        self, in_features: int, out_features: int, specs: Sequence[LoRASpec | None], bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        adapted = [spec for spec in specs if spec is not None]
        if not adapted:
            raise InputError("at least one part of a FusedLinear must be adapted")
        if out_features % len(specs):
            raise InputError(f"{out_features} outputs can't be split into {len(specs)} equal parts")
        if len({spec.dropout for spec in adapted}) > 1:
            raise InputError("the parts of one FusedLinear share their input and must share their dropout")
        self.specs = tuple(specs)
        self.dropout = adapted[0].dropout
        self.R = max(spec.r for spec in adapted)
        self.width = out_features // len(specs)
        self.slices = slices_of(specs, self.width, self.R)
        self.add_lora_parameters()
        self.reset_lora_parameters()

    def add_lora_parameters(self) -> None:
        """Register what the adapter consists of; `reset_lora_parameters` gives it values."""
        P = len(self.slices)
        self.lora_A = nn.Parameter(self.weight.new_zeros(P * self.R, self.in_features))
        self.lora_B = nn.Parameter(self.weight.new_zeros(P * self.width, self.R))

    def reset_lora_parameters(self) -> None:
        """A from Kaiming-uniform (a = √5, as loralib), drawn for each part alone; B zero: the update starts at zero."""
        with torch.no_grad():
            self.lora_A.zero_()
            self.lora_B.zero_()
            for own in self.trained_factors():
                nn.init.kaiming_uniform_(own.A, a=math.sqrt(5))

    def trained_factors(self) -> list[Factors]:
        """A and B of every adapted part; views of `lora_A` and `lora_B`."""
        return [part.factors(self.lora_A, self.lora_B) for part in self.slices]

    def factors(self) -> list[Factors]:
        """The update of every adapted part, here B·A·scaling itself."""
        return self.trained_factors()

    @torch.no_grad()
    def set_factors(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set A (r, in_features) and B (width, r) of every adapted part."""
        for own, (A, B) in zip(self.trained_factors(), pairs, strict=True):
            own.A.copy_(A)
            own.B.copy_(B)

    def delta_weight(self) -> Tensor:
        """The update, shape (out_features, in_features); zero in the rows of parts that are not adapted."""
        delta = torch.zeros_like(self.weight, dtype=self.update_dtype)
        for own in self.factors():
            delta[own.columns] = own.product().to(delta.dtype)
        return delta

    def pack_weight(self) -> None:
        """Multiply with a packed copy of the frozen weight from now on."""
        self.matmul = FrozenMatmul(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.merged:
            return F.linear(x, self.weight, self.bias)
        return lora_linear(
            x,
            self.weight,
            self.bias,
            self.lora_A,
            self.lora_B,
            self.slices,
            dropout=self.dropout,
            training=self.training,
            matmul=self.matmul,
        )

    def extra_repr(self) -> str:
        ranks = ", ".join("–" if spec is None else f"r={spec.r} s={spec.scaling:g}" for spec in self.specs)
        return f"{super().extra_repr()}, lora=[{ranks}]"


class Linear(FusedLinear):
    """A linear layer with one low-rank update: `lora_A` (r, in_features), `lora_B` (out_features, r).

    Args:
        in_features, out_features, bias: as `nn.Linear`.
        spec: rank, alpha, dropout and scaling rule.
    """

    def __init__(self, in_features: int, out_features: int, spec: LoRASpec, bias: bool = True) -> None:
        super().__init__(in_features, out_features, (spec,), bias=bias)


class Embedding(nn.Embedding, LoRALayer):
    """An embedding with a low-rank update: `lora_A` (r, num_embeddings), `lora_B` (embedding_dim, r).

    As in loralib, A starts at zero and B from a normal distribution: rows of A are looked up, so it is A that must
    be zero for the update of every token to start at zero. Dropout does not apply to a lookup and is ignored.

    Args:
        num_embeddings, embedding_dim: as `nn.Embedding`.
        spec: rank, alpha and scaling rule.
    """

    zero_started = "lora_A"

    def __init__(self, num_embeddings: int, embedding_dim: int, spec: LoRASpec) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.specs, self.scaling = (spec,), spec.scaling
        self.lora_A = nn.Parameter(self.weight.new_zeros(spec.r, num_embeddings))
        self.lora_B = nn.Parameter(self.weight.new_zeros(embedding_dim, spec.r))
        self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """A zero, B standard normal."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def delta_weight(self) -> Tensor:
        """(B·A)ᵀ·scaling, shape (num_embeddings, embedding_dim)."""
        return ((self.lora_B @ self.lora_A).t() * self.scaling).to(self.update_dtype)

    def factors(self) -> list[Factors]:
        """The one update; A is (r, num_embeddings), B (embedding_dim, r)."""
        return [Factors(slice(0, self.embedding_dim), self.lora_A, self.lora_B, self.scaling)]

    @torch.no_grad()
    def set_factors(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set A and B, given as the only pair."""
        ((A, B),) = pairs
        self.lora_A.copy_(A)
        self.lora_B.copy_(B)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (...) -> (..., embedding_dim)."""
        base = F.embedding(tokens, self.weight)
        if self.merged:
            return base
        low = F.embedding(tokens, self.lora_A.t())
        return base + (low @ self.lora_B.t() * self.scaling).to(base.dtype)
