"""A random Llama and a word-level tokenizer: every shape of the real thing, none of its weight."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dpo_lab.policies import Policy

WORDS = [
    "<pad>",
    "<eos>",
    "<unk>",
    *"the soup was very good bad cold warm room staff and never again".split(),
]


@pytest.fixture
def toy_tokenizer():
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=64
    )


@pytest.fixture
def toy_policy(toy_tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
        model = LlamaForCausalLM(config)
    return Policy(model.eval(), toy_tokenizer, "toy")


@pytest.fixture
def toy_pairs():
    return [
        {"prompt": "the soup", "chosen": "was very good", "rejected": "was bad"},
        {"prompt": "the room", "chosen": "was warm and good", "rejected": "was very cold"},
        {"prompt": "the staff was", "chosen": "good", "rejected": "never good"},
        {"prompt": "the soup", "chosen": "was warm", "rejected": "was cold and bad and cold"},
        {"prompt": "the room was very", "chosen": "good", "rejected": "bad"},
    ]


@pytest.fixture(scope="session")
def smollm2_tokenizer():
    from transformers import AutoTokenizer

    from dpo_lab.download import smollm2_folder

    return AutoTokenizer.from_pretrained(smollm2_folder())
