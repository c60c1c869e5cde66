"""`dpo-lab train`: a YAML file says everything, a slip in it is named before anything is loaded."""

from __future__ import annotations

import json

import pytest

from dpo_lab.cli import main
from dpo_lab.history import History
from dpo_lab.policies import load_policy
from dpo_lab.run_file import read_run_file

RUN = """
model: tiny
pairs: {pairs}
beta: 0.2
lr: 3e-4          # YAML reads this as text
epochs: 2
batch_size: 4
progress: false
output_dir: {out}
"""


@pytest.fixture
def run_file(tmp_path):
    """A run of 8 short pairs, 4 steps."""
    rows = [
        {"prompt": "service ", "chosen": f"the {good} .", "rejected": f"the {bad} ."}
        for good in ("staff", "food")
        for bad in ("bread", "room", "coffee", "view")
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "run.yaml"
    path.write_text(RUN.format(pairs=pairs, out=tmp_path / "out"))
    return path


def test_file_becomes_a_run(run_file):
    run = read_run_file(run_file)
    assert (run.model, run.eval_pairs, run.lora_rank) == ("tiny", None, None)
    assert (run.config.beta, run.config.lr, run.config.epochs) == (0.2, 3e-4, 2)
    assert isinstance(run.config.lr, float)
    assert read_run_file(run_file, resume=True).config.resume


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bta: 0.1", "there is no setting 'bta'; did you mean 'beta'?"),
        ("beta: 0.1", "beta stands there twice"),
        ("seed: yes", "seed must be of type int, got True"),
        ("seed: 1.5", "seed must be of type int, got 1.5"),
        ("max_grad_norm: much", "max_grad_norm must be a number, got 'much'"),
        ("loss: dpoo", "loss must be one of"),
        ("schedule: cosin", "schedule must be one of cosine, linear, constant_with_warmup, got 'cosin'"),
        ("lora_rank: 0", "lora_rank"),
        ("loss_options: 3", "loss_options must be of type"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_slips_are_named(run_file, line, message):
    run_file.write_text(run_file.read_text() + line + "\n")
    with pytest.raises(ValueError) as caught:
        read_run_file(run_file)
    assert message in str(caught.value)


def test_model_and_pairs_must_be_there(tmp_path):
    (tmp_path / "empty.yaml").write_text("beta: 0.1\n")
    with pytest.raises(ValueError, match="model and pairs must be set"):
        read_run_file(tmp_path / "empty.yaml")
    (tmp_path / "list.yaml").write_text("- beta\n")
    with pytest.raises(ValueError, match="name: value"):
        read_run_file(tmp_path / "list.yaml")


def test_command_trains_resumes_and_never_overwrites(run_file, tmp_path, capsys):
    assert main(["train", "--config", str(run_file)]) == 0
    assert "dpo-lab doctor" in capsys.readouterr().out
    history = History.load(tmp_path / "out" / "history.jsonl")
    assert len(history) == 4
    assert history["loss"][0] == pytest.approx(0.6931, abs=1e-4)
    assert load_policy(tmp_path / "out" / "policy").model.config.model_type == "llama"
    assert main(["train", "--config", str(run_file)]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", "--config", str(run_file), "--resume"]) == 0
    assert History.load(tmp_path / "out" / "history.jsonl") == history


def test_adapters_are_their_own_reference(run_file, tmp_path):
    run_file.write_text(run_file.read_text() + "lora_rank: 4\n")
    assert main(["train", "--config", str(run_file), "--output-dir", str(tmp_path / "lora")]) == 0
    history = History.load(tmp_path / "lora" / "history.jsonl")
    assert history["loss"][0] == pytest.approx(0.6931, abs=1e-4)
    assert history["loss"][-1] < history["loss"][0]
    assert (tmp_path / "lora" / "policy" / "adapter_config.json").is_file()
