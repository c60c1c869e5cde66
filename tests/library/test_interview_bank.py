"""The question bank is whole: answers keep their lengths, links lead somewhere, and the notes are covered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dpo_lab.interview import BankError, load_bank
from dpo_lab.interview.bank import FOLDER, LEVELS, LONG_WORDS, SHORT_WORDS

SOLUTIONS = Path(__file__).parents[2] / "solutions"
NOTES = {
    "Q1": "what-and-why",
    "Q2": "objective",
    "Q3": "reference-role",
    "Q4": "dpo-against-ppo",
    "Q5": "implicit-reward",
    "Q6": "from-scratch",
    "Q7": "hyperparameters",
    "Q8": "lengths",
    "Q9": "numerical-stability",
    "Q10": "beta-limits",
    "Q11": "not-learning",
    "Q12": "bradley-terry",
    "Q13": "exploration",
    "Q14": "methods-compared",
    "Q15": "failure-modes",
    "Q16": "multi-objective",
    "Q17": "research-directions",
    "Q18": "production-pipeline",
    "Q19": "memory-7b",
    "Q20": "evaluate-success",
    "quick-fire 1": "one-sentence",
    "quick-fire 2": "no-reward-model",
    "quick-fire 3": "what-beta-controls",
    "quick-fire 4": "main-advantage",
    "quick-fire 5": "common-failure",
}
SPELLINGS = {
    r"Bradley[–—]Terry|Bradley Terry": "Bradley-Terry",
    r"(?<!7b-)\bbeta\b": "β",
    r"\bKL-divergence": "KL divergence",
    r"\b(winner|loser) (response|completion)": "chosen, rejected",
    r"π_\{|\\pi|\\beta|\$": "plain characters: terminals show no LaTeX",
    r"[Oo]ptimizer": "optimiser",
    r"[Nn]ormalization": "normalisation",
    r"\bLLama\b|\bpytorch\b|\bPytorch\b": "Llama, PyTorch",
}


@pytest.fixture(scope="module")
def bank():
    return load_bank()


def headings(lesson: str) -> set[str]:
    text = (SOLUTIONS / f"{lesson}.py").read_text(encoding="utf-8")
    return {match.group(1).strip() for match in re.finditer(r"^# #{2,4} (.+)$", text, re.MULTILINE)}


def test_there_are_enough_questions_of_each_level(bank):
    assert len(bank) >= 60
    assert min(len(bank.select(level=level)) for level in LEVELS) >= 10
    assert all(len(bank.select(topic=topic)) >= 3 for topic in bank.topics)


def test_every_proof_is_a_heading_that_exists(bank):
    lost = [
        (question.id, question.proof)
        for question in bank.questions
        if question.proof.lesson.startswith("12")
        or not (SOLUTIONS / f"{question.proof.lesson}.py").is_file()
        or question.proof.heading not in headings(question.proof.lesson)
    ]
    assert not lost


def test_every_question_of_the_notes_is_there(bank):
    found = {note: question.id for question in bank.questions for note in question.notes}
    assert found == NOTES
    assert sum(len(question.notes) for question in bank.questions) == len(NOTES)


def test_answers_keep_their_lengths(bank):
    for question in bank.questions:
        assert SHORT_WORDS[0] <= len(question.short.split()) <= SHORT_WORDS[1], question.id
        assert LONG_WORDS[0] <= len(question.long.split()) <= LONG_WORDS[1], question.id
        assert question.follow_ups, question.id


@pytest.mark.parametrize("wrong", SPELLINGS)
def test_names_are_spelt_in_one_way(wrong):
    for path in FOLDER.glob("*.yaml"):
        text = re.sub(r"^topic: .*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text = re.sub(r"^- id: .*$|^  proof: .*$", "", text, flags=re.MULTILINE)
        if path.name != "sources.yaml":
            found = re.search(wrong, text)
            assert not found, f"{path.name}: {found.group(0)!r}, write {SPELLINGS[wrong]}"


def test_no_paper_is_left_unused(bank):
    used = {source.key for question in bank.questions for source in question.sources}
    assert used == set(yaml.safe_load((FOLDER / "sources.yaml").read_text(encoding="utf-8")))


def test_known_wrong_claims_are_not_in_the_answers(bank):
    for question in bank.questions:
        said = (question.short + " " + question.long).lower()
        assert "lower β stays closer" not in said and "higher β diverges" not in said.replace('"higher', "")


def copy_bank(folder: Path, change) -> Path:
    content = yaml.safe_load((FOLDER / "01_basics.yaml").read_text(encoding="utf-8"))
    content["questions"] = content["questions"][:2]
    change(content)
    (folder / "one.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    (folder / "sources.yaml").write_text(
        (FOLDER / "sources.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["questions"][0].pop("short"), r"question 0 \(one-sentence\): lacks \['short'\]"),
        (lambda c: c["questions"][0].update(hint="x"), r"has the unknown \['hint'\]"),
        (lambda c: c["questions"][1].update(level="easy"), "level 'easy' must be one of phone screen"),
        (lambda c: c["questions"][0].update(short="Too short."), "has 2 words, must have 40 to 90"),
        (lambda c: c["questions"][0].update(sources=["nobody2020"]), "nobody2020.* not in sources.yaml"),
        (lambda c: c["questions"][0].update(wrong="x"), "wrong: needs exactly answer and why"),
        (lambda c: c["questions"][0].update(follow_ups="x"), "follow_ups: must be a list, is str"),
        (lambda c: c["questions"][1].update(id="one-sentence"), "two questions have the id 'one-sentence'"),
        (lambda c: c.pop("topic"), "needs exactly topic and questions"),
        (lambda c: c.update(questions=[]), "at least one question"),
    ],
)
def test_errors_name_file_question_and_field(tmp_path, change, message):
    with pytest.raises(BankError, match=message):
        load_bank(copy_bank(tmp_path, change))


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    copy_bank(tmp_path, lambda content: None)
    (tmp_path / "two.yaml").write_text("topic: [", encoding="utf-8")
    with pytest.raises(BankError, match=r"two\.yaml is not YAML"):
        load_bank(tmp_path)


def test_select_refuses_what_the_bank_does_not_have(bank):
    with pytest.raises(ValueError, match="topic 'cooking' is not in the bank: it has basics"):
        bank.select(topic="cooking")
    with pytest.raises(KeyError, match="--list"):
        bank["cooking"]
