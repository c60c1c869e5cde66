"""What is kept of a reference: found for the same rows and weights, never for others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import random_policy

from dpo_lab.encoding import Encoded, encode_pair
from dpo_lab.evaluation import score_rows
from dpo_lab.reference_cache import ReferenceCache, fingerprint


@pytest.fixture
def policy():
    return random_policy()


@pytest.fixture
def rows(policy):
    texts = [("the kettle is", "good"), ("the bus", "was slow and cold"), ("the stop", "is very quick")]
    return [encode_pair(policy.tokenizer, *text) for text in texts]


class Counting:
    """A scorer that remembers what it was asked."""

    def __init__(self, policy):
        self.policy, self.asked = policy, []

    def __call__(self, rows):
        self.asked.append(list(rows))
        return score_rows(self.policy, rows)


def test_second_run_scores_nothing_and_gives_the_same_bits(policy, rows, tmp_path):
    score = Counting(policy)
    first = ReferenceCache(tmp_path, policy).fill(rows, score)
    again = ReferenceCache(tmp_path, policy).fill(rows, score)
    assert torch.equal(first, again)
    assert torch.equal(first, score_rows(policy, rows))
    assert score.asked == [rows]


def test_a_changed_row_is_scored_alone(policy, rows, tmp_path):
    score = Counting(policy)
    cache = ReferenceCache(tmp_path, policy)
    cache.fill(rows, score)
    changed = encode_pair(policy.tokenizer, "the bus", "was slow and warm")
    logps = cache.fill([rows[0], changed, rows[2]], score)
    assert score.asked[1:] == [[changed]]
    assert logps == pytest.approx(score_rows(policy, [rows[0], changed, rows[2]]), abs=1e-5)


def test_the_same_ids_split_elsewhere_are_another_row(policy, rows, tmp_path):
    cache = ReferenceCache(tmp_path, policy)
    cache.fill(rows, Counting(policy))
    ids, mask = rows[0].input_ids, rows[0].completion_mask
    moved = Encoded(ids, [False, *mask[:-1]])
    assert moved.completion_mask != mask
    assert cache.read([moved]).isnan().all()


def test_a_reference_after_one_more_step_finds_nothing(policy, rows, tmp_path):
    ReferenceCache(tmp_path, policy).fill(rows, Counting(policy))
    with torch.no_grad():
        next(policy.model.parameters()).view(-1)[0] += 1e-6
    assert ReferenceCache(tmp_path, policy).read(rows).isnan().all()


def test_fingerprint_tells_dtypes_apart_and_ignores_the_folder(policy):
    before = fingerprint(policy)
    policy.model.config._name_or_path = "elsewhere"
    assert fingerprint(policy) == before
    policy.model.bfloat16()
    assert fingerprint(policy) != before


def test_two_writers_share_a_file(policy, rows, tmp_path):
    one, other = ReferenceCache(tmp_path, policy), ReferenceCache(tmp_path, policy)
    one.write(rows[:2], torch.tensor([-1.0, -2.0]))
    other.write(rows[1:], torch.tensor([-2.0, -3.0]))
    assert one.read(rows).tolist() == [-1.0, -2.0, -3.0]
    assert len(list(Path(tmp_path).iterdir())) == 1
