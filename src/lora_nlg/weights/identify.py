"""What a weights file is, whoever wrote it: our adapters and runs, GPT-2 bases, loralib checkpoints, PEFT adapters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import read_json
from lora_nlg.gpt2 import SIZES, GPT2Config
from lora_nlg.gpt2.targets import C_ATTN
from lora_nlg.run_folder import ADAPTER, ADAPTER_DESCRIPTION, CONFIG, MODEL, MODEL_DESCRIPTION, SNAPSHOT_DESCRIPTION
from lora_nlg.weights import peft
from lora_nlg.weights.adapter import AdapterInfo, info_from_json, read_adapter
from lora_nlg.weights.base import base_hash, load_base, read_base_tensors
from lora_nlg.weights.loralib import LoralibCheckpoint, matrices, read_loralib
from lora_nlg.weights.peft_folder import describe_peft
from lora_nlg.weights.tensor_files import INDEX, holds_weights, read_any, unwrap, unwrapped_names

Kind = Literal["adapter", "model", "loralib", "peft", "snapshot", "unknown"]

_DESCRIPTIONS = (ADAPTER_DESCRIPTION, peft.CONFIG, "config.json", MODEL_DESCRIPTION, SNAPSHOT_DESCRIPTION)


@dataclass
class Identity:
    """What a file or folder is.

    Attributes:
        path: what was looked at.
        kind: `adapter`, `model`, `loralib`, `peft`, `snapshot` or `unknown`.
        title: the same in words.
        facts: what else there is to say, by name, in reading order.
        problems: why it can't be used as it is.
    """

    path: Path
    kind: Kind
    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """As the command prints it."""
        width = max(map(len, self.facts), default=0)
        lines = [f"{self.path}: {self.title}"]
        lines += [f"  {name:<{width}}  {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, *(f"  problem: {problem}" for problem in self.problems)])


def identify(path: str | Path) -> Identity:
    """Say what a file or folder is.

    Args:
        path: a weights file, a run directory, a snapshot, an adapter's or a model's folder, or one of their JSONs.

    Returns:
        Its identity; a damaged file is recognised by its form and has problems.

    Raises:
        InputError: nothing there.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"nothing at {path}")
    if path.is_file() and path.name in _DESCRIPTIONS:
        path = path.parent
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except InputError as error:
        return Identity(path, "unknown", "not a weights file that lora-nlg knows", problems=[str(error)])


def _folder(path: Path) -> Identity:
    if (path / ADAPTER).is_file():
        return _adapter(path)
    if (path / peft.CONFIG).is_file():
        return _peft(path)
    if (path / SNAPSHOT_DESCRIPTION).is_file():
        return _snapshot(path)
    for folder in (path / MODEL, path):
        if holds_weights(folder):
            return _model(folder)
    held = sorted(entry.name for entry in path.iterdir())[:8]
    raise InputError(f"the folder holds {', '.join(held) or 'nothing'}, and neither an adapter nor a model")


def _file(path: Path) -> Identity:
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, 1 << 26))
        if b'"lora_nlg"' in header:
            return _adapter(path)
    if path.name in peft.WEIGHTS and (path.parent / peft.CONFIG).is_file():
        return _peft(path.parent)
    if path.name.endswith(INDEX):
        return _model(path)
    value = read_any(path)
    stored, wrapped = unwrap(value)
    tensors = unwrapped_names(stored)
    if any(name.rpartition(".")[2] in ("lora_A", "lora_B") for name in tensors):
        return _loralib(path)
    if any("base_model.model." in name for name in tensors):
        title = f"weights of a PEFT adapter without the {peft.CONFIG} that belongs beside them"
        return Identity(path, "unknown", title, problems=[f"{peft.CONFIG} is missing: rank is known, alpha is not"])
    if any(re.match(r"(transformer\.)?h\.\d+\.attn\.c_attn\.weight$", name) for name in tensors):
        return _model(path, {"wrapped in": wrapped} if wrapped else {})
    names = ", ".join(list(tensors)[:3])
    raise InputError(f"it holds {len(tensors)} tensors ({names}, …), none of a GPT-2 or of an adapter")


def _adapter(path: Path) -> Identity:
    identity = Identity(path, "adapter", "adapter of lora-nlg")
    if path.is_dir() and (path / CONFIG).is_file():
        identity.title = "run directory of lora-nlg with an adapter"
    try:
        info, tensors = read_adapter(path)
    except InputError as error:
        identity.problems.append(str(error))
        return identity
    identity.facts = {
        **info.method.facts(),
        "parameters": f"{sum(tensor.numel() for tensor in tensors.values()):,}",
        **_belonging(info),
        "step": info.step,
        "written by": f"lora-nlg {info.code_version}",
        **{f"extra: {name}": value for name, value in info.extra.items()},
        **_norms({name.rpartition(".")[0]: _pair(tensors, name) for name in tensors if name.endswith(".lora_A")}),
    }
    if info.base is not None and not Path(info.base.path).exists():
        identity.problems.append(f"its base is no longer at {info.base.path}; give `base`")
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        identity.problems.append(f"{bad[0]} is not finite: training had diverged")
    if path.is_dir() and not (path / ADAPTER_DESCRIPTION).is_file():
        identity.facts["note"] = f"no {ADAPTER_DESCRIPTION}; the weights file describes itself ({ADAPTER})"
    return identity


def _belonging(info: AdapterInfo) -> dict[str, Any]:
    base = "not said"
    if info.base is not None:
        base = f"{info.base}; {describe_shape(info.base.config)}"
    return {"base": base, "vocabulary": str(info.tokenizer) if info.tokenizer is not None else "not said"}


def _pair(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    partner = f"{name.removesuffix('A')}B"
    if partner not in tensors:
        raise InputError(f"{partner} is missing, though its partner is there")
    return tensors[name], tensors[partner]


def _norms(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, str]:
    """Whether B has left zero, by its size: an untrained adapter is told from a trained one."""
    if not pairs:
        return {}
    largest = max(float(B.float().abs().max()) for _, B in pairs.values())
    smallest = max(float(A.float().abs().max()) for A, _ in pairs.values())
    if min(largest, smallest) == 0:
        return {"values": "A or B is zero everywhere: untrained, the model is its base"}
    return {"values": f"largest |A| {smallest:.4g}, largest |B| {largest:.4g}"}


def _snapshot(path: Path) -> Identity:
    value = read_json(path / SNAPSHOT_DESCRIPTION)
    facts = {
        "step": value.get("step") if isinstance(value, dict) else None,
        "use": "`lora-nlg train` resumes from it; to decode, use the run's adapter",
    }
    return Identity(path, "snapshot", "training snapshot of lora-nlg (adapter and optimiser state)", facts)


def _peft(path: Path) -> Identity:
    config = read_json(path / peft.CONFIG)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    identity = Identity(path, "peft", f"PEFT adapter ({kind})")
    try:
        facts, shape, base = describe_peft(path)
        fits = {} if shape is None else {"fits": fitting(*shape)}
        identity.facts = {**facts, **fits, "base": base or "not said"}
    except InputError as error:
        identity.problems.append(str(error))
    return identity


def fitting(n_layer: int, n_embd: int) -> str:
    """A GPT-2 of a number of blocks and a width, with its model card if it has one."""
    cards = [card for card, size in SIZES.items() if (size["n_layer"], size["n_embd"]) == (n_layer, n_embd)]
    return f"GPT-2 of {n_layer} blocks, width {n_embd}" + (f" ({cards[0]})" if cards else "")


def describe_shape(config: GPT2Config) -> str:
    """A GPT-2's shape in words."""
    return (
        f"{fitting(config.n_layer, config.n_embd)}, {config.n_head} heads, {config.vocab_size} tokens, "
        f"{config.n_positions} positions, {config.n_parameters():,} parameters"
    )


def _loralib(path: Path) -> Identity:
    checkpoint = read_loralib(path)
    title = f"loralib checkpoint with {'the base and LoRA weights' if checkpoint.full else 'LoRA weights only'}"
    try:
        return Identity(path, "loralib", title, loralib_facts(checkpoint))
    except InputError as error:
        return Identity(path, "loralib", title, problems=[str(error)])


def loralib_facts(checkpoint: LoralibCheckpoint) -> dict[str, Any]:
    """What a loralib checkpoint says of itself; its alpha it doesn't.

    Raises:
        InputError: a matrix without its partner.
    """
    for name in checkpoint.lora:
        if name.endswith("B") and f"{name.removesuffix('B')}A" not in checkpoint.lora:
            raise InputError(f"{name.removesuffix('B')}A is missing, though its partner is there")
    pairs = {}
    for name in checkpoint.lora:
        if name.endswith("A"):
            _pair(checkpoint.lora, name)
            A, B, _ = matrices(checkpoint, name.rpartition(".")[0])
            pairs[name.rpartition(".")[0]] = A, B
    ranks = {B.shape[1] for _, B in pairs.values()}
    blocks = [int(match[1]) for module in pairs if (match := re.search(r"\.h\.(\d+)\.", module))]
    widths = [A.shape[1] for module, (A, _) in pairs.items() if module.endswith(C_ATTN)]
    r = "/".join(map(str, sorted(ranks)))
    published, default = ("/".join(f"{alpha / rank:g}" for rank in sorted(ranks)) for alpha in (32, 128))
    return {
        "rank": r,
        "scaling": (
            f"alpha/{r}; alpha is not in the file: convert with `lora_alpha` 32 (the published command; scaling "
            f"{published}) or 128 (the code's default; scaling {default})"
        ),
        **{f"layers {name}": text for name, text in _layer_kinds(pairs).items()},
        **({"fits": fitting(max(blocks) + 1, widths[0])} if blocks and widths else {}),
        "keys": f"{'with' if checkpoint.ddp else 'without'} module., under {checkpoint.wrapped or 'no wrapper'}",
        **({"biases": len(checkpoint.biases)} if checkpoint.biases else {}),
        **_norms(pairs),
    }


def _layer_kinds(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for module, (A, B) in pairs.items():
        leaf = re.sub(r"^transformer\.(h\.\d+\.)?", "", module)
        count = A.shape[0] // B.shape[1]
        kinds[leaf] = f"{count} of q, k, v adapted" if leaf == C_ATTN else "adapted"
    return kinds


def _model(path: Path, extra: Mapping[str, Any] | None = None) -> Identity:
    identity = Identity(path, "model", "GPT-2, whole model", dict(extra or {}))
    described = path.is_dir() and (path / MODEL_DESCRIPTION).is_file()
    if described:
        identity.title = "GPT-2 that lora-nlg fine-tuned as a whole"
    try:
        model = load_base(path)
    except InputError as error:
        identity.problems.append(str(error))
        if path.is_file():
            identity.facts |= _guess(path)
        return identity
    tied = model.lm_head.weight is model.transformer.wte.weight
    identity.facts |= {
        "fits": describe_shape(model.config),
        "head": "tied to the token embedding" if tied else "its own",
        "hash": base_hash(model),
    }
    if described:
        try:
            info = info_from_json(read_json(path / MODEL_DESCRIPTION), str(path / MODEL_DESCRIPTION))
        except InputError as error:
            identity.problems.append(str(error))
        else:
            identity.facts |= {"step": info.step, "written by": f"lora-nlg {info.code_version}"}
    return identity


def _guess(path: Path) -> dict[str, Any]:
    try:
        tensors = read_base_tensors(path)
    except InputError:
        return {}
    weight = tensors.get("transformer.wte.weight")
    blocks = [int(match[1]) for name in tensors if (match := re.match(r"transformer\.h\.(\d+)\.", name))]
    return (
        {} if weight is None or weight.dim() != 2 or not blocks else {"fits": fitting(max(blocks) + 1, weight.shape[1])}
    )
