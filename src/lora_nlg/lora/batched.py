"""Several adapters on one frozen layer in one forward pass.

The stream holds the rows of adapter 0, then those of adapter 1, and so on. The base product is one matrix product
over all of them; the low-rank products are batched over adapters. Ranks may differ: they are padded with zeros to the
largest, which stay zero (see `MergedLinear`). Shapes: N adapters, T rows, S rows of the adapter with the most, P
adapted parts, R rank, D width in, W width of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.lora.frozen import FrozenProduct, can_pack, packed_linear
from lora_nlg.lora.functional import dropout_scale
from lora_nlg.lora.layers import MergedLinear


class Rows:
    """Which rows of a stream belong to which adapter; set anew for each batch, read by every layer.

    Example: counts (3, 1) are T = 4 rows and S = 3; padded, they fill slots 0, 1, 2 of adapter 0 and slot 3 (the
    first) of adapter 1; slots 4 and 5 are zero.
    """

    def __init__(self) -> None:
        self.layouts: dict[int, _Layout] = {}
        self.generators: list[Tensor] = []

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

    def seed(self, seeders: Sequence[Callable[[], None]], device: torch.device) -> None:
        """Give every adapter a dropout generator of its own, as if it trained alone.

        Args:
            seeders: one for each adapter; each seeds torch's global generators.
            device: where dropout acts.
        """
        self.generators = []
        for seed in seeders:
            seed()
            self.generators.append(_state(device))

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Dropout on (T, C), each adapter's rows from its own generator."""
        pieces = []
        for n, rows in enumerate(x.split(self.of(x).counts)):
            _set_state(self.generators[n], x.device)
            pieces.append(rows * dropout_scale(rows, p))
            self.generators[n] = _state(x.device)
        return torch.cat(pieces)


class _Layout:
    """Where the rows of each adapter are in one stream."""

    def __init__(self, counts: Sequence[int], device: torch.device | str) -> None:
        self.counts = list(counts)
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


def _state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


class BatchedLinear(nn.Linear):
    """A frozen linear layer with N adapters, each on its own rows.

    `lora_A` is (N, P*R, D), `lora_B` (N, P, W, R): for each adapter what `MergedLinear` has.

    Args:
        layers: the same layer adapted N times: equal base, parts and dropout; ranks and scalings may differ.
        rows: whose rows are whose.

    Raises:
        InputError: the adapters differ in which parts they adapt or in dropout.
    """

    scaling: Tensor

    def __init__(self, layers: Sequence[MergedLinear], rows: Rows) -> None:
        first = layers[0]
        with torch.device("meta"):
            super().__init__(first.in_features, first.out_features, bias=first.bias is not None)
        self.weight, self.bias = first.weight, first.bias
        self.product = FrozenProduct(self.weight) if can_pack(self.weight) else None
        if len({tuple((a, b) for a, b, _ in layer.slices) for layer in layers}) > 1:
            raise InputError("adapters trained together must adapt the same parts")
        if len({layer.dropout for layer in layers}) > 1:
            raise InputError("adapters trained together must share their dropout")
        self.rows, self.dropout = rows, first.dropout
        self.columns = [(a, b) for a, b, _ in first.slices]
        N, P, R = len(layers), len(self.columns), max(layer.R for layer in layers)
        width = self.columns[0][1] - self.columns[0][0]
        self.lora_A = nn.Parameter(torch.zeros(N, P * R, first.in_features, device=first.lora_A.device))
        self.lora_B = nn.Parameter(torch.zeros(N, P, width, R, device=first.lora_A.device))
        scaling = [[scale for _, _, scale in layer.slices] for layer in layers]
        self.register_buffer("scaling", torch.tensor(scaling, device=first.lora_A.device), persistent=False)
        for n, layer in enumerate(layers):
            self.copy_in(n, layer)

    @torch.no_grad()
    def copy_in(self, n: int, layer: MergedLinear) -> None:
        """Take the values of one adapter."""
        P, R = self.lora_B.shape[1], self.lora_B.shape[3]
        for p, factors in enumerate(layer.factors()):
            r = factors.A.shape[0]
            self.lora_A.data[n, p * R : p * R + r] = factors.A
            self.lora_B.data[n, p, :, :r] = factors.B
        assert len(layer.slices) == P, "checked on construction"

    @torch.no_grad()
    def copy_out(self, n: int, layer: MergedLinear) -> None:
        """Give the values of one adapter to a layer of its own."""
        R = self.lora_B.shape[3]
        pairs = []
        for p, factors in enumerate(layer.factors()):
            r = factors.A.shape[0]
            pairs.append((self.lora_A[n, p * R : p * R + r], self.lora_B[n, p, :, :r]))
        layer.set_factors(pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D_out)."""
        y = F.linear(x, self.weight, self.bias) if self.product is None else packed_linear(x, self.bias, self.product)
        layout = self.rows.of(x)
        N, P, _, R = self.lora_B.shape
        branch = self.rows.dropout(x, self.dropout) if self.training and self.dropout > 0 else x
        low = torch.bmm(layout.spread(branch), self.lora_A.to(x.dtype).transpose(1, 2))  # (N, S, P*R)
        low = low.view(N, -1, P, R).transpose(1, 2) * self.scaling.to(x.dtype)[:, :, None, None]
        update = low @ self.lora_B.to(x.dtype).transpose(2, 3)  # (N, P, S, W)
        for p, (first, last) in enumerate(self.columns):
            y[:, first:last] += layout.gather(update[:, p])
        return y
