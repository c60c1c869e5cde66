"""One row of preference data: what it may look like, what is wrong with it, and how its text is compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

Pair = Mapping[str, Any]
Key = str | Callable[[Pair], Hashable]
COLUMNS = ("prompt", "chosen", "rejected")


def row_problem(row: Pair) -> str | None:
    """Say what keeps a row from being a preference pair.

    Args:
        row: a mapping that should hold `prompt`, `chosen` and `rejected`, all text or all lists of messages.

    Returns:
        One sentence that starts with the column's name, or None if nothing is wrong.
    """
    if not isinstance(row, Mapping):
        return f"is a {type(row).__name__}, not a mapping with {', '.join(COLUMNS)}"
    for column in COLUMNS:
        problem = value_problem(row.get(column))
        if problem:
            return f"{column} {problem}"
    forms = [type(row[column]) for column in COLUMNS]
    if len(set(forms)) > 1:
        return "prompt, chosen and rejected mix text and messages: " + ", ".join(
            f"{column} is {'text' if form is str else 'messages'}"
            for column, form in zip(COLUMNS, forms, strict=True)
        )
    for column in ("chosen", "rejected"):
        if forms[0] is list and row[column][0]["role"] != "assistant":
            speaker = row[column][0]["role"]
            return f"{column} starts with a message of the {speaker}; a completion is the assistant's"
    if row["chosen"] == row["rejected"]:
        return "chosen and rejected are the same: such a pair's loss is ln 2 under every policy"
    return None


def value_problem(value: Any) -> str | None:
    """Say what keeps a value from being text or a list of messages; None if nothing does."""
    if value is None:
        return "is missing"
    if not isinstance(value, (str, list)):
        return f"is of type {type(value).__name__}; it must be text or a list of messages"
    if isinstance(value, list):
        for number, message in enumerate(value):
            if not isinstance(message, Mapping):
                return f"has a message {number} of type {type(message).__name__}, without role and content"
            for key in ("role", "content"):
                if message.get(key) is None:
                    return f"has a message {number} without {key}"
                if not isinstance(message[key], str):
                    return f"has a message {number} whose {key} is a {type(message[key]).__name__}, not text"
    last = value if isinstance(value, str) else value[-1]["content"] if value else ""
    return None if last.strip() else "is empty"


def bad_rows(pairs: Iterable[Pair]) -> dict[int, str]:
    """Find every row that is not a preference pair.

    Returns:
        {row number: what is wrong}, in row order; empty if all is well.
    """
    problems = {number: row_problem(row) for number, row in enumerate(pairs)}
    return {number: problem for number, problem in problems.items() if problem}


def split_conversation(chosen: list[dict], rejected: list[dict]) -> tuple[list[dict], list[dict], list[dict]]:
    """Split two whole conversations into the prompt that they share and their two completions.

    The prompt is the longest common beginning; each completion keeps at least its last message.

    Args:
        chosen: messages of the preferred conversation.
        rejected: messages of the other one.

    Returns:
        (prompt, chosen, rejected), three lists of messages. The prompt is empty if the first messages differ.
    """
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def with_explicit_prompt(row: Pair) -> Pair:
    """A row whose completions hold the whole conversation, with its prompt split off; any other row as it is.

    A prompt that is there already must be one of the shared messages, or all of them: otherwise the row stays
    as it is, and `row_problem` names it.
    """
    if not isinstance(row, Mapping):
        return row
    chosen, rejected, given = row.get("chosen"), row.get("rejected"), row.get("prompt")
    both_messages = isinstance(chosen, list) and isinstance(rejected, list)
    if not both_messages or value_problem(chosen) or value_problem(rejected):
        return row
    if chosen[0]["role"] == "assistant":
        return row
    prompt, chosen, rejected = split_conversation(chosen, rejected)
    if given is None or given == prompt or given in [message["content"] for message in prompt]:
        return {**row, "prompt": prompt, "chosen": chosen, "rejected": rejected}
    return row


def text_of(value: str | list[dict]) -> str:
    """The text of a prompt or completion; messages are joined by line breaks, their roles left out."""
    return value if isinstance(value, str) else "\n".join(message["content"] for message in value)


def normalise(value: str | list[dict]) -> str:
    """Text as it is compared: Unicode form NFKC, no case, each run of white space one space, with roles."""
    if not isinstance(value, str):
        value = "\n".join(f"{message['role']}: {message['content']}" for message in value)
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def group_of(pair: Pair, key: Key) -> Hashable:
    """The group of a pair: a column's value or a function's, text and messages normalised."""
    value = key(pair) if callable(key) else pair[key]
    return normalise(value) if isinstance(value, (str, list)) else value
