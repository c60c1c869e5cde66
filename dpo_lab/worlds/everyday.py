"""Everyday reviews: SmolLM2 reviews a thing in one sentence, and VADER's lexicon says how kindly.

The true reward is VADER's compound score (Hutto & Gilbert 2014): valences of the words it knows, with rules for
negation and emphasis, squeezed into [-1, 1]. Anyone can recompute it, and it is easy to please in silly ways: both
are what a course on preference learning needs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dpo_lab.encoding import Messages

PAIRS_FOLDER = Path(__file__).parent.parent / "assets" / "pairs"
SAMPLES = PAIRS_FOLDER.parent / "samples" / "everyday.jsonl"
TRAIN_PAIRS = PAIRS_FOLDER / "everyday_train.jsonl"
HELDOUT_PAIRS = PAIRS_FOLDER / "everyday_heldout.jsonl"

_AT_HOME = """kettle, umbrella, toaster, doormat, alarm clock, bath towel, bookshelf, broom, candle, carpet,
ceiling fan, coat hanger, coffee mug, corkscrew, curtain, cushion, cutting board, desk lamp, dishwasher,
door handle, duvet, extension cord, floor tile, flower pot, folding chair, freezer, frying pan, garden hose,
garlic press, hair dryer, hammer, ironing board, jigsaw puzzle, kitchen scale, ladder, laundry basket, lawn
mower, light bulb, lunch box, mattress, microwave, mirror, mop, nail clipper, oven glove, paper towel,
picture frame, pillow, radiator, rocking chair, rubber duck, salt shaker, screwdriver, sewing machine, shoe
rack, shower head, sofa, soup ladle, spice jar, step stool, tape measure, tea pot, thermometer, tin opener,
toilet brush, toothbrush, tray, vacuum cleaner, vase, wardrobe, washing machine, watering can, wine glass,
wok"""

_CARRIED_AND_WORN = """backpack, ballpoint pen, bicycle helmet, camera, cap, compass, earphones, fountain
pen, glove, handbag, keyring, notebook, pair of boots, pair of jeans, pair of sandals, pair of scissors,
pair of sunglasses, phone charger, pocket knife, rain jacket, ring binder, scarf, sleeping bag, smartphone,
sock, stapler, suitcase, sweater, swimsuit, tent, thermos flask, tie, torch, wallet, water bottle,
wristwatch, yoga mat, zip fastener"""

_PLACES = """airport lounge, bakery, bank branch, barber shop, beach, bookshop, bowling alley, bus stop,
campsite, car park, car wash, cinema, city square, climbing wall, corner shop, dental clinic, escalator,
farmers market, ferry terminal, fire station, football stadium, golf course, greenhouse, gym, harbour,
hospital waiting room, hotel lobby, ice rink, laundrette, library, lift, museum, night club, office canteen,
park bench, petrol station, pharmacy, playground, post office, public toilet, railway platform, roundabout,
sauna, school hall, swimming pool, tennis court, theatre, toll booth, tunnel, underground station, vending
machine, waterfall, youth hostel, zoo"""

_EATEN_AND_DRUNK = """apple pie, bagel, banana, beef stew, bowl of cereal, box of chocolates, burger, carrot
cake, cheese sandwich, chicken curry, cup of coffee, doughnut, fish soup, fruit salad, glass of lemonade,
grilled sausage, ice cream cone, jar of honey, mushroom omelette, pancake, peanut butter, pickled onion,
pizza, plate of spaghetti, pot of yoghurt, roast potato, slice of melon, sushi roll, tomato ketchup,
vegetable lasagne"""

_TRAVEL_AND_PASTIME = """acoustic guitar, board game, canoe, card trick, chess set, commuter train,
crossword, dartboard, delivery van, drum kit, electric scooter, fishing rod, kite, mobile app, motorbike,
mystery novel, night bus, piano lesson, podcast, pottery course, radio, rowing boat, skateboard, ski lift,
snow sledge, taxi ride, television series, tricycle, video game, weather forecast"""


def _split_commas(text: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in text.split(","))


ITEMS: tuple[str, ...] = sum(
    map(_split_commas, (_AT_HOME, _CARRIED_AND_WORN, _PLACES, _EATEN_AND_DRUNK, _TRAVEL_AND_PASTIME)), ()
)


def split_items(held_out: int = 48, seed: int = 0) -> tuple[list[str], list[str]]:
    """Train items and `held_out` held-out items: a random split of ITEMS that is the same everywhere."""
    if not 0 < held_out < len(ITEMS):
        raise ValueError(f"held_out must lie between 1 and {len(ITEMS) - 1}, got {held_out}")
    shuffled = random.Random(seed).sample(ITEMS, len(ITEMS))
    return shuffled[held_out:], shuffled[:held_out]


TRAIN_ITEMS, HELDOUT_ITEMS = split_items()


def prompt_for(item: str) -> Messages:
    """The chat that asks for a review of `item` in one sentence."""
    return [{"role": "user", "content": f"Write a one-sentence review of this {item}."}]


def true_reward(text: str) -> float:
    """VADER's compound score of a review, in [-1, 1]: above zero kind, below zero unkind, zero no word it knows."""
    return _analyzer().polarity_scores(text)["compound"]


def true_rewards(texts: Sequence[str]) -> list[float]:
    """`true_reward` of each text."""
    return [true_reward(text) for text in texts]


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import (
        SentimentIntensityAnalyzer,
    )  # reads its lexicon: only when needed

    return SentimentIntensityAnalyzer()
