"""The question bank: read it from its YAML files, and say what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "bank"
LEVELS = ("phone screen", "on-site", "research")
SHORT_WORDS = (40, 90)  # a 30-second answer, spoken
LONG_WORDS = (150, 330)  # a two-minute answer, spoken
ARXIV_ID = re.compile(r"\d{4}\.\d{4,5}$")
FIELDS = ("id", "question", "level", "short", "long", "follow_ups", "wrong", "proof")
OPTIONAL = ("sources", "notes")


class BankError(ValueError):
    """A bank's file does not say what it must; the message names file, question and field."""


@dataclass(frozen=True)
class Source:
    """A paper.

    Args:
        key: how questions refer to it, e.g. "rafailov2023".
        title: authors, year and title, as it is shown.
        arxiv: its arXiv id, e.g. "2305.18290".
    """

    key: str
    title: str
    arxiv: str

    @property
    def url(self) -> str:
        """Its abstract's address."""
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class Proof:
    """The section of the course in which the answer can be seen: a lesson's name and a heading in it."""

    lesson: str
    heading: str


@dataclass(frozen=True)
class WrongAnswer:
    """What is commonly said instead, and why it is wrong."""

    answer: str
    why: str


@dataclass(frozen=True)
class Question:
    """A question with all that a learner needs to practise it.

    Args:
        id: unique; a learner's progress is kept under it, so it never changes.
        topic: the file's topic.
        level: one of `LEVELS`.
        question: as an interviewer puts it.
        short: the 30-second answer.
        long: the two-minute answer.
        follow_ups: what may be asked next.
        wrong: the common wrong answer.
        proof: the lesson's section that shows the answer.
        sources: papers.
        notes: where the course's source notes ask it, e.g. "Q5" or "quick-fire 3".
    """

    id: str
    topic: str
    level: str
    question: str
    short: str
    long: str
    follow_ups: tuple[str, ...]
    wrong: WrongAnswer
    proof: Proof
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bank:
    """All questions, in the order of their files."""

    questions: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, question_id: str) -> Question:
        for question in self.questions:
            if question.id == question_id:
                return question
        raise KeyError(f"no question {question_id!r} in the bank; `dpo-lab interview --list` shows their ids")

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics, in the order of their files."""
        return tuple(dict.fromkeys(question.topic for question in self.questions))

    def select(self, level: str | None = None, topic: str | None = None) -> tuple[Question, ...]:
        """The questions of a level, of a topic, or of both; ValueError for a level or topic that there is not."""
        for name, value, known in (("level", level, LEVELS), ("topic", topic, self.topics)):
            if value is not None and value not in known:
                raise ValueError(f"{name} {value!r} is not in the bank: it has {', '.join(known)}")
        return tuple(
            question
            for question in self.questions
            if level in (None, question.level) and topic in (None, question.topic)
        )


def load_bank(folder: str | Path | None = None) -> Bank:
    """Read every topic of a bank.

    Args:
        folder: with `sources.yaml` and one YAML file a topic, read in the order of their names; default: the
            course's own.

    Raises:
        BankError: a file is no YAML, or a question lacks something; the message says which and what to do.
    """
    folder = Path(folder) if folder is not None else FOLDER
    sources = read_sources(folder / "sources.yaml")
    questions: list[Question] = []
    for path in sorted(folder.glob("*.yaml")):
        if path.name != "sources.yaml":
            questions += read_topic(path, sources)
    if not questions:
        raise BankError(f"{folder} holds no questions: it needs at least one YAML file with a topic")
    check_unique(question.id for question in questions)
    return Bank(tuple(questions))


def read_yaml(path: Path) -> Any:
    """A YAML file's content; BankError if it can't be read."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BankError(f"{path} is missing") from None
    except yaml.YAMLError as error:
        raise BankError(f"{path.name} is not YAML: {error}") from None


def read_sources(path: Path) -> dict[str, Source]:
    """The papers by their keys."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BankError(f"{path.name} must map keys to papers, is {type(content).__name__}")
    found = {}
    for key, entry in content.items():
        if not isinstance(entry, dict) or set(entry) != {"title", "arxiv"}:
            raise BankError(f"{path.name}, {key}: needs exactly title and arxiv")
        if not isinstance(entry["arxiv"], str) or not ARXIV_ID.match(entry["arxiv"]):
            raise BankError(
                f"{path.name}, {key}: arxiv {entry['arxiv']!r} must be a quoted id such as '2305.18290'"
            )
        found[key] = Source(key, **entry)
    return found


def read_topic(path: Path, sources: Mapping[str, Source]) -> list[Question]:
    """One topic's questions."""
    content = read_yaml(path)
    if not isinstance(content, dict) or set(content) != {"topic", "questions"}:
        raise BankError(f"{path.name} needs exactly topic and questions at its top")
    rows = content["questions"]
    if not isinstance(rows, list) or not rows:
        raise BankError(f"{path.name}: questions must be a list with at least one question")
    return [
        read_question(f"{path.name}, question {i}", content["topic"], row, sources)
        for i, row in enumerate(rows)
    ]


def read_question(place: str, topic: str, row: Any, sources: Mapping[str, Source]) -> Question:
    """One question; `place` begins the message of an error."""
    if not isinstance(row, dict):
        raise BankError(f"{place}: must be a mapping with {', '.join(FIELDS)}")
    place = f"{place} ({row.get('id', 'without id')})"
    missing = [name for name in FIELDS if name not in row]
    unknown = sorted(set(row) - {*FIELDS, *OPTIONAL})
    if missing or unknown:
        raise BankError(f"{place}: lacks {missing or 'nothing'}, has the unknown {unknown or 'nothing'}")
    for name in ("id", "question", "level", "short", "long"):
        check_text(f"{place}, {name}", row[name])
    if row["level"] not in LEVELS:
        raise BankError(f"{place}: level {row['level']!r} must be one of {', '.join(LEVELS)}")
    check_length(f"{place}, short", row["short"], SHORT_WORDS)
    check_length(f"{place}, long", row["long"], LONG_WORDS)
    for name in ("follow_ups", "sources", "notes"):
        check_list(f"{place}, {name}", row.get(name, []))
    lost = [key for key in row.get("sources", []) if key not in sources]
    if lost:
        raise BankError(f"{place}: sources {lost} are not in sources.yaml")
    return Question(
        **{name: row[name].strip() for name in ("id", "question", "level", "short", "long")},
        topic=topic,
        follow_ups=tuple(row["follow_ups"]),
        wrong=WrongAnswer(**two_texts(f"{place}, wrong", row["wrong"], ("answer", "why"))),
        proof=Proof(**two_texts(f"{place}, proof", row["proof"], ("lesson", "heading"))),
        sources=tuple(sources[key] for key in row.get("sources", [])),
        notes=tuple(row.get("notes", [])),
    )


def check_text(place: str, value: Any) -> None:
    """BankError unless `value` is text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise BankError(f"{place}: must be text, is {value!r}")


def check_list(place: str, value: Any) -> None:
    """BankError unless `value` is a list of texts."""
    if not isinstance(value, list):
        raise BankError(f"{place}: must be a list, is {type(value).__name__}")
    for entry in value:
        check_text(place, entry)


def check_length(place: str, text: str, bounds: tuple[int, int]) -> None:
    """BankError unless a text has as many words as can be said in its time."""
    words = len(text.split())
    if not bounds[0] <= words <= bounds[1]:
        raise BankError(f"{place}: has {words} words, must have {bounds[0]} to {bounds[1]}")


def two_texts(place: str, value: Any, names: tuple[str, str]) -> dict[str, str]:
    """A mapping of exactly two texts."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise BankError(f"{place}: needs exactly {' and '.join(names)}")
    for name in names:
        check_text(f"{place}, {name}", value[name])
    return {name: value[name].strip() for name in names}


def check_unique(ids: Iterable[str]) -> None:
    """BankError if two questions share an id."""
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise BankError(
                f"two questions have the id {each!r}: progress is kept by id, so each needs its own"
            )
        seen.add(each)
