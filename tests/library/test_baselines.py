"""Reward model and PPO: each part against a plain loop or autograd, the whole against the exact world's frontier."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lab.baselines import (
    PPOConfig,
    RewardModelConfig,
    TablePolicy,
    approximate_kl,
    completion_scores,
    exact_ppo,
    gae,
    kl_shaped_rewards,
    ppo_policy_loss,
    ppo_value_loss,
    text_scorer,
    train_ppo,
    train_reward_model,
    training_memory,
    whiten,
)
from dpo_lab.baselines.language_ppo import LanguageActor, token_statistics
from dpo_lab.baselines.memory import count_passes
from dpo_lab.baselines.reward_model import ScalarModel
from dpo_lab.beta import frontier_point
from dpo_lab.encoding import collate_rows, encode_sampled
from dpo_lab.logprobs import token_logprobs
from dpo_lab.policies import frozen_reference
from dpo_lab.worlds.exact import ExactWorld


@pytest.fixture
def tokens():
    """Four (3, 5) float64 tensors and the mask of rows with 5, 3 and 1 tokens."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(5)[None, :] < torch.tensor([5, 3, 1])[:, None]
    return *torch.randn(4, 3, 5, generator=generator, dtype=torch.float64), mask


@pytest.fixture(scope="module")
def world():
    return ExactWorld()


def test_shaped_rewards_add_up_to_score_minus_beta_kl(tokens):
    logps, ref_logps, _, _, mask = tokens
    scores = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rewards = kl_shaped_rewards(scores, logps, ref_logps, mask, beta=0.3)
    for row, length in enumerate((5, 3, 1)):
        kl = (logps[row, :length] - ref_logps[row, :length]).sum()
        assert rewards[row].sum().item() == pytest.approx((scores[row] - 0.3 * kl).item())
        last = scores[row] - 0.3 * (logps[row, length - 1] - ref_logps[row, length - 1])
        assert rewards[row, length - 1].item() == pytest.approx(last.item())
        assert (rewards[row, length:] == 0).all()


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0), (0.7, 1.0)])
def test_gae_is_the_double_sum(tokens, gamma, lam):
    rewards, values, _, _, mask = tokens
    found = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate((5, 3, 1)):
        v = [*values[row, :length].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, length))
            assert found[row, t].item() == pytest.approx(expected, abs=1e-12)
        assert (found[row, length:] == 0).all()


def test_gae_ignores_what_stands_behind_the_last_token(tokens):
    rewards, values, _, _, mask = tokens
    spoilt = [x.masked_fill(~mask, math.nan) for x in (rewards, values)]
    assert torch.equal(gae(*spoilt, mask), gae(rewards, values, mask))


def test_whitened_advantages_have_mean_0_and_spread_1_over_real_tokens(tokens):
    advantages, _, _, _, mask = tokens
    found = whiten(7 + 3 * advantages, mask)
    assert found[mask].mean().item() == pytest.approx(0, abs=1e-12)
    assert found[mask].std(unbiased=False).item() == pytest.approx(1, abs=1e-6)
    assert (found[~mask] == 0).all()


def test_policy_loss_at_ratio_1_has_the_policy_gradient(tokens):
    old, advantages, _, _, mask = tokens
    logps = old.clone().requires_grad_()
    loss, clipped = ppo_policy_loss(logps, old, advantages, mask)
    loss.backward()
    assert torch.allclose(logps.grad, -(advantages * mask) / mask.sum())
    assert loss.item() == pytest.approx(-advantages[mask].mean().item())
    assert clipped.item() == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.5, 1.0, 0.0),
        (1.5, -1.0, 1.5),
        (0.5, 1.0, -0.5),
        (0.5, -1.0, 0.0),
        (1.1, 1.0, -1.1),
        (0.9, -1.0, 0.9),
    ],
)
def test_clipping_stops_the_gradient_only_in_the_direction_of_the_advantage(ratio, advantage, slope):
    logps = torch.tensor([[math.log(ratio)]], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss, clipped = ppo_policy_loss(
        logps, torch.zeros(1, 1), torch.tensor([[advantage]]), mask, clip_range=0.2
    )
    loss.backward()
    assert logps.grad.item() == pytest.approx(slope, rel=1e-5)  # dρ/dlog π = ρ
    assert clipped.item() == float(slope == 0)


def test_value_loss_takes_the_worse_of_the_two(tokens):
    values, old, returns, _, mask = tokens
    total = 0.0
    for row, length in enumerate((5, 3, 1)):
        for t in range(length):
            v, o, r = values[row, t].item(), old[row, t].item(), returns[row, t].item()
            near = o + max(-0.2, min(0.2, v - o))
            total += 0.5 * max((v - r) ** 2, (near - r) ** 2) / 9
    assert ppo_value_loss(values, old, returns, mask, clip_range=0.2).item() == pytest.approx(total)


def test_approximate_kl_of_no_move_is_0(tokens):
    logps, other, _, _, mask = tokens
    assert approximate_kl(logps, logps, mask).item() == 0
    assert approximate_kl(logps, other, mask).item() == pytest.approx(
        0.5 * ((logps - other)[mask] ** 2).mean().item()
    )


def test_scores_are_read_at_the_last_completion_token_on_either_side_of_padding():
    values = torch.arange(24.0).view(4, 6).sin()
    mask = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0]])
    assert torch.equal(completion_scores(values, mask.bool()), values[range(4), [2, 5, 5, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: gae(torch.zeros(2, 3), torch.zeros(2, 4), m), "shapes must agree"),
        (lambda m: gae(torch.zeros(2, 3), torch.zeros(2, 3), m, lam=1.5), "lam must lie in"),
        (lambda m: gae(torch.zeros(2, 3), torch.zeros(2, 3), ~m), "no token"),
        (lambda m: gae(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([[1, 0, 1]] * 2).bool()), "gap"),
        (lambda m: ppo_policy_loss(*torch.zeros(3, 2, 3), m, clip_range=0.0), "clip_range must be"),
        (lambda m: kl_shaped_rewards(torch.zeros(3), *torch.zeros(2, 2, 3), m, 0.1), "scores"),
        (lambda m: completion_scores(torch.zeros(2, 3), ~m), "empty"),
        (lambda m: PPOConfig(lr=0.0), "lr must be"),
        (lambda m: PPOConfig(minibatches=9, batch_size=8), "minibatches 9"),
        (lambda m: PPOConfig(entropy_weight=-1.0), "entropy_weight"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(2, 3, dtype=torch.bool))


def test_the_table_starts_as_the_reference(world):
    policy = TablePolicy(world)
    assert torch.allclose(policy.logps(), world.ref_logps, atol=1e-12)
    rollout = policy.rollout(8, seed=0)
    assert torch.allclose(rollout.logps.sum(dim=-1), world.ref_logps[rollout.completions])
    assert torch.equal(rollout.scores, world.rewards[rollout.completions])


@pytest.mark.parametrize(("beta", "seed"), [(0.3, 0), (1.0, 1), (3.0, 2)])
def test_ppo_reaches_nine_tenths_of_the_frontiers_gain_at_its_own_kl(world, beta, seed):
    start = world.expected_reward(world.ref_logps)
    config = PPOConfig(beta=beta, steps=100, batch_size=256, lr=0.05, value_lr=0.1, seed=seed, progress=False)
    logps, history = exact_ppo(world, config)
    gain = world.expected_reward(logps) - start
    assert gain / (reward_on_frontier(world, world.kl(logps)) - start) > 0.9
    assert world.kl(logps) == pytest.approx(world.kl(world.optimal_logps(beta)), rel=0.35)
    assert len(history) == 100 and history["episode"][-1] == 25_600


def reward_on_frontier(world, kl):
    """Reward of the closed-form optimum at a KL, by bisection over log β."""
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        too_far = frontier_point(world.ref_logps, world.rewards, math.exp(middle))[0] > kl
        low, high = (middle, high) if too_far else (low, middle)
    return frontier_point(world.ref_logps, world.rewards, math.exp(low))[1]


def test_an_adaptive_beta_steers_to_its_target(world):
    config = PPOConfig(
        beta=0.05,
        target_kl=0.5,
        kl_gain=1.0,
        steps=80,
        batch_size=128,
        lr=0.05,
        value_lr=0.1,
        progress=False,
    )
    logps, history = exact_ppo(world, config)
    assert world.kl(logps) == pytest.approx(0.5, rel=0.4)
    assert history["beta"][-1] > 5 * history["beta"][0]


def test_same_seed_same_run(world):
    config = PPOConfig(steps=3, batch_size=16, progress=False)
    assert exact_ppo(world, config)[1] == exact_ppo(world, config)[1]


def test_reward_model_learns_the_ranking_and_leaves_the_policy_alone(toy_policy, toy_pairs):
    before = {name: tensor.clone() for name, tensor in toy_policy.model.state_dict().items()}
    config = RewardModelConfig(lr=1e-3, epochs=20, batch_size=5, progress=False)
    reward_model, history = train_reward_model(toy_policy, toy_pairs, config, eval_pairs=toy_pairs)
    assert history["loss"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert history["eval_rewards/accuracies"][-1] == 1.0
    assert all(torch.equal(before[name], tensor) for name, tensor in toy_policy.model.state_dict().items())
    prompts, rows = (
        [pair["prompt"] for pair in toy_pairs] * 2,
        [
            [*toy_policy.tokenizer(pair[side]).input_ids, 1]
            for side in ("chosen", "rejected")
            for pair in toy_pairs
        ],
    )
    scores = reward_model.scorer()(prompts, rows)
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert (scores[:5] > scores[5:]).all()


def test_token_statistics_match_one_unpadded_row_at_a_time(toy_policy):
    ids = [[4, 5, 6, 7, 1], [8, 1], [9, 10, 11], *[[4 + i % 5, 1] for i in range(20)]]
    rows = encode_sampled(toy_policy.tokenizer, ["the soup"] * len(ids), ids)
    batch = collate_rows(rows, toy_policy.tokenizer.pad_token_id)
    mask = torch.arange(5)[None, :] < torch.tensor([len(row) for row in ids])[:, None]
    with torch.no_grad():
        logps, entropies = token_statistics(toy_policy.model, batch, mask)
        for row, completion in enumerate(ids):
            whole = torch.tensor([rows[row].input_ids])
            logits = toy_policy.model(whole).logits
            alone = token_logprobs(logits, whole)[0, -len(completion) :]
            assert torch.allclose(logps[row, : len(completion)], alone, atol=1e-5)
            shares = logits[0, -len(completion) - 1 : -1].softmax(dim=-1)
            entropy = -(shares * shares.log()).sum(dim=-1)
            assert torch.allclose(entropies[row, : len(completion)], entropy, atol=1e-5)
            assert (logps[row, len(completion) :] == 0).all()


def test_ppo_on_a_language_model_finds_the_rewarded_word(toy_policy):
    reference = frozen_reference(toy_policy)
    reward = text_scorer(toy_policy.tokenizer, lambda text: float("good" in text.split()))
    config = PPOConfig(
        beta=0.01, steps=10, batch_size=32, lr=3e-3, value_lr=3e-3, max_new_tokens=4, progress=False
    )
    history = train_ppo(toy_policy, reference, ["the soup", "the room was"], reward, config)
    assert history["objective/scores"][-1] > history["objective/scores"][0] + 0.4
    assert history["objective/kl"][0] == pytest.approx(0, abs=1e-5)
    assert history["val/ratio"][0] == pytest.approx(1, abs=0.2)
    assert all(not p.requires_grad for p in reference.model.parameters())


def test_an_unfinished_completion_pays_the_penalty(toy_policy):
    config = PPOConfig(max_new_tokens=2, missing_eos_penalty=3.0)
    reward = text_scorer(toy_policy.tokenizer, lambda text: 1.0)
    actor = LanguageActor(toy_policy, frozen_reference(toy_policy), ["the soup"], reward, config)
    rollout = actor.rollout(32, seed=0)
    ended = [
        1 in row[row_mask].tolist()
        for row, row_mask in zip(
            rollout.completions["input_ids"], rollout.completions["completion_mask"], strict=True
        )
    ]
    assert any(ended) and not all(ended)
    assert rollout.scores.tolist() == [1.0 if end else -2.0 for end in ended]


def test_training_memory_counts_shared_tensors_once(toy_policy):
    model, frozen = toy_policy.model, frozen_reference(toy_policy).model
    size = 4 * sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert training_memory([model, model], [optimizer]) == {
        "parameters": size,
        "gradients": 0,
        "optimizer": 0,
    }
    model(torch.tensor([[4, 5]])).logits.sum().backward()
    optimizer.step()
    assert training_memory([model, frozen], [optimizer]) == {
        "parameters": 2 * size,
        "gradients": size,
        "optimizer": size,
    }


def test_passes_are_counted(toy_policy):
    value_model = ScalarModel(toy_policy.model)
    batch = {"input_ids": torch.tensor([[4, 5, 6]] * 2), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    with count_passes({"policy": toy_policy.model, "value": value_model}) as counts:
        value_model(batch).sum().backward()
        with torch.no_grad():
            toy_policy.model(**batch)
        value_model(batch)
    assert list(counts["value"].values()) == [2, 12, 1, 6]
    assert list(counts["policy"].values()) == [1, 6, 0, 0]
