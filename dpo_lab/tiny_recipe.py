"""Rebuild the `tiny` policy and its preference pairs: `python -m dpo_lab.tiny_recipe` (two minutes on 2 idle cores).

The same seed gives the same weights on one machine and one version of torch; elsewhere they differ in the last digits.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dpo_lab.history import History
from dpo_lab.policies import TINY_FOLDER, Policy
from dpo_lab.trainer import SFTConfig, train_sft
from dpo_lab.worlds.review import PAIRS_FOLDER, review_pairs, sample_reviews, vocabulary

SPECIAL_TOKENS = ("<pad>", "<eos>", "<unk>")
WINDOW = 128
SFT_STEPS = 500
SFT = SFTConfig(lr=3e-3, batch_size=64, schedule="cosine", warmup_ratio=0.1, precision="fp32", progress=False)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, punctuation apart; pad and EOS are two different tokens here."""
    ids = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *vocabulary()))}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=WINDOW,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def untrained_policy(seed: int = 0) -> Policy:
    """A Llama of 3 layers and 128 dimensions, 0.6M parameters, with random weights."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return Policy(model, tokenizer, "tiny")


def fine_tune(policy: Policy) -> History:
    """SFT on reviews from the grammar, each seen once."""
    return train_sft(policy, sample_reviews(SFT_STEPS * SFT.batch_size), SFT)


def write_pairs(policy: Policy, folder: Path, train: int = 2048, heldout: int = 256) -> None:
    """Label on-policy pairs on the training items and on the held-out items, and write them as JSON Lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, n) in enumerate({"train": train, "heldout": heldout}.items()):
        made = review_pairs(policy, n, seed=seed, split=split)
        lines = [json.dumps(pair) for pair in made.pairs]
        (folder / f"review_{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{split}: {n} pairs, {made.identical} identical and {made.empty} empty draws dropped")


def main() -> None:
    """Train, save, label."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=Path, default=TINY_FOLDER, help="folder for the checkpoint")
    parser.add_argument("--pairs", type=Path, default=PAIRS_FOLDER, help="folder for the pairs")
    args = parser.parse_args()
    started = time.perf_counter()
    policy = untrained_policy()
    history = fine_tune(policy)
    print(f"SFT: loss {history['loss'][-1]:.3f} nats a token, {time.perf_counter() - started:.0f} s")
    policy.model.save_pretrained(args.tiny)
    policy.tokenizer.save_pretrained(args.tiny)
    write_pairs(policy, args.pairs)


if __name__ == "__main__":
    main()
