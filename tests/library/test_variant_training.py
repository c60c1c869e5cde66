"""The trainer with every loss of the registry, and with its other settings."""

from __future__ import annotations

import copy

import pytest
import torch

from dpo_lab import trainer
from dpo_lab.batch_terms import RunningReward
from dpo_lab.history import History
from dpo_lab.losses import LOSSES
from dpo_lab.policies import Policy, frozen_reference
from dpo_lab.trainer import DPOConfig, train_dpo

FAST = {"lr": 3e-3, "epochs": 4, "batch_size": 2, "progress": False}


def trained(policy, pairs, **settings):
    policy = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.name)
    extra = {name: settings.pop(name) for name in ("replay", "beta_schedule") if name in settings}
    config = DPOConfig(**{**FAST, **settings})
    return policy, train_dpo(policy, frozen_reference(policy), pairs, config, **extra)


@pytest.mark.parametrize("name", LOSSES)
def test_the_trainer_lowers_every_loss(toy_policy, toy_pairs, name):
    _, history = trained(toy_policy, toy_pairs, loss=name, epochs=12, batch_size=5, beta=0.5)
    assert history["loss"][-1] < history["loss"][0]
    assert history["logps/chosen"][0] < -1  # sums, also where the loss takes means


def test_losses_without_a_reference_never_run_it(toy_policy, toy_pairs, monkeypatch):
    monkeypatch.setattr(trainer, "pair_logprobs", lambda *_, **__: pytest.fail("the reference ran"))
    for name in (name for name, loss in LOSSES.items() if not loss.needs_reference):
        trained(toy_policy, toy_pairs, loss=name)
    with pytest.raises(pytest.fail.Exception):
        trained(toy_policy, toy_pairs)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.paired])
def test_unpaired_losses_learn_from_answers_to_different_prompts(toy_policy, toy_pairs, name):
    others = toy_pairs[1:] + toy_pairs[:1]
    rows = [
        {**pair, "rejected_prompt": other["prompt"], "rejected": other["rejected"]}
        for pair, other in zip(toy_pairs, others, strict=True)
    ]
    _, history = trained(toy_policy, rows, loss=name, epochs=12, batch_size=5, beta=0.5)
    assert history["loss"][-1] < history["loss"][0]
    assert history["rewards/margins"][-1] > 0
    with pytest.raises(ValueError, match="rejected_prompt"):
        trained(toy_policy, rows)


def test_kto_meets_each_prompt_with_another_ones_completion(toy_policy, toy_pairs):
    objective = trainer.PairObjective(
        toy_policy, frozen_reference(toy_policy), toy_pairs, DPOConfig(loss="kto", progress=False), "DPO"
    )
    text = [toy_policy.tokenizer.decode(row.input_ids) for row in objective.mismatched.rows]
    assert len(text) == len(toy_pairs)
    for i, row in enumerate(text):
        other = toy_pairs[(i + 1) % len(toy_pairs)]
        assert row.startswith(toy_pairs[i]["prompt"]) and other["rejected" if i % 2 else "chosen"] in row
    ratios = objective.mismatched.log_ratios(toy_policy.model, [0, 1])  # policy = reference: no distance
    assert ratios.tolist() == pytest.approx([0, 0], abs=1e-5) and not ratios.requires_grad
    with pytest.raises(ValueError, match="two pairs"):
        trained(toy_policy, toy_pairs[:1], loss="kto")


def test_bco_shifts_by_the_mean_reward_of_recent_batches():
    running, history = RunningReward(), History()
    running.follow(history)
    assert running.mean == 0.0
    history.log(1, **{"rewards/chosen": 2.0, "rewards/rejected": 0.0})
    running.follow(history)
    assert running.mean == pytest.approx(0.1)
    history.log(2, **{"rewards/chosen": -1.0, "rewards/rejected": -3.0})
    running.follow(history)
    running.follow(history)  # nothing new
    assert running.mean == pytest.approx(0.9 * 0.1 - 0.1 * 2.0)
    fresh = RunningReward()
    fresh.follow(history)
    assert fresh.mean == running.mean


def test_the_general_path_agrees_with_the_textbook_step(toy_policy, toy_pairs):
    plain = trained(toy_policy, toy_pairs)[1]
    general = trained(toy_policy, toy_pairs, loss="robust")[1]
    assert general["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert general["logps/chosen"] == pytest.approx(plain["logps/chosen"], rel=1e-5)


def test_nll_term_holds_the_chosen_completions_up(toy_policy, toy_pairs):
    without = trained(toy_policy, toy_pairs, epochs=12)[1]
    with_nll = trained(toy_policy, toy_pairs, epochs=12, nll_weight=1.0)[1]
    assert with_nll["logps/chosen"][-1] > without["logps/chosen"][-1]
    assert with_nll["nll"][-1] < with_nll["nll"][0]


def test_replay_is_logged_and_learnt(toy_policy, toy_pairs):
    examples = [{"prompt": pair["prompt"], "completion": pair["rejected"]} for pair in toy_pairs]
    history = trained(toy_policy, toy_pairs, epochs=12, replay=examples, replay_weight=1.0)[1]
    assert history["replay"][-1] < history["replay"][0]


def test_a_beta_schedule_is_asked_before_each_step(toy_policy, toy_pairs):
    history = trained(toy_policy, toy_pairs, beta_schedule=lambda history: 0.1 * (1 + len(history)))[1]
    assert history["beta"] == pytest.approx([0.1 * step for step in history.steps("beta")])
    constant = trained(toy_policy, toy_pairs, beta_schedule=lambda history: 0.1)[1]
    assert constant["loss"] == trained(toy_policy, toy_pairs)[1]["loss"]


def test_sgd_is_plain_gradient_descent(toy_policy, toy_pairs):
    one = {"optimizer": "sgd", "epochs": 1, "batch_size": 5, "warmup_ratio": 0.0, "max_grad_norm": 1e9}
    moved = {}
    for lr in (1e-3, 2e-3):
        policy, _ = trained(toy_policy, toy_pairs, **one, lr=lr)
        start, end = toy_policy.model.parameters(), policy.model.parameters()
        moved[lr] = torch.cat([(b - a).detach().flatten() for a, b in zip(start, end, strict=True)])
    assert torch.allclose(2 * moved[1e-3], moved[2e-3], rtol=1e-3, atol=1e-6)
    assert moved[1e-3].abs().max() > 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "sigmoidal"}, "loss must be one of sigmoid"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "takes no label_smoothing"),
        ({"loss": "dpop", "loss_options": {"lambda": 1.0}}, "takes penalty"),
        ({"nll_weight": -1.0}, "nll_weight"),
        ({"optimizer": "adam"}, "optimizer"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        DPOConfig(**settings)
