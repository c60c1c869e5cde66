"""What `check` shows and returns, in plain Python."""

from __future__ import annotations

import linecache
import statistics
import time

import pytest
import torch

from dpo_lab.course.checks import check, examine
from dpo_lab.course.layout import Course

HEAD = "def scaled_gap(high, low, scale=1.0):\n    if scale == 0:\n        raise ValueError('scale is 0')\n"


def defined(source: str, name: str = "scaled_gap"):
    """The function that a notebook cell with this source would define."""
    filename = f"01_gap.ipynb[{hash(source)}]"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace = {"torch": torch}
    exec(compile(source, filename, "exec"), namespace)
    return namespace[name]


def report_on(course: Course, body: str):
    return examine(course, defined(HEAD + f"    {body}\n"))


def test_a_right_answer_is_handed_on(mini):
    own = defined(HEAD + "    return high * scale - low * scale\n")
    report, result = examine(mini, own)
    assert result is own
    assert (report.status, report.earned, report.passed_tests) == ("passed", 3, 3)
    assert "✓ scaled_gap   3 of 3 points" in report.text()
    assert "your own version" in report.text()


def test_a_known_mistake_names_itself_and_the_finished_version_goes_on(mini):
    report, result = report_on(mini, "return scale * low - scale * high")
    assert (report.status, report.mistake, report.earned) == ("wrong", "order swapped", 0)
    assert report.hint == "Which one is the high one?"
    assert result.__module__ == "minicourse.gaps"
    text = report.text()
    assert "high (6,), low (6,), scale=2.5" in text
    assert "expected: [" in text and "yours:    [" in text and "finished version" in text


def test_of_a_dict_the_key_that_differs_is_told_beside_the_mistake(mini):
    mean = "(high - low).mean().item()"
    own = f"def gap_report(high, low):\n    return {{'mean': {mean}, 'positive': 100.0}}\n"
    report, _ = examine(mini, defined(own, "gap_report"))
    assert report.mistake == "percent"
    assert report.headline == "Your result ('positive') is what one gets with this mistake: percent."
    assert report.yours == "100"


def test_of_two_mistakes_that_agree_on_a_test_the_one_that_fits_the_others_is_named(mini):
    """With a scale of 1 in the first test, `order swapped` and `scale forgotten, order swapped` can't be told apart."""
    path = mini.autograders / "test_01_gap.py"
    path.write_text(path.read_text().replace("2.5", "1.0"))
    table = mini.autograders / "mistakes_01_gap.py"
    both = 'Mistake("both", "Two things.", lambda high, low, scale=1.0: swapped(high, low, 1.0 if scale else 0)),'
    table.write_text(table.read_text().replace('Mistake("averaged"', both + ' Mistake("averaged"'))
    assert report_on(mini, "return low - high")[0].mistake == "both"
    assert report_on(mini, "return scale * (low - high)")[0].mistake == "order swapped"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return (scale * (high - low))[:, None]", "wrong shape: expected (6,), yours is (6, 1)"),
        ("return 7 * scale * (high - low)", "the expected one times 7"),
        ("return scale * (high - low) + 2.5", "the expected one plus 2.5"),
        ("return (scale * (high - low)) * float('nan')", "6 of 6 values are NaN"),
        ("return (scale * (high - low)).tolist()", "expected a tensor, yours is a list of 6"),
        ("return (scale * (high - low)).numpy()", "expected a tensor, yours is a NumPy array"),
        (
            "return (scale * (high - low)).long()",
            "wrong dtype: expected floating point, yours is torch.int64",
        ),
        ("return (scale * (high - low)).flip(0)", "the right numbers in another order"),
        ("return (scale * (high - low)).half()", "close, but not exact"),
        ("scale * (high - low)", "is a `return` missing?"),
        ("return (scale * (high - low)).detach()", "no gradient arrives"),
    ],
)
def test_an_unknown_mistake_is_described_in_neutral_words(mini, body, words):
    report, _ = report_on(mini, body)
    assert report.status == "wrong" and report.mistake is None
    assert words.lower() in report.headline.lower()


def test_an_exception_shows_the_learners_line_and_no_frame_of_ours(mini):
    report, _ = report_on(mini, "return scale * (high - lwo)")
    assert report.status == "error"
    assert "NameError: name 'lwo' is not defined" in report.headline
    assert "in your line 4: `return scale * (high - lwo)`" in report.headline
    assert "Traceback" not in report.text() and "observing.py" not in report.text()


def test_ending_the_process_is_only_an_error(mini):
    assert report_on(mini, "raise SystemExit(3)")[0].status == "error"


def test_a_missing_exception_is_told(mini):
    own = defined("def scaled_gap(high, low, scale=1.0):\n    return (high - low) * scale\n")
    report, _ = examine(mini, own)
    assert report.mistake == "zero allowed" and report.passed_tests == 2


def test_changing_an_input_is_a_mistake_although_the_result_is_right(mini):
    report, _ = report_on(mini, "high -= low; return high * scale")
    assert report.mistake == "changes its input"


def test_what_was_printed_is_shown(mini):
    assert "printed:  hello" in report_on(mini, "print('hello'); return low")[0].text()


def test_a_stub_is_not_written_yet(mini):
    own = defined("def scaled_gap(high, low, scale=1.0):\n    raise NotImplementedError('write me')\n")
    report, result = examine(mini, own)
    assert report.status == "not written" and "not written yet" in report.text()
    assert result.__module__ == "minicourse.gaps"


def test_an_operation_that_torch_lacks_is_an_error_of_written_code(mini):
    report, _ = report_on(mini, "return scale * (high - low) * (high > 0 & low)")
    assert report.status == "error" and "not implemented for 'Float'" in report.headline
    assert "in your line 4: `return scale" in report.headline


@pytest.mark.parametrize("body", ["raise NotImplementedError", "raise NotImplementedError('write me')"])
def test_a_stub_is_known_by_its_words(mini, body):
    assert report_on(mini, body)[0].status == "not written"


@pytest.mark.parametrize("thing", [None, "scaled_gap", 3, lambda high: high, len, torch.ones(2)])
def test_what_is_no_exercise_function_gets_kind_words_and_the_finished_one(mini, thing):
    report, result = examine(mini, thing, ("scaled_gap",))
    assert report.status == "not written" and report.headline
    assert result.__module__ == "minicourse.gaps"


def test_an_unknown_name_is_handed_back(mini):
    def unknown():
        """Nothing."""

    report, result = examine(mini, unknown)
    assert result is unknown and "no exercise `unknown`" in report.headline


def test_the_finished_version_earns_nothing(mini):
    from minicourse.gaps import scaled_gap

    report, _ = examine(mini, scaled_gap)
    assert report.earned == 0 and "finished version" in report.headline


def test_without_autograders_the_learner_reads_on(tmp_path, mini):
    own = defined(HEAD + "    return low\n")
    report, result = examine(Course(mini.package, tmp_path / "elsewhere"), own)
    assert result is own and "no autograders in" in report.headline


def test_a_broken_test_is_not_the_learners_fault(mini):
    path = mini.autograders / "test_01_gap.py"
    path.write_text(path.read_text().replace("high, low, *_ = fresh.logps()", "high, low = fresh.nothing()"))
    report, result = report_on(mini, "return low")
    assert report.status == "broken" and "not your fault" in report.headline
    assert result.__module__ == "minicourse.gaps"


def test_an_interrupt_ends_the_check_and_not_the_notebook(mini):
    report, result = report_on(mini, "raise KeyboardInterrupt")
    assert "interrupted" in report.headline and result.__module__ == "minicourse.gaps"


def test_html_is_escaped_and_labelled(mini):
    page = report_on(mini, "raise TypeError('<b>')")[0]._repr_html_()
    assert "&lt;b&gt;" in page and "TypeError: <b>" not in page
    assert 'role="status"' in page and "var(--jp-" in page


def test_plain_python_prints(capsys):
    def no_such_exercise():
        """Nothing."""

    assert check(no_such_exercise) is no_such_exercise
    assert "no exercise no_such_exercise" in capsys.readouterr().out


def test_the_learners_settings_are_put_back(mini):
    report_on(mini, "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); return low")
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_a_check_takes_less_than_a_second(mini):
    own = defined(HEAD + "    return high * scale - low * scale\n")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        examine(mini, own)
        seconds.append(time.perf_counter() - started)
    assert statistics.median(seconds) < 1
