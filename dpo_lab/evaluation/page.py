"""The frame of a scorecard's HTML report: `{{name}}` marks what `report` fills in."""

from __future__ import annotations

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{title}}</title>
<style>
:root { --ink: #1d2126; --soft: #5b6470; --paper: #ffffff; --line: #d9dde2;
  --good: #00704f; --bad: #b0430a; --open: #7a5c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #d8dde3; --soft: #9aa4b0; --paper: #171a1e; --line: #3a4047;
    --good: #4cc79d; --bad: #f0935a; --open: #e0c060; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p.lead { margin: 0 0 1.5rem; color: var(--soft); }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .6rem .75rem .6rem 0; font-weight: normal;
  border-bottom: 1px solid var(--line); }
thead th { font-size: .85rem; color: var(--soft); }
tbody th { font-weight: 600; }
small { display: block; font-size: .85rem; font-weight: normal; color: var(--soft); }
.scores th:first-child { width: 30%; }
.scores .verdict { white-space: nowrap; width: 8.5rem; padding-right: 0; font-weight: 600; }
.pass { color: var(--good); } .fail { color: var(--bad); }
.undecided { color: var(--open); } .not-measured { color: var(--soft); }
.samples th { width: 20%; }
figure { margin: 1.25rem 0 2rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .35rem; color: var(--soft); font-size: .92rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>{{title}}</h1>
<p class="lead">{{summary}}. A criterion is passed or failed where its whole 95 % interval is on one side of the
target, and undecided where the interval holds it.</p>
<h2>Scorecard</h2>
<table class="scores">
<thead><tr>
<th scope="col">criterion and target</th><th scope="col">measured</th><th scope="col">verdict</th>
</tr></thead>
<tbody>
{{rows}}
</tbody>
</table>
<h2>Figures</h2>
{{figures}}
<h2>Read some</h2>
<p class="lead">Drawn at random, not picked.</p>
<table class="samples">
<thead><tr>
<th scope="col">prompt</th><th scope="col">reference</th><th scope="col">policy</th>
</tr></thead>
<tbody>
{{samples}}
</tbody>
</table>
<h2>How it was measured</h2>
<dl>
{{facts}}
</dl>
</main>
</body>
</html>
"""
