"""The pretend device itself: it has to refuse what CUDA refuses."""

from __future__ import annotations

import pytest
import torch

import pretend_cuda
from pretend_cuda import counts, reset, summary

DEVICE = torch.device("cuda")


def test_results_are_the_cpus() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    x, y = (t.to(DEVICE).requires_grad_() for t in (a, b))
    loss = torch.nn.functional.gelu(x @ y).sum()
    loss.backward()
    u, v = (t.clone().requires_grad_() for t in (a, b))
    torch.nn.functional.gelu(u @ v).sum().backward()
    assert torch.equal(x.grad.cpu(), u.grad) and torch.equal(y.grad.cpu(), v.grad)


def test_two_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device=DEVICE) + torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda:0") + torch.ones(3, device="cuda:1")
    assert (torch.ones(3, device=DEVICE) + torch.ones(())).tolist() == [2, 2, 2], "a CPU scalar may"


def test_one_type_in_a_layer_norm() -> None:
    x = torch.ones(2, 4, device=DEVICE, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="scalar type"):
        torch.nn.functional.layer_norm(x, (4,), torch.ones(4, device=DEVICE))


def test_fresh_memory_is_poisoned() -> None:
    assert torch.empty(4, device=DEVICE).isnan().all()
    assert (torch.empty(4, device=DEVICE, dtype=torch.int64).abs() > 10**6).all()


def test_each_device_has_its_own_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = torch.rand(4, device="cuda:0")
    assert torch.equal(torch.get_rng_state(), before), "the CPU's are untouched"
    other = torch.cuda.get_rng_state("cuda:1")
    torch.cuda.manual_seed(3)
    assert torch.equal(torch.rand(4, device="cuda:0"), first)
    assert torch.equal(torch.cuda.get_rng_state("cuda:1"), other)


def test_waits_and_launches_are_counted() -> None:
    x = torch.ones(4, device=DEVICE)
    pinned = torch.zeros(4).pin_memory()
    assert pinned.is_pinned() and not torch.zeros(4).is_pinned()
    reset()
    y = x * 2
    y[1:].t()  # a view starts nothing
    assert (summary().launches, summary().syncs) == (1, 0)
    pinned.to(DEVICE, non_blocking=True)
    assert (summary().launches, summary().syncs, summary().copies) == (1, 0, 1)
    y.sum().item()
    y.cpu()
    y.nonzero()
    assert summary().syncs == 3, counts()
    y[y > 1]
    assert summary().syncs == 4, counts()


def test_what_is_copied_home_arrives_when_waited_for() -> None:
    x, home, done = torch.ones(4, device=DEVICE), torch.zeros(4).pin_memory(), torch.cuda.Event()
    home.copy_(x, non_blocking=True)
    done.record()
    assert home.isnan().all()
    x.mul_(2)
    reset()
    done.synchronize()
    assert home.tolist() == [1, 1, 1, 1]
    assert (summary().syncs, summary().waits) == (0, 1), "more work was queued behind it"
    done.record()
    done.synchronize()
    assert summary().syncs == 1, "here the device ran dry"


def test_flash_refuses_what_it_cannot() -> None:
    ends = torch.tensor([0, 2], dtype=torch.int32, device=DEVICE)

    def attend(dtype: torch.dtype, size: int) -> torch.Tensor:
        q = torch.ones(2, 1, size, device=DEVICE, dtype=dtype)
        return torch.ops.aten._flash_attention_forward(q, q, q, ends, ends, 2, 2, 0.0, True, False)[0]

    assert attend(torch.bfloat16, 16).isfinite().all()
    for dtype, size in ((torch.float32, 16), (torch.bfloat16, 20)):
        with pytest.raises(RuntimeError, match="FlashAttention"):
            attend(dtype, size)


class TestGraphs:
    def test_the_region_changes_nothing_and_a_replay_everything(self) -> None:
        x, total = torch.ones(3, device=DEVICE), torch.zeros(3, device=DEVICE)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            doubled = x * 2
            total += doubled
        assert total.tolist() == [0, 0, 0] and doubled.isnan().all()
        for n in (1, 2):
            x.fill_(n)
            reset()
            graph.replay()
            assert (summary().launches, summary().nodes) == (1, 2)
            assert doubled.tolist() == [2 * n] * 3
        assert total.tolist() == [6, 6, 6]

    def test_a_training_step(self) -> None:
        def train(steps: int, graphed: bool) -> list[float]:
            torch.manual_seed(1)
            weight = torch.randn(4, 4, device=DEVICE, requires_grad=True)
            optimizer = torch.optim.AdamW([weight], lr=0.1, capturable=True, fused=True)
            x, loss = torch.zeros(2, 4, device=DEVICE), torch.zeros((), device=DEVICE)
            weight.grad = torch.zeros_like(weight)

            def step() -> None:
                weight.grad.zero_()
                found = torch.dropout(x @ weight, 0.5, True).square().sum()
                found.backward()
                optimizer.step()
                loss.copy_(found.detach())

            graph, losses = torch.cuda.CUDAGraph(), []
            for n in range(steps):
                x.fill_(n + 1)
                torch.manual_seed(n)
                if graphed and n == 1:  # the first step makes the optimiser's state
                    with torch.cuda.graph(graph):
                        step()
                graph.replay() if graphed and n else step()
                losses.append(loss.item())
            return losses

        assert train(5, graphed=True) == train(5, graphed=False)

    @pytest.mark.parametrize("what", ["item", "copy", "pageable", "shape", "capture"])
    def test_what_a_capture_forbids(self, what: str) -> None:
        x, graph = torch.ones(3, device=DEVICE), torch.cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(graph):
            if what == "item":
                x.sum().item()
            elif what == "copy":
                x.cpu()
            elif what == "pageable":
                x.copy_(torch.zeros(3), non_blocking=True)
            elif what == "shape":
                x.nonzero()
            else:
                torch.cuda.CUDAGraph().capture_begin()
        assert not torch.cuda.is_current_stream_capturing()

    def test_pinned_memory_is_read_and_written_at_every_replay(self) -> None:
        source, home = torch.zeros(2).pin_memory(), torch.zeros(2).pin_memory()
        x, graph = torch.zeros(2, device=DEVICE), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            x.copy_(source, non_blocking=True)
            home.copy_(x + 1, non_blocking=True)
        for n in (3, 5):
            source.fill_(n)
            graph.replay()
            torch.cuda.synchronize()
            assert home.tolist() == [n + 1, n + 1]


def test_memory_is_measured() -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    x = torch.zeros(1024, device=DEVICE)
    assert torch.cuda.memory_allocated() == before + 4096
    del x
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() >= before + 4096
    assert pretend_cuda.is_installed()
