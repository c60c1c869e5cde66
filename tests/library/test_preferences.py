"""dpo_lab.preferences: loading, labelling, agreement, quality, splitting."""

from __future__ import annotations

import json
import math
from itertools import combinations

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_lab import preferences

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

GOOD = {"prompt": "Review a kettle.", "chosen": "It boils fast.", "rejected": "It leaks."}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


CHAT = {"prompt": [user("Hello")], "chosen": [assistant("Good day.")], "rejected": [assistant("What?")]}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def several(count, **change):
    return [{**GOOD, "chosen": f"It boils in {i} minutes.", **change} for i in range(count)]


# loading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("rows", [several(7), [CHAT] * 3], ids=["plain", "conversational"])
def test_each_file_format_gives_the_rows_in_order(tmp_path, suffix, rows):
    path = tmp_path / f"pairs{suffix}"
    if suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        write_jsonl(path, rows)
    loaded = preferences.load_pairs(path)
    assert isinstance(loaded, Dataset)
    assert loaded.to_list() == rows


def test_other_columns_follow_the_three(tmp_path):
    path = write_jsonl(
        tmp_path / "pairs.jsonl", [{"item": "kettle", "rejected": "b", "chosen": "a", "prompt": "p"}]
    )
    assert preferences.load_pairs(path).column_names == ["prompt", "chosen", "rejected", "item"]


def test_a_slice_of_a_file(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", several(10))
    assert preferences.load_pairs(path, split="train[2:5]")["chosen"][:] == [
        row["chosen"] for row in several(10)[2:5]
    ]


BAD_ROWS = {
    "no prompt": ({"chosen": "a", "rejected": "b"}, "prompt is missing"),
    "null": ({**GOOD, "rejected": None}, "rejected is missing"),
    "empty completion": ({**GOOD, "chosen": ""}, "chosen is empty"),
    "blank completion": ({**GOOD, "rejected": " \n"}, "rejected is empty"),
    "empty prompt": ({**GOOD, "prompt": ""}, "prompt is empty"),
    "same": ({**GOOD, "rejected": GOOD["chosen"]}, "chosen and rejected are the same"),
    "number": ({**GOOD, "chosen": 3}, "chosen is of type int"),
    "list of text": ({**GOOD, "chosen": ["x"]}, "chosen has a message 0 of type str"),
    "no role": ({**CHAT, "chosen": [{"content": "x"}]}, "chosen has a message 0 without role"),
    "no content": (
        {**CHAT, "rejected": [assistant("x"), {"role": "user"}]},
        "rejected has a message 1 without content",
    ),
    "content a number": (
        {**CHAT, "chosen": [{"role": "assistant", "content": 1}]},
        "chosen has a message 0 whose content is a int",
    ),
    "no messages": ({**CHAT, "chosen": []}, "chosen is empty"),
    "blank message": ({**CHAT, "chosen": [assistant(" ")]}, "chosen is empty"),
    "mixed": (
        {**GOOD, "chosen": [assistant("x")]},
        "prompt, chosen and rejected mix text and messages: prompt is text, chosen is messages, rejected is text",
    ),
    "user's": ({**CHAT, "chosen": [user("x")]}, "chosen starts with a message of the user"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_by_its_number(tmp_path, bad, message):
    base = CHAT if isinstance(bad.get("rejected"), list) else GOOD
    path = write_jsonl(tmp_path / "pairs.jsonl", [base, base, bad, base])
    with pytest.raises(ValueError, match=r"1 of 4 rows of .*pairs\.jsonl") as caught:
        preferences.load_pairs(path)
    assert f"row 2: {message}" in str(caught.value)
    assert preferences.bad_rows([base, base, bad, base]).keys() == {2}


def test_all_bad_rows_are_counted_and_the_first_listed(tmp_path):
    rows = several(20)
    for number in range(3, 12):
        rows[number]["rejected"] = ""
    with pytest.raises(ValueError, match="9 of 20") as caught:
        preferences.load_pairs(write_jsonl(tmp_path / "pairs.jsonl", rows))
    text = str(caught.value)
    assert [f"row {number}:" in text for number in range(3, 12)] == [True] * 5 + [False] * 4
    assert "and 4 more: rows [8, 9, 10, 11]" in text


def test_dropping_bad_rows_says_which(tmp_path, capsys):
    path = write_jsonl(tmp_path / "pairs.jsonl", [GOOD, {**GOOD, "chosen": ""}, GOOD, {**GOOD, "chosen": 5}])
    loaded = preferences.load_pairs(path, drop_bad=True)
    assert loaded.to_list() == [GOOD, GOOD]
    printed = capsys.readouterr().out
    assert "row 1: chosen is empty" in printed and "row 3: chosen is of type int" in printed
    assert "Left out: 2" in printed


def test_good_rows_print_nothing(tmp_path, capsys):
    preferences.load_pairs(write_jsonl(tmp_path / "pairs.jsonl", several(3)), drop_bad=True)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_no_good_row_left():
    with pytest.raises(ValueError, match="no good row left"):
        preferences.check_pairs([{**GOOD, "chosen": ""}], drop_bad=True)


def test_a_missing_column_is_named_with_those_found(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [{"question": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(ValueError, match="has no column prompt; it has question, chosen, rejected"):
        preferences.load_pairs(path)


def test_broken_json_is_named_by_its_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD) + "\n{prompt\n")
    with pytest.raises(ValueError, match="line 2: not JSON"):
        preferences.load_pairs(path)
    path.write_text(json.dumps(GOOD) + "\n[1, 2]\n")
    with pytest.raises(ValueError, match="line 2: a list; each line must be a JSON object"):
        preferences.load_pairs(path)


def test_broken_parquet_and_unknown_suffix_and_empty_file(tmp_path):
    (tmp_path / "pairs.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match=r"can't read .*pairs.parquet as parquet"):
        preferences.load_pairs(tmp_path / "pairs.parquet")
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected\n")
    with pytest.raises(ValueError, match=r"must end in \.jsonl"):
        preferences.load_pairs(tmp_path / "pairs.csv")
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        preferences.load_pairs(tmp_path / "pairs.jsonl")


@pytest.mark.parametrize("source", ["nothing_like_it", "folder/missing.jsonl", "/a/b/c"])
def test_an_unknown_source_is_not_sought_on_the_hub(source):
    with pytest.raises(FileNotFoundError, match="owner/name"):
        preferences.load_pairs(source)


def test_hub_splits(monkeypatch):
    from datasets import DatasetDict

    pairs = Dataset.from_list(several(3))
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: DatasetDict(train=pairs, test=pairs))
    with pytest.raises(ValueError, match="splits train, test"):
        preferences.load_pairs("someone/pairs")
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: DatasetDict(train=pairs))
    assert preferences.load_pairs("someone/pairs").to_list() == several(3)


def test_hub_out_of_reach(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(ConnectionError, match="someone/pairs"):
        preferences.load_pairs("someone/pairs")


def test_shipped_sets_load_and_are_clean():
    for name in preferences.shipped_pairs():
        assert len(preferences.load_pairs(name)) > 0


def test_whole_conversations_are_split_where_they_part(tmp_path):
    opening = [user("Hello"), assistant("Hello."), user("A joke?")]
    row = {"chosen": [*opening, assistant("Knock.")], "rejected": [*opening, assistant("No.")]}
    want = {"prompt": opening, "chosen": [assistant("Knock.")], "rejected": [assistant("No.")]}
    assert preferences.load_pairs(write_jsonl(tmp_path / "a.jsonl", [row])).to_list() == [want]
    with_text_prompt = {"prompt": "A joke?", **row}  # as in HuggingFaceH4/ultrafeedback_binarized
    assert preferences.load_pairs(write_jsonl(tmp_path / "b.jsonl", [with_text_prompt])).to_list() == [want]
    with pytest.raises(ValueError, match="row 0: prompt, chosen and rejected mix"):
        preferences.check_pairs([{**with_text_prompt, "prompt": "Another question"}])


def test_conversations_without_a_common_prompt_are_refused():
    row = {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]}
    with pytest.raises(ValueError, match="row 0: prompt is empty"):
        preferences.check_pairs([row])


def test_equal_conversations_keep_their_last_message_and_are_refused():
    talk = [user("a"), assistant("b")]
    assert preferences.split_conversation(talk, talk) == ([user("a")], [assistant("b")], [assistant("b")])
    with pytest.raises(ValueError, match="row 0: chosen and rejected are the same"):
        preferences.check_pairs([{"chosen": talk, "rejected": talk}])


def test_plain_and_conversational_rows_may_stand_together(tmp_path):
    assert preferences.load_pairs(write_jsonl(tmp_path / "a.jsonl", [GOOD, CHAT])).to_list() == [GOOD, CHAT]
    assert preferences.check_pairs([GOOD, CHAT]).to_list() == [GOOD, CHAT]


# labelling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "winner", "soft"),
    [
        (["A"], "A", 1.0),
        (["A", "B"], "tie", 0.5),
        (["A", "A", "B"], "A", 2 / 3),
        (["B", "A", "B"], "B", 1 / 3),
        (["A", "tie"], "tie", 0.75),
        (["A", "A", "B", "tie"], "tie", 0.625),
        (["A", "tie", "tie", "tie"], "tie", 0.625),
        (["B", "B", "B", "A", "tie"], "B", 0.3),
    ],
)
def test_votes_by_hand(votes, winner, soft):
    assert preferences.majority_vote(votes) == winner
    assert preferences.soft_label(votes) == pytest.approx(soft)


def test_prior_votes():
    assert preferences.soft_label(["A"] * 3, prior=0.5) == pytest.approx(3.5 / 4)
    with pytest.raises(ValueError, match="prior"):
        preferences.soft_label(["A"], prior=-1)


@pytest.mark.parametrize("function", [preferences.majority_vote, preferences.soft_label])
def test_bad_votes(function):
    with pytest.raises(ValueError, match="votes is empty"):
        function([])
    with pytest.raises(ValueError, match="'C'"):
        function(["A", "C"])


VOTES = st.lists(st.sampled_from(["A", "B", "tie"]), min_size=1, max_size=9)
EXCHANGE = {"A": "B", "B": "A", "tie": "tie"}


@given(VOTES, st.randoms(use_true_random=False))
def test_votes_know_neither_order_nor_names(votes, random):
    shuffled = random.sample(votes, len(votes))
    exchanged = [EXCHANGE[vote] for vote in votes]
    assert preferences.majority_vote(shuffled) == preferences.majority_vote(votes)
    assert preferences.majority_vote(exchanged) == EXCHANGE[preferences.majority_vote(votes)]
    assert preferences.soft_label(exchanged) == pytest.approx(1 - preferences.soft_label(votes))
    winner = preferences.majority_vote(votes)
    if winner != "tie":
        assert (preferences.soft_label(votes) > 0.5) == (winner == "A")


def test_triplets_from_votes():
    comparisons = [
        {"prompt": "p0", "A": "a0", "B": "b0", "votes": ["A", "A", "B"]},
        {"prompt": "p1", "A": "a1", "B": "b1", "votes": ["A", "B"]},
        {"prompt": "p2", "A": "a2", "B": "b2", "votes": ["B", "B", "B", "tie"]},
    ]
    pairs, ties = preferences.triplets_from_votes(comparisons)
    assert ties == [1]
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in pairs] == [
        ("p0", "a0", "b0"),
        ("p2", "b2", "a2"),
    ]
    assert [row["label"] for row in pairs] == pytest.approx([2 / 3, 7 / 8])


def test_bradley_terry_labels_have_the_right_rate():
    rewards_a, rewards_b = torch.full((40_000,), 1.5), torch.full((40_000,), 0.5)
    generator = torch.Generator().manual_seed(0)
    for temperature in (0.5, 1.0, 4.0):
        wins = preferences.label_by_bradley_terry(rewards_a, rewards_b, temperature, generator)
        assert wins.dtype == torch.bool and wins.shape == (40_000,)
        p = 1 / (1 + math.exp(-1 / temperature))
        assert wins.float().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 40_000))


def test_bradley_terry_labels_without_noise():
    rewards_a, rewards_b = torch.tensor([1.0, -2.0, 0.3]), torch.tensor([0.9, 5.0, -0.3])
    assert preferences.label_by_bradley_terry(rewards_a, rewards_b, 1e-6).tolist() == [True, False, True]
    level = preferences.label_by_bradley_terry(torch.zeros(1000), torch.zeros(1000), 1e-6)
    assert 300 < level.sum() < 700


def test_bradley_terry_labels_repeat_with_the_generator():
    rewards = torch.randn(64), torch.randn(64)
    first, second = (
        preferences.label_by_bradley_terry(*rewards, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match="temperature"):
        preferences.label_by_bradley_terry(*rewards, temperature=0.0)
    with pytest.raises(ValueError, match="shapes must agree"):
        preferences.label_by_bradley_terry(rewards[0], rewards[1][:, None])


# agreement --------------------------------------------------------------------------------------------------


def test_cohen_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert preferences.cohen_kappa(a, b) == pytest.approx(0.4)
    # the same p_o = 0.6 twice, from different margins: 0.1304 and 0.2593
    a, b = "Y" * 60 + "N" * 40, "Y" * 45 + "N" * 15 + "Y" * 25 + "N" * 15
    assert preferences.cohen_kappa(list(a), list(b)) == pytest.approx((0.6 - 0.54) / 0.46)
    a, b = "Y" * 60 + "N" * 40, "Y" * 25 + "N" * 35 + "Y" * 5 + "N" * 35
    assert preferences.cohen_kappa(list(a), list(b)) == pytest.approx((0.6 - 0.46) / 0.54)


def test_cohen_kappa_at_its_ends():
    assert preferences.cohen_kappa(["A", "B", "tie"], ["A", "B", "tie"]) == pytest.approx(1)
    assert preferences.cohen_kappa(["A", "B"], ["B", "A"]) == pytest.approx(-1)
    assert preferences.cohen_kappa(["A", "A", "B", "B"], ["A", "B", "A", "B"]) == pytest.approx(0)
    assert preferences.cohen_kappa(["A", "A"], ["B", "B"]) == pytest.approx(0)
    assert math.isnan(preferences.cohen_kappa(["A", "A"], ["A", "A"]))
    with pytest.raises(ValueError, match="2 and 1"):
        preferences.cohen_kappa(["A", "A"], ["A"])
    with pytest.raises(ValueError, match="0 and 0"):
        preferences.cohen_kappa([], [])


LABELS = st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=30)


@given(LABELS)
def test_cohen_kappa_is_symmetric_and_bounded(labels):
    a, b = zip(*labels, strict=True)
    kappa = preferences.cohen_kappa(a, b)
    if set(a) == set(b) and len(set(a)) == 1:
        assert math.isnan(kappa)
    else:
        assert kappa == pytest.approx(preferences.cohen_kappa(b, a))
        assert -1 - 1e-9 <= kappa <= 1 + 1e-9
        assert (kappa > 1 - 1e-9) == (a == b)


FLEISS = [  # 14 annotators, 5 labels, 10 items: κ = 0.210, a worked example printed in many places
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_fleiss_kappa_published_example():
    assert preferences.fleiss_kappa(torch.tensor(FLEISS)) == pytest.approx(0.2099, abs=1e-4)


@given(st.lists(st.lists(st.sampled_from("ABC"), min_size=4, max_size=4), min_size=1, max_size=12))
def test_fleiss_kappa_counts_agreeing_pairs_of_annotators(votes):
    everything = [vote for row in votes for vote in row]
    observed = sum(x == y for row in votes for x, y in combinations(row, 2)) / (6 * len(votes))
    by_chance = sum(x == y for x in everything for y in everything) / len(everything) ** 2
    kappa = preferences.fleiss_kappa(preferences.count_votes(votes, labels="ABC"))
    if len(set(everything)) == 1:
        assert math.isnan(kappa)
    else:
        assert kappa == pytest.approx((observed - by_chance) / (1 - by_chance))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 0], r"shape \(N, K\)"),
        ([[3, 0], [2, 0]], r"needs 3 votes, as row 0 has; rows \[1\] differ"),
        ([[1, 0], [0, 1]], "two votes"),
        ([[3, 0], [4, -1]], r"rows \[1\]"),
        ([[1.5, 1.5]], r"whole numbers >= 0; look at rows \[0\]"),
    ],
)
def test_fleiss_kappa_bad_tables(counts, message):
    with pytest.raises(ValueError, match=message):
        preferences.fleiss_kappa(torch.tensor(counts))


def test_count_votes():
    assert preferences.count_votes([["A", "tie", "A"], ["B", "B", "A"]]).tolist() == [[2, 0, 1], [1, 2, 0]]
    with pytest.raises(ValueError, match="'C'"):
        preferences.count_votes([["C"]])


# quality ----------------------------------------------------------------------------------------------------


def pair(prompt, chosen, rejected, **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_duplicates_and_contradictions_by_hand():
    pairs = [
        pair("P", "good", "bad"),
        pair("P", "fine", "poor"),
        pair(" p", "GOOD", "bad\n"),  # 0 again
        pair("Q", "good", "bad"),  # another prompt
        pair("P", "bad", "good"),  # against 0 and 2
        pair("P", "poor", "fine"),  # against 1
        pair("p", "Good", "bad"),  # 0 once more
        pair("P", "\uff47ood", "other"),
    ]
    assert preferences.find_duplicates(pairs) == [[0, 2, 6]]
    assert preferences.find_contradictions(pairs) == [(0, 4), (1, 5), (2, 4), (4, 6)]
    assert preferences.find_duplicates(Dataset.from_list(pairs)) == [[0, 2, 6]]


def test_chats_are_compared_too():
    reverse = {**CHAT, "chosen": CHAT["rejected"], "rejected": CHAT["chosen"]}
    assert preferences.find_duplicates([CHAT, reverse, CHAT]) == [[0, 2]]
    assert preferences.find_contradictions([CHAT, reverse, CHAT]) == [(0, 1), (1, 2)]


SMALL_PAIRS = st.lists(
    st.builds(
        pair, st.sampled_from(["p", "q"]), st.sampled_from(["a", "A ", "b"]), st.sampled_from(["b", "a", "c"])
    ),
    max_size=12,
)


@given(SMALL_PAIRS)
def test_duplicates_and_contradictions_against_all_pairs_of_rows(pairs):
    def plain(row):
        return tuple(row[column].strip().lower() for column in ("prompt", "chosen", "rejected"))

    keys = [plain(row) for row in pairs]
    same = [(i, j) for i, j in combinations(range(len(pairs)), 2) if keys[i] == keys[j]]
    found = [two for group in preferences.find_duplicates(pairs) for two in combinations(group, 2)]
    assert sorted(found) == same
    opposite = [
        (i, j)
        for i, j in combinations(range(len(pairs)), 2)
        if keys[i] == (keys[j][0], keys[j][2], keys[j][1]) and keys[i] != keys[j]
    ]
    assert preferences.find_contradictions(pairs) == opposite


@pytest.mark.parametrize(
    ("left", "right"),
    [("A  b\tC", "a B c"), ("Stra\u00dfe", "STRASSE"), ("\ufb01ne", "fine"), ("x ", " X\n")],
)
def test_normalise_merges(left, right):
    assert preferences.normalise(left) == preferences.normalise(right)


@given(st.text())
def test_normalise_keeps_words_apart_and_is_stable_for_ascii(text):
    text = text.encode("ascii", "ignore").decode()
    once = preferences.normalise(text)
    assert preferences.normalise(once) == once
    assert len(once.split()) == len(text.split())


def test_length_bias_by_hand():
    pairs = [
        pair("p", "a b c", "a"),
        pair("p", "a b", "c d"),
        pair("p", "a", "a b"),
        pair("p", "a b c d", "a b"),
    ]
    bias = preferences.length_bias(pairs)
    assert bias == {"chosen_longer": 0.5, "equal": 0.25, "rejected_longer": 0.25, "mean_difference": 0.75}
    assert preferences.length_bias([CHAT])["chosen_longer"] == 1
    assert preferences.length_bias([pair("p", "xxxx", "y")], length=len)["mean_difference"] == 3
    with pytest.raises(ValueError, match="empty"):
        preferences.length_bias([])


def test_topic_balance():
    pairs = [pair("p", "a", "b", topic=topic) for topic in ["food", "tool", "Tool", "toy", "tool"]]
    assert preferences.topic_balance(pairs, "topic") == {"tool": 0.6, "food": 0.2, "toy": 0.2}
    assert list(preferences.topic_balance(pairs, "topic")) == ["tool", "food", "toy"]
    assert preferences.topic_balance(pairs, lambda row: len(row["topic"])) == {4: 0.8, 3: 0.2}
    with pytest.raises(ValueError, match="empty"):
        preferences.topic_balance([], "topic")


def test_effective_topics():
    assert preferences.effective_topics({"a": 1.0}) == pytest.approx(1)
    assert preferences.effective_topics({name: 0.125 for name in "abcdefgh"}) == pytest.approx(8)
    assert preferences.effective_topics({"a": 1.0, "b": 0.0}) == pytest.approx(1)
    assert preferences.effective_topics(
        {"big": 0.91, **{name: 0.01 for name in "abcdefghi"}}
    ) == pytest.approx(1.65, abs=0.005)
    for shares in ({"a": 0.5}, {"a": 1.5, "b": -0.5}, {}):
        with pytest.raises(ValueError, match="sum to 1"):
            preferences.effective_topics(shares)


def test_pair_difficulty():
    margins = torch.tensor([-0.1, 0.0, 2.19, 2.20, 9.0])  # logit(0.9) = 2.1972
    assert preferences.pair_difficulty(margins) == ["flipped", "hard", "hard", "easy", "easy"]
    assert preferences.pair_difficulty(margins, temperature=0.01) == [
        "flipped",
        "hard",
        "easy",
        "easy",
        "easy",
    ]
    assert preferences.pair_difficulty(margins, easy_from=0.9999) == [
        "flipped",
        "hard",
        "hard",
        "hard",
        "hard",
    ]
    with pytest.raises(ValueError, match="easy_from"):
        preferences.pair_difficulty(margins, easy_from=0.5)
    with pytest.raises(ValueError, match="NaN"):
        preferences.pair_difficulty(torch.tensor([math.nan]))


# splitting --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 8), min_size=2, max_size=15),
    st.floats(0.05, 0.95),
    st.integers(0, 1000),
    st.randoms(use_true_random=False),
)
def test_group_split_properties(sizes, held_out, seed, random):
    pairs = [
        pair(f"prompt {g}", f"chosen {g} {i}", "no") for g, size in enumerate(sizes) for i in range(size)
    ]
    random.shuffle(pairs)
    train, test = preferences.group_split(pairs, "prompt", held_out, seed)
    assert (train, test) == preferences.group_split(pairs, "prompt", held_out, seed)
    assert train and test
    assert {row["prompt"] for row in train}.isdisjoint(row["prompt"] for row in test)
    in_train = [row for row in pairs if row in train]
    assert train == in_train and test == [row for row in pairs if row not in train]
    assert abs(len(test) - held_out * len(pairs)) <= max(sizes)


def test_group_split_takes_data_sets_callables_and_spelling():
    pairs = Dataset.from_list(
        [pair(f"{'P' if i % 2 else 'p'} {i // 4}", f"c{i}", "r", item=i % 10) for i in range(400)]
    )
    train, test = preferences.group_split(pairs, "prompt")
    assert isinstance(train, Dataset) and isinstance(test, Dataset)
    assert len(test) == 80 and len(train) == 320
    assert preferences.leakage(train, test)["prompts"] == []
    train, test = preferences.group_split(pairs, lambda row: row["item"], held_out=0.5)
    assert not set(train["item"]) & set(test["item"])
    assert len(test) == 200


def test_group_split_depends_on_the_seed_only():
    pairs = [pair(f"prompt {i}", "c", "r") for i in range(20)]
    held_out = [preferences.group_split(pairs, "prompt", seed=seed)[1] for seed in range(8)]
    assert len({tuple(row["prompt"] for row in rows) for rows in held_out}) == 8
    # written down, since a set's order would be the same within a session and another in the next
    assert [row["prompt"] for row in held_out[5]] == ["prompt 4", "prompt 5", "prompt 6", "prompt 9"]


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 2])
def test_group_split_bad_share(held_out):
    with pytest.raises(ValueError, match="held_out"):
        preferences.group_split(several(3), "chosen", held_out)


def test_group_split_needs_two_groups():
    with pytest.raises(ValueError, match="1 groups"):
        preferences.group_split(several(3), "prompt")


def test_leakage_by_hand():
    train = [pair("p", "a", "b"), pair("q", "c", "d")]
    test = [
        pair("P ", "x", "y"),  # the prompt
        pair("new", "x", "B"),  # a completion
        pair("q", "d", "c"),  # the pair, reversed
        pair("p", "c", "a"),  # prompt and completions, but not this pair
        pair("new", "x", "y"),
    ]
    assert preferences.leakage(train, test) == {"prompts": [0, 2, 3], "completions": [1, 2, 3], "pairs": [2]}
    assert preferences.leakage(train, []) == {"prompts": [], "completions": [], "pairs": []}


@given(st.integers(0, 100))
def test_a_split_by_prompt_leaks_no_prompt(seed):
    pairs = [pair(f"prompt {i % 9}", f"chosen {i}", f"rejected {i}") for i in range(40)]
    assert not any(preferences.leakage(*preferences.group_split(pairs, "prompt", seed=seed)).values())
