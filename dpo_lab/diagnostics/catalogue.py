"""What each finding means: its likely cause, the fix, and the lesson to read. Detectors bring the numbers."""

from __future__ import annotations

from typing import NamedTuple

from dpo_lab.diagnostics.findings import Finding


class Entry(NamedTuple):
    """The part of a finding that does not depend on the run."""

    cause: str
    fix: str
    lesson: str


CATALOGUE = {
    # setup: models
    "reference_is_policy": Entry(
        "Policy and reference share their weights, so the reference moves with every step and the log-ratios stay 0.",
        "Make the reference a frozen copy before training: frozen_reference(policy).",
        "05_training",
    ),
    "reference_trainable": Entry(
        "The reference's parameters ask for gradients: an optimiser that gets them moves the point that the KL term "
        "is measured from.",
        "Use frozen_reference(policy), or call requires_grad_(False) and eval() on the reference's model.",
        "05_training",
    ),
    "reference_untrained": Entry(
        "The reference knows no more of this text than a random model: its weights were not loaded, or were "
        "initialised anew.",
        "Load the SFT checkpoint into the reference and look at what it writes before training.",
        "05_training",
    ),
    "reference_not_start": Entry(
        "The policy does not start from the reference: another checkpoint, or a policy that was trained before.",
        "Make the reference a copy of the policy at the moment training starts.",
        "05_training",
    ),
    "reference_dropout": Entry(
        "The reference is in training mode and has dropout: its log-probs change from call to call.",
        "Call eval() on the reference's model, or use frozen_reference(policy).",
        "05_training",
    ),
    "different_tokenizer": Entry(
        "Policy and reference read the same text as different ids, so their log-probs are of different sequences.",
        "Take policy and reference from one checkpoint, with one tokenizer.",
        "03_log_probs",
    ),
    "pad_is_eos": Entry(
        "Padding and end of text have one id. That is fine for a mask by position; a mask by id loses the EOS.",
        "Mask completions by position, as encoding.encode_pair does, never by `ids != pad_token_id`.",
        "03_log_probs",
    ),
    # setup: pairs
    "empty_completion": Entry(
        "A completion without text: there is nothing to score.",
        "Drop these pairs, and find out where the text was lost.",
        "01_preference_data",
    ),
    "identical_pair": Entry(
        "Chosen and rejected are the same text: their gradients cancel.",
        "Drop these pairs; preferences.quality_report counts them.",
        "01_preference_data",
    ),
    "contradictory_pairs": Entry(
        "The same two completions were judged both ways, so the two gradients cancel.",
        "Keep one vote a pair: preferences.majority_vote; or train with label_smoothing.",
        "01_preference_data",
    ),
    "near_identical_pairs": Entry(
        "Chosen and rejected share nearly all their words. The words they share get no direction from the loss, so "
        "both completions may fall together: likelihood displacement.",
        "Filter such pairs out, add an NLL term (nll_weight), or use loss='dpop'.",
        "07_failure_modes",
    ),
    "duplicate_pairs": Entry(
        "Rows occur more than once: they count several times, and a copy in the held-out set leaks.",
        "Drop the copies before splitting.",
        "01_preference_data",
    ),
    "eos_inside_completion": Entry(
        "A completion goes on after its end-of-text token: two answers in one, or a template applied twice.",
        "Cut the completion at its first EOS, or render the chat template once only.",
        "03_log_probs",
    ),
    "completion_truncated": Entry(
        "The length limit cuts completions: a cut completion has no EOS, and its last words count for nothing.",
        "Raise max_length, cut the prompt from the left instead, or leave these pairs out.",
        "03_log_probs",
    ),
    "prompt_truncated": Entry(
        "The length limit cuts prompts from the left. The completion stays whole, but part of the question is gone.",
        "Raise max_length if the beginning of the prompt matters.",
        "03_log_probs",
    ),
    "labels_look_swapped": Entry(
        "The reference ranks the rejected completion higher far more often than chance. That alone proves nothing: "
        "people may prefer what the reference finds unlikely, such as shorter answers.",
        "Read ten pairs with your own eyes; if the rejected one is better, swap the columns.",
        "01_preference_data",
    ),
    # replay of the first step
    "scored_with_prompt": Entry(
        "The logged log-probs are those of prompt and completion together. In sums the prompt cancels; in rewards, "
        "means and NLL terms it does not.",
        "Score the completion's tokens only: completion_mask is False on the prompt.",
        "03_log_probs",
    ),
    "scored_with_prompt_averaged": Entry(
        "The logged log-probs are means over prompt and completion. The prompt does not cancel in a mean: the "
        "shorter the completion, the less its own tokens count.",
        "Sum over the completion's tokens: sequence_logprobs(..., average=False).",
        "03_log_probs",
    ),
    "logps_averaged": Entry(
        "The log-probs are means over tokens, not sums. DPO's log π(y|x) is a sum; with means the margin of a long "
        "completion shrinks by its length, and β means something else.",
        "Sum over the completion's tokens; if length normalisation is meant, choose loss='sigmoid_norm' and a larger "
        "β.",
        "03_log_probs",
    ),
    "scored_off_by_one": Entry(
        "The logits at position t were matched with token t itself or with a mask that was not shifted; they are "
        "about token t + 1.",
        "Drop the last logit and the first token, and shift ids and mask alike: logits[:, :-1], ids[:, 1:].",
        "03_log_probs",
    ),
    "eos_not_scored": Entry(
        "The completion's EOS is left out of its log-prob, most often because the mask goes by id and pad == eos. "
        "The policy is never taught where to stop.",
        "Mask by position and count the EOS as part of the completion.",
        "03_log_probs",
    ),
    "padding_scored": Entry(
        "Padding counts as text: a completion's log-prob depends on how long its neighbours in the batch are.",
        "Multiply no padding in: mask with completion_mask, which is False there.",
        "03_log_probs",
    ),
    "completion_cut": Entry(
        "The logged log-probs are those of completions that were cut after some tokens.",
        "Raise the length limit or cut the prompt instead; a cut completion has no EOS.",
        "03_log_probs",
    ),
    "scored_from_wrong_token": Entry(
        "The completion was sliced at one fixed position in every row, as by len(prompt_ids) of a (B, T) tensor, "
        "which is the batch size.",
        "Slice each row at its own prompt length, or use a completion mask.",
        "03_log_probs",
    ),
    "logps_clamped": Entry(
        "The log-probs are clamped. A clamped value has no gradient: what lies beyond the limit teaches nothing.",
        "Remove the clamp; logsigmoid is stable without it.",
        "04_dpo_loss",
    ),
    "low_precision": Entry(
        "The log-probs were rounded to 16 bits, which keep three digits: the rounding is as large as the margins that "
        "DPO learns from.",
        "Upcast the logits to float32 before log-softmax, and sum in float32.",
        "03_log_probs",
    ),
    "scoring_unknown": Entry(
        "The first step's log-probs are not those of the completions under the reference, and match no slip the "
        "doctor knows.",
        "Compare your function with logprobs.sequence_logprobs on two rows by hand.",
        "03_log_probs",
    ),
    # curves: the start
    "reference_mismatch": Entry(
        "At the first step policy and reference should be one model, so every reward should be 0. The reference is "
        "another model, or scores the text in another way.",
        "Make the reference with frozen_reference(policy) when training starts, and score both with one function.",
        "05_training",
    ),
    "dropout_on": Entry(
        "Log-probs are computed with dropout, so two passes over one text differ: before anything was learned, the "
        "rewards are noise around 0.",
        "Score the reference in eval mode, and train with the policy's dropout at 0.",
        "05_training",
    ),
    "other_loss_start": Entry(
        "The rewards start at 0, yet the loss is not ln 2: this is not DPO's sigmoid loss, or a term was added to it.",
        "Nothing, if another loss (IPO, an NLL term) was meant; else compare the loss with losses.dpo_loss.",
        "04_dpo_loss",
    ),
    "loss_ignored": Entry(
        "The loss that was asked for is not the one that ran: its value at margin 0 is another.",
        "Follow the setting from the config to the line that computes the loss.",
        "04_dpo_loss",
    ),
    # curves: nothing moves
    "beta_zero": Entry(
        "β reaches the loss as 0. Or no gradient reaches the policy while both models score the very same batches: "
        "then too every reward is exactly 0.",
        "Print β where the loss uses it; recipes in use lie between 0.01 and 0.5. If it is right, look for the "
        "gradient.",
        "04_dpo_loss",
    ),
    "no_gradient": Entry(
        "No gradient reaches the policy: frozen parameters, a detached tensor, or log-probs computed under no_grad.",
        "Check requires_grad of the policy's parameters and that loss.backward() fills .grad.",
        "05_training",
    ),
    "learning_rate_zero": Entry(
        "The learning rate is 0 at every step.",
        "Look at the schedule: a warm-up longer than the run, or a rate that was never set.",
        "05_training",
    ),
    "learning_rate_too_low": Entry(
        "There is a gradient, but the steps are too small to be seen in the margins.",
        "Compare the largest logged rate with the one you asked for. Far below it: the warm-up is longer than the run. "
        "Else raise the rate tenfold.",
        "05_training",
    ),
    "reference_moves": Entry(
        "The rewards stay 0 while gradients flow: the reference is computed by the model that is being trained. Or the "
        "steps round to nothing, as small rates do in bf16 weights.",
        "Look whether a weight of the policy changed. If so, make the reference a frozen copy before training; if not, "
        "keep the weights in float32.",
        "05_training",
    ),
    # curves: the wrong way
    "pair_swapped": Entry(
        "Chosen and rejected are exchanged: in the loss (margins negative), in one model's scores (rewards not 0 at "
        "step 1), or already in the data or the collator (margins positive, for the wrong text).",
        "Negative margins: check the order of the loss's arguments. Positive ones: read a pair, then the collator's "
        "first rows. A margin is chosen minus rejected.",
        "01_preference_data, 04_dpo_loss",
    ),
    "trained_backwards": Entry(
        "Scored afresh on these pairs, the policy has learned to prefer the rejected completions: chosen and rejected "
        "were exchanged somewhere between the data and the loss.",
        "Check the data's columns and the order of the rows in the batch and of the arguments of the loss.",
        "04_dpo_loss",
    ),
    "accuracy_below_half": Entry(
        "The rewards rank the rejected completion higher more often than not.",
        "Look for exchanged columns first, then for noisy labels.",
        "04_dpo_loss",
    ),
    # curves: too much
    "log_of_sigmoid": Entry(
        "The loss became infinite or NaN while the margins were finite: log(sigmoid(m)) underflows where logsigmoid(m) "
        "does not.",
        "Use torch.nn.functional.logsigmoid.",
        "04_dpo_loss",
    ),
    "not_finite": Entry(
        "A number overflowed: too large a step, or arithmetic in 16 bits.",
        "Lower the learning rate, clip gradients, and keep log-probs and loss in float32.",
        "05_training",
    ),
    "learning_rate_too_high": Entry(
        "The steps are too large: the policy is thrown away from the text it knew.",
        "Lower the learning rate tenfold; keep the warm-up and the clipping.",
        "05_training",
    ),
    "gradient_explodes": Entry(
        "The gradient's norm grew many times over during the run.",
        "Lower the learning rate, and look at the batch of that step.",
        "05_training",
    ),
    "diverging": Entry(
        "The loss ends well above where it began.",
        "Lower the learning rate; if that does not help, look at the data of these steps.",
        "05_training",
    ),
    # curves: the run works, its result is in danger
    "displacement": Entry(
        "The margin grows because the rejected completion falls faster; the chosen one falls as well, and its "
        "probability goes to text that nobody chose.",
        "Filter near-identical pairs, add an NLL term (nll_weight), or use loss='dpop'.",
        "07_failure_modes",
    ),
    "saturated": Entry(
        "The margins are so large that the loss is flat: what still moves is the distance from the reference.",
        "Stop earlier, raise β, or use IPO or label smoothing.",
        "06_beta_sweeps",
    ),
    "overfitting": Entry(
        "The held-out loss has turned while the training loss falls: the policy learns its pairs by heart.",
        "Stop at the lowest held-out loss (patience), take fewer epochs, or more pairs.",
        "07_failure_modes",
    ),
    "no_signal": Entry(
        "The run had time to learn and did not: the labels may be noise, or the pairs may not differ in what can be "
        "learned.",
        "Check the labels by hand and by agreement between annotators; then the learning rate.",
        "01_preference_data",
    ),
}
"""Every finding that the doctor can have."""


def found(name: str, severity: str, evidence: str, **details: object) -> Finding:
    """The finding `name` with what was seen in this run; `details` are `numbers`, `step` and `stage`."""
    entry = CATALOGUE[name]
    return Finding(name, severity, evidence, entry.cause, entry.fix, entry.lesson, **details)
