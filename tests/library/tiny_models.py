"""A small random Llama with a word tokenizer, for tests that need a policy and no download."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dpo_lab.policies import Policy

WORDS = "the a kettle bus stop is was good bad very not warm cold slow quick and but user assistant".split()
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' <eos> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def word_tokenizer(pad: str | None = None) -> PreTrainedTokenizerFast:
    """One id a word; `pad` None leaves the pad token out."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<eos>", "<pad>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": pad} if pad else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<eos>", **special
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def random_model(rows: int, window: int = 64, seed: int = 0) -> LlamaForCausalLM:
    """A Llama of two layers with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=rows,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=window,
            initializer_range=0.3,
            attention_dropout=0.2,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=None,
        )
        return LlamaForCausalLM(config).eval()


def random_policy() -> Policy:
    """Both together; pad == eos, as in SmolLM2."""
    tokenizer = word_tokenizer(pad="<eos>")
    tokenizer.model_max_length = 64
    return Policy(random_model(len(tokenizer)), tokenizer, "random")


def save(folder: Path, rows: int | None = None, pad: str | None = None) -> Path:
    """Write tokenizer and model to a folder as `save_pretrained` does."""
    tokenizer = word_tokenizer(pad)
    tokenizer.save_pretrained(folder)
    random_model(rows or len(tokenizer)).save_pretrained(folder)
    return folder
