"""The order of training: complete, repeatable, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_nlg.batching import Example, Loader, Sampler, share
from lora_nlg.errors import InputError


@given(
    n=st.integers(1, 70),
    batch=st.integers(1, 17),
    seed=st.integers(0, 99),
    bucket=st.sampled_from([0, 2, 3]),
    shuffle=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_example_once_an_epoch(n: int, batch: int, seed: int, bucket: int, shuffle: bool) -> None:
    lengths = [7 * i % 13 for i in range(n)]
    sampler = Sampler(lengths, batch, seed, shuffle, bucket)
    assert sampler.steps_per_epoch == -(-n // batch)
    for epoch in range(2):
        batches = [sampler.batch(epoch * sampler.steps_per_epoch + i) for i in range(sampler.steps_per_epoch)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(n))
        assert all(len(b) == batch for b in batches[:-1]), "only the last batch of an epoch may be partial"


def test_any_step_can_be_asked_for_alone() -> None:
    sampler = Sampler([1] * 50, 8, seed=3)
    walked = [sampler.batch(step).tolist() for step in range(20)]
    for step in reversed(range(20)):
        assert Sampler([1] * 50, 8, seed=3).batch(step).tolist() == walked[step]
    assert walked[0] != walked[7], "epochs are shuffled anew"
    assert Sampler([1] * 50, 8, seed=4).batch(0).tolist() != walked[0]
    assert Sampler([1] * 50, 8, seed=3, shuffle=False).batch(8).tolist() == list(range(8, 16))


def test_buckets_bring_similar_lengths_together() -> None:
    lengths = np.random.default_rng(0).integers(5, 100, 800)
    spread = [
        np.mean([np.ptp(lengths[sampler.batch(i)]) for i in range(100)])
        for sampler in (Sampler(lengths, 8, 1), Sampler(lengths, 8, 1, bucket=20))
    ]
    assert spread[1] < spread[0] / 4


@pytest.mark.parametrize("n", [0, 1, 5, 8])
@pytest.mark.parametrize(("size", "grad_acc"), [(1, 1), (2, 1), (1, 4), (2, 2), (3, 1)])
def test_shares_make_up_the_batch(n: int, size: int, grad_acc: int) -> None:
    batch = np.arange(100, 100 + n)
    parts = [part for rank in range(size) for part in share(batch, rank, size, grad_acc)]
    assert len(parts) == size * grad_acc
    assert np.concatenate(parts).tolist() == batch.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_loader_counts_the_global_batch_and_keeps_the_order() -> None:
    examples = [Example(str(i), tuple(range(i % 5 + 4)), 1 + i % 3) for i in range(11)]
    sampler = Sampler([e.n_inputs for e in examples], 4, seed=1)
    whole = list(Loader(examples, sampler).steps(1, 6))
    assert [data.step for data in whole] == [1, 2, 3, 4, 5, 6]
    assert [data.epoch for data in whole] == [1, 1, 1, 2, 2, 2]
    halves = [list(Loader(examples, sampler, rank, 2, grad_acc=2).steps(2, 6)) for rank in range(2)]
    for i, data in enumerate(whole[1:]):
        members = [batch for rank in range(2) for batch in halves[rank][i].micro_batches]
        assert tuple(id for batch in members for id in batch.ids) == data.ids == data.micro_batches[0].ids
        assert sum(len(batch.targets) for batch in members) == data.n_targets
        assert sum(len(batch.tokens) for batch in members) == data.n_tokens


def test_examples_without_targets_are_left_out_of_the_forward_pass() -> None:
    examples = [Example("cut", (1, 2, 3), 3), Example("cut too", (1, 2), 2)]
    (data,) = Loader(examples, Sampler([2, 1], 2, 0)).steps(1, 1)
    assert data.micro_batches == [] and data.n_targets == 0


def test_an_error_in_the_background_comes_out() -> None:
    loader = Loader([], Sampler([1], 1, 0))
    with pytest.raises(IndexError):
        list(loader.steps(1, 1))


def test_nothing_to_train_on() -> None:
    with pytest.raises(InputError, match="no example"):
        Sampler([], 8, 0)
    with pytest.raises(InputError, match="at least 1"):
        Sampler([1], 0, 0)
