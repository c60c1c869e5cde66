"""The bugs of the hunt: each run ends, each bug does what its entry says, and the cut-up loop is the trainer's."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from dpo_lab.bugs import BUGS, BrokenRun, run_bug
from dpo_lab.bugs.objectives import Scored, Steps
from dpo_lab.bugs.runs import pairs_of, tiny_lab
from dpo_lab.debugging import (
    diagnose_flat_loss,
    first_step_failures,
    name_suspect,
    read_dashboard,
    reference_leaks,
)
from dpo_lab.experiments.bug_runs import CASES, DRILLS
from dpo_lab.loop import run_loop
from dpo_lab.policies import frozen_reference
from dpo_lab.trainer import DPOConfig

SMALL = {"steps": 4, "batch_size": 4}


@cache
def small(name: str | None) -> BrokenRun:
    return run_bug(name, 0, **SMALL)


@pytest.mark.parametrize("objective", [Steps, Scored])
def test_the_loop_that_bugs_are_put_into_is_the_trainers_own(objective):
    pairs, policy = pairs_of(0, 16), tiny_lab().fresh_policy()
    config = DPOConfig(lr=3e-4, batch_size=4, seed=0, progress=False)
    history = run_loop(policy, objective(policy, frozen_reference(policy), pairs, config), config)
    for name in ("loss", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected", "grad_norm"):
        assert history[name] == pytest.approx(small(None).history[name], abs=2e-4)


@pytest.mark.parametrize("name", BUGS)
def test_each_bug_trains_and_logs_every_metric(name):
    run = small(name)
    assert {
        "loss",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "grad_norm",
        "learning_rate",
    } <= set(run.history.names())
    assert len(run.pairs) == 16
    assert not run.policy.model.training


@pytest.mark.parametrize("name", BUGS)
def test_each_bug_says_what_it_is(name):
    bug = BUGS[name]
    assert bug.name == name
    assert bug.change.endswith(".") and bug.symptom.endswith(".") and bug.fix
    assert bug.lesson[:2] in {"01", "03", "04", "05"}


@pytest.mark.parametrize("name", ["beta_zero", "no_gradient", "reference_shared"])
def test_a_flat_loss_has_the_cause_that_was_put_in(name):
    run = small(name)
    assert run.history["loss"] == pytest.approx([math.log(2)] * 4, abs=1e-5)
    # where both models score the same batch, no gradient leaves rewards of exactly 0, as β = 0 does
    possible = {name, "beta_zero"} if name == "no_gradient" else {name}
    assert diagnose_flat_loss(run.history.records, run.config.lr) in possible
    assert (max(run.history["grad_norm"]) == 0) == (name != "reference_shared")


def test_a_swapped_pair_is_trained_backwards():
    right, swapped = run_bug(None, 0, steps=12, lr=1e-3), run_bug("pair_swapped", 0, steps=12, lr=1e-3)
    assert sum(right.history["rewards/margins"][-4:]) > 0 > sum(swapped.history["rewards/margins"][-4:])


def test_swapped_columns_give_the_curves_of_a_healthy_run():
    run = small("columns_swapped")
    assert run.history["logps/chosen"][0] == pytest.approx(small(None).history["logps/rejected"][0], abs=1e-4)
    assert run.history["loss"][0] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "factor"), [("mean_for_sum", 0.2), ("off_by_one", 5.0), ("padding_summed", 2.0)]
)
def test_a_wrong_score_shows_in_the_first_log_probs(name, factor):
    ratio = small(name).history["logps/chosen"][0] / small(None).history["logps/chosen"][0]
    assert (ratio < factor) if factor < 1 else (ratio > factor)


def test_the_end_of_text_is_all_that_a_mask_by_id_loses():
    lost = small("eos_masked").history["logps/chosen"][0] - small(None).history["logps/chosen"][0]
    assert 0 < lost < 2


@pytest.mark.parametrize("name", ["reference_random", "dropout_on", "padding_summed"])
def test_rewards_before_the_first_step_give_a_mismatch_away(name):
    record, sound = small(name).history.records[0], small(None).history.records[0]
    for first, expected in ((record, True), (sound, False)):
        failures = first_step_failures(first, first["logps/chosen"], first["logps/rejected"], tolerance=5e-3)
        assert ("rewards" in failures) == expected


def test_a_trainable_reference_moves():
    run = small("reference_trainable")
    before = dict(tiny_lab().reference.model.named_parameters())
    assert reference_leaks(run.reference.model, before) == list(before)
    assert not hasattr(run.policy.model, "reference")
    assert reference_leaks(small(None).reference.model, before) == []


def test_the_log_of_a_sigmoid_ends_in_infinity():
    bug = BUGS["log_of_sigmoid"].objective
    policy = tiny_lab().policy
    config = DPOConfig(beta=1.0, progress=False)
    objective = bug(policy, tiny_lab().reference, pairs_of(0, 2), config)
    four = (torch.tensor([-300.0, -5.0]), torch.tensor([-10.0, -5.0]), torch.tensor([-10.0, -5.0]))
    losses, *_ = objective.losses(*four, torch.tensor([-10.0, -5.0]))
    assert losses[0] == math.inf and losses[1] == pytest.approx(math.log(2))


def test_the_loss_of_an_ignored_setting_starts_at_ln_2():
    run = small("loss_ignored")
    assert run.config.loss == "ipo"
    assert run.history["loss"][0] == pytest.approx(math.log(2), abs=1e-5)


def test_a_run_of_another_seed_has_other_pairs():
    assert pairs_of(0, 16) != pairs_of(1, 16)


def test_an_unknown_bug_or_too_long_a_run_is_refused():
    with pytest.raises(ValueError, match="name must be one of"):
        run_bug("typo", 0)
    with pytest.raises(ValueError, match="fewer steps"):
        run_bug(None, 0, steps=1000)


def test_the_lessons_key_names_the_bugs_that_its_runs_have():
    assert {case: name_suspect(case) for case in CASES} == CASES
    assert len({read_dashboard(drill) for drill in DRILLS}) == len(DRILLS)
