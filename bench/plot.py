"""SVG plots: bars with ranges, and lines. No library, nothing from outside the file, readable on light and on dark
ground (the colours follow the reader's setting; where a viewer knows none, the ground is light)."""
import math
from html import escape

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .small { font-size: 11px; fill: #57606a }
.title { font-size: 15px; font-weight: 600 } .grid { stroke: #d0d7de; stroke-width: 1 }
.range { stroke: #24292f; stroke-width: 1.3 }
.ground { fill: #ffffff } .c0 { fill: #0969da; stroke: #0969da } .c1 { fill: #bf5b04; stroke: #bf5b04 }
.c2 { fill: #1a7f37; stroke: #1a7f37 } .c3 { fill: #8250df; stroke: #8250df }
.bar { stroke: none } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9da7b1 } .grid { stroke: #3d444d }
.range { stroke: #e6edf3 } .ground { fill: #0d1117 }
.c0 { fill: #4493f8; stroke: #4493f8 } .c1 { fill: #f0883e; stroke: #f0883e }
.c2 { fill: #3fb950; stroke: #3fb950 } .c3 { fill: #ab7df8; stroke: #ab7df8 }
.bar { stroke: none } .line { fill: none } }
"""
WIDTH, LEFT, RIGHT = 760, 175, 90


def figure(value):
    """1234567 -> 1.23M: three digits, for people."""
    if value == 0:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{scaled:.{max(0, 2 - int(math.log10(abs(scaled))))}f}{unit}"
    return f"{value:.{max(0, 2 - int(math.floor(math.log10(abs(value)))))}f}"


def _mark(value):
    """A tick's figure: 10k, not 10.0k."""
    text = figure(value)
    number = text.rstrip("GMk")
    return f"{float(number):g}" + text[len(number):]


def _svg(height, body, title):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>' + "".join(body) + "</svg>\n")


def _text(x, y, text, cls="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{cls}">{escape(str(text))}</text>'


def _legend(names, y):
    body, x = [], LEFT
    for i, name in enumerate(names):
        body.append(f'<rect class="bar c{i % 4}" x="{x}" y="{y - 10}" width="11" height="11" rx="2"/>')
        body.append(_text(x + 16, y, name))
        x += 34 + 7.2 * len(name)
    return body


def _ticks(top):
    step = 10 ** math.floor(math.log10(top / 4)) if top > 0 else 1
    step = next(step * k for k in (1, 2, 5, 10) if top / (step * k) <= 5)
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


def bars(title, unit, groups, names):
    """groups: [(label, [summary or None for each name])], a summary being {median, low, high}. Horizontal bars."""
    top = max(s["high"] for _, row in groups for s in row if s) * 1.02
    scale = (WIDTH - LEFT - RIGHT) / top
    body, y = [_text(16, 24, title, "title")] + _legend(names, 48), 66
    drawn = []
    for label, row in groups:
        shown = [(i, s) for i, s in enumerate(row) if s]
        drawn.append(_text(LEFT - 10, y + 8 * len(shown) + 4, label, anchor="end"))
        for i, s in shown:
            drawn.append(f'<rect class="bar c{i % 4}" x="{LEFT}" y="{y}" width="{max(1, s["median"] * scale):.1f}" '
                         f'height="13" rx="2"/>')
            low, high = LEFT + s["low"] * scale, LEFT + s["high"] * scale
            ends = f"M{low:.1f} {y + 3}v7M{high:.1f} {y + 3}v7"
            drawn.append(f'<path class="range" d="M{low:.1f} {y + 6.5}H{high:.1f}{ends}"/>')
            drawn.append(_text(max(high, LEFT + s["median"] * scale) + 6, y + 11, figure(s["median"]), "small"))
            y += 16
        y += 12
    for tick in _ticks(top):
        x = LEFT + tick * scale
        body.append(f'<path class="grid" d="M{x:.1f} 60V{y - 6}"/>' + _text(x, y + 9, _mark(tick), "small", "middle"))
    body += drawn + [_text(WIDTH - 16, y + 26, f"{unit}; the line is the range of the rounds", "small", "end")]
    return _svg(y + 38, body, title)


def lines(title, across, unit, series):
    """series: [(name, [(x, y)])], both axes logarithmic."""
    places = [[math.log10(p[i]) for _, row in series for p in row if p[0] > 0 and p[1] > 0] for i in (0, 1)]
    bounds = [(math.floor(min(logs)), math.ceil(max(logs) - 1e-9)) for logs in places]
    bounds = [(low, max(high, low + 1)) for low, high in bounds]
    top, height = 66, 240

    def at(x, y):
        (x0, x1), (y0, y1) = bounds
        return (LEFT + (math.log10(x) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
                top + height - (math.log10(y) - y0) / (y1 - y0) * height)

    body = [_text(16, 24, title, "title")] + _legend([name for name, _ in series], 48)
    for e in range(bounds[0][0], bounds[0][1] + 1):
        x, _ = at(10 ** e, 10 ** bounds[1][0])
        body.append(f'<path class="grid" d="M{x:.1f} {top}v{height}"/>')
        body.append(_text(x, top + height + 16, _mark(10 ** e), "small", "middle"))
    for e in range(bounds[1][0], bounds[1][1] + 1):
        _, y = at(10 ** bounds[0][0], 10 ** e)
        body.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(_text(LEFT - 8, y + 4, _mark(10 ** e), "small", "end"))
    for i, (_, row) in enumerate(series):
        places = [at(x, y) for x, y in row if x > 0 and y > 0]
        course = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        body.append(f'<path class="line c{i % 4}" style="fill:none" d="M{course}"/>')
        body += [f'<circle class="c{i % 4}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places]
        if places:
            body.append(_text(places[-1][0] + 8, places[-1][1] + 4, figure(row[-1][1]), "small"))
    legend = f"across: {across}; up: {unit}; both scales logarithmic"
    body.append(_text(WIDTH - 16, top + height + 36, legend, "small", "end"))
    return _svg(top + height + 48, body, title)
