"""The autograders' fresh inputs."""

from __future__ import annotations

import pytest
import torch

from dpo_lab.course.exercises import load_autograder
from dpo_lab.course.layout import Course

COURSE = Course.default()
Fresh = load_autograder(COURSE, COURSE.autograders / "fixtures.py").Fresh


def test_one_seed_gives_one_set_of_inputs():
    for one, other in zip(Fresh(7).logps(4), Fresh(7).logps(4), strict=True):
        assert torch.equal(one, other) and one.shape == (4,)
    assert not torch.equal(Fresh(7).logps(4)[0], Fresh(8).logps(4)[0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(20))
def test_a_ragged_batch_has_prompts_completions_and_padding(side, seed):
    logits, input_ids, completion_mask = Fresh(seed).ragged_batch(padding_side=side)
    assert logits.shape == (3, 9, 17) and input_ids.shape == completion_mask.shape == (3, 9)
    assert completion_mask.any(dim=1).all() and not completion_mask[:, 0].any()
    assert (input_ids[completion_mask] == 0).sum() == 3  # each completion's EOS
    edge = -1 if side == "right" else 0
    padded = (input_ids[:, edge] == 0) & ~completion_mask[:, edge]
    assert padded.any() and not padded.all()
