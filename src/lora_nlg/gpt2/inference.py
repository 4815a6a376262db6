"""GPT-2 for inference: the function of model.py over weights laid out for the processor.

On x86 CPUs each weight is laid out for oneDNN (`lora_nlg.onednn`), and GELU runs inside the matrix product. Besides the
speed, a row's result then has the same bits whatever other rows it is computed with, which is what makes decoding
independent of the batch. Elsewhere (CUDA, other CPUs, other number types) the layers are plain `F.linear`.

In 16 bits a merged weight would keep little of a small update (`AdaptedLayer.lost_in`). A LoRA layer that the model
still has is therefore computed as x·Wᵀ + (x·Aᵀ)·Bᵀ, with A and B of their own.

A prefix is worked out once, to keys and values; bottlenecks are two more frozen products each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.gpt2.attention import Attention
from lora_nlg.gpt2.bottleneck import Bottleneck
from lora_nlg.gpt2.config import GPT2Config
from lora_nlg.gpt2.model import GPT2, Block
from lora_nlg.lora import AdaptedLayer, Factors, FusedLinear, adapted_layers
from lora_nlg.onednn import PackedWeight, can_pack

HEAD_MULTIPLE = 128  # the vocabulary is padded to whole blocks of this size; top-k reads logits block by block


class FrozenLinear:
    """x·Wᵀ + b with a weight that no longer changes, with or without GELU after it.

    Args:
        weight: shape (out, in).
        bias: shape (out,), or None.
        dtype: type of weight, input and output. Default: the weight's.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype or weight.dtype
        self.source = weight
        self.bias = None if bias is None else bias.detach().to(self.dtype)
        weight = weight.detach().to(self.dtype)
        self.weight: Tensor | PackedWeight = PackedWeight(weight) if can_pack(weight) else weight

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        return self._product(x)

    def gelu(self, x: Tensor) -> Tensor:
        """tanh-GELU of the product, (N, in) -> (N, out)."""
        return self._product(x, gelu=True)

    def _product(self, x: Tensor, gelu: bool = False) -> Tensor:
        if isinstance(self.weight, Tensor):
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y, approximate="tanh") if gelu else y
        if x.shape[0] == 1:  # a single row takes another kernel, which sums in another order
            return self.weight.linear(x.expand(2, -1).contiguous(), self.bias, gelu)[:1]
        return self.weight.linear(x, self.bias, gelu)


class AdaptedLinear:
    """A frozen layer with a low-rank update beside it: x·Wᵀ + b + (x·Aᵀ)·Bᵀ, with or without GELU after it.

    Args:
        base: the layer without its update.
        factors: the update, one for each adapted part.
    """

    def __init__(self, base: FrozenLinear, factors: Sequence[Factors]) -> None:
        self.base = base
        balanced = [own.balanced() for own in factors]
        A = torch.cat([own.A for own in balanced])
        B = A.new_zeros(base.source.shape[0], len(A))
        ranks = torch.tensor([0, *(len(own.A) for own in balanced)]).cumsum(0).tolist()
        for own, first, last in zip(balanced, ranks, ranks[1:], strict=False):
            B[own.columns, first:last] = own.B
        self.down, self.up = FrozenLinear(A, None, base.dtype), FrozenLinear(B, None, base.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        return self.base(x) + self.up(self.down(x))

    def gelu(self, x: Tensor) -> Tensor:
        """tanh-GELU of the product, (N, in) -> (N, out)."""
        return F.gelu(self(x), approximate="tanh")


InferenceLinear = FrozenLinear | AdaptedLinear


class _InferenceBottleneck:
    def __init__(self, bottleneck: Bottleneck, dtype: torch.dtype) -> None:
        self.ln = None if bottleneck.ln is None else _norm(bottleneck.ln, dtype)
        self.down = FrozenLinear(bottleneck.down.weight, bottleneck.down.bias, dtype)
        self.up = FrozenLinear(bottleneck.up.weight, bottleneck.up.bias, dtype)
        self.is_relu = bottleneck.activation == "relu"

    def __call__(self, y: Tensor) -> Tensor:
        x = y if self.ln is None else F.layer_norm(y, y.shape[1:], *self.ln)
        return y + self.up(self.down(x).relu_() if self.is_relu else self.down.gelu(x))


class _PackedLinear(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.product = FrozenLinear(layer.weight, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


def _behind(module: nn.Module | None, dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """What stands behind a sub-layer or block; of a kind not known here, a copy with its linear layers laid out."""
    if module is None:
        return None
    if isinstance(module, Bottleneck):
        return _InferenceBottleneck(module, dtype)
    laid_out = deepcopy(module).requires_grad_(False)
    for name, layer in list(laid_out.named_modules()):
        if isinstance(layer, nn.Linear):
            laid_out.set_submodule(name, _PackedLinear(layer))
    return laid_out


class _InferenceBlock:
    def __init__(self, block: Block, dtype: torch.dtype, share: _InferenceBlock | None) -> None:
        self.ln_1, self.ln_2 = _norm(block.ln_1, dtype), _norm(block.ln_2, dtype)
        self.n_head = block.attn.n_head
        self.c_attn: InferenceLinear = _linear(block.attn.c_attn, dtype, share.c_attn if share else None)
        self.c_proj: InferenceLinear = _linear(block.attn.c_proj, dtype, share.c_proj if share else None)
        self.fc: InferenceLinear = _linear(block.mlp.c_fc, dtype, share.fc if share else None)
        self.proj: InferenceLinear = _linear(block.mlp.c_proj, dtype, share.proj if share else None)
        self.after_attn, self.after_mlp, self.after_block = (
            _behind(module, dtype) for module in (block.after_attn, block.after_mlp, block.after_block)
        )

    def __call__(self, x: Tensor, layer: int, attention: Attention) -> Tensor:
        D = x.shape[1:]
        y = self.c_proj(attention(layer, self.c_attn(F.layer_norm(x, D, *self.ln_1)), self.n_head))
        x = x + (self.after_attn(y) if self.after_attn else y)
        y = self.proj(self.fc.gelu(F.layer_norm(x, D, *self.ln_2)))
        x = x + (self.after_mlp(y) if self.after_mlp else y)
        return self.after_block(x) if self.after_block else x


class InferenceGPT2:
    """A frozen GPT-2, laid out for the processor.

    The body runs in `dtype`; the final hidden states and the logits stay in fp32, because logits around −100 (GPT-2's
    usual range) are half a nat apart in bf16. On CUDA the head's factors are of `dtype` too: there 16-bit products are
    summed and given in fp32, at several times the speed of fp32 ones.

    Args:
        model: a GPT-2, read once. In fp32 it must have no LoRA layers (`lora.fold` gives one); in 16 bits linear ones
            may be left whose update is low-rank.
        dtype: `torch.float32`, `torch.bfloat16` or `torch.float16`. Default: fp32.
        share: another one with the same base: layers with the very same weights are not laid out again, so several
            adapters of one base cost one base's memory. Default: None.

    Attributes:
        prefix: keys and values before every sequence, shape (L, 2, l, D), of type `dtype`; or None.

    Raises:
        InputError: the model still has LoRA layers that must be merged.
    """

    def __init__(self, model: GPT2, dtype: torch.dtype = torch.float32, share: InferenceGPT2 | None = None) -> None:
        if any(dtype == torch.float32 or not can_stay_apart(layer) for layer in adapted_layers(model).values()):
            raise InputError("the model still has adapted layers; decode lora.fold(model)")
        transformer = model.transformer
        blocks: list[_InferenceBlock | None] = [None] * len(transformer.h)
        if share is not None and share.dtype == dtype and len(share.blocks) == len(blocks):
            blocks = list(share.blocks)
        self.config: GPT2Config = model.config
        self.dtype: torch.dtype = dtype
        self.device = model.head_weight.device
        self.wte, self.wpe = transformer.wte.weight.detach(), transformer.wpe.weight.detach()
        self.ln_f = _norm(transformer.ln_f, torch.float32)
        self.blocks: list[_InferenceBlock] = [
            _InferenceBlock(block, dtype, like)  # type: ignore[arg-type]
            for block, like in zip(transformer.h, blocks, strict=True)
        ]
        is_shared = share is not None and share.dtype == dtype and share.head.source is model.head_weight
        self.head: FrozenLinear = share.head if share and is_shared else _padded_head(model.head_weight, dtype)
        self.prefix: Tensor | None = None
        if model.prefix is not None:
            with torch.no_grad():
                self.prefix = model.prefix(transformer).to(dtype)

    @property
    def prefix_length(self) -> int:
        """Positions of the prefix, l."""
        return 0 if self.prefix is None else self.prefix.shape[2]

    @property
    def window(self) -> int:
        """Longest sequence, in tokens: the positions that a prefix leaves."""
        return self.config.n_positions - self.prefix_length

    def forward(self, tokens: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """Hidden states of a flat stream, as `GPT2.forward`, before the final layer norm.

        Args:
            tokens: token ids, shape (T,).
            positions: their positions, shape (T,), each from 0 in its own sequence, whatever the prefix.
            attention: who attends to whom.

        Returns:
            Shape (T, D), of type `dtype`.
        """
        attention.prefix = self.prefix
        if self.prefix is not None:
            positions = positions + self.prefix_length
        # In fp32, also where the embeddings are held in 16 bits.
        x = (F.embedding(tokens, self.wte).float() + F.embedding(positions, self.wpe).float()).to(self.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, attention)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Final layer norm and output head.

        Args:
            hidden: rows that `forward` returned, shape (N, D).

        Returns:
            fp32, shape (N, padded V); the padding holds −inf.
        """
        return self.head(F.layer_norm(hidden.float(), hidden.shape[1:], *self.ln_f))


def can_stay_apart(layer: AdaptedLayer) -> bool:
    """Whether a layer's update can be computed beside the frozen weight."""
    return isinstance(layer, FusedLinear) and not layer.merged and bool(layer.factors())


def _norm(layer: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    return layer.weight.detach().to(dtype), layer.bias.detach().to(dtype), layer.eps


@torch.no_grad()
def _linear(layer: nn.Linear, dtype: torch.dtype, share: InferenceLinear | None) -> InferenceLinear:
    frozen = share.base if isinstance(share, AdaptedLinear) else share
    if (
        frozen is None
        or frozen.source is not layer.weight
        or frozen.bias is None
        or not torch.equal(frozen.bias, layer.bias.detach().to(dtype))
    ):
        frozen = FrozenLinear(layer.weight, layer.bias, dtype)
    return AdaptedLinear(frozen, layer.factors()) if isinstance(layer, FusedLinear) else frozen


class _WideHead(FrozenLinear):
    """A padded head with factors of 16 bits, summed and given in fp32: on CUDA only."""

    def _product(self, x: Tensor, gelu: bool = False) -> Tensor:
        assert isinstance(self.weight, Tensor), "of a head on CUDA"
        scores = torch.mm(x.to(self.dtype), self.weight.t(), out_dtype=torch.float32)
        scores[:, len(self.source) :] = float("-inf")  # sparing a pass over all scores to add the bias
        return scores


def _padded_head(weight: Tensor, dtype: torch.dtype) -> FrozenLinear:
    V = weight.shape[0]
    padding = -V % HEAD_MULTIPLE
    bias = torch.zeros(V + padding, device=weight.device)
    bias[V:] = float("-inf")
    padded = F.pad(weight.detach().float(), (0, 0, 0, padding))
    is_wide = weight.is_cuda and dtype != torch.float32
    head = _WideHead(padded, bias, dtype) if is_wide else FrozenLinear(padded, bias)
    head.source = weight
    return head
