"""The cheat sheet: self-contained, built from the same facts."""

from __future__ import annotations

import html

from rich.console import Console

from dpo_lab.cli import build_parser
from dpo_lab.interview import load_bank
from dpo_lab.interview.cheatsheet import MEMORY, MISCONCEPTIONS, optimum_rows
from dpo_lab.interview.terminal import interview_command


def test_the_sheet_is_written_and_needs_nothing_else(tmp_path):
    path = tmp_path / "deep" / "sheet.html"
    options = build_parser().parse_args(["interview", "--cheatsheet", str(path)])
    assert interview_command(options, console=Console(quiet=True)) == 0
    text = path.read_text(encoding="utf-8")
    assert not any(mark in text for mark in ("<script", "<link", "http://", "https://", "url("))
    bank = load_bank()
    assert all(html.escape(bank[each].wrong.why) in text for each in MISCONCEPTIONS)


def test_its_numbers_are_those_of_the_bank():
    assert sum(each for _, each in MEMORY) == 18 and "126 GB" in load_bank()["memory-7b"].short
    assert optimum_rows()[1] == ("p = 0.8", "27.7 / 6.0", "13.9 / 3.0", "2.8 / 0.6")
