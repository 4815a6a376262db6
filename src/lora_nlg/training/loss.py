"""Label-smoothed cross-entropy on target positions, fused with the output head.

Logits are made once, a chunk of rows at a time; they are turned into exponentials in place and the gradient with
respect to the hidden states is computed from them on the spot, so no (N, V) tensor outlives its chunk. With smoothing
ε the loss of one target t is (1−ε)·(−log p_t) + ε·mean over the vocabulary of −log p, as the predecessor
(microsoft/LoRA, examples/NLG) and `torch.nn.functional.cross_entropy` define it. Shapes: N targets, D width, V
vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.frozen import FrozenMatmul

CHUNK_BYTES = {"cpu": 24 << 20, "cuda": 256 << 20}
"""Size of a chunk of logits by device. The C library hands blocks below 32 MiB out again without asking the kernel for
pages; a GPU wants few and large products."""
BLOCK_BYTES = 1 << 20
"""Size of the block of fp32 rows that is reduced at a time: it stays in the processor's cache."""
ALIGNED = 64
"""On CUDA a frozen head is padded to a multiple of so many rows: GPT-2's 50257 would get kernels for odd sizes."""


class _Head:
    """What is kept about a frozen head between calls: its packed products and its mean row."""

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._version = 0
        self._mean: Tensor | None = None
        self._product: FrozenMatmul | None = None

    def product_and_mean(self, head: Tensor, needs_mean: bool) -> tuple[FrozenMatmul, Tensor | None]:
        """Products with the head and, if needed, its mean row (D,), fp32; made anew when the head may have changed.

        A head that trains may always have: the optimiser writes through a flat buffer, of which the head is a view
        with a version count of its own.
        """
        if head.requires_grad or self._product is None or self._of is not head or self._version != head._version:
            self._of, self._version, self._mean = head, head._version, None
            # Packing pays when the head stays; one that trains changes at every step.
            stays = not head.requires_grad and head.is_leaf
            padding = -head.shape[0] % ALIGNED if stays and head.is_cuda else 0
            self._product = FrozenMatmul(F.pad(head, (0, 0, 0, padding)) if padding else head, pack=stays)
        if needs_mean and self._mean is None:
            self._mean = head.detach().mean(0, dtype=torch.float32)
        return self._product, self._mean


class TargetLoss:
    """Sum of the losses of N targets, with its gradient.

    Args:
        label_smooth: ε, at least 0 and below 1. Default: 0.
        chunk_bytes: size of a chunk of logits. Default: what suits the device.

    Raises:
        InputError: ε out of range.
    """

    def __init__(self, label_smooth: float = 0.0, chunk_bytes: int | None = None) -> None:
        if not 0 <= label_smooth < 1:
            raise InputError(f"`label_smooth` must be at least 0 and below 1, got {label_smooth}")
        self.label_smooth, self.chunk_bytes = label_smooth, chunk_bytes
        self.head = _Head()

    def without_smoothing(self) -> TargetLoss:
        """The loss with ε = 0, sharing what is kept about the head."""
        plain = TargetLoss(0.0, self.chunk_bytes)
        plain.head = self.head
        return plain

    def __call__(self, hidden: Tensor, targets: Tensor, head: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of the losses.

        Args:
            hidden: final hidden states of the target rows, shape (N, D).
            targets: the token each should predict, shape (N,).
            head: the output head, shape (V, D); its gradient is computed only if it requires one.
            weights: what each loss counts, fp32, shape (M, N / M): of M parts of equal size. Default: 1 each.

        Returns:
            fp32, to be differentiated once: the sum of each part, shape (M,), or without weights a scalar. Of several
            parts the head must be frozen.
        """
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            hidden = hidden.to(torch.get_autocast_dtype(device))
            head = head.to(hidden.dtype)
        with torch.autocast(device, enabled=False):
            total: Tensor = _FusedLoss.apply(hidden, head, targets, weights, self)
        return total


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None, loss: TargetLoss
    ) -> Tensor:
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        smooth = loss.label_smooth
        product, head_mean = loss.head.product_and_mean(head, needs_mean=smooth > 0)
        pieces: list[Tensor] = []  # the losses of each chunk of rows
        of_rows = None if weights is None else weights.flatten()
        grad_hidden = torch.empty(hidden.shape, dtype=torch.float32, device=hidden.device) if needs_hidden else None
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if needs_head else None
        chunk_bytes = loss.chunk_bytes or CHUNK_BYTES[hidden.device.type]
        step = max(1, chunk_bytes // (head.element_size() * head.shape[0]))
        for first in range(0, len(targets), step):
            rows = slice(first, min(first + step, len(targets)))
            h, target = hidden[rows], targets[rows]
            weight = None if of_rows is None else of_rows[rows]
            logits = product.forward_wide(h)
            if logits.shape[1] > head.shape[0]:
                logits[:, head.shape[0] :] = -torch.inf
            at_target = logits.gather(1, target[:, None]).squeeze(1).float()
            top, sums = exponentials_(logits, needs_hidden or needs_head)
            # −Σ_v q_v·log p_v, where the mean logit is h·(mean row of the head): no pass over the vocabulary.
            expected = (1 - smooth) * at_target
            if head_mean is not None:
                expected += smooth * (h.float() @ head_mean)
            pieces.append(top + sums.log() - expected)
            # d loss / d logits = p − (1−ε)·onehot − ε/V. Only p needs the buffer, and its division by the sum is
            # made on the products, which are far smaller.
            if grad_hidden is not None:
                part = grad_hidden[rows]
                part.copy_(product.backward(logits.to(product.dtype))).div_(sums[:, None])
                part.sub_(head[target].float(), alpha=1 - smooth)
                if head_mean is not None:
                    part.sub_(head_mean, alpha=smooth)
                if weight is not None:
                    part.mul_(weight[:, None])
            if grad_head is not None:
                h = h.float() if weight is None else h.float() * weight[:, None]
                grad_head += (logits.t().to(product.dtype) @ (h / sums[:, None]).to(product.dtype)).float()
                grad_head.index_add_(0, target, h, alpha=-(1 - smooth))
                if smooth:
                    grad_head -= h.sum(0) * (smooth / head.shape[0])
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.dtypes = hidden.dtype, head.dtype
        if weights is not None:
            return (torch.cat(pieces).view(weights.shape) * weights).sum(1)
        return sum((losses.sum() for losses in pieces), torch.zeros((), device=hidden.device))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_head = ctx.saved_tensors
        scale = grads[0]
        grad = None
        if grad_hidden is not None:
            of_parts = grad_hidden.view(scale.numel(), -1, grad_hidden.shape[1])
            grad = (of_parts * scale.view(-1, 1, 1)).to(ctx.dtypes[0]).view_as(grad_hidden)
        return grad, None if grad_head is None else (grad_head * scale).to(ctx.dtypes[1]), None, None, None


def exponentials_(logits: Tensor, keep: bool = True) -> tuple[Tensor, Tensor]:
    """Replace logits by exp(logit − the row's largest), in place.

    Args:
        logits: shape (N, V); of a type below fp32, the arithmetic is still fp32.
        keep: whether the exponentials are wanted; without, the content of `logits` is unspecified after.

    Returns:
        Each row's largest logit and its sum of exponentials, both shape (N,), fp32.
    """
    N, V = logits.shape
    if logits.is_cuda:
        block = N
    else:
        block = max(1, BLOCK_BYTES // (4 * V))
    top, sums = (torch.empty(N, device=logits.device) for _ in range(2))
    scratch = None if logits.dtype == torch.float32 else torch.empty(block, V, device=logits.device)
    for first in range(0, N, block):
        rows = slice(first, min(first + block, N))
        part = logits[rows]
        work = part if scratch is None else scratch[: len(part)].copy_(part)
        torch.amax(work, 1, out=top[rows])
        work.sub_(top[rows, None]).exp_()
        torch.sum(work, 1, out=sums[rows])
        if scratch is not None and keep:
            part.copy_(work)
    return top, sums
