"""Training in rounds: budgets are kept, pairs come from the policy of their round, references move when they should."""

from __future__ import annotations

import math
import os
import random
import signal

import pytest
import torch

from dpo_lab.collecting import Collector, Labeller, best_and_worst, judge_by_reward
from dpo_lab.experiments.failures import log_ratio_gaps
from dpo_lab.online import OnlineConfig, begin_round, shuffled_rows, train_online
from dpo_lab.policies import Policy, frozen_reference

PROMPTS = ["the soup", "the room", "the staff was"]
FAST = {"lr": 3e-3, "batch_size": 4, "max_new_tokens": 20, "progress": False}


def goods(text: str) -> float:
    """A reward that the toy policy can learn."""
    return float(text.split().count("good"))


JUDGE = judge_by_reward(goods)


def run(policy, judge=JUDGE, callback=None, **settings):
    options = {"rounds": 2, "labels_per_round": 6, "steps_per_round": 3} | FAST | settings
    reference = frozen_reference(policy)
    return train_online(policy, reference, PROMPTS, judge, OnlineConfig(**options), callback=callback)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])


def test_judge_by_reward_is_bradley_terry():
    judge = judge_by_reward(goods, temperature=0.5)
    assert judge("x", "good good", "good") == pytest.approx(1 / (1 + math.exp(-2)))
    assert judge("x", "bad", "good") == pytest.approx(1 - judge("x", "good", "bad"))
    assert judge_by_reward(lambda text: 1e6 * goods(text))("x", "bad", "good") < 1e-300
    with pytest.raises(ValueError, match="temperature"):
        judge_by_reward(goods, temperature=0.0)


def test_labeller_counts_and_draws():
    labeller = Labeller(lambda prompt, first, second: 0.8, seed=1)
    wins = sum(labeller.beats("x", "a", "b") for _ in range(2000))
    assert labeller.labels == 2000
    assert 0.76 < wins / 2000 < 0.84
    with pytest.raises(ValueError, match=r"probability in \[0, 1\], got 3.0; wrap a reward"):
        Labeller(lambda *_: 3.0).beats("x", "a", "b")


def test_best_and_worst_finds_both_for_few_comparisons():
    rng = random.Random(0)
    for n in (2, 3, 4, 7):
        values = rng.sample(range(100), n)
        asked = []

        def beats(first, second, asked=asked):
            asked.append({first, second})
            return first > second

        assert best_and_worst(values, beats) == (max(values), min(values))
        assert n - 1 <= len(asked) <= 2 * n - 3
        assert all(pair not in asked[:i] for i, pair in enumerate(asked))
    with pytest.raises(ValueError, match="at least 2 texts, got 1"):
        best_and_worst(["a"], beats)


def test_best_and_worst_differ_even_if_the_judge_contradicts_itself():
    rng = random.Random(1)
    for _ in range(200):
        best, worst = best_and_worst("abcde", lambda first, second: rng.random() < 0.5)
        assert best != worst


@pytest.mark.parametrize("samples", [2, 4])
def test_every_label_of_a_round_is_spent_and_no_more(toy_policy, samples):
    labeller = Labeller(JUDGE)
    config = OnlineConfig(labels_per_round=17, samples_per_prompt=samples, **FAST)
    collector = Collector(PROMPTS, labeller, config)
    pairs = collector.collect(toy_policy, toy_policy)
    assert labeller.labels == 17
    assert len(pairs) == 17 if samples == 2 else 17 / 5 <= len(pairs) < 17
    assert all(pair["chosen"] != pair["rejected"] and pair["prompt"] in PROMPTS for pair in pairs)
    assert collector.completions >= samples * len(pairs) - samples
    assert collector.tokens > collector.completions


def test_best_of_n_pairs_are_further_apart(toy_policy):
    def gap(samples):
        sure = judge_by_reward(goods, temperature=1e-3)
        config = OnlineConfig(labels_per_round=120, samples_per_prompt=samples, **FAST)
        pairs = Collector(PROMPTS, Labeller(sure), config).collect(toy_policy, toy_policy)
        return sum(goods(pair["chosen"]) - goods(pair["rejected"]) for pair in pairs) / len(pairs)

    assert gap(6) > gap(2) + 0.1


def test_active_selection_labels_the_least_sure(toy_policy):
    reference = frozen_reference(toy_policy)
    with torch.no_grad():
        toy_policy.model.lm_head.weight[10] += 0.2

    def margins(candidates):
        config = OnlineConfig(labels_per_round=12, candidates=candidates, **FAST)
        collector = Collector(PROMPTS, Labeller(JUDGE), config)
        pairs = collector.collect(toy_policy, reference)
        assert collector.labeller.labels == len(pairs) == 12
        assert collector.completions >= 24 * candidates
        return log_ratio_gaps(toy_policy, reference, pairs).abs().mean()

    assert margins(6) < 0.6 * margins(1)


def test_a_collapsed_policy_is_reported(toy_policy):
    config = OnlineConfig(labels_per_round=4, temperature=0.0, **FAST)
    with pytest.raises(RuntimeError, match="the policy has collapsed"):
        Collector(PROMPTS, Labeller(JUDGE), config).collect(toy_policy, toy_policy)


def test_online_training_raises_the_reward(toy_policy):
    found = run(
        toy_policy, rounds=9, labels_per_round=12, steps_per_round=2, batch_size=12, lr=6e-3, beta=0.1
    )

    def mean(rows):
        return sum(goods(row["chosen"]) + goods(row["rejected"]) for row in rows) / (2 * len(rows))

    early, late = ([row for row in found.pairs if low <= row["round"] < low + 4] for low in (0, 5))
    assert mean(late) > mean(early) + 0.2  # later pairs are written by the better policy
    assert found.labels == 108 == found.history["labels"][-1]
    assert found.tokens == found.history["tokens"][-1]


def test_history_rounds_and_seeds(toy_policy):
    start = {name: tensor.clone() for name, tensor in toy_policy.model.state_dict().items()}

    def again(seed):
        toy_policy.model.load_state_dict(start)
        found = run(toy_policy, seed=seed)
        return found, weights(toy_policy)

    (first, a), (second, b), (other, c) = (again(seed) for seed in (0, 0, 1))
    assert first.history == second.history
    assert torch.equal(a, b)
    assert not torch.equal(a, c) and first.pairs != other.pairs
    assert first.history["step"] == [1, 2, 3, 4, 5, 6]
    assert first.history["round"] == [0, 0, 0, 1, 1, 1]
    assert first.history["labels"] == [6, 6, 6, 12, 12, 12]
    assert first.history["loss"][0] == pytest.approx(math.log(2), abs=1e-6)


def test_only_iterative_dpo_moves_the_reference(toy_policy):
    before = weights(toy_policy)
    kept = run(toy_policy, rounds=3)
    assert torch.equal(weights(kept.reference), before)
    assert abs(kept.history["rewards/margins"][3]) > 1e-4
    moved = run(toy_policy, rounds=3, refresh_reference=True)
    assert not torch.equal(weights(moved.reference), before)
    # each round starts where its reference is: no margin, loss ln 2
    for step in (0, 3, 6):
        assert moved.history["rewards/margins"][step] == pytest.approx(0, abs=1e-5)
        assert moved.history["loss"][step] == pytest.approx(math.log(2), abs=1e-5)


def test_begin_round_copies_the_policy_from_the_second_round_on():
    policy = Policy(torch.nn.Linear(2, 1), None, "p")
    reference = Policy(torch.nn.Linear(2, 1), None, "r")
    seen = []

    def collect(policy, reference):
        seen.append((policy, reference))
        return [{"prompt": "x"}]

    assert begin_round(policy, reference, 0, True, collect) == (reference, [{"prompt": "x"}])
    assert begin_round(policy, reference, 2, False, collect)[0] is reference
    fresh, _ = begin_round(policy, reference, 1, True, collect)
    assert seen[-1][0] is policy and seen[-1][1] is fresh
    assert torch.equal(fresh.model.weight, policy.model.weight)
    assert fresh.model.weight.data_ptr() != policy.model.weight.data_ptr()
    assert not fresh.model.weight.requires_grad and policy.model.weight.requires_grad


def test_any_judge_function_and_eval_pairs(toy_policy, toy_pairs):
    asked = []

    def judge(prompt, first, second):
        asked.append(prompt)
        return 1.0 if len(first) > len(second) else 0.0

    config = OnlineConfig(rounds=2, labels_per_round=5, steps_per_round=2, eval_every=2, **FAST)
    found = train_online(
        toy_policy, frozen_reference(toy_policy), PROMPTS, judge, config, eval_pairs=toy_pairs
    )
    assert len(asked) == found.labels == 10
    assert set(asked) <= set(PROMPTS)
    assert found.history.steps("eval_loss") == [2, 4]
    assert all(len(row["chosen"]) >= len(row["rejected"]) for row in found.pairs)


def test_ctrl_c_ends_between_two_steps(toy_policy):
    def interrupt(history):
        if len(history) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    found = run(toy_policy, callback=interrupt, rounds=5)
    assert len(found.history) == 4
    assert found.labels == 12
    assert not toy_policy.model.training


def test_shuffled_rows_uses_every_row_alike():
    rows = shuffled_rows(5, 13, seed=3)
    assert len(rows) == 13 and set(rows) == set(range(5))
    assert max(map(rows.count, range(5))) - min(map(rows.count, range(5))) <= 1
    assert rows != shuffled_rows(5, 13, seed=4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"samples_per_prompt": 1}, "samples_per_prompt must be at least 2, got 1"),
        ({"candidates": 2, "samples_per_prompt": 4}, "candidates=2 chooses among pairs of two"),
        ({"epochs": 2}, "epochs must be 1, got 2: set steps_per_round"),
        ({"resume": True, "output_dir": "x"}, "resume=True"),
        ({"beta": 0.0}, "beta must be a finite number > 0"),
    ],
)
def test_bad_settings_say_what_to_do(settings, message):
    with pytest.raises(ValueError, match=message):
        OnlineConfig(**settings)


def test_no_prompts(toy_policy):
    with pytest.raises(ValueError, match="prompts is empty"):
        train_online(toy_policy, frozen_reference(toy_policy), [], JUDGE)
