# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · The interview
#
# **Can you say it, write it and design it, with the clock running?**
#
# After this lesson you can
#
# * answer the usual questions about DPO in 30 seconds and in two minutes, and say why the common answer is wrong;
# * write the loss, the log-probs and a training step from a blank cell, and have them graded;
# * sit a mock interview of 45 minutes, and read from its report which lessons to revisit.
#
# There is nothing new to learn here. The lessons before this one hold every proof; this one makes you fluent.

# %%
import pandas as pd
from IPython.display import Markdown, display

from dpo_lab.course import check
from dpo_lab.interview import load_bank
from dpo_lab.interview.mock import draw_mock
from dpo_lab.interview.tasks import load_tasks
from dpo_lab.widgets import flashcards, mock_interview

# %% [markdown]
# ## 1 · The bank
#
# Each question has a level, a short and a long answer, what may be asked next, and **what is often said instead**. That last part matters most: several answers that circulate on the web are wrong, and an interviewer who knows the field asks just there. Each question names the lesson and the section that show the answer.

# %%
bank = load_bank()
table = pd.DataFrame([{"topic": each.topic, "level": each.level} for each in bank.questions])
pd.crosstab(table["topic"], table["level"], margins=True, margins_name="all")

# %% [markdown]
# **Predict.** What does β control, and which way? Say it aloud before you run the next cell.

# %%
question = bank["what-beta-controls"]
parts = {
    "Asked": question.question,
    "Often said": question.wrong.answer,
    "But": question.wrong.why,
    "Shown in": f"{question.proof.lesson} · {question.proof.heading}",
}
display(Markdown("\n\n".join(f"**{name}:** {text}" for name, text in parts.items())))

# %% [markdown]
# ## 2 · Flashcards
#
# Say your answer **aloud**, then reveal. You knew it only if you had the point of the short answer *and* would not have fallen for the common wrong one. There are five boxes: a card that you knew moves up, one that you did not know goes back to the first. Box 1 is asked again after one day, then after 2, 4, 8 and 16.
#
# Your progress is a file of your own; the last line tells where. It is written at every answer and survives updates of the course. In the terminal: `dpo-lab interview`, with `--level`, `--topic`, `--due` and `--list`.

# %%
deck = flashcards(bank.select(level="phone screen"), count=10)

# %% [markdown]
# ## 3 · From a blank cell
#
# In an interview nobody hands you a stub. These tasks have a time, and most have an exercise of an earlier lesson behind them, so `check` grades them here as well.

# %%
tasks = load_tasks()
pd.DataFrame(
    [
        {"task": t.id, "level": t.level, "minutes": t.minutes, "graded by": t.exercise or "its rubric"}
        for t in tasks
    ]
)

# %% [markdown]
# Take the classic. Read the task, set a clock, write the function in a **new cell** under its own name, then `dpo_loss = check(dpo_loss)` in the next. The check names the mistake if it knows it.

# %%
task = next(each for each in tasks if each.id == "code-dpo-loss")
display(Markdown(f"{task.minutes} minutes. {task.task}"))

# %% [markdown]
# When you are done, the rubric asks for what a check can't see: what you *said* while you wrote.

# %%
display(Markdown("\n".join(f"- ☐ {line}" for line in task.rubric)))

# %% [markdown]
# ## 4 · System design
#
# There is no right answer, but there are points that a good one touches. Talk for the given time, or write a page; only then look at the rubric, and grade yourself without mercy.

# %%
design = next(each for each in tasks if each.id == "design-production")
display(Markdown(f"{design.minutes} minutes. {design.task}"))

# %%
display(Markdown("\n".join(f"- ☐ {line}" for line in design.rubric)))

# %% [markdown]
# ## 5 · A mock interview
#
# A seed draws the interview: easy questions, a coding task, harder questions, a design prompt. This is what seed 1 holds.

# %%
pd.DataFrame(
    [
        {"minutes": item.minutes, "kind": item.kind, "level": item.content.level, "id": item.content.id}
        for item in draw_mock(bank, tasks, seed=1)
    ]
)

# %% [markdown]
# The clock starts when you run the next cell. Take a seed that you have not looked at. What was begun in time may be finished; after that the report says what to revisit, what was slow and what you did not reach. In the terminal: `dpo-lab interview --mock --seed 2`.

# %%
interview = mock_interview(seed=2)

# %% [markdown]
# ## 6 · One page
#
# `dpo-lab interview --cheatsheet sheet.html` writes a sheet of one A4 page, formulas, optima, memory, what a log says and the common errors. Print it from the browser. Read it the evening before, and leave it at home.
#
# ## Recap
#
# * Say the short answer first, then offer the long one.
# * Know the wrong answers: on β, on length, on the clamp, on memory, on "a single forward pass".
# * Formulas come with their assumptions. Numbers come with their source, or with "I measured it".
# * If you don't know, say how you would find out. That is what the course was about.
