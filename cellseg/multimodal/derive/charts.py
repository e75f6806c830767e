"""Small bar charts for the report page, as SVG text."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

_MARGIN_LEFT, _MARGIN_BOTTOM, _MARGIN_TOP = 6.0, 17.0, 12.0
BINS = 18


def log_edges(values: Sequence[float], bins: int = BINS) -> np.ndarray:
    """Edges that part the range of positive values evenly on a logarithmic scale: float ``[bins + 1]``, increasing."""
    low, high = float(min(values)), float(max(values))
    if high < 1.5 * low:  # cells of one size: one bar in the middle, not one as wide as the chart
        low, high = low / 2, high * 2
    return np.geomspace(low * 0.999, high * 1.001, bins + 1)


def even_edges(values: Sequence[int], bins: int = BINS) -> np.ndarray:
    """Edges for counts from 0, half a step aside of whole numbers, with a whole step: float, increasing."""
    step = max(1, math.ceil((max(values) + 1) / bins))
    return np.arange(0, max(values) + step + 1, step) - 0.5


def histogram(
    values: Sequence[float], edges: np.ndarray, unit: str, log: bool = False, width: int = 320, height: int = 96
) -> Markup:
    """A histogram with the scale below and its largest count above.

    Args:
        values: numbers within the edges; none give an empty chart.
        edges: increasing, float ``[bins + 1]``.
        unit: what the numbers are, for the end of the scale and for readers who hear the page.
        log: whether the scale is logarithmic.
        width, height: pixels.

    Returns:
        SVG that may stand in HTML as it is.
    """
    counts, _ = np.histogram(values, edges)
    base, room = height - _MARGIN_BOTTOM, height - _MARGIN_BOTTOM - _MARGIN_TOP
    step = (width - 2 * _MARGIN_LEFT) / len(counts)
    top = max(int(counts.max()), 1)
    shapes = []
    for index, count in enumerate(counts.tolist()):
        tall = room * count / top
        if count:
            left = _MARGIN_LEFT + index * step + 0.5
            shapes.append(
                f'<rect x="{left:.1f}" y="{base - tall:.1f}" width="{max(step - 1, 1):.1f}" height="{tall:.1f}">'
                f"<title>{_range(edges[index], edges[index + 1])} {_escape(unit)}: {count}</title></rect>"
            )
    shapes.append(f'<line x1="{_MARGIN_LEFT}" y1="{base:.1f}" x2="{width - _MARGIN_LEFT}" y2="{base:.1f}"/>')
    place = _place(edges, width, log)
    for tick in _ticks(edges, log):
        x = place(tick)
        anchor = "start" if x < 20 else "end" if x > width - 20 else "middle"
        shapes.append(f'<line x1="{x:.1f}" y1="{base:.1f}" x2="{x:.1f}" y2="{base + 3:.1f}"/>')
        shapes.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="{anchor}">{tick:,g}</text>')
    if counts.any():
        peak = _MARGIN_LEFT + (int(counts.argmax()) + 0.5) * step
        shapes.append(f'<text x="{peak:.1f}" y="{_MARGIN_TOP - 3}" text-anchor="middle">{top:,}</text>')
    label = f"Histogram of {len(values)} values, {unit}"
    return Markup(  # noqa: S704 (all texts in it are numbers or escaped)
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{_escape(label)}">'
        + "".join(shapes)
        + "</svg>"
    )


def _place(edges: np.ndarray, width: int, log: bool):
    """From a value to its x on the chart."""
    scale = math.log if log else float
    low, high = scale(edges[0]), scale(edges[-1])
    return lambda value: _MARGIN_LEFT + (scale(value) - low) / (high - low) * (width - 2 * _MARGIN_LEFT)


def _ticks(edges: np.ndarray, log: bool) -> list[float]:
    """A few round numbers within the edges."""
    low, high = float(edges[0]), float(edges[-1])
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            ticks = [digit * 10.0**power for power in decades for digit in digits]
            ticks = [tick for tick in ticks if low <= tick <= high]
            if len(ticks) >= 3:
                break
        return ticks
    span = high - low
    step = 10.0 ** math.floor(math.log10(max(span, 1)))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if span / (step * part) <= 6)
    step = max(step, 1)
    return [float(tick) for tick in np.arange(math.ceil(low / step) * step, high, step)]


def _range(low: float, high: float) -> str:
    return f"{low:,.0f} to {high:,.0f}"


def _escape(text: str) -> str:
    return str(Markup.escape(text))
