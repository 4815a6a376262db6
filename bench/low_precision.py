"""What decoding in 16 bits costs an update, merged into the weight or kept apart.

    python bench/low_precision.py

A layer of GPT-2 small's shape (c_attn, q and v adapted, random weights of GPT-2's deviation 0.02) with an update of a
given size ‖Δ‖/‖W‖: the part of the update that is lost, ‖rounded − exact‖/‖exact‖. Merged, the rounded update is what
W + Δ differs by from W once both are rounded; apart, it is the product of the rounded factors.
"""

from __future__ import annotations

import torch

from lora_nlg.dtypes import DTYPES
from lora_nlg.gpt2.inference import AdaptedLinear, FrozenLinear
from lora_nlg.lora import FusedLinear, LoRASpec

WIDTH = 768
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def adapted(size: float, seed: int = 0, r: int = 4) -> FusedLinear:
    """c_attn with an update of q and v of the size ‖Δ‖/‖W‖ over the adapted columns."""
    torch.manual_seed(seed)
    spec = LoRASpec(r, 32.0)
    layer = FusedLinear(WIDTH, 3 * WIDTH, (spec, None, spec))
    with torch.no_grad():
        layer.weight.normal_(std=0.02)
        layer.lora_B.normal_()
        base = torch.cat([layer.weight[own.columns] for own in layer.factors()]).norm()
        layer.lora_B.mul_(size * base / layer.update_norm())
    return layer


@torch.no_grad()
def lost_apart(layer: FusedLinear, dtype: torch.dtype) -> float:
    """The part of the update that rounding its factors loses."""
    apart = AdaptedLinear(FrozenLinear(layer.weight, layer.bias, dtype), layer.factors())
    delta = layer.delta_weight()
    rounded = apart.up.source.to(dtype).double() @ apart.down.source.to(dtype).double()
    return float((rounded - delta).norm() / delta.norm())


def main() -> None:
    """Print the table."""
    print("| ‖Δ‖/‖W‖ | bf16 merged | bf16 apart | fp16 merged | fp16 apart |\n| ---: | ---: | ---: | ---: | ---: |")
    for size in SIZES:
        layer = adapted(size)
        lost = [f(layer, DTYPES[name]) for name in ("bf16", "fp16") for f in (FusedLinear.lost_in, lost_apart)]
        print(f"| {size:.1%} | {' | '.join(f'{part:.1%}' for part in lost)} |")


if __name__ == "__main__":
    main()
