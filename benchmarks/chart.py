"""A chart of ratios: horizontal bars, one panel a table, as SVG for a light and a dark page."""

from __future__ import annotations

from html import escape

from benchmarks.results import Table

WIDTH, NAMES_PX, FIGURES_PX, ROW_PX = 760, 250, 60, 24
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.note { fill: #59636e; font-size: 11px }
.ours { font-weight: 600 }
rect { fill: #8c959f }
rect.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  rect { fill: #6e7681 }
  rect.ours { fill: #4493f8 }
}
"""


def draw(tables: list[Table], note: str) -> str:
    """Return an SVG with a panel for each table, of the column that it names in `chart`."""
    lines: list[str] = []
    y = 0
    for table in tables:
        y += 28
        lines.append(_text(0, y, f"{table.title}: {table.chart.replace('/', 'times')}", "title"))
        y += 10
        ratios = {name: float(row[table.chart]) for name, row in table.rows.items()}
        for name, ratio in sorted(ratios.items(), key=lambda each: each[1]):
            lines += _bar(y, name, ratio, ratio / max(ratios.values()))
            y += ROW_PX
        y += 6
    y += 18
    lines.append(_text(0, y, note, "note"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" '
    size = f'width="{WIDTH}" height="{y + 8}" role="img">'
    title = f"<title>{escape('; '.join(table.title for table in tables))}</title>"
    return "\n".join([head + size, title, f"<style>{STYLE}</style>", *lines, "</svg>"]) + "\n"


def _bar(y: int, name: str, ratio: float, share: float) -> list[str]:
    """Return a row: the name, a bar as long as its share of the longest, the ratio."""
    kind = "ours" if name.startswith("orchestify") else ""
    length = max(1.0, (WIDTH - NAMES_PX - FIGURES_PX) * share)
    bar = f'<rect class="{kind}" x="{NAMES_PX}" y="{y + 4}" width="{length:.1f}" height="14"/>'
    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return [_text(0, y + 16, name, kind), bar, _text(NAMES_PX + length + 6, y + 16, shown, kind)]


def _text(x: float, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(text)}</text>'
