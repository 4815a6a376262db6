"""Methods recorded by other implementations (PEFT, transformers, plain hooks): every recording of that kind is met.

A recording holds values of what trains, logits, loss, gradients and the values after AdamW steps (its folder's
methods.md says how). `Piece` says where each of its tensors lies in the model here; the rest is the same for all.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_nlg.batching import StepData, make_batch, make_example
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2, FlatAttention
from lora_nlg.lora import LoRASpec, fold, pack_frozen
from lora_nlg.lora.pissa import principal_factors
from lora_nlg.methods import METHODS, LoRA, Method, prepare
from lora_nlg.training import EagerStep, OptimisationSettings, TrainingState
from lora_nlg.weights import load_base

SHARED = Path(os.environ.get("LORA_NLG_SHARED", Path(__file__).parents[4] / "shared"))
FOLDER = SHARED / "reference" / "methods"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
ABSENT = pytest.param("", marks=pytest.mark.skip(reason=f"needs the recordings in {FOLDER}; set LORA_NLG_SHARED"))


@dataclass(frozen=True)
class Piece:
    """A recorded tensor, or a part of it, and the model's parameter (or buffer) it is."""

    name: str
    own: Any = ...
    recorded: Any = ...
    offset: float = 0.0
    transposed: bool = False

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        own = tensors[self.name][self.own]
        return own.t() if self.transposed else own


@dataclass
class Case:
    """A method, where a recording's tensors lie in it, and the layers' state that is neither trained nor the base."""

    method: Method
    pieces: dict[str, list[Piece]]
    before: Callable[[GPT2], None] = lambda model: None
    shared: set[str] = field(default_factory=set)
    """Recorded tensors that are several parameters here, equal at the start."""


class Recording:
    def __init__(self, name: str) -> None:
        self.json = json.loads((FOLDER / f"{name}.json").read_text())
        self.settings = self.json["settings"]
        self.tensors: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(FOLDER / f"{name}.safetensors").items():
            kind, _, X = key.partition(".")
            self.tensors.setdefault(kind, {})[X] = tensor
        self.own = {**self.tensors.get("frozen", {}), **self.tensors["param"]}

    def base(self, folder: Path) -> GPT2:
        if "config" not in self.settings:
            return load_base(SHARED / "reference" / "golden" / "base.safetensors")
        save_file(self.own, folder / "model.safetensors")
        config = {"model_type": "gpt2", "tie_word_embeddings": True, **self.settings["config"]}
        (folder / "config.json").write_text(json.dumps(config))
        return load_base(folder)


def lora(recording: Recording) -> Case | None:
    own, trained, settings = recording.own, recording.tensors["param"], recording.settings
    fused = "0.A" in own
    if not (fused or any(X in own for X in ("0.q.A", "0.k.A", "0.v.A"))):
        return None
    targets = [t for t in "qkv" if fused or f"0.{t}.A" in own]
    r, alpha, scale = settings["rank"], settings["alpha"], settings["scale"]
    rule = "alpha/r" if math.isclose(scale, alpha / r) else "rslora"
    spec = LoRASpec(r, alpha, rule=rule)
    assert spec.scaling == pytest.approx(scale)
    pissa = any(X.endswith("residual") for X in own)
    variant = "pissa" if pissa else "dora" if any(X.endswith(".m") for X in own) else "lora"
    rates = recording.json["optimizer"].get("lr_of", {})
    ratio = max(rates.values()) / min(rates.values()) if rates else 1.0
    method = LoRA(dict.fromkeys(targets, spec), variant, plus_ratio=ratio, freeze_a=not any("A" in X for X in trained))
    pieces: dict[str, list[Piece]] = {}
    for X, tensor in own.items():
        block, *part, leaf = X.split(".")
        name = f"transformer.h.{block}.attn.c_attn.lora_{'magnitude' if leaf == 'm' else leaf}"
        if leaf == "residual":
            continue
        if fused:  # c_attn as a whole has one A, which here q, k and v have each
            copies = [slice(j * r, (j + 1) * r) for j in range(3)] if leaf == "A" else [...]
            pieces[X] = [Piece(name, rows) for rows in copies]
        else:
            at = targets.index(part[0]) * len(tensor)
            pieces[X] = [Piece(name, slice(at, at + len(tensor)))]

    def start_from_svd(model: GPT2) -> None:
        for key, recorded in recording.tensors.get("init", {}).items() if pissa else ():
            block, *part, _ = key.split(".")
            layer = model.transformer.h[int(block)].attn.c_attn
            if part:
                j = targets.index(part[0])
                product = layer.factors()[j].A  # B·A − B₀·A₀ has its start in the second half
                A0, B0 = product[r:], -layer.factors()[j].B[:, r:]
                torch.testing.assert_close(B0 @ A0 * scale, recorded, rtol=0, atol=1e-5)
            else:
                A0, B0 = principal_factors(layer.weight.detach(), r, scale)
                torch.testing.assert_close(B0 @ A0 * scale, recorded, rtol=0, atol=1e-5)
                layer.lora_A_init.copy_(torch.cat([A0] * 3))
                layer.lora_B_init.copy_(B0)

    return Case(method, pieces, start_from_svd, {X for X in pieces if fused and X.endswith(".A")})


def vera(recording: Recording) -> Case | None:
    own = recording.own
    if not {"A", "B"} <= own.keys():
        return None
    parts = {X.split(".")[1] for X in recording.tensors["param"]} - {"d", "b"}
    method = METHODS["vera"](recording.settings["rank"], ",".join(sorted(parts)) or "c_attn")
    first = "transformer.h.0.attn.c_attn.projections"
    pieces = {name: [Piece(f"{first}.{name}")] for name in "AB"}
    for X in recording.tensors["param"]:
        block, *part, leaf = X.split(".")
        pieces[X] = [Piece(f"transformer.h.{block}.attn.c_attn.vera_{leaf}_{(part or ['c_attn'])[0]}")]
    return Case(method, pieces)


def ia3(recording: Recording) -> Case | None:
    own = recording.own
    if "0.ff" not in own:
        return None
    targets = {X.split(".")[1] for X in own}
    method = METHODS["ia3"](",".join(sorted(targets - {"qkv"} | (set("qkv") if "qkv" in targets else set()))))
    pieces = {}
    for X, tensor in own.items():
        block, part = X.split(".")
        layer = f"transformer.h.{block}.{'mlp.c_proj' if part == 'ff' else 'attn.c_attn'}"
        d = len(tensor) // len(part) if part != "ff" else len(tensor)
        names = ["ff"] if part == "ff" else list(part)
        pieces[X] = [
            Piece(f"{layer}.ia3_{name}", ..., slice(j * d, (j + 1) * d), offset=1.0) for j, name in enumerate(names)
        ]
    return Case(method, pieces)


def own_parameters(recording: Recording) -> Case | None:
    own, trained = recording.own, recording.tensors["param"]
    if not any(X.endswith("ln_f.bias") for X in own):
        return None
    if all(X.endswith(".bias") for X in own):
        method = METHODS["bitfit"](any("ln_" in X for X in own))
    elif trained.keys() == own.keys():
        method = METHODS["full"]()
    else:
        method = METHODS["top2"](len({X.split(".")[1] for X in trained if X.startswith("h.")}), "ln_f.bias" in trained)
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return Case(method, {X: [Piece(f"transformer.{X}", transposed=X.endswith(matrices))] for X in own})


FAMILIES = (lora, vera, ia3, own_parameters)


def case_of(recording: Recording) -> Case:
    for family in FAMILIES:
        if (case := family(recording)) is not None:
            return case
    pytest.skip(f"{recording.json['what']}: no method here, or one that is tested elsewhere")


@torch.no_grad()
def logits(model: GPT2, sequences: list[list[int]]) -> list[Tensor]:
    """One by one, and all in one stream, which must be the same."""
    alone = [model.logits(model(torch.tensor(s), torch.arange(len(s)), FlatAttention([len(s)]))) for s in sequences]
    lengths = [len(s) for s in sequences]
    stream = torch.tensor([token for sequence in sequences for token in sequence])
    together = model.logits(model(stream, torch.cat([torch.arange(n) for n in lengths]), FlatAttention(lengths)))
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-5)
    return alone


def close(ours: list[Tensor], theirs: list[Tensor], atol: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES or [ABSENT])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_recording(name: str, packed: bool, tmp_path: Path) -> None:
    recording = Recording(name)
    case, record, tensors = case_of(recording), recording.json, recording.tensors
    model = recording.base(tmp_path)
    plain = logits(model, record["sequences"])
    prepare(model, case.method, seed=0)
    case.before(model)
    state = dict(model.state_dict(keep_vars=True))
    with torch.no_grad():
        for X, value in recording.own.items():
            for piece in case.pieces.get(X, []):
                piece.of(state).copy_(value[piece.recorded] - piece.offset)

    pieces = {X: case.pieces[X] for X in tensors["param"]}
    trained = {piece.name for parts in pieces.values() for piece in parts}
    assert trained == {n for n, p in model.named_parameters() if p.requires_grad} == case.method.trained(model)
    if not case.shared:
        assert case.method.count(model.config) == record["trainable"]

    recorded = [tensors["logits"][str(i)] for i in range(len(record["sequences"]))]
    ours = logits(model, record["sequences"])
    close(ours, recorded, 5e-5 if case.shared or isinstance(case.method, LoRA) else 1e-5)
    close(logits(fold(model), record["sequences"]), recorded, 5e-5)
    if (change := record.get("max_abs_logit_change_from_base")) is not None:
        moved = max(float((a - b).abs().max()) for a, b in zip(ours, plain, strict=True))
        assert moved == pytest.approx(change, abs=1e-4)

    options = record["optimizer"]
    settings = OptimisationSettings(
        adam_beta1=options["betas"][0], adam_beta2=options["betas"][1], adam_epsilon=options["eps"],
        weight_decay=options["weight_decay"],
    )  # fmt: skip
    training = TrainingState(model, settings, case.method.rates(model))
    if packed:
        pack_frozen(model)
    examples = [make_example(str(i), c, t[:-1], t[-1], "clm", 160) for i, (c, t) in enumerate(record["batch"])]
    data = StepData(1, 1, [make_batch(examples)], sum(e.n_targets for e in examples), 0, ())
    step = EagerStep(model, training, settings, World())
    losses = []
    for number in range(options["steps"]):
        losses.append(float(step(data, options["lr"])[0]))
        if number == 0:
            gradients = {name: g.clone() for name, g in training.flat.split(training.flat.gradient).items()}
    assert losses[0] == pytest.approx(record["loss"], abs=1e-5)
    assert losses == pytest.approx(options["losses_before_each_step"], abs=1e-5)
    values = dict(model.named_parameters())
    for X, parts in pieces.items():
        theirs, after = tensors["grad"][X], tensors["step"][X]
        gradient, own = torch.zeros_like(theirs), torch.zeros_like(theirs)
        for piece in parts:
            gradient[piece.recorded] += piece.of(gradients)
            own[piece.recorded] = piece.of({n: p.detach() for n, p in values.items()}) + piece.offset
        assert (gradient - theirs).abs().max() <= 1e-4 * theirs.abs().max(), X
        if X not in case.shared:  # Adam's step of a sum is no sum of steps
            clear = theirs.abs() > 1e-5
            assert not clear.any() or (own - after).abs()[clear].max() <= 2e-6 * options["steps"], X
            assert not torch.equal(own, recording.own[X]), "the steps must have moved it"
