"""VeRA: vectors train between two random matrices that all layers share (Kopiczko et al. 2023, arXiv:2310.11454).

An adapted weight is W + diag(b)·B·diag(d)·A. A and B are drawn once and frozen; d and b train, and b = 0 makes the
start the base itself. A and B are kept in the adapter file, once, since random generators change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.frozen import FrozenMatmul, frozen_linear
from lora_nlg.gpt2 import GPT2, GPT2Config
from lora_nlg.gpt2.targets import C_ATTN, QKV
from lora_nlg.gpt2.targets import LAYERS as OTHER_LAYERS
from lora_nlg.lora import AdaptedLinear, linear_layer
from lora_nlg.methods.method import Method, some_of
from lora_nlg.methods.peft import PREFIX, PeftOptions, adapts, check_modules, module_tensors

LAYERS = {"c_attn": C_ATTN, **OTHER_LAYERS}
TARGETS = (*QKV, *LAYERS)


class Projections(nn.Module):
    """What all layers share: A (r, D_in) and B (D_out, r), of which a smaller layer takes the first columns and rows.

    Args:
        r: their rank.
        inputs, outputs: those of the widest layers.
    """

    A: Tensor
    B: Tensor

    def __init__(self, r: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("A", torch.zeros(r, inputs, dtype=torch.float32))
        self.register_buffer("B", torch.zeros(outputs, r, dtype=torch.float32))
        self._packed: dict[tuple[str, int], FrozenMatmul] = {}

    def draw(self) -> None:
        """Kaiming-uniform, as PEFT: U(±√(6/D_in)) for A, U(±√(6/r)) for B."""
        nn.init.kaiming_uniform_(self.A)
        nn.init.kaiming_uniform_(self.B)

    def part(self, name: str, size: int) -> Tensor:
        """A's first columns or B's first rows."""
        return self.A[:, :size] if name == "A" else self.B[:size]

    def pack(self, name: str, size: int, dtype: torch.dtype) -> None:
        """Multiply with a packed copy of a part from now on; one serves all layers of that size."""
        if (name, size) not in self._packed:
            self._packed[name, size] = FrozenMatmul(self.part(name, size).to(dtype).contiguous())

    def product(self, x: Tensor, name: str, size: int) -> Tensor:
        """(T, r or D_in) -> (T, D_out or r)."""
        if (matmul := self._packed.get((name, size))) is not None:
            return frozen_linear(x, None, matmul)
        return F.linear(x, self.part(name, size).to(x.dtype))


class VeRALinear(AdaptedLinear):
    """A linear layer with an update b ⊙ (B (d ⊙ (A x))) of its output, or of some of the equal parts it consists of.

    Each adapted part has `vera_d_NAME` (r,) and `vera_b_NAME` (width,); A x is computed once for all of them.

    Args:
        layer: what it replaces.
        names: of its parts, in order.
        adapted: of those that are adapted.
        projections: A and B.
        start: of d.
    """

    projections: Projections

    def __init__(
        self, layer: nn.Linear, names: tuple[str, ...], adapted: tuple[str, ...], projections: Projections, start: float
    ) -> None:
        super().__init__(layer)
        self.names, self.adapted, self.width = names, adapted, layer.out_features // len(names)
        self.__dict__["projections"] = projections  # not a submodule: one layer owns it, see `own_projections`
        for name in adapted:
            self.add_vector(f"vera_d_{name}", projections.A.shape[0], start)
            self.add_vector(f"vera_b_{name}", self.width)

    def own_projections(self) -> None:
        """Hold A and B for all layers: they move with this one, and are in its state alone."""
        self.register_module("projections", self.__dict__.pop("projections"))

    def vectors(self, name: str) -> tuple[Tensor, Tensor]:
        """d and b of a part."""
        return self.get_parameter(f"vera_d_{name}"), self.get_parameter(f"vera_b_{name}")

    def delta_weight(self) -> Tensor:
        """diag(b)·B·diag(d)·A in the rows of adapted parts, (out_features, in_features); else zero."""
        delta = torch.zeros_like(self.weight, dtype=self.update_dtype)
        A, B = self.projections.part("A", self.in_features), self.projections.part("B", self.width)
        for name, rows in zip(self.names, delta.split(self.width), strict=True):
            if name in self.adapted:
                d, b = self.vectors(name)
                rows.copy_((b[:, None] * B * d) @ A)
        return delta

    def pack_weight(self) -> None:
        """The frozen weight, and A and B in its type."""
        super().pack_weight()
        self.projections.pack("A", self.in_features, self.weight.dtype)
        self.projections.pack("B", self.width, self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        y = self.product(x)
        if self.merged:
            return y
        low = self.projections.product(x.reshape(-1, self.in_features), "A", self.in_features)
        parts = list(y.view(-1, self.out_features).split(self.width, dim=1))
        for index, name in enumerate(self.names):
            if name in self.adapted:
                d, b = self.vectors(name)
                update = self.projections.product(low * d.to(low.dtype), "B", self.width)
                parts[index] = torch.addcmul(parts[index], update, b.to(update.dtype))
        return torch.cat(parts, dim=1).view(y.shape)


@dataclass(frozen=True)
class VeRA(Method):
    """VeRA."""

    name: ClassVar[str] = "vera"
    title: ClassVar[str] = "VeRA"
    peft: ClassVar[PeftOptions | None] = PeftOptions(
        "VERA",
        "VeRA",
        read=("r", "target_modules"),
        # How d, A and B were first drawn, and dropout, which acts in training alone.
        harmless=("fan_in_fan_out", "d_initial", "projection_prng_key", "init_weights", "vera_dropout"),
        defaults={
            "save_projection": True,
            "bias": "none",
            "modules_to_save": None,
            "layers_to_transform": None,
            "layers_pattern": None,
        },
    )

    vera_dim: int = 1024
    """Rank r of the shared random matrices."""
    vera_targets: str = "q,v"
    """What to adapt, comma-separated: q, k, v, each with vectors of its own; c_attn (the three as one), o, fc, proj."""
    vera_d_start: float = 0.1
    """Start of the vector d."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vera_targets", some_of(self.vera_targets, TARGETS, "vera_targets"))
        if "c_attn" in self.targets and any(name in QKV for name in self.targets):
            raise InputError("`vera_targets` has c_attn, which is q, k and v as one; leave out one or the other")
        if self.vera_dim < 1:
            raise InputError(f"`vera_dim` must be at least 1, got {self.vera_dim}")

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of `TARGETS`."""
        return tuple(self.vera_targets.split(","))

    def layers(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Adapted layers of a block: the names of each one's parts, and those that are adapted."""
        apart = tuple(name for name in self.targets if name in QKV)
        layers: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        if apart:
            layers[LAYERS["c_attn"]] = QKV, apart
        return layers | {layer: ((name,), (name,)) for name, layer in LAYERS.items() if name in self.targets}

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Replace the adapted layers; A and B are drawn on the CPU, so that a seed gives the same on every device."""
        layers, blocks = self.layers(), model.transformer.h
        found = {layer: linear_layer(blocks[0], layer) for layer in layers}
        inputs = max(one.in_features for one in found.values())
        outputs = max(one.out_features // len(layers[layer][0]) for layer, one in found.items())
        device = next(model.parameters()).device
        with torch.device("meta" if device.type == "meta" else "cpu"):
            projections = Projections(self.vera_dim, inputs, outputs)
            if initialise:
                projections.draw()
        projections.to(device)
        owner: VeRALinear | None = None
        for block in blocks:
            for layer, (names, adapted) in layers.items():
                new = VeRALinear(linear_layer(block, layer), names, adapted, projections, self.vera_d_start)
                block.set_submodule(layer, new)
                owner = owner or new
        assert owner is not None, "a GPT-2 has blocks"
        owner.own_projections()

    def to_peft(self, state: Mapping[str, Tensor], config: GPT2Config) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """PEFT adapts layers as a whole: q, k and v apart are c_attn with a copy of A for each, for its own rows."""
        layers, first = self.layers(), next(iter(self.layers()))
        A, B = (state[f"transformer.h.0.{first}.projections.{name}"] for name in "AB")
        adapted = layers[first][1]
        apart = adapted[0] in QKV
        if apart and len(layers) > 1:
            raise InputError(
                "PEFT's VeRA has one A and B for all layers, so q, k and v apart don't go with others in it; convert "
                "to a whole model (`to` merged)"
            )
        if apart:
            blocks = [B.new_zeros(len(B), len(adapted) * self.vera_dim) for _ in QKV]
            for copy, name in enumerate(adapted):
                blocks[QKV.index(name)][:, copy * self.vera_dim :][:, : self.vera_dim] = B
            A, B = torch.cat([A] * len(adapted)), torch.cat(blocks)
        tensors = {"base_model.vera_A": A, "base_model.vera_B": B}
        for block in range(config.n_layer):
            for layer, (names, trained) in layers.items():
                module = f"transformer.h.{block}.{layer}"
                rows = [state.get(f"{module}.vera_b_{name}", torch.zeros(config.n_embd)) for name in names]
                tensors[f"{PREFIX}{module}.vera_lambda_b"] = torch.cat(rows)
                d = [state[f"{module}.vera_d_{name}"] for name in trained]
                tensors[f"{PREFIX}{module}.vera_lambda_d"] = torch.cat(d)
        options = {
            "r": len(A), "target_modules": list(layers), "d_initial": self.vera_d_start, "fan_in_fan_out": True,
            "save_projection": True,
        }  # fmt: skip
        return options, tensors

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
    ) -> tuple[Method, dict[str, Tensor]]:
        """Layers as a whole; what `to_peft` made of q, k and v apart is them again."""
        assert cls.peft is not None, "declared above"
        reader = cls.peft.reader(config, source)
        reader.stop_at(reader.other_arithmetic())
        r = reader.rank("r", config.get("r", 256))
        targets = reader.names("target_modules")
        shared = {name: tensors.get(f"base_model.vera_{name}") for name in "AB"}
        A, B = shared["A"], shared["B"]
        if A is None or B is None:
            raise InputError(f"{source}: the projections vera_A and vera_B are missing; save it with save_projection")
        own = {name: value for name, value in tensors.items() if name not in ("base_model.vera_A", "base_model.vera_B")}
        held = module_tensors(own, ("vera_lambda_d", "vera_lambda_b"), source)
        check_modules(held, lambda module: adapts(module, targets, None, (LAYERS["c_attn"],)), source)
        names = {layer: name for name, layer in LAYERS.items()}
        if other := [module for module in held if module.split(".", 3)[-1] not in names]:
            raise InputError(f"{source}: VeRA of {other[0]} has no counterpart here; {cls.peft.advice}")
        shapes = {tuple(d.shape) for d, _ in held.values()}
        if A.dim() != 2 or B.dim() != 2 or (len(A), B.shape[1]) != (r, r) or shapes != {(r,)}:
            raise InputError(f"{source} says r={r}; the projections and vectors are of another rank")
        found = {names[module.split(".", 3)[-1]] for module in held}
        apart = _parts(A, B) if found == {"c_attn"} else ()
        method = cls(r // max(len(apart), 1), ",".join(apart or sorted(found)))
        first = next(iter(method.layers()))
        state = {
            f"transformer.h.0.{first}.projections.A": A[: method.vera_dim],
            f"transformer.h.0.{first}.projections.B": _block(B, apart[0], 0, method.vera_dim) if apart else B,
        }
        for module, (d, b) in held.items():
            if not apart:
                name = names[module.split(".", 3)[-1]]
                state |= {f"{module}.vera_d_{name}": d, f"{module}.vera_b_{name}": b}
            for copy, name in enumerate(apart):
                state[f"{module}.vera_d_{name}"] = d.chunk(len(apart))[copy]
                state[f"{module}.vera_b_{name}"] = b.chunk(len(QKV))[QKV.index(name)]
        return method, state


def _block(B: Tensor, part: str, copy: int, r: int) -> Tensor:
    return B.chunk(len(QKV))[QKV.index(part)][:, copy * r : (copy + 1) * r]


def _parts(A: Tensor, B: Tensor) -> tuple[str, ...]:
    """The parts of c_attn that a fused A and B were made of by `to_peft`; none if they weren't."""
    if B.shape[0] % len(QKV):
        return ()
    parts = tuple(name for name, rows in zip(QKV, B.chunk(len(QKV)), strict=True) if rows.any())
    if not parts or A.shape[0] % len(parts):
        return ()
    r, width = A.shape[0] // len(parts), B.shape[0] // len(QKV)
    own = _block(B, parts[0], 0, r)
    expected = torch.zeros_like(B)
    for copy, name in enumerate(parts):
        row = QKV.index(name) * width
        expected[row : row + width, copy * r : (copy + 1) * r] = own
    return parts if torch.equal(B, expected) and torch.equal(A, torch.cat([A[:r]] * len(parts))) else ()
