"""Policies: a causal language model with its tokenizer, loaded by name; frozen reference; LoRA."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lab.checks import check_positive
from dpo_lab.download import smollm2_folder
from dpo_lab.quiet import quiet_transformers

TINY_FOLDER = Path(__file__).parent / "assets" / "tiny"
POSSIBLE_NAMES = "'tiny', 'smollm2', a folder that holds a model, or a hub id such as 'owner/model'"


@dataclass
class Policy:
    """π(y|x): a causal language model and the tokenizer whose ids it reads."""

    model: Any
    tokenizer: Any
    name: str

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer as `load_policy` and plain transformers read them."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def load_policy(
    name_or_path: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> Policy:
    """Load a policy in eval mode, all parameters trainable.

    A tokenizer without a pad token gets its EOS as pad: completions are masked by position, never by id, so a
    padding position can't be mistaken for an end.

    Args:
        name_or_path: 'tiny', 'smollm2', a folder, or a hub id.
        device: None takes CUDA where there is one, else MPS, else the CPU.
        dtype: of the weights. None takes bfloat16 on a GPU that computes in it, else float32.

    Returns:
        The policy. `tokenizer.model_max_length` never exceeds the model's window.

    Raises:
        ValueError: the name is none of these, weights are missing, or tokenizer and model don't fit.
        FileNotFoundError: the tiny checkpoint is not there.
        ConnectionError: the model is not on this machine and can't be fetched.
    """
    source = locate(name_or_path)
    device = torch.device(device) if device is not None else best_device()
    dtype = dtype if dtype is not None else best_dtype(device)
    with quiet_transformers(bars=not Path(source).is_dir()):  # a download may show its progress
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
            model, info = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, output_loading_info=True)
        except OSError as error:
            if Path(source).is_dir():
                raise ValueError(f"{source} holds no complete model with tokenizer: {error}") from error
            raise ConnectionError(f"could not load {source!r} from the hub: {error}") from error
    if info["missing_keys"]:
        raise ValueError(f"{source} lacks weights the model needs: {sorted(info['missing_keys'])[:5]}")
    fit_tokenizer(tokenizer, model, name=str(name_or_path))
    return Policy(model.to(device).eval(), tokenizer, str(name_or_path))


def frozen_reference(policy: Policy) -> Policy:
    """π_ref: a copy of the policy as it is now, in eval mode (no dropout), which no gradient reaches.

    A copy, not a second name: training the policy must not move the reference.

    Args:
        policy: left as it is.

    Returns:
        The copy, on the same device and in the same dtype. The tokenizer is shared.
    """
    model = copy.deepcopy(policy.model).eval().requires_grad_(False)
    return Policy(model, policy.tokenizer, f"{policy.name} (reference)")


def check_same_tokenizer(policy: Policy, reference: Policy) -> None:
    """Raise ValueError unless both read text as the same ids: else their log-probs are of different sequences."""
    ours, theirs = policy.tokenizer, reference.tokenizer
    if ours is theirs:
        return
    if ours.get_vocab() != theirs.get_vocab():
        raise ValueError(
            f"policy {policy.name!r} and reference {reference.name!r} have different tokenizers ({len(ours)} and "
            f"{len(theirs)} tokens): DPO compares log-probs of the same ids. Use frozen_reference(policy)"
        )
    for part in ("eos_token", "bos_token", "chat_template"):
        if getattr(ours, part) != getattr(theirs, part):
            raise ValueError(
                f"the tokenizers of policy {policy.name!r} and reference {reference.name!r} differ in {part}: "
                f"{getattr(ours, part)!r} and {getattr(theirs, part)!r}. Use frozen_reference(policy)"
            )


def with_lora(policy: Policy, rank: int = 8, alpha: float | None = None, seed: int = 0) -> Policy:
    """The policy with LoRA adapters on every linear layer but the head; only they train (Hu et al. 2021).

    The adapters start as zero, so the policy is unchanged at first. PEFT wraps the given model's layers in place: make
    the reference before, or go on with the returned policy alone.

    Args:
        policy: its weights are frozen.
        rank: of each update ΔW = (alpha / rank)·B·A.
        alpha: None takes 2·rank.
        seed: of A's random start; the global random state stays as it was.

    Returns:
        The policy with adapters, no dropout.
    """
    from peft import LoraConfig, get_peft_model

    check_positive(rank=rank, alpha=2 * rank if alpha is None else alpha)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # between PEFT and transformers; nothing a caller can mend
        torch.manual_seed(seed)
        model = get_peft_model(policy.model, config).eval()
    return Policy(model, policy.tokenizer, f"{policy.name} + LoRA {rank}")


def locate(name_or_path: str | Path) -> str:
    """Folder or hub id that a name stands for."""
    name = str(name_or_path)
    if name == "tiny":
        if not (TINY_FOLDER / "config.json").exists():
            raise FileNotFoundError(
                f"the tiny checkpoint is not in {TINY_FOLDER}: reinstall the package, or rebuild it"
            )
        return str(TINY_FOLDER)
    if name == "smollm2":
        return str(smollm2_folder())
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ValueError(f"folder {folder} holds no model: it has no config.json")
        return str(folder)
    is_hub_id = name.count("/") == 1 and all(name.split("/")) and name[0] not in ".~/"
    if not is_hub_id:
        raise ValueError(f"unknown policy {name!r}: give {POSSIBLE_NAMES}")
    return name


def best_device() -> torch.device:
    """CUDA where there is one, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that computes in it, else float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if device.type == "mps" and torch.backends.mps.is_macos_or_newer(14, 0):
        return torch.bfloat16
    return torch.float32


def fit_tokenizer(tokenizer: Any, model: Any, name: str) -> None:
    """Give the tokenizer a pad token and the model's window; ValueError where its ids exceed the embedding."""
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ValueError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model's embedding only {rows} rows: "
            "they don't belong together, or the embedding was not resized after tokens were added"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{name}: the tokenizer has no EOS token, and a completion must end in one; set eos_token"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    window = getattr(model.config, "max_position_embeddings", None)
    if window is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, window)
