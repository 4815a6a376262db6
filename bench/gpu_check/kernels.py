"""What this machine has, which kernels are taken, and attention against fp64."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lora_nlg.gpt2 import FlatAttention
from lora_nlg.gpt2.attention import has_flash

if TYPE_CHECKING:
    from gpu_check.parts import Setting

MOST = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""The largest error allowed, relative to the largest value of the reference."""


def versions(setting: Setting) -> None:
    """Versions, the card, kernels chosen for GPT-2's head size."""
    report, device = setting.report, setting.device
    report.note("python, torch", f"{platform.python_version()}, {torch.__version__}")
    if device.type != "cuda":
        report.skip("card", "no CUDA device")
        return
    properties = torch.cuda.get_device_properties(device)
    capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
    report.note("card", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, capability {capability}")
    report.note("CUDA, cuDNN", f"{torch.version.cuda}, {torch.backends.cudnn.version()}")
    report.note("TF32 in products", str(torch.backends.cuda.matmul.allow_tf32))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        flash = has_flash(device, dtype, 64)
        report.note(f"attention in training, {dtype}", "flash, variable length" if flash else "padded SDPA")
    a = torch.randn(64, 64, device=device, dtype=torch.bfloat16)
    wide = torch.mm(a, a, out_dtype=torch.float32)
    exact = a.double() @ a.double()
    report.at_most("bf16 product with fp32 result", float((wide - exact).abs().max() / exact.abs().max()), 1e-5)


def attention(setting: Setting) -> None:
    """Forward and backward of every kernel over lengths 1 to 512 and several head sizes, against fp64 on the CPU."""
    heads = [(4, 64), (2, 32), (2, 80), (3, 20), (1, 256)]
    lengths = [[1], [1, 2, 3, 5, 8, 17], [40, 64, 33, 57], [512, 1, 255, 300]]
    if setting.is_small:
        heads, lengths = heads[:3], lengths[:3]
    for dtype, most in MOST.items():
        errors = [0.0, 0.0]
        for n_head, size in heads:
            for of_batch in lengths:
                found = _attend(of_batch, n_head, size, dtype, setting.device)
                exact = _attend(of_batch, n_head, size, dtype, torch.device("cpu"), exact=True)
                for i, (a, b) in enumerate(zip(found, exact, strict=True)):
                    errors[i] = max(errors[i], float((a - b).abs().max() / b.abs().max()))
        for name, error in zip(("forward", "backward"), errors, strict=True):
            setting.report.at_most(f"{name}, {dtype}", error, most)


def _attend(
    lengths: list[int], n_head: int, size: int, dtype: torch.dtype, device: torch.device, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Output and gradient, in fp64 on the CPU; `exact` computes them so, from the same rounded inputs."""
    generator = torch.Generator().manual_seed(sum(lengths) + size)
    T, D = sum(lengths), n_head * size
    qkv = torch.randn(T, 3 * D, generator=generator).to(dtype).to(torch.float64 if exact else dtype)
    grad = torch.randn(T, D, generator=generator).to(dtype).to(qkv.dtype)
    qkv = qkv.to(device).requires_grad_()
    out = _plain(qkv, lengths, n_head) if exact else FlatAttention(lengths, device)(0, qkv, n_head)
    out.backward(grad.to(device))
    assert qkv.grad is not None, "a leaf"
    return out.detach().double().cpu(), qkv.grad.double().cpu()


def _plain(qkv: Tensor, lengths: list[int], n_head: int) -> Tensor:
    pieces = []
    for rows in qkv.split(lengths):
        q, k, v = rows.view(len(rows), 3, n_head, -1).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        pieces.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    return torch.cat(pieces)
