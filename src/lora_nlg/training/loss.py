"""Label-smoothed cross-entropy on target positions, fused with the output head.

Logits are made once, a chunk of rows at a time, in a buffer that is kept between steps; the gradient with respect to
the hidden states is computed from them on the spot, so no (N, V) tensor outlives its chunk. With smoothing ε the loss
of one target t is (1−ε)·(−log p_t) + ε·mean over the vocabulary of −log p, as the predecessor (microsoft/LoRA,
examples/NLG) and `torch.nn.functional.cross_entropy` define it. Shapes: N targets, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lora_nlg.errors import InputError

CHUNK_BYTES = 64 << 20
"""Size of the logits buffer: enough rows for efficient products, small beside the model."""


class TargetLoss:
    """Sum of the losses of N targets, with its gradient.

    Args:
        label_smooth: ε, at least 0 and below 1. Default: 0.
        chunk_bytes: size of the logits buffer.

    Raises:
        InputError: ε out of range.
    """

    def __init__(self, label_smooth: float = 0.0, chunk_bytes: int = CHUNK_BYTES) -> None:
        if not 0 <= label_smooth < 1:
            raise InputError(f"--label_smooth must be at least 0 and below 1, got {label_smooth}")
        self.label_smooth, self.chunk_bytes = label_smooth, chunk_bytes
        self._buffer: Tensor | None = None
        self._head_mean: tuple[Tensor, int, Tensor] | None = None

    def __call__(self, hidden: Tensor, targets: Tensor, head: Tensor) -> Tensor:
        """The sum of the losses.

        Args:
            hidden: final hidden states of the target rows, shape (N, D).
            targets: the token each should predict, shape (N,).
            head: the output head, shape (V, D); its gradient is computed only if it requires one.

        Returns:
            A scalar, fp32, that can be differentiated once.
        """
        if torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
            head = head.to(hidden.dtype)
        total: Tensor = _FusedLoss.apply(hidden, head, targets, self)
        return total

    def rows(self, vocabulary: int) -> int:
        """Rows of a chunk."""
        return max(1, self.chunk_bytes // (4 * vocabulary))

    def logits_buffer(self, rows: int, head: Tensor) -> Tensor:
        """An fp32 buffer of shape (rows, V), reused from call to call."""
        V = head.shape[0]
        if self._buffer is None or self._buffer.shape[1] != V or self._buffer.device != head.device:
            self._buffer = torch.empty(self.rows(V), V, device=head.device)
        return self._buffer[:rows]

    def head_mean(self, head: Tensor) -> Tensor:
        """Mean row of the head, shape (D,), fp32: what the smoothing term needs of the vocabulary."""
        known = self._head_mean
        if known is None or known[0] is not head or known[1] != head._version:
            self._head_mean = known = (head, head._version, head.mean(0, dtype=torch.float32))
        return known[2]


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, loss: TargetLoss) -> Tensor:
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        smooth, head_mean = loss.label_smooth, loss.head_mean(head)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty(hidden.shape, dtype=torch.float32, device=hidden.device) if needs_hidden else None
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if needs_head else None
        step = loss.rows(head.shape[0])
        for first in range(0, len(targets), step):
            rows = slice(first, min(first + step, len(targets)))
            h, target = hidden[rows], targets[rows]
            logits = loss.logits_buffer(len(target), head)
            if h.dtype == torch.float32:
                torch.mm(h, head.t(), out=logits)
            else:
                logits.copy_(h @ head.t())
            at_target = logits.gather(1, target[:, None]).squeeze(1)
            top = logits.amax(1)
            exponentials = logits.sub_(top[:, None]).exp_()
            sums = exponentials.sum(1)
            # −Σ_v q_v·log p_v, where the mean logit is h·(mean row of the head): no pass over the vocabulary.
            expected = (1 - smooth) * at_target
            if smooth:
                expected += smooth * (h.float() @ head_mean)
            total += (top + sums.log() - expected).sum()
            if grad_hidden is None and grad_head is None:
                continue
            # d loss / d logits = p − (1−ε)·onehot − ε/V; only p needs the buffer.
            probabilities = exponentials.div_(sums[:, None])
            cast = probabilities if h.dtype == torch.float32 else probabilities.to(h.dtype)
            if grad_hidden is not None:
                part = grad_hidden[rows]
                part.copy_(cast @ head)
                part.sub_(head[target].float(), alpha=1 - smooth)
                if smooth:
                    part.sub_(head_mean, alpha=smooth)
            if grad_head is not None:
                grad_head += (cast.t() @ h).float()
                grad_head.index_add_(0, target, h.float(), alpha=-(1 - smooth))
                if smooth:
                    grad_head -= h.float().sum(0) * (smooth / head.shape[0])
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.dtypes = hidden.dtype, head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_head = ctx.saved_tensors
        scale = grads[0]
        return (
            None if grad_hidden is None else (grad_hidden * scale).to(ctx.dtypes[0]),
            None if grad_head is None else (grad_head * scale).to(ctx.dtypes[1]),
            None,
            None,
        )
