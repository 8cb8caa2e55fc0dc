"""Small SVG charts: bars in panels, and lines. The background is transparent and the colours stand
out on white and on black alike (an embedded picture does not learn the page's theme for certain);
every bar carries its number, so that colour alone says nothing."""

import math
from xml.sax.saxutils import escape

WIDTH = 860
COLORS = {"hearth": "#e8590c", "redis": "#7a8290", "memcached": "#3f8fd0"}
SPARE_COLORS = ["#8a63d2", "#2f9e6e", "#c2568a"]

STYLE = """<style>
text { font: 500 13px system-ui, sans-serif; fill: #737b86; }
.title { font-size: 17px; font-weight: 600; }
.small { font-size: 12px; }
.axis { stroke: #8b949e; stroke-width: 1; }
.grid { stroke: #8b949e; stroke-width: 1; opacity: .3; }
</style>"""


def color_of(name, index=0):
    for known, color in COLORS.items():
        if name.lower().startswith(known):
            return color
    return SPARE_COLORS[index % len(SPARE_COLORS)]


def _text(x, y, text, css="", anchor="start"):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (
        x, y, css, anchor, escape(text))  # fmt: skip


def _document(height, title, subtitle, parts):
    head = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
        'role="img" aria-label="%s">' % (WIDTH, height, WIDTH, height, escape(title)),
        STYLE,
        _text(12, 26, title, "title"),
        _text(12, 46, subtitle, "small"),
    ]
    return "\n".join(head + parts + ["</svg>"]) + "\n"


def number(value):
    """Three digits that matter."""
    if value >= 100:
        return "%.0f" % value
    return "%.1f" % value if value >= 10 else "%.2f" % value


def bars(title, subtitle, panels, columns=2):
    """panels: [(heading, [(server, value or None)])]; each panel has a scale of its own."""
    bar_height, gap, heading_height = 20, 6, 30
    label_width, number_width = 132, 56
    panel_width = (WIDTH - 24) / columns
    parts = []
    y = 62
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        for column, (heading, values) in enumerate(row):
            x = 12 + column * panel_width
            parts.append(_text(x, y + 18, heading))
            largest = max([v for _, v in values if v is not None] or [1]) or 1
            for i, (server, value) in enumerate(values):
                top = y + heading_height + i * (bar_height + gap)
                parts.append(_text(x + label_width - 8, top + 15, server, "small", "end"))
                if value is None:
                    parts.append(_text(x + label_width, top + 15, "–", "small"))
                    continue
                length = (panel_width - label_width - number_width) * value / largest
                parts.append(
                    '<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2" fill="%s"/>'
                    % (x + label_width, top, max(length, 1), bar_height, color_of(server, i))
                )
                parts.append(_text(x + label_width + length + 6, top + 15, number(value), "small"))
        y += heading_height + max(len(v) for _, v in row) * (bar_height + gap) + 12
    return _document(y + 6, title, subtitle, parts)


def _tick_step(highest):
    """1, 2, 2.5 or 5 times a power of ten: four to eight steps up to `highest`."""
    power = 10 ** math.floor(math.log10(highest / 4))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if highest / (power * m) <= 8)


def lines(title, subtitle, series, y_label, reference=None):
    """series: [(name, [(x seconds, y)])]; reference: (y, text) of a dashed line."""
    left, top, height, right = 56, 84, 240, WIDTH - 190
    longest = max([points[-1][0] for _, points in series if points] or [1]) or 1
    highest = max([y for _, points in series for _, y in points] + [reference[0] if reference else 0])
    step = _tick_step(highest or 1)
    highest = step * math.ceil((highest or 1) * 1.02 / step)
    bottom = top + height

    def at(x, y):
        return left + (right - left) * x / longest, bottom - height * y / highest

    parts = [_text(left, top - 10, y_label, "small")]
    for i in range(round(highest / step) + 1):
        _, y = at(0, i * step)
        parts.append('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>' % (left, right, y, y))
        parts.append(_text(left - 6, y + 4, "%.4g" % (i * step), "small", "end"))
    for i in range(5):
        x, _ = at(longest * i / 4, 0)
        parts.append(_text(x, bottom + 18, "%.0f s" % (longest * i / 4), "small", "middle"))
    parts.append('<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>' % (left, right, bottom, bottom))
    if reference:
        _, y = at(0, reference[0])
        parts.append(
            '<line class="axis" stroke-dasharray="5 4" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>'
            % (left, right, y, y)
        )
        parts.append(_text(left + 6, y - 6, reference[1], "small"))
    label_at = []
    for i, (name, points) in enumerate(series):
        if not points:
            continue
        step = max(1, len(points) // 400)
        path = " ".join("%.1f,%.1f" % at(x, y) for x, y in points[::step])
        dash = ' stroke-dasharray="2 3"' if i >= 2 else ""
        parts.append(
            '<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>'
            % (path, color_of(name, i), dash)
        )
        x, y = at(*points[-1])
        while any(abs(y - other) < 15 for other in label_at):
            y += 15
        label_at.append(y)
        parts.append(_text(right + 8, y + 4, name, "small"))
    return _document(bottom + 34, title, subtitle, parts)
