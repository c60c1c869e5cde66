"""The schedules are those of `transformers`, and a wrong name is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from dpo_lab.schedules import SCHEDULES, make_schedule
from dpo_lab.trainer import DPOConfig


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(0, 7), (3, 12), (1, 1)])
def test_rates_equal_those_of_transformers(name, warmup_steps, total_steps):
    rates = []
    for build in (make_schedule, get_scheduler):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        arguments = (optimizer, name) if build is make_schedule else (name, optimizer)
        schedule = build(*arguments, warmup_steps, total_steps)
        seen = []
        for _ in range(total_steps):
            seen.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        rates.append(seen)
    assert rates[0] == pytest.approx(rates[1], abs=1e-12)


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match=r"schedule must be one of .*, got 'polynomial'"):
        DPOConfig(schedule="polynomial")
