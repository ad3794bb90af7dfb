"""The look of a report: one sheet of style for screen and paper, light and dark; figures take their colours from it."""

from __future__ import annotations

# What a figure is drawn with, and the variable of the sheet that stands there in the end.
COLOURS = {
    "ink": "#1b1f24",
    "soft": "#5b6470",
    "faint": "#a9b1ba",
    "line": "#dfe3e8",
    "page": "#fefefd",
    "experiment": "#0b63b0",
    "simulation": "#d8862b",
    "good": "#1a8754",
    "bad": "#c23b3b",
    "band": "#7fb2e0",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --faint: #a9b1ba; --line: #dfe3e8;
  --page: #fefefd; --panel: #f6f7f8; --experiment: #0b63b0; --simulation: #c9741a; --good: #1a8754;
  --bad: #c23b3b; --band: #7fb2e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3acb6; --faint: #6b7580;
  --line: #333a42; --page: #14171a; --panel: #1c2025; --experiment: #6db3f2; --simulation: #f0ab5c;
  --good: #5fc796; --bad: #f08080; --band: #3f78ab; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1060px; margin: 0 auto; padding: 48px 32px 96px; }
header p { color: var(--soft); margin: 4px 0 0; max-width: 70ch; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 6px; font-weight: 650; }
h2 { font-size: 20px; letter-spacing: -0.01em; margin: 64px 0 4px; padding-top: 20px; font-weight: 650;
  border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 28px 0 8px; font-weight: 600; }
p { max-width: 74ch; } .note { color: var(--soft); font-size: 14px; margin: 4px 0 16px; }
nav { margin: 24px 0 0; font-size: 14px; line-height: 2; } nav a { color: var(--soft);
  text-decoration: none; margin-right: 18px; } nav a:hover { color: var(--ink); text-decoration: underline; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; margin: 32px 0 0; }
.card { background: var(--panel); border-radius: 10px; padding: 16px 20px; }
.card .name { color: var(--soft); font-size: 13px; } .card .value { font-size: 27px; line-height: 1.25;
  font-weight: 600; letter-spacing: -0.01em; margin: 2px 0; overflow-wrap: anywhere; }
.card .value small { font-size: 15px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.card .more { color: var(--soft); font-size: 13.5px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 0 48px; }
figure { margin: 16px 0 0; overflow-x: auto; } figure svg { max-width: 100%; height: auto; display: block; }
figure svg text { font-family: inherit; } figcaption { color: var(--soft); font-size: 14px; max-width: 74ch;
  margin-top: 4px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 14px; margin: 12px 0; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--faint);
  padding: 6px 14px 6px 0; white-space: nowrap; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: 6px 14px 6px 0; vertical-align: top; overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; } tr:last-child td { border-bottom: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 24px; font-size: 14px; margin: 12px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { border-bottom: 1px solid var(--line); font-size: 14px; } details > :not(summary) { margin-left: 20px; }
summary { cursor: pointer; padding: 7px 0; display: list-item; } summary:hover { background: var(--panel); }
summary .who { display: inline-block; min-width: 11em; font-weight: 600; } summary .what { color: var(--soft); }
summary .read { float: right; margin-left: 20px; } .calm { color: var(--good); } .odd { color: var(--simulation); }
.alarm { color: var(--bad); } .experiment { color: var(--experiment); } .simulation { color: var(--simulation); }
pre { background: var(--panel); padding: 16px; border-radius: 8px; overflow-x: auto; font-size: 12.5px;
  line-height: 1.5; }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; } nav { display: none; }
  h2 { break-after: avoid; } figure, .card { break-inside: avoid; } body { font-size: 11pt; } }
@media (max-width: 640px) { main { padding: 24px 16px 64px; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; } summary .read { float: none; display: block; margin-left: 20px; } }
"""
