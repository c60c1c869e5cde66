"""TRL 1.16 as an oracle: its own loss code, driven on made-up log-probs, gives our values and gradients to 1e-6.

TRL computes its losses inside trainers, so each test calls a trainer's method on a stand-in that holds the settings,
with a stand-in model that returns the log-probs. Where TRL leaves the paper, the test of that loss says how.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from dpo_lab.losses import LOSSES, dpo_loss

pytest.importorskip("trl", reason="trl is a development dependency")

PAIRS, TOKENS = 7, 9
DPO_SETTINGS = {
    "precompute_ref_logps": True, "ld_alpha": None, "f_divergence_type": "reverse_kl", "use_weighting": False,
    "aux_loss_enabled": False, "label_smoothing": 0.0, "loss_weights": [1.0], "_tp_size": 1, "_total_train_tokens": 0,
}  # fmt: skip


class Accelerator:
    """One process on the CPU: gathering is the identity."""

    device = torch.device("cpu")
    gather = gather_for_metrics = staticmethod(lambda tensor: tensor)
    autocast = contextlib.nullcontext


class FixedModel(torch.nn.Module):
    """Returns token log-probs chosen beforehand: the first for one width of input, the second for another."""

    def __init__(self, *token_logps):
        super().__init__()
        self.by_width = {logps.shape[1] + 1: logps for logps in token_logps}

    def forward(self, input_ids, **_):
        logps = self.by_width[input_ids.shape[1]]
        nothing = torch.zeros_like(logps)
        return SimpleNamespace(log_probs=logps, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


class Batch:
    """Ragged made-up pairs: token log-probs of policy and reference, chosen rows first, zeros off the completions."""

    def __init__(self, seed=0, same_length=False, pairs=PAIRS):
        generator = torch.Generator().manual_seed(seed)
        rows = 2 * pairs
        self.lengths = torch.full((rows,), 4) if same_length else torch.arange(rows) % (TOKENS - 3) + 2
        self.mask = (torch.arange(TOKENS) >= TOKENS - self.lengths[:, None]).long()
        shape = (rows, TOKENS - 1)
        policy, ref = (
            -4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 0.01 for _ in range(2)
        )
        self.tokens = policy.mul(self.mask[:, 1:]).requires_grad_()
        self.ref_logps = ref.mul(self.mask[:, 1:]).sum(dim=1)

    def inputs(self):
        """What TRL's collator would hand its trainer."""
        ref_chosen, ref_rejected = self.ref_logps.chunk(2)
        return {
            "input_ids": torch.zeros_like(self.mask), "attention_mask": torch.ones_like(self.mask),
            "completion_mask": self.mask, "ref_chosen_logps": ref_chosen, "ref_rejected_logps": ref_rejected,
        }  # fmt: skip

    def four(self, average=False):
        """What our functions take."""
        policy, reference = self.tokens.sum(dim=1), self.ref_logps
        if average:
            policy, reference = policy / self.lengths, reference / self.lengths
        return [*policy.chunk(2), *reference.chunk(2)]

    def extras(self, loss):
        if not loss.lengths:
            return {}
        chosen, rejected = self.lengths.double().chunk(2)
        return {"chosen_lengths": chosen, "rejected_lengths": rejected}


def trl_dpo(batch, loss_types, beta, **settings):
    """`DPOTrainer`'s mean loss on a batch."""
    from trl import DPOTrainer

    model = FixedModel(batch.tokens)
    stand_in = SimpleNamespace(
        **{**DPO_SETTINGS, "loss_types": loss_types, **settings},
        beta=beta, model=model, accelerator=Accelerator, _metrics={"train": defaultdict(list)},
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
    )  # fmt: skip
    return DPOTrainer._compute_loss(stand_in, model, batch.inputs(), return_outputs=False)


def agree(ours, theirs, tokens):
    """Values and gradients in every token's log-prob."""
    (our_slope,) = torch.autograd.grad(ours, tokens, retain_graph=True)
    (their_slope,) = torch.autograd.grad(theirs, tokens, retain_graph=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    scored = tokens != 0
    torch.testing.assert_close(our_slope[scored], their_slope[scored], rtol=1e-6, atol=1e-9)


# our name: TRL's, where it differs. TRL's "ipo" takes means over tokens; so does our "ipo_norm".
IN_DPO_TRAINER = dict.fromkeys((
    "sigmoid", "sigmoid_norm", "hinge", "ipo_norm", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop",
)) | {"ipo_norm": "ipo"}  # fmt: skip


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize("name", IN_DPO_TRAINER)
def test_losses_of_dpo_trainer(name, beta):
    # TRL's bco_pair has no reward shift δ (the paper's, and older TRL's): it is ours at delta = 0
    for seed, pairs in ((0, PAIRS), (1, PAIRS), (2, 1)):
        batch, loss = Batch(seed, pairs=pairs), LOSSES[name]
        losses, *rewards = loss.function(*batch.four(loss.average), beta=beta)
        agree(losses.mean(), trl_dpo(batch, [IN_DPO_TRAINER[name] or name], beta), batch.tokens)
        assert not any(reward.requires_grad for reward in rewards)


@pytest.mark.parametrize("name", ["robust", "exo_pair", "aot", "aot_unpaired"])
def test_losses_of_dpo_trainer_that_take_label_smoothing(name):
    batch = Batch()
    ours = LOSSES[name].function(*batch.four(), beta=0.2, label_smoothing=0.15)[0].mean()
    agree(ours, trl_dpo(batch, [name], 0.2, label_smoothing=0.15), batch.tokens)


def test_sums_in_ipo_are_what_trl_would_give_without_its_division():
    batch = Batch()
    batch.lengths = torch.ones_like(
        batch.lengths
    )  # TRL divides by the mask's sum, so hand it a mask of one token
    batch.mask = torch.nn.functional.pad(torch.ones_like(batch.mask[:, :1]), (0, TOKENS - 1))
    ours = LOSSES["ipo"].function(*batch.four(), beta=0.1)[0].mean()
    agree(ours, trl_dpo(batch, ["ipo"], 0.1), batch.tokens)


def test_trl_ignores_label_smoothing_in_sigmoid_and_its_cpo_code_has_cdpo():
    batch = Batch()
    smoothed = dpo_loss(*batch.four(), beta=0.2, label_smoothing=0.1)[0]
    plain = dpo_loss(*batch.four(), beta=0.2)[0]
    assert trl_dpo(batch, ["sigmoid"], 0.2, label_smoothing=0.1).item() == pytest.approx(plain.mean().item())
    chosen, rejected, ref_chosen, ref_rejected = batch.four()
    theirs = trl_cpo("sigmoid", 0.2, chosen - ref_chosen, rejected - ref_rejected, label_smoothing=0.1)[0]
    agree(smoothed.mean(), theirs.mean(), batch.tokens)


def test_dpo_with_nll_is_trl_sigmoid_plus_sft():
    # TRL's NLL is a mean over the batch's tokens, the paper's and ours over pairs of means over tokens
    batch, loss = Batch(same_length=True), LOSSES["dpo_nll"]
    ours = loss.function(*batch.four(), **batch.extras(loss), beta=0.1, alpha=0.5)[0].mean()
    agree(ours, trl_dpo(batch, ["sigmoid", "sft"], 0.1, loss_weights=[1.0, 0.5]), batch.tokens)


@pytest.mark.parametrize(
    "drift", [-1.0, 1.0]
)  # of the mismatched completions: z at its floor of 0, and above
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.3, 0.6)])
def test_kto(drift, weights):
    from trl import KTOTrainer

    batch = Batch()
    rows = 2 * PAIRS
    mismatched = drift * torch.rand(rows, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    wide = torch.nn.functional.pad(mismatched[:, None], (TOKENS - 1, 0))
    model = FixedModel(batch.tokens, wide)
    inputs = batch.inputs()
    label = torch.arange(rows) < PAIRS
    theirs = KTOTrainer._compute_loss(
        SimpleNamespace(
            precompute_ref_logps=True, calculate_KL=True, aux_loss_enabled=False, loss_type="kto", beta=0.2,
            desirable_weight=weights[0], undesirable_weight=weights[1], model=model, accelerator=Accelerator,
            _compute_kl_logps=lambda model, batch: KTOTrainer._compute_kl_logps(
                SimpleNamespace(calculate_KL=True), model, batch
            ),
            _metrics={"train": defaultdict(list)}, _tp_size=1, _total_train_tokens=0,
        ),
        model,
        {
            **{name: inputs[name] for name in ("input_ids", "attention_mask", "completion_mask")},
            "label": label, "ref_logps": batch.ref_logps, "ref_KL_logps": torch.zeros(rows, dtype=torch.float64),
            **{f"KL_{name}": torch.ones(rows, TOKENS + 1).long() for name in ("input_ids", "attention_mask")},
            "KL_completion_mask": torch.ones(rows, TOKENS + 1).long(),
        },
        return_outputs=False,
    )  # fmt: skip
    options = {"up_weight": weights[0], "down_weight": weights[1]}
    ours = LOSSES["kto"].function(*batch.four(), mismatched, beta=0.2, **options)[0].mean()
    agree(ours, theirs, batch.tokens)


def trl_cpo(loss_type, beta, chosen, rejected, **settings):
    """`CPOTrainer`'s losses and rewards."""
    from trl.experimental.cpo import CPOTrainer

    settings = {"label_smoothing": 0.0, "simpo_gamma": 0.5, "alpha": 0.0, **settings}
    stand_in = SimpleNamespace(loss_type=loss_type, beta=beta, accelerator=Accelerator, **settings)
    return CPOTrainer.cpo_loss(stand_in, chosen, rejected)


def test_simpo():
    batch = Batch()
    four = batch.four(average=True)
    ours, *our_rewards = LOSSES["simpo"].function(*four, beta=2.0, gamma=0.8)
    theirs, *their_rewards = trl_cpo("simpo", 2.0, *four[:2], simpo_gamma=0.8)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(our_rewards, their_rewards)
    agree(ours.mean(), theirs.mean(), batch.tokens)


def test_cpo_with_its_nll():
    # TRL's NLL is a mean over the batch's tokens; ours a mean over pairs
    from trl.experimental.cpo import CPOTrainer

    batch, loss = Batch(same_length=True), LOSSES["cpo"]
    chosen, rejected, *_ = batch.four()
    nll = -chosen.sum() / batch.lengths.chunk(2)[0].sum()
    stand_in = SimpleNamespace(
        concatenated_forward=lambda model, batch: (chosen, rejected, chosen, rejected, nll),
        cpo_loss=lambda chosen, rejected: trl_cpo("sigmoid", 0.3, chosen, rejected),
        cpo_alpha=0.7, aux_loss_enabled=False, accelerator=Accelerator,
    )  # fmt: skip
    theirs, _ = CPOTrainer.get_batch_loss_metrics(stand_in, None, {})
    ours = loss.function(*batch.four(), **batch.extras(loss), beta=0.3, alpha=0.7)[0].mean()
    agree(ours, theirs, batch.tokens)


def test_orpo(monkeypatch):
    # TRL rounds to float32 within the loss (undone here), and takes its SFT term over the prompt's tokens as well
    from trl.experimental.orpo import ORPOTrainer

    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    batch = Batch()
    chosen, rejected, *_ = batch.four(average=True)
    stand_in = SimpleNamespace(beta=0.4, accelerator=Accelerator, aux_loss_enabled=False)
    stand_in.odds_ratio_loss = lambda *logps: ORPOTrainer.odds_ratio_loss(stand_in, *logps)
    stand_in.concatenated_forward = lambda model, batch: (chosen, rejected, chosen, rejected, -chosen.mean())
    theirs, _ = ORPOTrainer.get_batch_loss_metrics(stand_in, None, {})
    agree(LOSSES["orpo"].function(chosen, rejected, beta=0.4)[0].mean(), theirs, batch.tokens)


def test_the_three_that_trl_lacks_are_held_to_closed_forms_elsewhere():
    in_trl = {*IN_DPO_TRAINER, "robust", "exo_pair", "dpo_nll", "ipo", "kto", "simpo", "cpo", "orpo"}
    assert set(LOSSES) - in_trl == {"dpop", "r_dpo"}
