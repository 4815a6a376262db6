"""Learning rates against torch's schedulers and cases worked by hand."""

from __future__ import annotations

import pytest
import torch

from lora_nlg.errors import InputError
from lora_nlg.training import Schedule, parse_points


def rates(schedule: Schedule) -> list[float]:
    return [schedule(done) for done in range(schedule.max_step)]


def test_linear_by_hand() -> None:
    assert rates(Schedule("linear", 8.0, 6, 2)) == [0, 4, 8, 6, 4, 2]
    assert rates(Schedule("linear", 8.0, 4, 0)) == [8, 6, 4, 2]


def test_cosine_after_warmup_equals_torch() -> None:
    """The predecessor's cosine jumps to 0.9045 of the peak after 2 of 10 warm-up steps; this one starts at the peak."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    expected = [0.0, 1.5]
    for _ in range(8):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(Schedule("cosine", 3.0, 10, 2)) == pytest.approx(expected)


def test_constant_and_inverse_square_root() -> None:
    assert rates(Schedule("constant", 5.0, 4, 2)) == [0, 2.5, 5, 5]
    assert rates(Schedule("inv_sqrt", 6.0, 20, 4))[4::4] == pytest.approx([6, 6 / 2**0.5, 6 / 3**0.5, 3])


def test_cycle_is_piecewise_linear() -> None:
    points = parse_points("0,2,4,6", "0,1e-2,0,2e-2")
    assert rates(Schedule("cycle", 1.0, 8, points=points)) == pytest.approx(
        [0, 0.005, 0.01, 0.005, 0, 0.01, 0.02, 0.02]
    )
    assert Schedule("cycle", 1.0, 8, points=((3, 0.5), (5, 1.0)))(1) == 0.5
    assert Schedule("cycle", 1.0, 8, 500, points)(4) == 0, "a warm-up means nothing to it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stairs", 1.0, 10), "`scheduler` must be one of linear, cosine"),
        (("linear", -1.0, 10), "`lr`"),
        (("linear", float("nan"), 10), "`lr`"),
        (("linear", 1.0, 10, 11), "`warmup_step` 11 must lie between 0 and the run's 10 steps"),
        (("cycle", 1.0, 10), "`i_steps`"),
        (("linear", 1.0, 10, 0, ((0, 1.0),)), "only of it"),
        (("cycle", 1.0, 10, 0, ((5, 1.0), (3, 1.0))), "must rise"),
    ],
)
def test_refusals(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(*arguments)


def test_points_that_are_not_numbers_or_not_as_many() -> None:
    with pytest.raises(InputError, match="comma-separated"):
        parse_points("0,x", "1,2")
    with pytest.raises(InputError, match="2 numbers and `i_lrs` 1"):
        parse_points("0,3", "1")
