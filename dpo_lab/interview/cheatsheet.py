"""A cheat sheet on one A4 page, as HTML that needs nothing else: print it from a browser."""

from __future__ import annotations

import html
import math
from pathlib import Path

from dpo_lab.interview.bank import Bank, load_bank

MISCONCEPTIONS = (
    "what-beta-controls",
    "margin-grows-chosen-falls",
    "lengths",
    "numerical-stability",
    "not-learning",
    "main-advantage",
    "memory-7b",
    "ipo-against-dpo",
)
FORMULAS = (
    ("Bradley-Terry", "P(y_w ≻ y_l | x) = σ(r_w − r_l)"),
    ("RLHF's objective", "max E[r(x, y)] − β KL(π ‖ π_ref)"),
    ("its optimum", "π* = π_ref · exp(r/β) / Z(x)"),
    ("inverted", "r = β log(π*/π_ref) + β log Z(x);  Z cancels within a prompt"),
    ("log-prob", "log π(y|x) = Σ_t log π(y_t | x, y_<t), completion tokens with EOS, in float32"),
    ("gap", "δ = (log π − log π_ref)(y_w) − (log π − log π_ref)(y_l)"),
    ("DPO", "L = −log σ(βδ);  dL/dδ = −β σ(−βδ)"),
    ("IPO", "L = (δ − 1/(2τ))²"),
    ("cDPO", "L = −(1 − ε) log σ(βδ) − ε log σ(−βδ)"),
    ("KTO", "up: λ(1 − σ(β(ρ − z))), down: λ(1 − σ(β(z − ρ))), ρ = log π/π_ref"),
    ("KL on samples of π", "k1 = d, k3 = e^(−d) − 1 + d, d = log π/π_ref"),
)
SIGNS = (
    ("loss 0.6931 at step 1", "sound: ln 2, margins are 0"),
    ("not ln 2 at step 1", "another reference, dropout, other scoring"),
    ("stuck, gradient 0", "frozen, detached, β = 0, or equal sides"),
    ("stuck, gradient there", "reference shares weights, rate near 0, bf16 update lost"),
    ("rewards move, margin 0", "labels random or contradictory"),
    ("margin up, logps/chosen down", "displacement: NLL term, DPOP, filter near-identical pairs"),
    ("loss near 0, held-out up", "hard labels memorised: stop, smooth, raise β"),
    ("one text is common", "collapse: β too low or trained too long; raise β"),
    ("answers grow", "length leaning in the pairs: balance, R-DPO"),
    ("never ends", "EOS lost: mask by position, not by pad id"),
)
MEMORY = (
    ("policy weights, 16 bits", 2),
    ("gradients, 16 bits", 2),
    ("master weights, float32", 4),
    ("Adam's two moments", 8),
    ("frozen reference, 16 bits", 2),
)
STYLE = """
@page { size: A4; margin: 9mm }
* { box-sizing: border-box }
body { font: 8pt/1.27 system-ui, "DejaVu Sans", sans-serif; color: #111; background: #fff }
body { margin: 0 auto; max-width: 192mm }
h1 { font-size: 13pt; margin: 0 0 1mm }
h2 { font-size: 9pt; margin: 2mm 0 .6mm; border-bottom: .3mm solid #0072B2 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .35mm 1mm .35mm 0 }
tr + tr td { border-top: .1mm solid #ccc }
.k { white-space: nowrap; color: #333; width: 1% ; padding-right: 3mm }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 0 5mm }
p { margin: .8mm 0 }
"""


def optimum_rows() -> list[tuple[str, ...]]:
    """Optimal gaps in nats: DPO's logit(p)/β and IPO's (2p − 1)/(2τ), computed here."""
    rows = []
    for p in (0.6, 0.8, 0.95):
        logit = math.log(p / (1 - p))
        cells = [f"{logit / beta:.1f} / {(2 * p - 1) / (2 * beta):.1f}" for beta in (0.05, 0.1, 0.5)]
        rows.append((f"p = {p}", *cells))
    return rows


def table(rows: list[tuple[str, ...]] | tuple[tuple[str, ...], ...], head: tuple[str, ...] = ()) -> str:
    """Rows as a table; the first column does not wrap."""
    top = "<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join(
        f'<tr><td class="k">{html.escape(first)}</td>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table>{top}{body}</table>"


def cheatsheet_html(bank: Bank) -> str:
    """The whole page."""
    total = sum(each for _, each in MEMORY)
    memory = [(name, f"{each} bytes", f"{7 * each} GB") for name, each in MEMORY]
    memory.append(("together, before activations", f"{total} bytes", f"{7 * total} GB"))
    wrong = [(bank[each].wrong.answer, bank[each].wrong.why) for each in MISCONCEPTIONS]
    said = "".join(
        f"<tr><td style='width:36%'>{html.escape(answer)}</td><td>{html.escape(why)}</td></tr>"
        for answer, why in wrong
    )
    papers = {
        source.key: f"{source.title.split(',')[0]}: {source.arxiv}"
        for each in MISCONCEPTIONS
        for source in bank[each].sources
    }
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>DPO on one page</title><style>{STYLE}</style></head><body>
<h1>DPO on one page</h1>
<h2>Formulas</h2>{table(FORMULAS)}
<div class="two"><div><h2>Optimal gap δ* in nats, DPO / IPO</h2>
{table(optimum_rows(), ("", "β or τ = 0.05", "0.1", "0.5"))}
<p>Higher β stays closer: β → ∞ gives the reference, β → 0 the best completion alone. Label always the same (p = 1):
DPO's δ* is infinite at any β, IPO's is 1/(2τ). First gradient in δ: DPO −β/2, IPO −1/τ, so few SGD steps mislead.</p>
</div><div><h2>Memory, full training of 7 billion parameters</h2>{table(memory)}</div></div>
<h2>What the log says</h2>{table(SIGNS)}
<h2>Often said, and why it is wrong</h2><table>{said}</table>
<h2>Before you say "it worked"</h2>
<p>Criteria fixed beforehand · blind win rate against the reference, both orders, Wilson interval, number of comparisons
by power · KL on the policy's samples · length and variety · skills and safety against the reference
· accuracy by group · several seeds · “undecided” is a result.</p>
<h2>Papers (arXiv)</h2><p>{html.escape(" · ".join(papers.values()))}</p>
</body></html>
"""


def write_cheatsheet(path: str | Path) -> Path:
    """Write the page to `path`, making its folder; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(cheatsheet_html(load_bank()), encoding="utf-8")
    return path
