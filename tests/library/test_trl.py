"""TRL as an oracle: same log-probs, same loss, same first ten training losses. A development test: needs trl."""

from __future__ import annotations

import copy

import pytest
import torch
from datasets import Dataset

from dpo_lab.encoding import collate, encode_pair
from dpo_lab.logprobs import sequence_logprobs, token_logprobs
from dpo_lab.losses import dpo_loss
from dpo_lab.policies import frozen_reference, load_policy
from dpo_lab.preferences import load_pairs
from dpo_lab.trainer import DPOConfig, train_dpo

pytest.importorskip("trl", reason="trl is a development dependency")

SHIPPED = {"tiny": "review_train", "smollm2": "everyday_train"}


@pytest.fixture(scope="module", params=list(SHIPPED))
def policy_and_pairs(request):
    policy = load_policy(request.param, device="cpu", dtype=torch.float32)
    rows = list(load_pairs(SHIPPED[request.param]).select(range(80)))
    template = policy.tokenizer.apply_chat_template
    if not isinstance(rows[0]["prompt"], str):  # as text, so that TRL adds nothing of its own
        rows = [
            {
                "prompt": template(row["prompt"], tokenize=False, add_generation_prompt=True),
                "chosen": row["chosen"][0]["content"],
                "rejected": row["rejected"][0]["content"],
            }
            for row in rows
        ]
    return policy, [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]


@torch.no_grad()
def test_logprobs_and_loss_agree_on_32_ragged_pairs(policy_and_pairs):
    from trl.trainer.utils import selective_log_softmax

    policy, pairs = policy_and_pairs
    rows = [
        [encode_pair(policy.tokenizer, p["prompt"], p[key]) for p in pairs[:32]]
        for key in ("chosen", "rejected")
    ]
    batch = collate(*rows, pad_token_id=policy.tokenizer.pad_token_id)
    logits = policy.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    theirs = selective_log_softmax(logits[:, :-1], batch["input_ids"][:, 1:])
    ours = token_logprobs(logits, batch["input_ids"])
    scored = batch["completion_mask"][:, 1:]
    torch.testing.assert_close(ours[scored], theirs[scored], rtol=1e-5, atol=1e-6)
    summed = (theirs * scored).sum(-1)
    torch.testing.assert_close(
        sequence_logprobs(logits, batch["input_ids"], batch["completion_mask"]), summed
    )
    chosen, rejected = summed.chunk(2)
    reference = [0.9 * chosen, 1.1 * rejected]
    # TRL computes its sigmoid loss inside the trainer, in these words
    margin = (chosen - reference[0]) - (rejected - reference[1])
    their_loss = -torch.nn.functional.logsigmoid(0.1 * margin)
    torch.testing.assert_close(
        dpo_loss(chosen, rejected, *reference, beta=0.1)[0], their_loss, rtol=1e-5, atol=1e-6
    )


def test_first_ten_losses_agree_with_dpo_trainer(policy_and_pairs, tmp_path):
    from trl import DPOConfig as TRLConfig
    from trl import DPOTrainer

    policy, pairs = policy_and_pairs
    size = 2 if policy.name == "smollm2" else 8
    shared = {"beta": 0.1, "seed": 0}
    in_order = TRLConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=size,
        max_steps=10,
        learning_rate=1e-4,
        lr_scheduler_type="cosine",
        warmup_steps=1,
        logging_steps=1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        max_length=None,
        weight_decay=0.0,
        disable_dropout=True,
        **shared,
    )
    config = DPOConfig(lr=1e-4, batch_size=size, warmup_ratio=0.1, progress=False, **shared)
    from dpo_lab.loop import epoch_batches

    order = sum(epoch_batches(10 * size, 0, config), [])
    policy_for_trl = copy.deepcopy(policy.model)

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *args, **kwargs):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    trainer = InOrder(
        policy_for_trl,
        args=in_order,
        train_dataset=Dataset.from_list([pairs[i] for i in order]),
        processing_class=policy.tokenizer,
    )
    trainer.train()
    theirs = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    ours = train_dpo(policy, frozen_reference(policy), pairs[: 10 * size], config)["loss"]
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
