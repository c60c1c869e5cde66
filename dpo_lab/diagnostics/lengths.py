"""Does a judge, a data set or a policy go by length?"""

from __future__ import annotations

from torch import Tensor

from dpo_lab.checks import check_batch


def prefers_longer(margins: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor) -> float:
    """How often a judge prefers the longer of two completions, among pairs whose lengths differ.

    One number for two kinds of judge: data, where the chosen completion is preferred by definition (margins of 1), and
    a policy, where the implicit reward decides (margins of chosen minus rejected). Compare a policy with unbiased
    labels on the same pairs rather than with one half: longer answers may really be better.

    Args:
        margins: (B,), by how much the judge prefers the chosen completion; below 0 it prefers the rejected one. A
            margin of 0 counts as half a vote.
        chosen_lengths: (B,), lengths of the chosen completions, in tokens or words.
        rejected_lengths: (B,), likewise.

    Returns:
        A share in [0, 1]; 0.5 means that length does not help to predict the judge.

    Raises:
        ValueError: shapes differ or are not (B,), an entry is NaN, or all pairs have equal lengths.
    """
    check_batch(margins=margins, chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths)
    longer = (chosen_lengths - rejected_lengths).sign()
    differ = longer != 0
    if not differ.any():
        raise ValueError("all pairs have completions of equal length: there is no longer one to prefer")
    votes = (margins.sign() * longer)[differ]  # 1: for the longer, -1: for the shorter, 0: a tie
    return ((votes + 1) / 2).double().mean().item()
