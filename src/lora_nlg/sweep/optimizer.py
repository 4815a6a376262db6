"""AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101) for all members of a group at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class RowAdamW:
    """`torch.optim.AdamW` on each row of one matrix, with a rate for each: what N optimisers compute, in one go.

    Args:
        value: what is optimised, shape (N, K), fp32.
        gradient: its gradient, of the same shape; read at every step.
        betas, eps, weight_decay: as AdamW's.

    Attributes:
        exp_avg, exp_avg_sq: the moments, shape (N, K).
    """

    def __init__(
        self, value: Tensor, gradient: Tensor, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        self.value, self.gradient = value, gradient
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(value), torch.zeros_like(value)

    @torch.no_grad()
    def step(self, number: int, rates: Tensor) -> None:
        """Take a step.

        Args:
            number: of the step, from 1.
            rates: each row's learning rate, shape (N, 1), where `value` is.
        """
        beta1, beta2 = self.betas
        self.value.mul_(1 - rates * self.weight_decay)
        self.exp_avg.lerp_(self.gradient, 1 - beta1)
        self.exp_avg_sq.mul_(beta2).addcmul_(self.gradient, self.gradient, value=1 - beta2)
        denominator = self.exp_avg_sq.sqrt().div_(math.sqrt(1 - beta2**number)).add_(self.eps)
        self.value.addcmul_(self.exp_avg / denominator, rates, value=-1 / (1 - beta1**number))
