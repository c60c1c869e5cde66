"""Preference data: triplets (x, y_w, y_l), as rows with the columns `prompt`, `chosen` and `rejected`.

A pair's three values are strings, or lists of `{"role", "content"}` messages. `pairs` is always a
`datasets.Dataset` or a list of such rows. Row numbers count from 0, as in `pairs[0]`.
"""

from dpo_lab.preferences.agreement import cohen_kappa, count_votes, fleiss_kappa
from dpo_lab.preferences.labelling import (
    check_votes,
    label_by_bradley_terry,
    majority_vote,
    soft_label,
    triplets_from_votes,
)
from dpo_lab.preferences.loading import check_pairs, load_pairs, shipped_pairs
from dpo_lab.preferences.quality import (
    Pairs,
    count_words,
    effective_topics,
    find_contradictions,
    find_duplicates,
    length_bias,
    pair_difficulty,
    topic_balance,
)
from dpo_lab.preferences.rows import (
    COLUMNS,
    Key,
    bad_rows,
    group_of,
    normalise,
    row_problem,
    split_conversation,
    text_of,
)
from dpo_lab.preferences.splitting import PairsT, group_split, leakage, take

__all__ = [
    "COLUMNS",
    "Key",
    "Pairs",
    "PairsT",
    "bad_rows",
    "check_pairs",
    "check_votes",
    "cohen_kappa",
    "count_votes",
    "count_words",
    "effective_topics",
    "find_contradictions",
    "find_duplicates",
    "fleiss_kappa",
    "group_of",
    "group_split",
    "label_by_bradley_terry",
    "leakage",
    "length_bias",
    "load_pairs",
    "majority_vote",
    "normalise",
    "pair_difficulty",
    "row_problem",
    "shipped_pairs",
    "soft_label",
    "split_conversation",
    "take",
    "text_of",
    "topic_balance",
    "triplets_from_votes",
]
