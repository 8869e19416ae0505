"""How the HTML report looks: one style sheet, light and dark, wide and narrow, on screen and on paper."""

COLOURS = 8
"""Told apart by people who see fewer colours, and never by colour alone: shapes and words go with them."""

_LIGHT = """
  --page: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --dim: #59636e; --line: #d5dae0; --grid: #e6e9ed;
  --bad: #b3261e; --good: #17663a; --accent: #1f5fbf;
  --c0: #1f66c7; --c1: #c4590a; --c2: #0b7a5c; --c3: #a63a8e; --c4: #7a6200; --c5: #5f49cc; --c6: #b32d2d;
  --c7: #2f7187;
"""
_DARK = """
  --page: #14171b; --panel: #1c2026; --ink: #e7eaee; --dim: #9da7b3; --line: #363d47; --grid: #2a3038;
  --bad: #ff8a80; --good: #63d297; --accent: #7db2ff;
  --c0: #6fa8ff; --c1: #ff9d4f; --c2: #3fcaa3; --c3: #e68ad3; --c4: #d8b93f; --c5: #a999ff; --c6: #ff7f7f;
  --c7: #76c1da;
"""
_SCHEMES = f"""
:root {{
  color-scheme: light dark;{_LIGHT}}}
@media (prefers-color-scheme: dark) {{ :root {{{_DARK}}} }}
"""
_MAP = """svg text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .dim { fill: var(--dim); }
svg .name { font-weight: 600; }
svg .halo { stroke: var(--page); stroke-width: 4px; paint-order: stroke; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--dim); }
svg .leader { stroke: var(--dim); stroke-width: .7; }
svg .front { stroke: var(--dim); stroke-dasharray: 5 4; fill: none; }
svg .bar { stroke: var(--c); stroke-width: 2; }
svg .mark { fill: var(--c); stroke: var(--page); stroke-width: 1.5; }
"""
_COLOURS = "".join(f".c{number} {{ --c: var(--c{number}); }}\n" for number in range(COLOURS))

STYLE = (
    _SCHEMES
    + """* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 24px 20px 64px; max-width: 1120px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.6rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 20px 0 6px; }
p, ul.lines { margin: 6px 0; color: var(--dim); max-width: 90ch; }
ul.lines { padding-left: 18px; }
ul.lines li { margin: 3px 0; overflow-wrap: anywhere; }
ul.verdicts li { color: var(--ink); }
nav { margin: 12px 0 0; font-size: .9rem; }
nav a { display: inline-block; margin-right: 16px; }
a { color: var(--accent); }
.notes { border-left: 4px solid var(--bad); padding: 6px 12px; margin: 14px 0; background: var(--panel); }
.notes p { color: var(--ink); margin: 2px 0; }
.wide { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--dim); font-size: .82rem; padding: 0 0 6px; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--dim); border-bottom: 2px solid var(--line); white-space: nowrap; }
td.num, th.num { text-align: right; white-space: nowrap; }
td.text { overflow-wrap: anywhere; min-width: 14ch; }
td.bare { white-space: nowrap; }
tbody th { white-space: nowrap; }
td .cell { display: block; min-width: 128px; }
td .small, .small { color: var(--dim); font-size: .8rem; }
.whole { white-space: nowrap; }
figure { margin: 14px 0; }
figcaption { color: var(--dim); font-size: .85rem; max-width: 90ch; }
svg { display: block; }
svg.fits { max-width: 100%; min-width: 360px; height: auto; }
"""
    + _MAP
    + """svg .busy { fill: var(--c); }
svg .waits { fill: url(#hatch); stroke: var(--dim); stroke-width: .7; }
svg .failed { fill: none; stroke: var(--bad); stroke-width: 2; }
svg .span { fill: var(--c); opacity: .35; }
.figures { display: grid; gap: 0 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); }
details { border: 1px solid var(--line); border-radius: 6px; margin: 8px 0; background: var(--panel); }
summary { cursor: pointer; padding: 8px 12px; overflow-wrap: anywhere; }
summary .name { font-weight: 600; margin-right: 6px; }
details .inside { padding: 4px 14px 12px; }
.tree, .tree ul { list-style: none; margin: 0; padding-left: 18px; border-left: 1px solid var(--line); }
.tree { border-left: 0; padding-left: 0; }
.tree li { margin: 6px 0; overflow-wrap: anywhere; }
.role { display: inline-block; font-size: .78rem; padding: 0 7px; border: 1px solid var(--c, var(--line));
  border-radius: 9px; margin-right: 6px; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 5px; background: var(--c);
  margin-right: 6px; }
.bad { color: var(--bad); }
.good { color: var(--good); }
@media (max-width: 560px) { body { padding: 16px 12px 48px; font-size: 14px; } th, td { padding: 4px 7px; } }
@media print { details { break-inside: avoid; } nav { display: none; } body { max-width: none; } }
"""
    + _COLOURS
)

SVG_STYLE = f"{_SCHEMES}{_MAP}.page {{ fill: var(--page); }}\n{_COLOURS}"
"""Of a map that is a file of its own."""
