"""Batches filled up to few shapes: the same training as without, to rounding; and what a CUDA graph needs of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lora_nlg.batching import fill_up, filled_size, make_batch
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import FilledAttention, FlatAttention
from lora_nlg.lora import frozen_projections
from lora_nlg.training import TargetLoss, batch_loss
from lora_nlg.training.filled import FilledLoss
from lora_nlg.training.graphs import GraphedCalls

from .conftest import Run, random_examples, tiny_model

Train = Callable[..., Run]


def test_sizes_are_few_and_add_little() -> None:
    sizes = [filled_size(n) for n in range(1, 5000)]
    assert sizes[:64] == [64] * 64 and filled_size(418) == 448 and filled_size(1025) == 1152
    assert all(n <= size for n, size in enumerate(sizes, 1))
    assert all(size - n < max(64, n / 8) for n, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 40


def test_what_fills_up_is_a_sequence_and_targets_of_its_own() -> None:
    examples = random_examples(3)
    batches = [make_batch(examples[:2]), make_batch(examples[1:])]
    filled = fill_up(batches, [7, 9], sequences=4)
    shape, parts = filled.shape, filled.parts()
    assert shape.tokens == shape.targets == 64 and shape.sequences == 5 and shape.longest == 64
    for m, batch in enumerate(batches):
        T, N = len(batch.tokens), len(batch.targets)
        first, row = m * shape.tokens, m * shape.targets
        assert torch.equal(parts.tokens[first : first + T], batch.tokens)
        assert torch.equal(parts.positions[first : first + T], batch.positions)
        assert torch.equal(parts.target_rows[row : row + N] - first, batch.target_rows)
        assert torch.equal(parts.targets[row : row + N], batch.targets)
        assert parts.weights[m].tolist() == [1.0] * N + [0.0] * (shape.targets - N)
        ends = parts.ends[m * shape.sequences : (m + 1) * shape.sequences + 1]
        assert ends.diff().tolist() == [*batch.lengths, 0, 0, shape.tokens - T]
        assert (parts.target_rows[row + N : row + shape.targets] >= first + T).all(), "rows of no example"
    assert parts.denominators.tolist() == [7, 9]


def test_attention_is_that_of_the_lengths() -> None:
    torch.manual_seed(0)
    lengths = [3, 1, 0, 9, 4]
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    outputs = []
    for attention in (FilledAttention(ends, 16, 17), FlatAttention([3, 1, 9, 4])):
        qkv = torch.randn(17, 3 * 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = attention(0, qkv, 2)
        outputs += [y, *torch.autograd.grad(y.square().sum(), qkv)]
    torch.testing.assert_close(outputs[0], outputs[2])
    torch.testing.assert_close(outputs[1], outputs[3])


@pytest.mark.parametrize(("parts", "head_trains"), [(1, False), (1, True), (2, False)])
@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_weights_multiply_losses_and_parts_are_summed_apart(smooth: float, parts: int, head_trains: bool) -> None:
    torch.manual_seed(0)
    head = torch.randn(11, 6).requires_grad_(head_trains)
    hidden, targets = torch.randn(6, 6).requires_grad_(), torch.randint(11, (6,))
    weights = torch.tensor([1.0, 0.0, 2.5, 1.0, 0.0, 0.5]).view(parts, -1)
    losses = torch.nn.functional.cross_entropy(hidden @ head.t(), targets, reduction="none", label_smoothing=smooth)
    expected = (losses.view(parts, -1) * weights).sum(1)
    ours = TargetLoss(smooth, chunk_bytes=2 * 4 * 11)(hidden, targets, head, weights)
    torch.testing.assert_close(ours, expected)
    inputs = [hidden, head] if head_trains else [hidden]
    scale = torch.tensor([3.0, -0.5])[:parts]
    for grad, exact in zip(
        torch.autograd.grad(ours, inputs, scale), torch.autograd.grad(expected, inputs, scale), strict=True
    ):
        torch.testing.assert_close(grad, exact)


def test_validation_adds_up_the_same_losses() -> None:
    model, loss = tiny_model().eval(), TargetLoss()
    batches = [make_batch(random_examples(3, seed=seed)) for seed in range(3)]
    filled = FilledLoss(model, loss, "fp32", torch.device("cpu"), "auto")
    for batch in batches:
        filled.add(fill_up([batch], [1], sequences=5))
    total, count = filled.take().tolist()
    assert total == pytest.approx(sum(float(batch_loss(model, batch, loss)) for batch in batches), rel=1e-6)
    assert count == sum(len(batch.targets) for batch in batches) and not filled.take().any()


def test_a_graph_asked_for_without_cuda_is_refused() -> None:
    with pytest.raises(InputError, match="`cuda_graph` true needs a CUDA device"):
        GraphedCalls(lambda batch: None, torch.device("cpu"), "true")


VARIANTS = ["lora", "rslora", "dora", "pissa", "freeze_a", "whole model"]


def variant_model(variant: str, dropout: float = 0.0) -> torch.nn.Module:
    rule = "rslora" if variant == "rslora" else "alpha/r"
    model = tiny_model(dropout=dropout, variant=variant if variant in ("dora", "pissa") else "lora", rule=rule)
    if variant == "freeze_a":
        for name in frozen_projections(model):
            model.get_parameter(name).requires_grad_(False)
    if variant == "whole model":
        model.requires_grad_(True)
    return model


@pytest.mark.parametrize("grad_acc", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_is_the_same_as_without(variant: str, grad_acc: int, train: Train) -> None:
    """10 steps on batches of many lengths, the last of each epoch smaller."""
    examples = random_examples(44)
    settings = {"max_step": 10, "label_smooth": 0.1, "grad_acc": grad_acc}
    runs = [train(variant_model(variant), examples, cuda_graph=mode, **settings) for mode in ("", "auto")]
    assert runs[1].losses == pytest.approx(runs[0].losses, rel=1e-6, abs=1e-6)
    for key, value in runs[0].adapter.items():
        torch.testing.assert_close(value, runs[1].adapter[key], atol=1e-5, rtol=0)
    assert max(runs[0].losses) - min(runs[0].losses) > 1e-2, "nothing was learnt"


def test_dropout_follows_the_seed_alone(train: Train) -> None:
    def run(**values: object) -> Run:
        return train(tiny_model(dropout=0.3), random_examples(30), cuda_graph="auto", max_step=6, **values)

    whole, other = run(), run(random_seed=7)
    assert run().losses == whole.losses and other.losses != whole.losses
