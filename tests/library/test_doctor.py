"""The run doctor, measured: the right first diagnosis of sick runs, silence on healthy ones, and each check alone.

Thresholds were set on seeds 0 to 4; the runs here have seeds 11 and 12 and pairs of their own. How each bug is told,
from the curves alone or by a look at models, pairs and config, stands in `doctor_runs`.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from doctor_runs import BUG_EXPECTED, FROM_CURVES, TEST_SEEDS, examine_all, lab, report, some_pairs, totals

from dpo_lab.bugs import BUGS
from dpo_lab.cli import main
from dpo_lab.diagnostics import Finding, alarms, check_setup, diagnose
from dpo_lab.diagnostics.catalogue import CATALOGUE
from dpo_lab.diagnostics.findings import ranked
from dpo_lab.diagnostics.reading import read_history
from dpo_lab.history import History
from dpo_lab.policies import Policy, frozen_reference

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every run with its first finding; printed with -s, and by pytest wherever a test on it fails."""
    return examine_all(TEST_SEEDS, tmp_path_factory.mktemp("doctor"), jobs=2)


@pytest.mark.slow
def test_the_first_finding_is_right_for_the_sick(table):
    print(f"\n{report(table)}")
    assert set(BUG_EXPECTED) == set(BUGS)
    assert totals(table)["runs"] >= 60
    assert totals(table)["sick, right first finding"] >= 0.95


@pytest.mark.slow
def test_no_alarm_on_the_healthy(table):
    print(f"\n{report(table[table['kind'] == 'healthy'])}")
    assert totals(table)["healthy"] >= 15
    assert totals(table)["healthy, false alarm"] <= 0.05


@pytest.mark.slow
def test_curves_alone_show_what_they_can(table):
    told = table[table["name"].isin(FROM_CURVES)]
    print(f"\n{told.to_string(index=False)}")
    assert (told["curves"] != "").mean() >= 0.95
    others = table[(table["kind"] == "bug") & ~table["name"].isin(FROM_CURVES)]
    assert (others["curves"] == "").mean() >= 0.95


# the log


def run(steps=16, **curves):
    """A history that learns soundly, but for the curves given as functions of the step."""
    sound = {
        "loss": lambda s: math.log(2) - 0.005 * (s - 1),
        "rewards/chosen": lambda s: 0.004 * (s - 1),
        "rewards/rejected": lambda s: -0.006 * (s - 1),
        "rewards/margins": lambda s: 0.01 * (s - 1),
        "rewards/accuracies": lambda s: 0.0 if s == 1 else 0.7,
        "logps/chosen": lambda s: -30.123 - 3 * math.sin(s),
        "logps/rejected": lambda s: -31.321 - 3 * math.cos(s),
        "grad_norm": lambda s: 1.1 + 0.3 * math.sin(s),
        "learning_rate": lambda s: 1e-5,
    }
    metrics = sound | curves
    return History([{"step": s, **{k: f(s) for k, f in metrics.items()}} for s in range(1, steps + 1)])


def names(findings):
    return [finding.name for finding in alarms(findings)]


def zero(step):
    return 0.0


STUCK = {
    "loss": lambda s: math.log(2),
    "rewards/chosen": zero,
    "rewards/rejected": zero,
    "rewards/margins": zero,
    "rewards/accuracies": zero,
}


def tiny_rewards(step):
    return 1e-7 * math.sin(step)


@pytest.mark.parametrize(
    ("curves", "first"),
    [
        ({}, None),
        ({**STUCK, "grad_norm": zero}, "beta_zero"),
        ({**STUCK, "rewards/chosen": tiny_rewards, "grad_norm": zero}, "no_gradient"),
        ({**STUCK, "rewards/chosen": tiny_rewards, "learning_rate": zero}, "learning_rate_zero"),
        ({**STUCK, "rewards/chosen": tiny_rewards}, "learning_rate_too_low"),
        (STUCK, "reference_moves"),
        ({"rewards/chosen": lambda s: 0.3, "rewards/rejected": lambda s: 0.2}, "reference_mismatch"),
        ({"rewards/chosen": lambda s: 0.3, "rewards/rejected": lambda s: -0.3}, "pair_swapped"),
        ({"rewards/margins": lambda s: -0.01 * (s - 1)}, "pair_swapped"),
        (
            {"rewards/margins": lambda s: -0.01 * (s - 1), "loss": lambda s: math.log(2) + 0.005 * (s - 1)},
            "accuracy_below_half",
        ),
        ({"loss": lambda s: math.nan if s > 5 else 0.69}, "not_finite"),
        (
            {"logps/chosen": lambda s: -30.5 - 20.3 * min(s - 1, 5), "loss": lambda s: 0.69 + 0.02 * s},
            "learning_rate_too_high",
        ),
        ({"loss": lambda s: 0.69314 + 0.3 * (s - 1)}, "diverging"),
        ({"grad_norm": lambda s: 1000.0 if s == 12 else 1.0}, "gradient_explodes"),
        ({"logps/chosen": lambda s: -1.25, "logps/rejected": lambda s: -1.3 - 0.01 * s}, "logps_clamped"),
        ({"logps/chosen": lambda s: -1.2 - 0.01 * s, "logps/rejected": lambda s: -1.3}, "logps_clamped"),
        (
            {"logps/chosen": lambda s: -0.9 - 0.01 * s, "logps/rejected": lambda s: -1 - 0.01 * s},
            "logps_averaged",
        ),
        ({"logps/chosen": lambda s: -30 - s / 16, "logps/rejected": lambda s: -31.25}, "logps_clamped"),
        ({"logps/chosen": lambda s: -30 - s / 16, "logps/rejected": lambda s: -31 - s / 32}, "low_precision"),
        ({"loss": lambda s: 0.69 / s**3, "rewards/margins": lambda s: 0.5 * (s - 1)}, "saturated"),
        ({"eval_loss": lambda s: 0.69 - 0.02 * s if s < 8 else 0.5 + 0.02 * s}, "overfitting"),
    ],
)
def test_a_curve_with_one_mark_gets_its_name(curves, first):
    found = names(diagnose(run(**curves)))
    assert (found[0] if found else None) == first


def test_a_long_run_without_signal_and_a_healthy_long_run():
    idle = {
        "rewards/accuracies": lambda s: 0.5,
        "loss": lambda s: math.log(2) + 0.002 * math.sin(s),
        "rewards/margins": lambda s: 0.002 - 0.004 * math.sin(s) if s > 1 else 0.0,
    }
    assert names(diagnose(run(steps=120, **idle))) == ["no_signal"]
    assert names(diagnose(run(steps=60))) == []


def test_displacement_is_a_note():
    falls = {"rewards/chosen": lambda s: -0.02 * (s - 1), "rewards/rejected": lambda s: -0.03 * (s - 1)}
    findings = diagnose(run(**falls))
    assert [(f.name, f.severity) for f in findings] == [("displacement", "note")]


def test_what_was_asked_for_decides_what_the_first_loss_should_be():
    assert names(diagnose(run(), config={"loss": "ipo", "beta": 0.1})) == ["loss_ignored"]
    ipo = run(loss=lambda s: 25 - 0.1 * (s - 1))
    assert names(diagnose(ipo, config={"loss": "ipo", "beta": 0.1})) == []
    assert [f.name for f in diagnose(ipo)] == ["other_loss_start"]


def test_findings_hold_all_that_a_reader_needs():
    finding = diagnose(run(**STUCK, grad_norm=zero))[0]
    assert finding.severity == "error" and "0.6931" in finding.evidence and finding.numbers["grad_norm"] == 0
    for entry in CATALOGUE.values():
        assert entry.cause.endswith(".") and entry.fix.endswith(".") and entry.lesson[:2].isdigit()


def test_ranking_is_by_severity_then_stage_then_order():
    def of(name, severity, stage):
        return Finding(name, severity, "", "", "", "", stage=stage)

    given = [
        of("d", "note", "setup"),
        of("c", "warning", "curves"),
        of("b", "error", "curves"),
        of("a", "error", "setup"),
        of("b", "error", "curves"),
    ]
    assert [finding.name for finding in ranked(given)] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="severity"):
        of("a", "fatal", "setup")


# TRL's log, as TRL 1.16 wrote it: 20 steps of the tiny policy


@pytest.mark.parametrize(
    ("folder", "first"),
    [("trl_healthy", None), ("trl_every_5", None), ("trl_rate_100x", "learning_rate_too_high")],
)
def test_trl_state_is_read_like_our_history(folder, first):
    for source in (DATA / folder, DATA / folder / "trainer_state.json"):
        found = names(diagnose(source))
        assert (found[0] if found else None) == first
    history = read_history(DATA / folder)
    assert history.steps("eval_loss") == [10, 20]
    assert len(history["loss"]) == (4 if folder == "trl_every_5" else 20)


def test_the_newest_checkpoint_of_a_trl_run_counts(tmp_path):
    for step, folder in ((9, "trl_rate_100x"), (20, "trl_healthy")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        text = (DATA / folder / "trainer_state.json").read_text()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    assert names(diagnose(tmp_path)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "no 'log_history'"),
        ('{"log_history": []}', "no record has a 'loss'"),
        ('{"log_history": [{"loss": 1}]}', "no 'step'"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, content, message):
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        diagnose(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds neither"):
        diagnose(tmp_path / "nowhere")


def test_the_command_prints_findings_and_says_by_its_status_if_there_is_an_alarm(tmp_path, capsys):
    run().save(tmp_path / "well" / "history.jsonl")
    run(**STUCK, grad_norm=zero).save(tmp_path / "sick" / "history.jsonl")
    assert main(["doctor", str(tmp_path / "well")]) == 0
    assert "No alarm" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "sick" / "history.jsonl")]) == 1
    printed = capsys.readouterr().out
    assert "beta_zero" in printed and "lesson 04_dpo_loss" in printed
    assert main(["doctor", str(tmp_path)]) == 1
    assert "holds neither" in capsys.readouterr().out.replace("\n", " ")


# before training


def test_a_sound_setup_has_no_finding():
    assert check_setup(lab().policy, lab().reference, some_pairs(11, 64)) == []


def test_models_that_do_not_fit_are_named():
    policy, rows = lab().policy, some_pairs(11, 16)
    assert names(check_setup(policy, policy, rows)) == ["reference_is_policy", "reference_trainable"]
    trainable = frozen_reference(policy)
    trainable.model.requires_grad_(True)
    assert names(check_setup(policy, trainable, rows)) == ["reference_trainable"]
    noisy = frozen_reference(policy)
    noisy.model.train()
    for layer in noisy.model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    assert names(check_setup(policy, noisy, rows)) == ["reference_dropout"]


def test_another_start_and_another_tokenizer(toy_policy):
    other = frozen_reference(lab().policy)
    other.model.model.norm.weight.data *= 0.8
    assert names(check_setup(lab().policy, other, some_pairs(11, 16))) == ["reference_not_start"]
    assert names(check_setup(lab().policy, toy_policy, None)) == [
        "different_tokenizer",
        "reference_trainable",
    ]


def test_a_random_reference_is_named(toy_policy, toy_pairs):
    assert names(check_setup(None, frozen_reference(toy_policy), toy_pairs)) == ["reference_untrained"]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"chosen": " "}, "empty_completion"),
        ({"chosen": "the soup was good .", "rejected": "the soup was good ."}, "identical_pair"),
        ({"chosen": "the soup was fresh . <eos> the soup was fresh ."}, "eos_inside_completion"),
    ],
)
def test_one_bad_pair_is_named_by_its_row(change, first):
    rows = some_pairs(11, 32)
    rows[5] = {**rows[5], **change}
    findings = alarms(check_setup(lab().policy, lab().reference, rows))
    assert [finding.name for finding in findings] == [first]
    assert findings[0].numbers["first_row"] == 5


def test_repeated_and_contradicting_pairs_count_from_a_share_on():
    rows = some_pairs(11, 32)
    reversed_rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:4]]
    assert names(check_setup(None, lab().reference, rows + rows[:4])) == ["duplicate_pairs"]
    assert names(check_setup(None, lab().reference, rows + reversed_rows)) == ["contradictory_pairs"]
    assert names(check_setup(None, lab().reference, some_pairs(11, 512))) == []


def test_a_limit_that_cuts_completions_is_an_error_and_one_that_cuts_prompts_a_note():
    rows = some_pairs(11, 32)
    found = check_setup(None, lab().reference, rows, max_length=12)
    assert names(found) == ["completion_truncated"]
    longest = max(len(row[side].split()) for row in rows for side in ("chosen", "rejected"))
    found = check_setup(None, lab().reference, rows, max_length=longest + 2)
    assert [(finding.name, finding.severity) for finding in found] == [("prompt_truncated", "note")]


def test_labels_that_the_reference_would_turn_round_are_a_note_only():
    from dpo_lab.diagnostics.static import labels_look_swapped

    assert labels_look_swapped(0.1, 64, -3.0).severity == "note"
    assert labels_look_swapped(0.4, 64, -3.0) is None


def test_without_a_config_the_trained_policy_tells_exchanged_columns():
    from doctor_runs import train

    rows = some_pairs(12, 64)
    exchanged = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    ran = train(12, exchanged, lr=1e-3)
    findings = diagnose(ran["history"], ran["policy"], ran["reference"], rows)
    assert names(findings)[0] == "trained_backwards"
    assert isinstance(ran["policy"], Policy)
