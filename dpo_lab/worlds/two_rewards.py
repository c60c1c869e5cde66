"""Two rewards for one review that pull against each other: stand-ins for helpfulness and safety."""

from __future__ import annotations

from dpo_lab.worlds.review import ADJECTIVES, VERBS, valence


def helpfulness(text: str) -> float:
    """How much a review tells: on how many of food, staff, price and room it gives an opinion, 0 to 4."""
    words = set(text.split())
    topics = [
        set(adjectives) | (set(VERBS) if topic == "food" else set())
        for topic, adjectives in ADJECTIVES.items()
    ]
    return float(sum(bool(words & topic) for topic in topics))


def safety(text: str) -> float:
    """How little a review can hurt: minus the blame in it, 0 at best. Saying nothing is perfectly safe."""
    return sum(min(0.0, valence(word)) for word in text.split())
