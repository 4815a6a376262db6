"""A tiny GPT-2 and random examples, and a way to run the real trainer on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lora_nlg.batching import Example, Loader, Sampler, validation_batches
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, lora_targets
from lora_nlg.lora import LoRASpec, inject, lora_plus_rates, lora_state_dict, mark_only_lora_as_trainable
from lora_nlg.training import (
    Checkpoints,
    EagerStep,
    FilledStep,
    JsonlTracker,
    LoopSettings,
    LossValidation,
    OptimisationSettings,
    Outcome,
    Schedule,
    Trackers,
    Trainer,
    TrainingState,
)

CONFIG = GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=61, n_positions=40)


def random_examples(n: int, seed: int = 0, vocabulary: int = CONFIG.vocab_size) -> list[Example]:
    """Examples of 4 to 20 tokens, at least one of them a target."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for i in range(n):
        length = int(torch.randint(4, 21, (), generator=generator))
        first = int(torch.randint(1, length, (), generator=generator))
        tokens = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        examples.append(Example(str(i), tuple(tokens), first))
    return examples


def tiny_model(
    seed: int = 1,
    r: int = 3,
    alpha: float = 8,
    dropout: float = 0.0,
    config: GPT2Config = CONFIG,
    variant: str = "lora",
    rule: str = "alpha/r",
) -> GPT2:
    """A random base with adapters on q and v whose B is not zero, so that every gradient is alive."""
    torch.manual_seed(seed)
    model = empty_gpt2(config)
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and "ln_" not in name:
            parameter.data.mul_(5)  # losses and gradients of a trained model's order, not of a fresh one's
    spec = LoRASpec(r, alpha, dropout, rule)
    inject(model, lora_targets(config, {"q": spec, "v": spec}), variant)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B") and variant != "pissa":
            torch.nn.init.normal_(parameter, std=0.02)
    mark_only_lora_as_trainable(model)
    return model


@dataclass
class Run:
    """What a training run left."""

    outcome: Outcome
    state: TrainingState
    adapter: dict[str, Tensor]
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        """The training loss of every step."""
        return [line["loss"] for line in self.lines if line["kind"] == "train"]


def run_trainer(
    folder: Path,
    model: GPT2,
    examples: Sequence[Example],
    *,
    max_step: int = 6,
    batch: int = 8,
    grad_acc: int = 1,
    cuda_graph: str = "",
    lora_plus_ratio: float = 1.0,
    world: World | None = None,
    valid: Sequence[Example] = (),
    shuffle: bool = True,
    schedule: Schedule | None = None,
    identity: dict[str, Any] | None = None,
    resume: bool = False,
    **settings: Any,
) -> Run:
    """Train with the real loop in this process.

    `batch` is the global batch, `settings` are the step's and the loop's; `cuda_graph` asks for filled batches.
    """
    world = world or World()
    of_loop = {field.name for field in fields(LoopSettings)} & settings.keys()
    loop = LoopSettings(**{"log_interval": 1, **{name: settings.pop(name) for name in of_loop}})
    optimisation = OptimisationSettings(**settings)
    state = TrainingState(model, optimisation, lora_plus_rates(model, lora_plus_ratio))
    step = EagerStep(model, state, optimisation, world)
    if cuda_graph:
        step = FilledStep(model, state, optimisation, world, cuda_graph)
    sampler = Sampler([example.n_inputs for example in examples], batch, 5, shuffle)
    batches = validation_batches(valid, 4)
    plain = step.loss.without_smoothing()
    trainer = Trainer(
        model=model,
        take_step=step,
        schedule=schedule or Schedule("linear", 1e-3, max_step, min(2, max_step)),
        loader=Loader(examples, sampler, world.rank, world.size, grad_acc, fill=bool(cuda_graph)),
        validations={"loss": LossValidation(model, batches, optimisation.dtype, world, plain, cuda_graph or "auto")}
        if valid
        else {},
        checkpoints=Checkpoints(
            folder, state=state, identity=identity or {"name": "test"}, save_model=lambda place, step: None, world=world
        ),
        settings=loop,
        world=world,
    )
    if resume:
        trainer.resume()
    outcome = trainer.fit(JsonlTracker(folder / "metrics.jsonl", trainer.step) if world.is_main else Trackers())
    lines = []
    if world.is_main:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Run(outcome, state, {k: v.clone() for k, v in lora_state_dict(model).items()}, lines)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Run]:
    """`run_trainer` in a fresh folder for every call, unless told which."""
    count = iter(range(1000))

    def call(*args: Any, folder: Path | None = None, **kwargs: Any) -> Run:
        return run_trainer(folder or tmp_path / str(next(count)), *args, **kwargs)

    return call
