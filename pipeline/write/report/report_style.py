"""The look of the report: one style sheet, light and dark, no fonts or files from elsewhere."""

from __future__ import annotations

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""No script, no connection, no frame; pictures only from inside the page."""

STYLE = """
:root { --ink: #1c2430; --soft: #5c6878; --line: #dde2ea; --paper: #f6f7f9; --card: #ffffff; --found: #1d8a4a; --empty: #6b7f99;
  --failed: #c62f30; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa6b6; --line: #323b47; --paper: #14181e; --card: #1d232b;
  --found: #46c37b; --empty: #9db0c8; --failed: #ff6b6b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 24px 80px; }
h2 { margin: 44px 0 14px; font-size: 21px; font-weight: 650; letter-spacing: -.01em; }
h3 { margin: 26px 0 10px; font-size: 15px; font-weight: 600; color: var(--soft); }
p { margin: 0 0 6px; }
.kicker { color: var(--soft); font-size: 13px; }
.queries { list-style: none; margin: 8px 0 20px; padding: 0; }
.queries li { font-size: 25px; line-height: 1.3; font-weight: 650; letter-spacing: -.015em; overflow-wrap: anywhere; }
.queries b { margin-left: 12px; font-weight: 500; color: var(--soft); font-variant-numeric: tabular-nums; }
i { display: inline-block; width: .62em; height: .62em; border-radius: 50%; margin-right: .45em; vertical-align: .04em; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; }
.card { min-width: 128px; padding: 12px 18px; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.card b { display: block; font-size: 25px; font-weight: 650; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.card.found b { color: var(--found); } .card.failed b { color: var(--failed); } .card.empty b { color: var(--empty); }
.warning { margin-top: 14px; padding: 10px 14px; border-left: 4px solid #e0a100; background: var(--card); border-radius: 6px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr)); gap: 20px; align-items: start; }
figure { margin: 0; padding: 12px; background: var(--card); border: 1px solid var(--line); border-radius: 14px; }
figure img, figure svg { display: block; width: 100%; height: auto; border-radius: 8px; }
figcaption { margin-top: 10px; color: var(--soft); font-size: 13px; }
.legend { display: inline; } .legend span { margin-left: 14px; white-space: nowrap; }
.chips { display: grid; grid-template-columns: repeat(auto-fill, minmax(196px, 1fr)); gap: 16px; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; padding-bottom: 10px; }
article img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #10141a; }
article p { margin: 8px 12px 0; } .name { font-weight: 600; overflow-wrap: anywhere; }
.marks { color: var(--soft); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.why { font-size: 12.5px; line-height: 1.45; color: var(--soft); overflow-wrap: anywhere; max-height: 9.2em; overflow-y: auto; }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--line); border-radius: 10px; font-size: 14px; }
th, td { padding: 7px 14px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 550; font-size: 12.5px; } tr:last-child td { border-bottom: 0; }
.num { text-align: right; font-variant-numeric: tabular-nums; }
.status { font-weight: 600; }
.status.found { color: var(--found); } .status.failed { color: var(--failed); } .status.empty { color: var(--empty); }
.facts { width: 100%; } .facts thead { display: none; } .facts td:first-child { width: 190px; color: var(--soft); }
.facts ul { margin: 0; padding-left: 1.1em; } code, pre { font: 12.5px/1.5 ui-monospace, "SF Mono", Consolas, monospace; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
pre { padding: 14px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg .axis { font-size: 12px; } svg .rule { stroke: var(--line); }
"""  # noqa: E501 - a line of CSS is not shorter for being broken
"""Widths adapt to the window; colours to the reader's light or dark preference."""
