"""The scorecard of a run: what it measures, when it decides, what the page holds, and the annotator's file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from dpo_lab.cli import main
from dpo_lab.evaluation import Interval, reward_judge
from dpo_lab.evaluation.command import find_tier, policy_folder, remembered
from dpo_lab.evaluation.measuring import Bench, evaluate_policy, group_names
from dpo_lab.evaluation.rating import RatingSession
from dpo_lab.evaluation.report import write_report
from dpo_lab.evaluation.scorecard import decide, scorecard
from dpo_lab.policies import frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.trainer import DPOConfig, train_dpo
from dpo_lab.widgets import rating_widget
from dpo_lab.worlds.review import prompts, shipped_pairs, true_reward

NAMES = 8  # criteria


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps with its folder."""
    folder = tmp_path_factory.mktemp("run")
    policy = load_policy("tiny", device="cpu")
    reference = frozen_reference(policy)
    config = DPOConfig(batch_size=8, lr=1e-3, output_dir=str(folder), progress=False)
    train_dpo(policy, reference, shipped_pairs("train")[:16], config)
    bench = Bench(
        reference,
        shipped_pairs("heldout")[:24],
        prompts("heldout"),
        40,
        reward_judge(true_reward),
        true_reward,
    )
    return folder, evaluate_policy(policy, bench, beta=0.1, samples=24)


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    found = run[1]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, "A <run>", scorecard(found), found, {"run": "x & y"})
    return path.read_text(encoding="utf-8")


def test_an_interval_decides_only_from_one_side():
    assert decide(Interval(0.7, 0.66, 0.74), 0.65, above=True) == "pass"
    assert decide(Interval(0.6, 0.56, 0.64), 0.65, above=True) == "fail"
    assert decide(Interval(0.66, 0.6, 0.7), 0.65, above=True) == "undecided"
    assert decide(Interval(1.0, 0.8, 1.2), 3.0, above=False) == "pass"
    assert decide(Interval(9.0, 8.0, 9.2), 3.0, above=False) == "fail"


def test_a_scorecard_says_what_was_not_measured(run):
    rows = scorecard(run[1])
    assert len(rows) == NAMES
    unmeasured = [row.criterion for row in rows if row.verdict == "not measured"]
    assert unmeasured == ["has not forgotten", "no alarm in training"]
    assert scorecard(run[1], alarms=["flat_loss"])[-1].verdict == "fail"
    assert all(row.measured for row in rows)


def test_the_evaluation_is_of_both_sides(run):
    found = run[1]
    won = found.win_rate
    assert (
        won.wins + won.ties + won.losses == 24 == len(found.samples.ours) == len(found.samples.their_rewards)
    )
    assert sum(interval.mean for interval in found.by_group.values()) / 4 == pytest.approx(
        found.accuracy.mean, abs=0.2
    )
    assert found.first == 0.5 and found.reliability["count"].sum() == 24


class Links(HTMLParser):
    """Everything in a page that a browser could fetch, and what has an alternative text."""

    def __init__(self):
        super().__init__()
        self.sources, self.alts, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.sources += [
            values[name] for name in ("src", "srcset", "href", "data", "action") if name in values
        ]
        if tag == "img":
            self.alts.append(values.get("alt", ""))


def test_no_request_leaves_the_page(page):
    links = Links()
    links.feed(page)
    assert links.sources and all(source.startswith("data:image/png;base64,") for source in links.sources)
    assert not re.search(
        r"https?:|//[a-z]+\.[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    )
    assert not {"script", "link", "iframe"} & set(links.tags)
    assert len(links.alts) == 4 and all(len(alt) > 20 for alt in links.alts)


def test_the_page_is_whole(page):
    assert "{{" not in page and "A &lt;run&gt;" in page and "x &amp; y" in page
    assert page.count('class="verdict') == NAMES
    assert page.count("prefers-color-scheme: dark") == 1 + 4  # the style, and a dark twin of each figure


def test_evaluate_in_the_terminal(run, capsys, tmp_path):
    out = tmp_path / "card.html"
    main(["evaluate", str(run[0]), "--samples", "8", "--out", str(out)])
    shown = capsys.readouterr().out
    assert "Scorecard" in shown and "win rate > 60 %" in shown and "card.html" in shown
    assert out.stat().st_size > 50_000


def test_evaluate_says_what_is_missing(capsys, tmp_path):
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "holds no policy" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        policy_folder(tmp_path)


def test_tiers_groups_and_memory(run):
    assert find_tier(load_policy(run[0] / "policy", device="cpu")) == "tiny"
    rows = remembered("tiny")
    assert len(rows) == 128 and min(true_reward(row["completion"]) for row in rows) >= 0
    assert remembered("smollm2") is None
    assert set(group_names(shipped_pairs("heldout"))) == set(prompts("heldout"))
    many = [{"prompt": str(i), "chosen": "a" * i, "rejected": "bbb"} for i in range(20)]
    assert set(group_names(many)) == {"rejected longer", "equal length", "chosen longer"}


# the annotator

TEXTS = [f"good {i}" for i in range(6)]
OTHERS = [f"bad {i}" for i in range(6)]


def goodness(text):
    return float(text.startswith("good"))


def session(path, seed=0):
    return RatingSession([f"prompt {i}" for i in range(6)], TEXTS, OTHERS, path, seed)


def side_of(shown, word):
    return "left" if shown.left.startswith(word) else "right"


def test_ratings_are_pairs_that_the_loader_takes(tmp_path):
    path = tmp_path / "deep" / "ratings.jsonl"
    rating = session(path)
    for number in range(5):
        rating.choose(side_of(rating.current(), "good" if number else "bad"))
        assert len(load_pairs(path)) == number + 1  # on disk after every click
    rating.choose("tie")
    pairs = load_pairs(path)
    assert rating.current() is None and len(pairs) == 5
    assert sorted(goodness(row["chosen"]) for row in pairs) == [0, 1, 1, 1, 1]
    assert sorted(rating.scores()) == [0, 0.5, 1, 1, 1, 1]
    assert rating.agreement(goodness).mean == 0.8
    with pytest.raises(ValueError, match="decided"):
        rating.choose("left")


def test_undo_takes_back_one_line_and_leaves_the_rest(tmp_path):
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"prompt": "old", "chosen": "a", "rejected": "b"}\n', encoding="utf-8")
    rating = session(path)
    first = rating.current()
    assert not rating.undo()
    rating.choose("left")
    rating.choose("tie")
    assert rating.undo() and rating.undo() and rating.current() == first
    assert path.read_text(encoding="utf-8").count("\n") == 1 and rating.ties_path.read_text() == ""
    rating.choose("right")
    assert [row["chosen"] for row in load_pairs(path)] == ["a", first.right]


def test_a_second_session_goes_on_where_the_first_stopped(tmp_path):
    path = tmp_path / "ratings.jsonl"
    rating = session(path)
    for choice in ("left", "tie", "right"):
        rating.choose(choice)
    again = session(path)
    assert again.current() == rating.current() and again.scores() == rating.scores()
    again.choose("left")
    assert len(load_pairs(path)) == 3


def test_sides_are_blind_and_seeded(tmp_path):
    left = [row[-1] for seed in range(40) for row in session(tmp_path / f"{seed}.jsonl", seed).rows]
    assert 0.35 < sum(left) / len(left) < 0.65
    assert session(tmp_path / "a.jsonl", 3).rows == session(tmp_path / "b.jsonl", 3).rows
    with pytest.raises(ValueError, match=r"\.jsonl"):
        session(tmp_path / "ratings.txt")
    with pytest.raises(ValueError, match="nothing to compare"):
        RatingSession(["p"], ["same"], ["same"], tmp_path / "c.jsonl")


def test_the_widget_clicks_through(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("dpo_lab.widgets.rating.display", shown.append)
    rating = rating_widget(list("abcdef"), TEXTS, OTHERS, tmp_path / "r.jsonl", reward=goodness)
    page, row = shown[0].children
    left, tie, right, undo = row.children
    assert undo.disabled and "1 of 6" in page.value and "policy" not in page.value
    left.click()
    undo.click()
    for button in (left, tie, right, left, right, left):
        button.click()
    assert left.disabled and not undo.disabled and "All 6 rated" in page.value
    assert len(rating.scores()) == 6 and len(load_pairs(tmp_path / "r.jsonl")) == 5
