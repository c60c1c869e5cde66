"""Every bug of the hunt: what was changed, what it looks like, how to mend it, where the course treats it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_lab.bugs import objectives
from dpo_lab.bugs.objectives import CLAMP, CUT, Steps


@dataclass(frozen=True)
class Bug:
    """One small change in a training loop.

    Attributes:
        name: its key in `BUGS`.
        change: what was changed, in a sentence.
        symptom: what the curves of a run show, or that they show nothing and which check does.
        fix: what to write instead.
        lesson: where the course treats it.
        objective: the loop's objective with the change in it.
        settings: of `DPOConfig`, where the bug needs others than the hunt's.
    """

    name: str
    change: str
    symptom: str
    fix: str
    lesson: str
    objective: type[Steps]
    settings: Mapping[str, Any] = field(default_factory=dict)


ALL = (
    Bug(
        "pair_swapped",
        "The loss gets rejected minus chosen, -logsigmoid(rejected_rewards - chosen_rewards).",
        "The mean margin turns negative and the accuracy stays below one half, whatever the loss does.",
        "-logsigmoid(chosen_rewards - rejected_rewards).",
        "04_dpo_loss",
        objectives.PairSwapped,
    ),
    Bug(
        "columns_swapped",
        "The collator puts the rejected rows first, for policy and reference alike.",
        "Nothing: the curves are those of a healthy run. Score a known pair, or read what the policy writes.",
        "collate(chosen, rejected, ...): chosen rows first.",
        "01_preference_data",
        objectives.ColumnsSwapped,
    ),
    Bug(
        "reference_trainable",
        "requires_grad_(False) is missing, and the optimiser got the parameters of both models.",
        "Nothing, taken alone; beside a sound run on the same pairs the rewards differ. Compare the reference's "
        "weights before and after.",
        "frozen_reference(policy), and an optimiser over the policy's parameters alone.",
        "05_training",
        objectives.ReferenceTrainable,
    ),
    Bug(
        "reference_shared",
        "reference = policy, which is a second name for one model.",
        "Rewards and margins are exactly 0 and the loss is 0.6931 at each step, while the gradient is not 0 and the "
        "log-probs move.",
        "reference = frozen_reference(policy), a copy made before training.",
        "05_training",
        objectives.ReferenceShared,
    ),
    Bug(
        "reference_random",
        "The reference is built with from_config, so its weights are random.",
        "At step 1 both rewards are far above 0: the policy gives the text more probability than noise does.",
        "Load the checkpoint that the policy starts from, or copy the policy.",
        "05_training",
        objectives.ReferenceRandom,
    ),
    Bug(
        "dropout_on",
        "The model is never put in eval(): the reference pass and the training steps both run with dropout.",
        "At step 1 the rewards are not 0 but some hundredths or tenths, mostly the loss is not 0.6931, and the "
        "log-probs are a nat or two below the reference's.",
        "Call eval() before the reference pass, and train with dropout 0.",
        "05_training",
        objectives.DropoutOn,
    ),
    Bug(
        "mean_for_sum",
        "The log-prob of a completion is divided by its number of tokens.",
        "logps/* are those of a single token, below 3 nats, and margins grow slowly.",
        "Sum over the completion's tokens.",
        "03_log_probs",
        objectives.MeanForSum,
    ),
    Bug(
        "prompt_mean",
        "The log-prob is a mean over prompt and completion: the mask only leaves the padding out.",
        "logps/* are those of a single token, and margins grow slowly.",
        "Mask the prompt, and sum.",
        "03_log_probs",
        objectives.PromptMean,
    ),
    Bug(
        "off_by_one",
        "The logits at position t are matched with token t, not with token t + 1.",
        "logps/* at step 1 are ten times those of the reference; the rewards are 0 there, for both sides are "
        "scored alike.",
        "logits[:, :-1] with input_ids[:, 1:].",
        "03_log_probs",
        objectives.OffByOne,
    ),
    Bug(
        "eos_masked",
        "The mask is input_ids != pad_token_id, and pad == eos.",
        "Nothing. Count the scored tokens of one row: the end of text is missing.",
        "Mask by position, and count the EOS.",
        "03_log_probs",
        objectives.EosMasked,
    ),
    Bug(
        "padding_summed",
        "The sum goes on over the padding.",
        "logps/* are far below the reference's and follow the batch's longest row; at step 1 the rewards are "
        "not 0, for policy and reference saw the pair in other batches.",
        "Mask with completion_mask, which is False on padding.",
        "03_log_probs",
        objectives.PaddingSummed,
    ),
    Bug(
        "wrong_slice",
        "The completion is sliced from len(prompt_ids), which is the batch size for a (B, P) tensor.",
        "logps/* depend on the batch size.",
        "Slice from prompt_ids.shape[1] where all prompts are equally long, or use a completion mask.",
        "03_log_probs",
        objectives.WrongSlice,
    ),
    Bug(
        "clamp",
        f"Log-probs are clamped to [{CLAMP:.0f}, 0], as -100 would clamp the answers of a large model.",
        f"No log-prob is below {CLAMP:.0f}, and the margins stay small.",
        "Remove the clamp.",
        "04_dpo_loss",
        objectives.Clamped,
    ),
    Bug(
        "bf16_sum",
        "The token log-probs are rounded to bfloat16, and so is their sum.",
        "The log-probs are multiples of a power of two; the curves look healthy.",
        "Upcast logits to float32 before log_softmax, and sum in float32.",
        "03_log_probs",
        objectives.Bf16Sum,
    ),
    Bug(
        "completion_cut",
        "Rows longer than max_length are cut at their end, where the completion is.",
        "Nothing, or log-probs that no long answer has. Count the rows that lack their EOS.",
        "Cut the prompt from the left, or drop the pair.",
        "03_log_probs",
        objectives.CompletionCut,
        {"max_length": CUT},
    ),
    Bug(
        "beta_zero",
        "β reaches the loss as 0.",
        "Loss 0.6931, rewards and gradient norm exactly 0.",
        "Pass the config's β on.",
        "04_dpo_loss",
        objectives.BetaZero,
    ),
    Bug(
        "log_of_sigmoid",
        "The loss is -torch.log(torch.sigmoid(margins)).",
        "Nothing at β = 0.1. Once one pair's margin is below -88 the loss is inf and the gradient NaN; β = 10 "
        "and a rate ten times too high bring that about.",
        "-logsigmoid(margins).",
        "04_dpo_loss",
        objectives.LogOfSigmoid,
        {"lr": 3e-3, "beta": 10.0},
    ),
    Bug(
        "loss_ignored",
        "The config asks for IPO; the loop computes the sigmoid loss.",
        "The loss starts at 0.6931, not at IPO's 1 / (4 β²).",
        "Look the loss up by the config's name.",
        "05_training",
        objectives.LossIgnored,
        {"loss": "ipo"},
    ),
    Bug(
        "no_gradient",
        "The log-probs are detached, and loss.requires_grad_() silences the error.",
        "Loss 0.6931 and gradient norm 0 at each step.",
        "Compute the policy's log-probs with gradient.",
        "05_training",
        objectives.NoGradient,
    ),
    Bug(
        "rate_100x",
        "The learning rate is a hundred times too high.",
        "The loss rises above 0.6931 and both log-probs fall to several times their start.",
        "Lower the rate tenfold, twice.",
        "05_training",
        Steps,
        {"lr": 3e-2},
    ),
    Bug(
        "warmup_too_long",
        "The warm-up was counted for a run a thousand times as long.",
        "Loss 0.6931 with a gradient that is not 0, and a learning rate that stays near 0.",
        "warmup_ratio is a share of the steps of this run, such as 0.1.",
        "05_training",
        Steps,
        {"warmup_ratio": 1000.0},
    ),
)
BUGS = {bug.name: bug for bug in ALL}
"""The bugs by name."""
