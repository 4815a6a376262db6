"""Several adapters on one frozen layer in one forward pass.

The stream holds the rows of adapter 0, then those of adapter 1, and so on. The base product is one matrix product
over all of them. The low-rank products are batched over adapters on CUDA, where launching each would cost more than
computing it. On the CPU, where padding would, each is its own, by the very functions of a layer alone, with its bits.
Ranks may differ: they are padded with zeros to the largest, which stay zero (see `FusedLinear`). Shapes: N adapters,
T rows, S rows of the adapter with the most, P adapted parts, R rank, D width in, W width of a part.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.frozen import FrozenMatmul
from lora_nlg.lora.functional import add_update_, dropout_scale, low_rank_gradient
from lora_nlg.lora.layers import FusedLinear
from lora_nlg.onednn import can_pack


class Rows:
    """Which rows of a stream belong to which adapter; set anew for each batch, read by every layer.

    Example: counts (3, 1) are T = 4 rows and S = 3; padded, they fill slots 0, 1, 2 of adapter 0 and slot 3 (the
    first) of adapter 1; slots 4 and 5 are zero.

    Args:
        generators: each adapter's dropout draws from one of its own, as if it trained alone. Default: no dropout.
    """

    def __init__(self, generators: Sequence[torch.Generator] = ()) -> None:
        self.layouts: dict[int, _Layout] = {}
        self.generators = generators

    def set(self, *counts: Sequence[int], device: torch.device | str = "cpu") -> None:
        """Lay out a batch.

        Args:
            counts: rows of each adapter, in order; a second list for the shorter stream of the rows that go on past
                the last attention.
            device: where the stream is.
        """
        # Layers tell the streams apart by their length: they are only as long as each other if they are the same.
        self.layouts = {sum(layout): _Layout(layout, device) for layout in counts}

    def of(self, x: Tensor) -> _Layout:
        """The layout of a stream, (T, C)."""
        return self.layouts[x.shape[0]]

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed every adapter's generator."""
        for generator, seed in zip(self.generators, seeds, strict=True):
            generator.manual_seed(seed)

    def dropout_scale(self, x: Tensor, p: float) -> Tensor:
        """What dropout multiplies (T, C) by, each adapter's rows drawn from its own generator."""
        counts = self.of(x).counts
        if x.device.type == "cpu":
            pieces = zip(x.split(counts), self.generators, strict=True)
            return torch.cat([dropout_scale(rows, p, generator) for rows, generator in pieces])
        keep = torch.empty_like(x)
        for rows, generator in zip(keep.split(counts), self.generators, strict=True):
            rows.bernoulli_(1 - p, generator=generator)
        return keep.div_(1 - p)


class _Layout:
    """Where the rows of each adapter are in one stream."""

    def __init__(self, counts: Sequence[int], device: torch.device | str) -> None:
        self.counts = list(counts)
        ends = list(itertools.accumulate(counts))
        self.rows = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.S = max(counts)
        self._slots: Tensor | None = None
        if min(counts) < self.S:
            pieces = [torch.arange(count) + n * self.S for n, count in enumerate(counts)]
            self._slots = torch.cat(pieces).to(device, non_blocking=True)

    def spread(self, x: Tensor) -> Tensor:
        """(T, C) -> (N, S, C), zero where an adapter has no row."""
        N = len(self.counts)
        if self._slots is None:
            return x.view(N, self.S, -1)
        padded = x.new_zeros(N * self.S, x.shape[1])
        return padded.index_copy_(0, self._slots, x).view(N, self.S, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """(N, S, C) -> (T, C)."""
        flat = padded.reshape(-1, padded.shape[-1])
        return flat if self._slots is None else flat.index_select(0, self._slots)

    def add_product_(self, y: Tensor, a: Tensor, b: Tensor) -> None:
        """Add a·b, (N, S, R) by (N, R, C), to (T, C) in place; straight into it where all adapters have S rows."""
        if self._slots is None:
            y.view(len(a), self.S, -1).baddbmm_(a, b)
        else:
            y.add_(self.gather(torch.bmm(a, b)))


class _BatchedLoRA(torch.autograd.Function):
    """`lora.functional` for N adapters at once, on CUDA: as there, no work for W's gradient or to copy an update."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, lora_A: Tensor, lora_B: Tensor, layer: BatchedLinear, layout: _Layout
    ) -> Tensor:
        A = lora_A.to(x.dtype)
        B = (lora_B * layer.scaling[:, :, None, None]).to(x.dtype)
        y = F.linear(x, layer.weight, layer.bias) if layer.matmul is None else layer.matmul.forward(x, layer.bias)
        branch_input = layout.spread(x if keep is None else x * keep)
        low = torch.bmm(branch_input, A.mT)  # (N, S, P*R)
        for p, (columns, ranks) in enumerate(layer.parts()):
            layout.add_product_(y[:, columns], low[..., ranks], B[:, p].mT)
        ctx.save_for_backward(branch_input, keep, A, B, low)
        ctx.layer, ctx.layout = layer, layout
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        branch_input, keep, A, B, low = ctx.saved_tensors
        layer, layout = ctx.layer, ctx.layout
        grad_low, grad_B = torch.empty_like(low), torch.empty(B.shape, device=B.device)
        for p, (columns, ranks) in enumerate(layer.parts()):
            own = layout.spread(grad[:, columns])
            torch.bmm(own, B[:, p], out=grad_low[..., ranks])
            torch.mul(torch.bmm(own.mT, low[..., ranks]), layer.scaling[:, p, None, None], out=grad_B[:, p])
        grad_A = torch.bmm(grad_low.mT, branch_input).float()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ layer.weight if layer.matmul is None else layer.matmul.backward(grad)
            if keep is None:
                layout.add_product_(grad_x, grad_low, A)
            else:
                grad_x.addcmul_(layout.gather(torch.bmm(grad_low, A)), keep)
        return grad_x, None, grad_A, grad_B, None, None


class _SeparateLoRA(torch.autograd.Function):
    """The same on the CPU: one base product, then what a layer alone does for each adapter's rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, lora_A: Tensor, lora_B: Tensor, layer: BatchedLinear, layout: _Layout
    ) -> Tensor:
        y = F.linear(x, layer.weight, layer.bias) if layer.matmul is None else layer.matmul.forward(x, layer.bias)
        branch_input = x if keep is None else x * keep
        saved = []
        for n, rows in enumerate(layout.rows):
            A, B = (factor.to(x.dtype) for factor in layer.own(n, lora_A, lora_B))
            saved += [A, B, add_update_(y[rows], branch_input[rows], A, B, layer.slices[n])]
        ctx.save_for_backward(branch_input, keep, *saved)
        ctx.layer, ctx.layout = layer, layout
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        branch_input, keep, *saved = ctx.saved_tensors
        layer = ctx.layer
        grad_A, grad_B = torch.zeros_like(layer.lora_A), torch.zeros_like(layer.lora_B)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ layer.weight if layer.matmul is None else layer.matmul.backward(grad)
        for n, rows in enumerate(ctx.layout.rows):
            A, B, low = saved[3 * n : 3 * n + 3]
            own_B = torch.empty(B.shape)
            grad_low = low_rank_gradient(grad[rows], low, B, layer.slices[n], own_B)
            layer.put(n, grad_A, grad_B, grad_low.t() @ branch_input[rows], own_B)
            if grad_x is not None and keep is None:
                grad_x[rows].addmm_(grad_low, A)
            elif grad_x is not None and keep is not None:
                grad_x[rows].addcmul_(grad_low @ A, keep[rows])
        return grad_x, None, grad_A, grad_B, None, None


class BatchedLinear(nn.Linear):
    """A frozen linear layer with N adapters, each on its own rows.

    `lora_A` is (N, P*R, D), `lora_B` (N, P, W, R): for each adapter what `FusedLinear` has.

    Args:
        layers: the same layer adapted N times: equal base, parts and dropout; ranks and scalings may differ.
        rows: whose rows are whose.

    Raises:
        InputError: the adapters differ in which parts they adapt or in dropout.
    """

    scaling: Tensor

    def __init__(self, layers: Sequence[FusedLinear], rows: Rows) -> None:
        first = layers[0]
        with torch.device("meta"):
            super().__init__(first.in_features, first.out_features, bias=first.bias is not None)
        self.weight, self.bias = first.weight, first.bias
        self.matmul: FrozenMatmul | None = None
        self.slices = [layer.slices for layer in layers]
        self.columns = [part.columns for part in first.slices]
        if any([part.columns for part in layer.slices] != self.columns for layer in layers):
            raise InputError("adapters trained together must adapt the same parts")
        if len({layer.dropout for layer in layers}) > 1:
            raise InputError("adapters trained together must share their dropout")
        self.rows, self.dropout = rows, first.dropout
        self.ranks = [layer.R for layer in layers]
        N, P, R = len(layers), len(self.columns), max(self.ranks)
        self.lora_A = nn.Parameter(torch.zeros(N, P * R, first.in_features, device=first.lora_A.device))
        self.lora_B = nn.Parameter(torch.zeros(N, P, first.width, R, device=first.lora_A.device))
        scaling = [[part.scaling for part in layer.slices] for layer in layers]
        self.register_buffer("scaling", torch.tensor(scaling, device=first.lora_A.device), persistent=False)
        for n, layer in enumerate(layers):
            self.copy_in(n, layer)

    def pack_weight(self) -> None:
        """See `LoRALayer.pack_weight`."""
        self.matmul = FrozenMatmul(self.weight) if can_pack(self.weight) else None

    def own(self, n: int, lora_A: Tensor, lora_B: Tensor) -> tuple[Tensor, Tensor]:
        """A (P*r, D) and B (P*W, r) of one adapter of rank r without padding: as a layer alone has them."""
        P, R, r = len(self.columns), lora_B.shape[3], self.ranks[n]
        A = lora_A[n].view(P, R, -1)[:, :r].reshape(P * r, -1)
        return A, lora_B[n, :, :, :r].reshape(-1, r)

    def put(self, n: int, lora_A: Tensor, lora_B: Tensor, A: Tensor, B: Tensor) -> None:
        """Copy one adapter's A and B to where `own` takes them from."""
        P, R, r = len(self.columns), lora_B.shape[3], self.ranks[n]
        lora_A[n].view(P, R, -1)[:, :r] = A.view(P, r, -1)
        lora_B[n, :, :, :r] = B.view(P, -1, r)

    def _factors(self, n: int, layer: FusedLinear) -> list[tuple[Tensor, Tensor]]:
        """A and B of every part of one adapter, as views without padding."""
        R = self.lora_B.shape[3]
        return [
            (self.lora_A[n, p * R : p * R + part.r], self.lora_B[n, p, :, : part.r])
            for p, part in enumerate(layer.slices)
        ]

    @torch.no_grad()
    def copy_in(self, n: int, layer: FusedLinear) -> None:
        """Take the values of one adapter."""
        for (A, B), own in zip(self._factors(n, layer), layer.factors(), strict=True):
            A.copy_(own.A)
            B.copy_(own.B)

    @torch.no_grad()
    def copy_out(self, n: int, layer: FusedLinear) -> None:
        """Give the values of one adapter to a layer of its own."""
        layer.set_factors(self._factors(n, layer))

    def parts(self) -> list[tuple[slice, slice]]:
        """The output columns of every adapted part, and its columns of the low-rank product."""
        R = self.lora_B.shape[3]
        return [(columns, slice(p * R, (p + 1) * R)) for p, columns in enumerate(self.columns)]

    def forward(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D_out)."""
        if self.matmul is not None:
            x = x.to(self.matmul.dtype)
        elif torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        keep = self.rows.dropout_scale(x, self.dropout) if self.training and self.dropout > 0 else None
        function = _SeparateLoRA if x.device.type == "cpu" else _BatchedLoRA
        y: Tensor = function.apply(x, keep, self.lora_A, self.lora_B, self, self.rows.of(x))
        return y
